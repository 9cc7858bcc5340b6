"""Labelled arrays with units, and where they came from.

Everything that ctebm writes is a plain :class:`xarray.Dataset`: named dimensions, a ``long_name``
and ``units`` on every variable, and attributes that netCDF and Zarr both hold.
:mod:`ctebm.files.results` has their files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.indexes import PandasIndex

from ctebm import __version__

__all__ = ["layer_of_unit", "provenance", "variable"]

_LIBRARIES = ("torch", "torchsde", "torchdiffeq", "numpy", "scipy", "xarray")


def variable(
    dims: str | Sequence[str], values: Any, long_name: str, units: str = "1", **attrs: Any
) -> xr.Variable:
    """Return `values` with names, words and units; the copy shares no memory with them.

    Parameters
    ----------
    dims : str or sequence of str
        One name a dimension.
    values : array-like or torch.Tensor
        Numbers, truth values or strings; a tensor is detached and copied to the host.
    long_name : str
        What the numbers are, in words.
    units : str
        ``"1"`` if dimensionless; time is in units of the membrane time constant.
    **attrs
        Further attributes: str, int, float or lists of these.

    Raises
    ------
    ValueError
        For objects of another kind.

    Examples
    --------
    >>> from ctebm.dataset import variable
    >>> variable("unit", [0.5, -0.5], "state").attrs
    {'long_name': 'state', 'units': '1'}
    """
    tensor = hasattr(values, "detach")
    array = np.array(values.detach().cpu().numpy() if tensor else values)
    if array.dtype == object:
        if not all(isinstance(v, str) for v in array.flat):
            raise ValueError(
                f"{long_name!r} must hold numbers, truth values or strings, got objects such as "
                f"{type(array.flat[0]).__name__}; turn a MultiIndex into one coordinate a level."
            )
        array = array.astype(str)
    return xr.Variable(dims, array, {"long_name": long_name, "units": units, **attrs})


def layer_of_unit(
    layers: Mapping[str, slice], n_units: int, name: str = "layer", unit: str = "unit"
) -> xr.Coordinates:
    """Return the layer of each unit, as an indexed coordinate of ``unit``.

    ``dataset.sel(layer="h1")`` then picks the units of a layer.

    Parameters
    ----------
    layers : mapping of str to slice
        Names of consecutive groups of units; a unit of no layer is of layer ``"s"``.
    n_units : int
        The number of units.
    name : str
        The coordinate's name; ``"layer_of_unit"`` where a dimension is called ``layer``.
    unit : str
        What the dimension of the units is called.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.dataset import layer_of_unit
    >>> dataset = xr.Dataset({"state": ("unit", [0.1, 0.2, 0.3])})
    >>> dataset = dataset.assign_coords(layer_of_unit({"h": slice(0, 2), "y": slice(2, 3)}, 3))
    >>> dataset.sel(layer="h").state.values
    array([0.1, 0.2])
    """
    names = np.full(n_units, "s", dtype=object)
    for layer, where in layers.items():
        names[where] = layer
    coordinate = {name: variable(unit, names.astype(str), "layer of the unit")}
    return xr.Coordinates(coordinate, {name: PandasIndex.from_variables(coordinate, options={})})


def provenance(
    *,
    settings: Any = None,
    seed: int | None = None,
    device: Any = None,
    dtype: Any = None,
    threads: int | None = None,
) -> dict[str, str | int]:
    """Return attributes that say how a result was made.

    Beside what is given: versions of Python, ctebm and the libraries under it, the time, and the
    commit of the ctebm checkout (with ``git_dirty`` 0 or 1) if it runs from one.

    Parameters
    ----------
    settings : mapping or dataclass, optional
        The resolved settings, kept as one JSON string ``settings`` with its ``settings_sha256``.
    seed : int, optional
        The root seed.
    device, dtype : object, optional
        Where and in which precision it was computed.
    threads : int, optional
        Number of threads torch used.

    Examples
    --------
    >>> from ctebm.dataset import provenance
    >>> found = provenance(seed=7, settings={"eps": 0.1})
    >>> found["seed"], found["settings"]
    (7, '{"eps": 0.1}')
    """
    found: dict[str, str | int] = {
        "source": f"ctebm {__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python_version": sys.version.split()[0],
        "ctebm_version": __version__,
        **{f"{name}_version": metadata.version(name) for name in _LIBRARIES},
        **_checkout(),
    }
    if seed is not None:
        found["seed"] = int(seed) if abs(seed) < 2**63 else str(seed)
    if device is not None:
        found["device"] = str(device)
        torch = sys.modules.get("torch")
        if torch is not None and str(device).startswith("cuda"):
            found["device_name"] = torch.cuda.get_device_name(device)
    if dtype is not None:
        found["dtype"] = str(dtype).removeprefix("torch.")
    if threads is not None:
        found["threads"] = int(threads)
    if settings is not None:
        plain = settings if isinstance(settings, Mapping) else dataclasses.asdict(settings)
        text = json.dumps(plain, sort_keys=True, default=str)
        found |= {"settings": text, "settings_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return found


def _checkout() -> dict[str, str | int]:
    """Return commit and cleanness of the checkout that this file is tracked in, if any."""
    source = Path(__file__)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(source.parent), *words]
        options: Any = {"stderr": subprocess.DEVNULL, "text": True, "timeout": 20}
        return subprocess.check_output(command, env=environment, **options).strip()

    try:
        git("ls-files", "--error-unmatch", source.name)
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": int(dirty)}
    except (OSError, subprocess.SubprocessError):
        return {}
