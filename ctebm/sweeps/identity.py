"""What a sweep is: its function, settings, points and versions, and how two of them differ."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm import __version__
from ctebm.sweeps.points import Points

__all__ = ["differences", "identity"]

_SHOWN = 8  # values of an axis
_PLAIN = (bool, int, float, complex, str, bytes, range, slice)  # all of them is in their repr
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
        **(own() if own else _function(function) | _code(function)),
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

    These are the arguments of a partial, the fields of an object, defaults and attributes, what a
    function within another has from there, and the data of its module that it names.
    """
    if isinstance(function, functools.partial):
        given = {"arguments": _text((function.args, sorted(function.keywords.items())), around)}
        return _function(function.func, around) | given
    named = _named(function)
    found: dict[str, Any] = {"function": _name(named), "function_sha256": _source(named)}
    if named is not function:
        found["arguments"] = _text(function, around)
    elif captured := _captured(function):
        found["captured"] = {name: _text(value, around) for name, value in captured.items()}
    return {name: value for name, value in found.items() if value is not None}


def _captured(function: Any) -> dict[str, Any]:
    """Return the data that a function of Python takes from elsewhere, or a class holds, by name.

    Code of the user is told by :func:`_code`; that of a library has its name here.
    """
    if isinstance(function, type):
        own = {k: v for k, v in vars(function).items() if not k.startswith("__")}
        return {k: v for k, v in own.items() if not isinstance(v, property) and not _is_code(v)}
    of = {"self": function.__self__} if inspect.ismethod(function) else {}
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not inspect.isfunction(function):
        return of
    named = _globals(function)
    data = {k: _name(v) if _is_code(v) else v for k, v in named.items() if not _is_own(v)}
    data |= {k: v for k, v in _nonlocals(function).items() if not _is_own(v)}
    given = {
        "defaults": function.__defaults__,
        "keywords": function.__kwdefaults__,
        "attributes": {k: v for k, v in vars(function).items() if k != "__wrapped__"},
    }
    return {**of, **data, **{k: v for k, v in given.items() if v}}


def _code(function: Any) -> dict[str, Any]:
    """Return source and data of all functions and classes of the user that a function leads to."""
    found: dict[str, Any] = {}
    waiting, seen = [function], {id(function)}
    while waiting:
        for one in _leads_to(waiting.pop(0)):
            if id(one) in seen or not _is_own(one):
                continue
            seen.add(id(one))
            waiting.append(one)
            name, n = _name(one), 1
            while f"{name} {n}" in found or (n == 1 and name in found):
                n += 1
            data = {k: _text(v) for k, v in _captured(one).items()}
            captured = {"captured": data} if data else {}
            found[name if n == 1 else f"{name} {n}"] = {"sha256": _source(one)} | captured
    return {"code": found} if found else {}


def _leads_to(one: Any) -> Iterator[Any]:
    """Yield functions and classes that a function, class or object names or holds."""
    if isinstance(one, functools.partial):
        yield from _leads_to(one.func)
        values = [*one.args, *one.keywords.values()]
    elif isinstance(one, type):
        members = [v for base in one.__mro__ if _is_own(base) for v in vars(base).values()]
        for member in members:
            yield from _leads_to(getattr(member, "fget", member))
        values = [*one.__mro__[1:], *members]
    elif _named(one) is not one:
        yield type(one)
        values = []
    else:
        values = [getattr(one, "__self__", None)]
        one = inspect.unwrap(getattr(one, "__func__", one))
        if inspect.isfunction(one):
            values += [*_globals(one).values(), *_nonlocals(one).values()]
            values += [*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
    for value in values:
        if isinstance(value, functools.partial):
            yield from _leads_to(value)
        else:
            yield value if _is_code(value) else type(value)


def _is_code(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def _is_own(value: Any) -> bool:
    """Return whether code, or a module, is of neither Python, this package nor a library."""
    module = inspect.ismodule(value)
    name = getattr(value, "__name__" if module else "__module__", None)
    if not (module or _is_code(value)) or not isinstance(name, str):  # data, or compiled
        return False
    if name.partition(".")[0] in {"ctebm", *sys.stdlib_module_names}:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def _globals(function: Any) -> dict[str, Any]:
    """Return what a function and those within it name of their module, and of the user's others."""
    found, waiting, missing = {}, [function.__code__], object()
    while waiting:
        code, name, value = waiting.pop(0), "", missing
        waiting += [c for c in code.co_consts if isinstance(c, CodeType)]
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                name, value = step.argval, function.__globals__.get(step.argval, missing)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and _is_own(value) and name:
                name, value = f"{name}.{step.argval}", getattr(value, step.argval, missing)
            else:
                name, value = "", missing
            if value is not missing and not inspect.ismodule(value):
                found[name], name, value = value, "", missing
    return found


def _nonlocals(function: Any) -> dict[str, Any]:
    """Return what a function takes from those around it."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # nothing was assigned yet
            found[name] = cell.cell_contents
    return found


def _named(function: Any) -> Any:
    return function if hasattr(function, "__qualname__") else type(function)


def _name(code: Any) -> str:
    return f"{code.__module__}.{getattr(code, '__qualname__', code)}"


def _source(code: Any) -> str | None:
    """Return a SHA-256 of a source, or of steps where there is none; None if it is compiled."""
    try:
        text = inspect.getsource(code)
    except (OSError, TypeError):  # typed at a prompt, or compiled
        inner = inspect.unwrap(getattr(code, "__func__", code))
        if not inspect.isfunction(inner):
            return None
        text = _steps(inner.__code__)
    return hashlib.sha256(text.encode()).hexdigest()


def _steps(code: CodeType) -> str:
    constants = [_steps(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


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
    if not isinstance(value, (type, *_PLAIN)):
        parts = _parts(value)
        if parts is not None:
            return f"{type(value).__qualname__}({', '.join(map(text, parts))})"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _parts(value: Any) -> tuple[Any, ...] | None:
    """Return what an object is made of, as it is pickled, or None if it can't be."""
    try:
        made = value.__reduce_ex__(4)
    except Exception:  # whatever an object of the user says
        return None
    if not isinstance(made, tuple):
        return None
    arguments, *state = made[1:3]
    return tuple(p for p in (*arguments, *state) if p is not None and p is not type(value))
