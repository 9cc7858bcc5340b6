"""How far a sweep is: one bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["SweepProgress"]

_LOG_INTERVAL = 60.0  # seconds


class SweepProgress:
    """Says how far a sweep is; falls silent when nobody reads it.

    Parameters
    ----------
    total, done : int
        Points in all, and those that were computed before.
    quiet : bool
        Say nothing.

    Examples
    --------
    >>> from ctebm.sweeps.progress import SweepProgress
    >>> with SweepProgress(total=10, quiet=True) as progress:
    ...     progress.advance(3)
    >>> progress.done
    3
    """

    total: int
    done: int
    quiet: bool

    def __init__(self, total: int, done: int = 0, quiet: bool = False) -> None:
        self.total, self.done, self.quiet = total, done, quiet
        self._begun = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> SweepProgress:
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, initial=self.done, desc="points")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            self._line()

    def advance(self, n: int) -> None:
        """Count points that have been computed.

        Parameters
        ----------
        n : int
            How many.
        """
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
        elif time.monotonic() - self._said >= _LOG_INTERVAL:
            self._line()

    def say(self, sentence: str) -> None:
        """Say something else.

        Parameters
        ----------
        sentence : str
            Of one line.
        """
        if self.quiet:
            return
        try:
            print(sentence, file=sys.stderr, flush=True)
        except OSError:  # a closed pipe
            self.quiet = True

    def _line(self) -> None:
        self._said = time.monotonic()
        self.say(f"points: {self.done} of {self.total} after {self._said - self._begun:.0f} s")
