"""What a class of one's own keeps among its attributes: tensors, numbers and words, by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import variable
from ctebm.networks.activation import Activation
from ctebm.networks.base import VectorField
from ctebm.networks.copies import declared_tensors

__all__ = ["class_name", "own_dataset"]

_IN_EVERY_MOTION = {
    "layers", "depth", "n_units", "dtype", "device", "is_gradient", "_kept",
    "declared_drives",
}  # fmt: skip


def own_dataset(network: VectorField, known: set[str]) -> xr.Dataset:
    """Return the attributes of a motion and of its class as labelled arrays.

    Containers, torch modules and other motions among them are gone through.

    Parameters
    ----------
    network : VectorField
        Of any class.
    known : set of str
        Attributes to leave out, beside those that every motion has.

    Returns
    -------
    xarray.Dataset
        ``parameter_NAME``, numbers and words as scalar coordinates; the attribute
        ``not_recorded`` names what is neither.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.attributes import own_dataset
    >>> class Decay(ctebm.VectorField):
    ...     def force(self, s):
    ...         return -self.scale * self.fall * s
    >>> net = Decay(2)
    >>> net.scale, net.fall, net.solve = 0.5, torch.ones(2), torch.relu
    >>> dataset = own_dataset(net, set())
    >>> sorted(dataset.variables), dataset.not_recorded
    (['parameter_fall', 'parameter_scale'], 'solve (builtin_function_or_method)')
    """
    dataset, unknown = xr.Dataset(), []
    own = {k: v for k, v in _attributes(network).items() if k not in known | _IN_EVERY_MOTION}
    for path, value in _leaves(own):
        name = "parameter_" + re.sub(r"\W", "_", path)
        while name in dataset.variables:
            name += "_"
        text = f"parameter {path} of the network"
        if isinstance(value, bool | int | float | str):
            dataset.coords[name] = variable((), value, text)
        elif _is_numeric(value):
            values = value.to_dense() if isinstance(value, Tensor) else np.asarray(value)
            dataset[name] = variable([f"{name}_axis{i}" for i in range(values.ndim)], values, text)
        elif value is not None:
            unknown.append(f"{path} ({type(value).__name__})")
    return dataset.assign_attrs(not_recorded=", ".join(unknown))


def class_name(thing: object) -> str:
    """Return the name of a thing's class, with its module if it is not one of ctebm's.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.attributes import class_name
    >>> class_name(ctebm.Tanh()), class_name(1.0)
    ('Tanh', 'builtins.float')
    """
    kind = type(thing)
    ours = kind.__module__.startswith("ctebm.")
    return kind.__qualname__ if ours else f"{kind.__module__}.{kind.__qualname__}"


def _attributes(network: VectorField) -> dict[str, Any]:
    classes = [c for c in reversed(type(network).__mro__) if not c.__module__.startswith("ctebm.")]
    declared = {
        name: value
        for c in classes
        for name, value in vars(c).items()
        if isinstance(value, bool | int | float | str) and not name.startswith("__")
    }
    return declared | declared_tensors(type(network)) | vars(network)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is in containers, modules, activations and motions, with the way to it."""
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    elif isinstance(value, VectorField | Activation):
        yield f"{path}.class", class_name(value)
        own = [f.name for f in fields(value)] if is_dataclass(value) else [*vars(value)]
        value = {k: getattr(value, k) for k in own if k not in _IN_EVERY_MOTION}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):  # a named one, such as a Box
        # what has _fields is a named tuple
        names: tuple[str, ...] = value._fields  # pyright: ignore[reportAttributeAccessIssue]
        value = dict(zip(names, value, strict=True))
    elif isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, item in value.items():
        yield from _leaves(item, f"{path}.{name}" if path else str(name))


def _is_numeric(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufcU"
    return isinstance(value, Tensor | complex)
