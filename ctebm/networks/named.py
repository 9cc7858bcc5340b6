"""The parameters of any network by name: read, written over, put on a graph.

Letters: parameter ``p``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import real_tensor

if TYPE_CHECKING:
    from ctebm.networks.base import VectorField

__all__ = ["named_tensors", "recording", "with_leaves", "write_tensors"]

V = TypeVar("V", bound="VectorField")

_PLAIN = {type(None), bool, int, float, str, slice, torch.dtype, torch.device}  # hold no tensors
_NOT_LEARNED = ("box", "kinks", "constant", "held", "states", "layers")  # what is held, not learned


def named_tensors(network: VectorField) -> dict[str, Tensor]:
    """Return the floating-point parameters of a network by their names.

    Tensors among its attributes, in lists, dicts, modules and other motions there; attributes
    whose names begin with an underscore are left out.

    Parameters
    ----------
    network : VectorField
        With nothing clamped.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.named import named_tensors
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh())
    >>> {name: tuple(p.shape) for name, p in named_tensors(net).items()}
    {'weights.0': (3, 4), 'weights.1': (4, 2), 'bias': (9,)}
    """
    return {
        name: t
        for key, value in vars(network).items()
        if not key.startswith("_") and key not in _NOT_LEARNED
        for name, t in _leaves(value, key)
        if t.is_floating_point()
    }


def write_tensors(parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Write a tensor over each parameter, in place, once all of them are found to fit.

    Parameters
    ----------
    parameters, state : mapping of str to Tensor
        What is written over, and what comes there, by the same names.

    Raises
    ------
    ValueError
        For other names or shapes, or numbers that are not finite or not real.
    TypeError
        For what is no mapping.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.named import write_tensors
    >>> W = torch.zeros(2)
    >>> write_tensors({"W": W}, {"W": torch.ones(2)})
    >>> W
    tensor([1., 1.])
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"expected parameters by their names, got {type(state).__name__}.")
    if parameters.keys() != state.keys():
        raise ValueError(
            f"expected parameters named {', '.join(parameters) or '(none)'}, got "
            f"{', '.join(map(str, state)) or '(none)'}; give the state_dict() of a network like "
            "this one, or give each tensor the name it has here."
        )
    found = {name: _real(name, t, parameters[name].dtype) for name, t in state.items()}
    for name, p in parameters.items():
        if found[name].shape != p.shape:
            raise ValueError(
                f"expected {name} of shape {tuple(p.shape)}, got {tuple(found[name].shape)}; give "
                "the parameters of a network of the same sizes."
            )
        if not _same_places(found[name], p):
            raise ValueError(f"expected {name} sparse, with numbers where the present one has any.")
        if not bool(torch.isfinite(_numbers(found[name])).all()):
            raise ValueError(f"expected finite numbers in {name}, got NaN or infinity.")
    with torch.no_grad():
        for name, p in parameters.items():
            _numbers(p).copy_(_numbers(found[name]))


def _real(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    """Return a tensor; a sparse one stays sparse."""
    if isinstance(value, Tensor) and value.layout == torch.sparse_csr and not value.is_complex():
        return value
    try:
        return real_tensor(value, dtype)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _numbers(p: Tensor) -> Tensor:
    """Return the numbers of a parameter, of a sparse one those that it holds."""
    return p.values() if p.layout == torch.sparse_csr else p


def _same_places(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are both dense, or sparse with numbers at the same places."""
    if a.layout != b.layout:
        return False
    return b.layout != torch.sparse_csr or (
        a.crow_indices().equal(b.crow_indices()) and a.col_indices().equal(b.col_indices())
    )


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an attribute, with their names."""
    if isinstance(value, Tensor):
        yield name, value
        return
    if type(value) in _PLAIN:
        return
    if isinstance(value, torch.nn.Module):
        value = dict(value.named_parameters())
    elif isinstance(value, Activation):
        own = getattr(value, "__dict__", {})
        value = {k: item for k, item in own.items() if k not in _NOT_LEARNED}
    elif hasattr(value, "_map"):  # another motion
        value = named_tensors(value)
    elif isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if type(value) is dict or isinstance(value, Mapping):
        for key, item in value.items():  # a pair of layers is two words
            word = ".".join(map(str, key)) if isinstance(key, tuple) else key
            yield from _leaves(item, f"{name}.{word}")


def with_leaves(network: V) -> V:
    """Return a copy of a network whose parameters hang on no graph and may be changed in place."""
    other = copy.deepcopy(network)
    for t in named_tensors(other).values():
        t.detach_().requires_grad_(False)
    return other


@contextmanager
def recording(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Let autograd follow parameters that are leaves."""
    try:
        for p in parameters.values():
            p.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for p in parameters.values():
            p.requires_grad_(False)
