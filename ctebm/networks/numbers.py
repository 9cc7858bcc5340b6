"""What a user gives, checked at the door: numbers finite, in range, whole; words from a list."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["finite", "finite_array", "known_array", "one_of", "whole", "whole_array"]

_REAL_KINDS = "biuf"  # of numpy: booleans, integers, floats
_WHOLE = "a whole number "
_LONG = 10**21  # numbers from here on are told by their size


def finite(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    remedy: str = "",
) -> float:
    """Return a finite number, in range, as a float.

    Parameters
    ----------
    name : str
        What the caller calls it, for the message.
    value : float, or array or tensor of dimension 0
        What came.
    low, high : float, optional
        Bounds that it may reach.
    above, below : float, optional
        Bounds that it may not reach.
    remedy : str
        What to do, the last part of the message.

    Raises
    ------
    ValueError
        For NaN, infinity, a number out of range, or something else than one real number.

    Examples
    --------
    >>> from ctebm.networks.numbers import finite
    >>> finite("eps", 1, above=0, high=1)
    1.0
    >>> finite("eps", float("nan"), above=0, high=1, remedy="larger steps overshoot")
    Traceback (most recent call last):
    ValueError: expected 0 < eps <= 1, got nan; larger steps overshoot.
    """
    number, wanted = _float(value), _Range(low, high, above, below)
    if not wanted.holds(np.asarray(number)):
        raise ValueError(_sentence(wanted.words(name), value, remedy))
    return number


def whole(
    name: str, value: Any, least: int | None = None, most: int | None = None, *, remedy: str = ""
) -> int:
    """Return a whole number, in range, as an int; a float such as 3.0 counts as whole.

    Parameters
    ----------
    name, value, remedy
        As for :func:`finite`.
    least, most : int, optional
        Bounds that it may reach.

    Raises
    ------
    ValueError
        For a fraction, NaN, infinity, a number out of range, or something else than one number.

    Examples
    --------
    >>> from ctebm.networks.numbers import whole
    >>> whole("n_steps", 1e3, least=1)
    1000
    >>> whole("n_steps", 2.7, least=1)
    Traceback (most recent call last):
    ValueError: expected a whole number n_steps >= 1, got 2.7.
    """
    if type(value) is int and (least or 0) <= value <= (_LONG if most is None else most):
        return value  # at once, as nearly always
    number, wanted = _float(value), _Range(least, most)
    if not (wanted.holds(np.asarray(number)) and number == math.floor(number)):
        raise ValueError(_sentence(wanted.words(name, _WHOLE), value, remedy))
    return int(_item(value))


def finite_array(
    name: str,
    values: ArrayLike,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    remedy: str = "",
) -> NDArray[np.float64]:
    """Return finite numbers, all in range, as an array of floats.

    Parameters
    ----------
    name, low, high, above, below, remedy
        As for :func:`finite`.
    values : array_like
        What came, of any shape.

    Returns
    -------
    ndarray of float

    Raises
    ------
    ValueError
        As for :func:`finite`; the message shows the first that is wrong.

    Examples
    --------
    >>> from ctebm.networks.numbers import finite_array
    >>> finite_array("time", [0, 0.5], low=0)
    array([0. , 0.5])
    """
    array, wanted = _floats(name, values), _Range(low, high, above, below)
    wrong = ~wanted.holds(array)
    if wrong.any():
        raise ValueError(_sentence(wanted.words(name), array[wrong][0], remedy))
    return array


def known_array(
    name: str, values: ArrayLike, low: float | None = None, high: float | None = None
) -> NDArray[np.float64]:
    """Return what was measured or saved, an array of floats; NaN where it is not known.

    Parameters
    ----------
    name, values, low, high
        As for :func:`finite_array`.

    Returns
    -------
    ndarray of float

    Raises
    ------
    ValueError
        As for :func:`finite_array`, but for NaN.

    Examples
    --------
    >>> from ctebm.networks.numbers import known_array
    >>> known_array("time", [0.5, float("nan")], low=0)
    array([0.5, nan])
    """
    array = _floats(name, values)
    finite_array(name, array[~np.isnan(array)], low, high)
    return array


def whole_array(
    name: str,
    values: ArrayLike,
    least: int | None = None,
    most: int | None = None,
    *,
    remedy: str = "",
) -> NDArray[np.float64]:
    """Return whole numbers, all in range, as an array of floats, which formulas take.

    Parameters
    ----------
    name, values, least, most, remedy
        As for :func:`whole` and :func:`finite_array`.

    Returns
    -------
    ndarray of float

    Raises
    ------
    ValueError
        As for :func:`whole`; the message shows the first that is wrong.

    Examples
    --------
    >>> from ctebm.networks.numbers import whole_array
    >>> whole_array("depth", [0, 1, 2], least=0)
    array([0., 1., 2.])
    """
    array, wanted = _floats(name, values), _Range(least, most)
    wrong = ~(wanted.holds(array) & (array == np.floor(array)))
    if wrong.any():
        raise ValueError(_sentence(wanted.words(name, _WHOLE), array[wrong][0], remedy))
    return array


def one_of(name: str, word: Any, words: Iterable[str]) -> str:
    """Return a word that is in a list.

    Parameters
    ----------
    name : str
        What the caller calls it, for the message.
    word : str
        What came.
    words : iterable of str
        What it can be.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For another word, or something else than a word.

    Examples
    --------
    >>> from ctebm.networks.numbers import one_of
    >>> one_of("noise", "white", ["langevin", "synaptic"])
    Traceback (most recent call last):
    ValueError: expected noise 'langevin' or 'synaptic', got 'white'.
    """
    known = list(words)
    if not (isinstance(word, str) and word in known):
        first, last = ", ".join(map(repr, known[:-1])), repr(known[-1])
        raise ValueError(f"expected {name} {first} or {last}, got {word!r}.")
    return word


class _Range(NamedTuple):
    """Finite numbers from `low` to `high`, or strictly between `above` and `below`."""

    low: float | None
    high: float | None
    above: float | None = None
    below: float | None = None

    def holds(self, x: NDArray[np.float64]) -> NDArray[np.bool_]:
        inside = np.isfinite(x)
        relations = (np.greater_equal, np.less_equal, np.greater, np.less)
        for bound, relation in zip(self, relations, strict=True):
            if bound is not None:
                inside = inside & relation(x, bound)
        return inside

    def words(self, name: str, kind: str = "") -> str:
        """Return what is expected, such as ``0 < eps <= 1``."""
        start, sign = (self.low, "=") if self.above is None else (self.above, "")
        end, end_sign = (self.high, "<=") if self.below is None else (self.below, "<")
        if start is not None and end is not None:
            return f"{kind}{start:g} <{sign} {name} {end_sign} {end:g}"
        text = f"{kind or 'a finite '}{name}"
        if start is not None:
            return f"{text} >{sign} {start:g}"
        return text if end is None else f"{text} {end_sign} {end:g}"


def _item(value: Any) -> Any:
    """Return the number in an array or tensor of dimension 0, else what came."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _float(value: Any) -> float:
    """Return a float; NaN for what is no real number, infinity for one that is too large."""
    value = _item(value)
    if not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _floats(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # ragged, or on another device
        array = None
    if array is None or array.dtype.kind not in _REAL_KINDS:
        raise ValueError(f"expected real numbers for {name}, got {values!r}.")
    return array.astype(float)


def _sentence(expected: str, got: Any, remedy: str) -> str:
    item = _item(got)
    long = isinstance(item, int) and abs(item) > _LONG
    shown = f"about 1e{math.log10(abs(item)):.0f}" if long else repr(item)
    return f"expected {expected}, got {shown}{'; ' if remedy else ''}{remedy}."
