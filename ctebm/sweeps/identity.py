"""What a sweep is: its function, settings, points and versions, and how two of them differ."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm import __version__
from ctebm.sweeps.points import Points

__all__ = ["differences", "identity"]

_SHOWN = 8  # values of an axis
_VERSIONS = ("torch", "numpy", "scipy")  # of which last bits may depend


def identity(
    function: Callable[..., Any], points: Points, threads: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what must be equal for two sweeps to be one.

    Parameters
    ----------
    function : callable
        Called at every point.
    points : Points
        Where.
    threads : int
        Of torch, on which last bits depend.
    settings : mapping
        Anything else that the results depend on, as JSON can hold it.

    Examples
    --------
    >>> from ctebm.sweeps.identity import identity
    >>> from ctebm.sweeps.points import Points
    >>> identity(len, Points.grid({"gain": [1]}), threads=1, settings={})["function"]
    'builtins.len'
    """
    own = getattr(function, "identity", None)
    return {
        **(own() if own else _function(function)),
        "settings": json.loads(json.dumps(dict(settings), default=str)),
        "points": {name: _column(values) for name, (_, values) in points.columns().items()},
        "points_sha256": points.digest(),
        "threads": threads,
        "ctebm_version": __version__,
        **{f"{name}_version": metadata.version(name) for name in _VERSIONS},
    }


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return in words how two identities differ: what is asked, and what a store has.

    Parameters
    ----------
    here, there : mapping
        As :func:`identity` returns them.

    Examples
    --------
    >>> from ctebm.sweeps.identity import differences
    >>> differences({"settings": {"gain": 1, "seed": 0}}, {"settings": {"gain": 2, "seed": 0}})
    ['settings.gain is 1 here and 2 there']
    """
    found = []
    for name in dict.fromkeys([*here, *there]):
        mine, theirs = here.get(name), there.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            found += [f"{name}.{line}" for line in differences(mine, theirs)]
        elif mine != theirs:
            found.append(f"{name} is {_shown(mine)} here and {_shown(theirs)} there")
    more = [line for line in found if not line.startswith("points_sha256")]
    return more or found


def _function(function: Any, around: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return name and source of a function, and the values that it brings along.

    These are the arguments of a partial, the fields of an object, defaults, what a function within
    another has from there, and the data of its module that it names.
    """
    if isinstance(function, functools.partial):
        given = {"arguments": _text((function.args, sorted(function.keywords.items())), around)}
        return _function(function.func, around) | given
    named = function if hasattr(function, "__qualname__") else type(function)
    found: dict[str, Any] = {"function": f"{named.__module__}.{named.__qualname__}"}
    try:
        source = inspect.getsource(named)
        found["function_sha256"] = hashlib.sha256(source.encode()).hexdigest()
    except (OSError, TypeError):
        pass  # typed at a prompt, or compiled
    if named is not function:
        found["arguments"] = _text(function, around)
    elif captured := _captured(function):
        found["captured"] = {name: _text(value, around) for name, value in captured.items()}
    return found


def _captured(function: Any) -> dict[str, Any]:
    """Return what a function of Python takes from elsewhere, by name."""
    of = {"self": function.__self__} if inspect.ismethod(function) else {}
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not inspect.isfunction(function):
        return of
    elsewhere = inspect.getclosurevars(function)
    data = {k: v for k, v in elsewhere.globals.items() if not (inspect.ismodule(v) or callable(v))}
    defaults = {"defaults": function.__defaults__, "keywords": function.__kwdefaults__}
    return {**of, **data, **elsewhere.nonlocals, **{k: v for k, v in defaults.items() if v}}


def _column(values: tuple[Any, ...]) -> str:
    if len(values) <= _SHOWN:
        return ", ".join(map(str, values))
    return f"{values[0]} to {values[-1]} ({len(values)} values)"


def _shown(value: Any) -> str:
    text = "missing" if value is None else str(value)
    return f"{text[:60]}..." if len(text) > 63 else text


def _text(value: Any, around: tuple[int, ...] = ()) -> str:
    """Return what a value is, every number of it, without where it lies in memory.

    `around` are the values that it is a part of, so that one within itself has an end.
    """
    if id(value) in around:
        return "..."
    text = functools.partial(_text, around=(*around, id(value)))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{text(k)}: {text(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple | set | frozenset):
        each = map(text, value)
        ordered = sorted(each) if isinstance(value, set | frozenset) else each
        return f"{type(value).__name__}({', '.join(ordered)})"
    if isinstance(value, Tensor) and value.layout != torch.strided:
        whole = value.to_sparse_coo().coalesce()
        return text((whole.shape, whole.indices(), whole.values()))
    if isinstance(value, Tensor | np.ndarray):
        array = np.ascontiguousarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        numbers = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype} {array.shape} {array if array.size <= _SHOWN else numbers}"
    if inspect.isfunction(value) or inspect.ismethod(value):
        return text(_function(value, (*around, id(value))))
    if not isinstance(value, type) and type(value).__module__ != "builtins":
        parts = _parts(value)
        if parts is not None:
            return f"{type(value).__qualname__}({', '.join(map(text, parts))})"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _parts(value: Any) -> tuple[Any, ...] | None:
    """Return what an object is made of, as it is pickled, or None if it can't be."""
    try:
        made = value.__reduce_ex__(4)
    except TypeError:
        return None
    if not isinstance(made, tuple):
        return None
    arguments, *state = made[1:3]
    return tuple(p for p in (*arguments, *state) if p is not None and p is not type(value))
