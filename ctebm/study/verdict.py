"""Claims held against numbers: what was measured, what it must not pass, and whether it holds.

A claim that can't be evaluated, because a number is missing, fails. One about runs that meet a
condition, such as those before the first kink, has no case if no run does; the table says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Verdict", "average", "falls_through", "largest", "smallest", "verdict_table"]


@dataclass(frozen=True)
class Verdict:
    """A claim, held against a number.

    Attributes
    ----------
    claim : str
        What is claimed.
    value, bound : float
        What was measured, and what it must not pass; `bound` is None if nothing is asked.
    ok : bool
        Whether the claim holds.
    note : str
        Anything the reader should know.
    must_hold : bool
        Whether the study fails with it; if False, the number is only reported.
    relation : str
        How `value` should compare with `bound`: ``"<="``, ``">="`` or ``"=="``.
    has_case : bool
        Whether anything was measured that the claim is about.

    Examples
    --------
    >>> from ctebm.study.verdict import Verdict
    >>> Verdict.at_most("largest force", 3e-13, 1e-12).word
    'holds'
    >>> Verdict.at_most("largest force", float("nan"), 1e-12).word
    'FAILS'
    >>> Verdict.reported("median time", 0.3).word
    'reported'
    """

    claim: str
    value: float
    bound: float | None
    ok: bool
    note: str = ""
    must_hold: bool = True
    relation: str = "<="
    has_case: bool = True

    @classmethod
    def at_most(
        cls, claim: str, value: Any, bound: float, note: str = "", must_hold: bool = True
    ) -> Verdict:
        """Claim ``value <= bound``; NaN and infinities do not hold."""
        value = float(value)
        ok = math.isfinite(value) and value <= bound
        return cls(claim, value, bound, bool(ok), note, must_hold)

    @classmethod
    def at_least(
        cls, claim: str, value: Any, bound: float, note: str = "", must_hold: bool = True
    ) -> Verdict:
        """Claim ``value >= bound``; NaN and infinities do not hold."""
        value = float(value)
        ok = math.isfinite(value) and value >= bound
        return cls(claim, value, bound, bool(ok), note, must_hold, ">=")

    @classmethod
    def equal(cls, claim: str, value: Any, expected: float, note: str = "") -> Verdict:
        """Claim ``value == expected``, for whole numbers."""
        return cls(claim, float(value), float(expected), bool(value == expected), note, True, "==")

    @classmethod
    def reported(cls, claim: str, value: Any, note: str = "") -> Verdict:
        """Report a number of which nothing is claimed."""
        return cls(claim, float(value), None, True, note, must_hold=False)

    @classmethod
    def no_case(cls, claim: str, why: str) -> Verdict:
        """Say that no run meets the condition of a claim, and why."""
        return cls(claim, math.nan, None, False, why, must_hold=False, has_case=False)

    @property
    def word(self) -> str:
        """``"holds"``, ``"FAILS"``, ``"reported"`` or ``"no case"``."""
        if not self.must_hold:
            return "reported" if self.has_case else "no case"
        return "holds" if self.ok else "FAILS"

    def to_record(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them: NaN and infinities become strings."""

        def number(x: float | None) -> float | str | None:
            return x if x is None else float(x) if math.isfinite(x) else str(float(x))

        fields = dataclasses.asdict(self)
        return fields | {
            "value": number(self.value),
            "bound": number(self.bound),
            "ok": bool(self.ok),
        }


def largest(values: Any, where: Any = True) -> float:
    """Return the largest of the values that a claim is about.

    ``max`` of xarray and ``nanmax`` of numpy leave NaN out, and a claim about them would hold for
    what was never measured.

    Parameters
    ----------
    values : array
        An array of numpy or xarray.
    where : array of bool
        Which of them the claim is about.

    Returns
    -------
    float
        NaN if one of these values is NaN, or if there is none.

    Examples
    --------
    >>> from ctebm.study.verdict import largest
    >>> largest([0.1, float("nan")]), largest([0.1, float("nan")], where=[True, False])
    (nan, 0.1)
    """
    chosen = _chosen(values, where)
    return float(chosen.max()) if chosen.size else math.nan


def smallest(values: Any, where: Any = True) -> float:
    """Return the smallest of the values that a claim is about; see :func:`largest`.

    Parameters
    ----------
    values : array
        An array of numpy or xarray.
    where : array of bool
        Which of them the claim is about.

    Examples
    --------
    >>> from ctebm.study.verdict import smallest
    >>> smallest([0.1, 0.3]), smallest([])
    (0.1, nan)
    """
    chosen = _chosen(values, where)
    return float(chosen.min()) if chosen.size else math.nan


def average(values: Any, where: Any = True) -> float:
    """Return the mean of the values that a claim is about; see :func:`largest`.

    Parameters
    ----------
    values : array
        An array of numpy or xarray.
    where : array of bool
        Which of them the claim is about.

    Examples
    --------
    >>> from ctebm.study.verdict import average
    >>> average([0.25, 0.75]), average([0.25, float("nan")])
    (0.5, nan)
    """
    chosen = _chosen(values, where)
    return float(chosen.mean()) if chosen.size else math.nan


def falls_through(x: Any, values: Any, level: float = 0.5) -> float:
    """Return where values that fall along x pass a level for the last time, between two of them.

    Parameters
    ----------
    x, values : array
        Of one dimension.
    level : float
        Which they begin at or above, and end below.

    Returns
    -------
    float
        NaN if they do not, or if one of them is missing.

    Examples
    --------
    >>> from ctebm.study.verdict import falls_through
    >>> falls_through([0.1, 0.2, 0.3], [1.0, 0.75, 0.25]), falls_through([0.1, 0.2], [1.0, 0.9])
    (0.25, nan)
    """
    import numpy as np

    x, values = np.asarray(x, float), np.asarray(values, float)
    if not np.isfinite(values).all() or values[0] < level or values[-1] >= level:
        return math.nan
    i = int((values >= level).nonzero()[0][-1])
    share = (values[i] - level) / (values[i] - values[i + 1])
    return float(x[i] + share * (x[i + 1] - x[i]))


def _chosen(values: Any, where: Any) -> np.ndarray:
    import numpy as np
    import xarray as xr

    if isinstance(values, xr.DataArray) and isinstance(where, xr.DataArray):
        values, where = xr.broadcast(values, where)
    values = np.asarray(values)
    return values[np.broadcast_to(np.asarray(where), values.shape)]


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as an aligned table, with a last line that counts the claims.

    Parameters
    ----------
    verdicts : sequence of Verdict
        In the order of the lines.

    Examples
    --------
    >>> from ctebm.study.verdict import Verdict, verdict_table
    >>> print(verdict_table([Verdict.at_most("largest force", 3e-13, 1e-12)]))
    claim          value  bound     verdict
    largest force  3e-13  <= 1e-12  holds
    1 of 1 claims hold
    """
    rows = [("claim", "value", "bound", "verdict", "")]
    for v in verdicts:
        bound = f"{v.relation} {v.bound:.3g}" if v.must_hold and v.bound is not None else ""
        rows.append((v.claim, f"{v.value:.3g}", bound, v.word, v.note))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    claims, void = [v for v in verdicts if v.must_hold], sum(not v.has_case for v in verdicts)
    total = f"{sum(v.ok for v in claims)} of {len(claims)} claims hold"
    return "\n".join([*lines, f"{total}, {void} have no case" if void else total])
