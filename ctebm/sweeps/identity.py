"""What a sweep is: its function, settings, points and versions, and how two of them differ."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

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


def _function(function: Any) -> dict[str, Any]:
    """Return name and source of a function, arguments of a partial, fields of a dataclass."""
    if isinstance(function, functools.partial):
        given = {"arguments": _text((function.args, sorted(function.keywords.items())))}
        return _function(function.func) | given
    named = function if hasattr(function, "__qualname__") else type(function)
    found = {"function": f"{named.__module__}.{named.__qualname__}"}
    try:
        source = inspect.getsource(named)
        found["function_sha256"] = hashlib.sha256(source.encode()).hexdigest()
    except (OSError, TypeError):
        pass  # typed at a prompt, or compiled
    if dataclasses.is_dataclass(function):
        found["arguments"] = _text(function)
    return found


def _column(values: tuple[Any, ...]) -> str:
    if len(values) <= _SHOWN:
        return ", ".join(map(str, values))
    return f"{values[0]} to {values[-1]} ({len(values)} values)"


def _shown(value: Any) -> str:
    text = "missing" if value is None else str(value)
    return f"{text[:60]}..." if len(text) > 63 else text


def _text(value: Any) -> str:
    """Return what a value is, without where it lies in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
