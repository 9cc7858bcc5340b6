"""The axes of a sweep over the settings of a study, as a command line or a table gives them."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctebm.study.activations import suggest
from ctebm.study.flags import argument_of
from ctebm.study.settings import HOUSEKEEPING, Settings

if TYPE_CHECKING:
    from ctebm.sweeps.points import Scalar

__all__ = ["grid_axes", "seed_axis", "setting_at", "table_rows"]

_MOST = 10**7  # values of an axis: more are a mistake
_FIXED = ("threads", "checkpoint")  # what no two points may differ in
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def grid_axes(settings_type: type[Settings], words: Sequence[str]) -> dict[str, list[Scalar]]:
    """Return the axes that ``--grid`` names, such as ``gain=0.25:3:12`` or ``eps=0.5,0.1``.

    ``a:b:n`` is n values from a to b. Words are separated by commas, or by semicolons where they
    hold commas. A setting of several values varies over one value, or over lists: ``sizes=64 32
    10;64 64 10``.

    Parameters
    ----------
    settings_type : type
        Of the study.
    words : sequence of str
        Name and values of each axis.

    Raises
    ------
    ValueError
        If a name is no setting, or a value does not fit it.

    Examples
    --------
    >>> from ctebm.study import Settings
    >>> from ctebm.study.axes import grid_axes
    >>> grid_axes(Settings, ["seed=0:4:3"])
    {'seed': [0, 2, 4]}
    """
    axes: dict[str, list[Scalar]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.replace("-", "_")
        hint = _hint(settings_type, name)
        if not equals or not values.strip():
            raise ValueError(f"--grid takes NAME=VALUES, such as gain=0.25:3:12, got {word!r}.")
        if name in axes:
            raise ValueError(f"--grid names {name} twice; give all its values at once.")
        try:
            axes[name] = _axis(name, hint, values)
        except ValueError as error:
            raise ValueError(f"--grid {error}") from error
    return axes


def table_rows(settings_type: type[Settings], path: Path) -> list[dict[str, Scalar]]:
    """Return the points of a CSV file, whose first line names settings.

    Parameters
    ----------
    settings_type : type
        Of the study.
    path : Path
        The file.

    Raises
    ------
    ValueError
        If it is no such table; it says in which line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            lines = [(reader.line_num, line) for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table in CSV: {error}.") from error
    if len(lines) < 2:
        raise ValueError(f"{path} needs a line of names and a line for each point.")
    names = [name.strip().replace("-", "_") for name in lines[0][1]]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} names a column twice; leave one out.")
    if len(names) == 1 and (found := re.search("[;\t]", names[0])):
        raise ValueError(f"{path} has {found[0]!r} between columns; put commas there.")
    try:
        hints = [_hint(settings_type, name) for name in names]
    except ValueError as error:
        raise ValueError(f"{path}, line {lines[0][0]}: {error}") from error
    rows = []
    for i, line in lines[1:]:
        if len(line) != len(names):
            raise ValueError(
                f"{path}, line {i}: expected a value for each of {len(names)} names, got "
                f"{len(line)}."
            )
        try:
            cells = zip(names, hints, line, strict=True)
            rows.append([_read(name, hint, cell) for name, hint, cell in cells])
        except ValueError as error:
            raise ValueError(f"{path}, line {i}: {error}") from error
    columns = [_alike(list(column)) for column in zip(*rows, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def seed_axis(seed: int, replicates: int) -> dict[str, list[Scalar]]:
    """Return the axis ``seed`` of some replicates: the seed and those after it.

    Parameters
    ----------
    seed : int
        Of the first one.
    replicates : int
        How many.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from ctebm.study.axes import seed_axis
    >>> seed_axis(5, 3)
    {'seed': [5, 6, 7]}
    """
    if not 1 <= replicates <= _MOST:
        raise ValueError(f"--replicates must be from 1 to {_MOST}, got {replicates}.")
    return {"seed": list(range(seed, seed + replicates))}


def setting_at(hint: Any, value: Scalar) -> Any:
    """Return what a setting of this type is at a value of an axis.

    Parameters
    ----------
    hint : type
        Of the setting.
    value : scalar
        Of the axis; words for a list of several values.

    Examples
    --------
    >>> from ctebm.study.axes import setting_at
    >>> setting_at(tuple[int, ...], "64 32 10"), setting_at(tuple[float, ...], 0.5)
    ((64, 32, 10), (0.5,))
    """
    inner = _inner(hint)
    if typing.get_origin(hint) is tuple:
        words = value.split() if isinstance(value, str) else [value]
        reader = argument_of(inner)["type"]
        return tuple(reader(w) if isinstance(w, str) else inner(w) for w in words)
    if inner is Path:
        return Path(str(value))
    return inner(value) if inner in (int, float) else value


def _hint(settings_type: type[Settings], name: str) -> Any:
    hints = typing.get_type_hints(settings_type)
    names = [f.name for f in dataclasses.fields(settings_type) if f.name not in HOUSEKEEPING]
    names = [name for name in names if name not in _FIXED]
    if name not in names:
        raise ValueError(f"{name!r} is no setting that can be swept; {suggest(name, names)}.")
    return hints[name]


def _axis(name: str, hint: Any, text: str) -> list[Scalar]:
    inner = _inner(hint)
    ends = text.split(":")
    if inner in (int, float) and len(ends) == 3:
        low, high = (float(_read(name, float, end)) for end in ends[:2])
        n = int(_read(name, int, ends[2]))
        if n < 2 and low != high:
            raise ValueError(f"{name}={text} needs 2 or more values from end to end.")
        if n > _MOST:
            raise ValueError(f"{name}={text} has more than {_MOST} values; ask for less.")
        values = [low + (high - low) * i / max(n - 1, 1) for i in range(n)]
        if inner is int and not all(v.is_integer() for v in values):
            raise ValueError(f"{name}={text} gives values that are not whole.")
        return [int(v) for v in values] if inner is int else [*values]
    words = text.split(";" if ";" in text else ",")
    return _alike([_read(name, hint, word) for word in words])


def _alike(values: list[Scalar]) -> list[Scalar]:
    """Return values of one kind: all words, where some are lists in words."""
    words = any(isinstance(value, str) for value in values)
    return [str(value) if words else value for value in values]


def _inner(hint: Any) -> Any:
    """Return the type of one value of a setting."""
    kinds = [kind for kind in typing.get_args(hint) if kind not in (type(None), ...)]
    if typing.get_origin(hint) is typing.Literal or not kinds:
        return hint
    return _inner(kinds[0])


def _read(name: str, hint: Any, word: str) -> Scalar:
    """Return a word as the value of an axis: a scalar, or the words of a list."""
    word = word.strip()
    inner = _inner(hint)
    if inner is bool:
        if word.lower() not in _TRUTH:
            raise ValueError(f"{name}: expected true or false, got {word!r}.")
        return _TRUTH[word.lower()]
    reader = argument_of(inner)["type"]
    try:
        values = [reader(one) for one in (word.split() or [word])]
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{name}: {error}.") from None
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number, got {word!r}.")
    listed = typing.get_origin(hint) is tuple
    if len(values) > 1 and not listed and inner is not str:
        raise ValueError(f"{name}: expected one value, got {word!r}.")
    if len(values) == 1 and not isinstance(values[0], Path):
        return values[0]
    return word
