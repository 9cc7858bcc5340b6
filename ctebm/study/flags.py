"""Flags of a command line: words that become values, and mistakes of one sentence."""

from __future__ import annotations

import argparse
import difflib
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Parser", "argument_of", "unmistakable"]

_WORDS: dict[type, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("NUMBER", "a number"),
    str: ("TEXT", "text"),
    Path: ("PATH", "a path"),
}


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are ValueErrors of one sentence, as all others are."""

    def error(self, message: str) -> typing.NoReturn:
        raise ValueError(f"{message.removeprefix('argument ')}; --help lists the flags.")

    # without the namespace that may be given, which no one gives here
    def parse_args(self, args: list[str]) -> argparse.Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        found, left = self.parse_known_args(args)
        if not left:
            return found
        flag = left[0].partition("=")[0]
        flags = [word for action in self._actions for word in action.option_strings]
        if not flag.startswith("-"):
            raise ValueError(f"expected a flag, got {flag!r}; --help lists the flags.")
        near = difflib.get_close_matches(flag, flags, 1)
        remedy = f"did you mean {near[0]}" if near else "--help lists the flags"
        raise ValueError(f"unknown flag {flag}; {remedy}.")


def argument_of(hint: Any) -> dict[str, Any]:
    """Return how argparse reads a setting of this type.

    Parameters
    ----------
    hint : type
        Of a field of the settings.

    Examples
    --------
    >>> from ctebm.study.flags import argument_of
    >>> argument_of(tuple[float, ...])["type"]("0.5")
    0.5
    """
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        names = ", ".join(inner)
        return {"type": _reader({name: name for name in inner}.__getitem__, f"one of {names}"),
                "metavar": f"{{{','.join(inner)}}}"}  # fmt: skip
    if typing.get_origin(hint) is tuple:
        if inner[-1] is ...:
            return {"nargs": "+"} | argument_of(inner[0])
        return {"nargs": len(inner)} | argument_of(float if float in inner else inner[0])
    if inner:
        return argument_of(inner[0])
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    metavar, expected = _WORDS[hint]
    return {"type": _reader(hint, expected), "metavar": metavar}


def _reader(read: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    def reader(word: str) -> Any:
        try:
            return read(word.strip())
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {word.strip()!r}") from None

    return reader


def unmistakable(words: list[str]) -> list[str]:
    """Return words in which no negative number, such as -1e-3, looks like a flag.

    Examples
    --------
    >>> from ctebm.study.flags import unmistakable
    >>> unmistakable(["--low", "-1e-3"])
    ['--low', ' -1e-3']
    """
    return [f" {word}" if re.match(r"-(\.?\d|inf|nan)", word) else word for word in words]
