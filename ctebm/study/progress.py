"""How far a loop is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

__all__ = ["Progress"]

T = TypeVar("T")

_LOG_INTERVAL = 10.0  # seconds


class Progress:
    """Says how far a loop is: a bar on a terminal, a line now and then elsewhere.

    Examples
    --------
    >>> from ctebm.study import Progress
    >>> [2 * sigma for sigma in Progress()([0.1, 0.2], "noise")]
    [0.2, 0.4]
    """

    def __call__(
        self,
        items: Iterable[T],
        label: str,
        total: int | None = None,
        note: Callable[[], str] = str,
    ) -> Iterator[T]:
        """Yield `items` and report on them.

        Parameters
        ----------
        items : iterable
            What the loop goes through.
        label : str
            What it does.
        total : int, optional
            Their number, if they have no length.
        note : callable
            Returns what to say meanwhile.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        if sys.stderr.isatty():
            from tqdm import tqdm

            with tqdm(items, label, total) as bar:
                for item in bar:
                    yield item
                    bar.set_postfix_str(note(), refresh=False)
            return
        begun = said = time.monotonic()
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - said >= _LOG_INTERVAL:
                said = now
                of = "" if total is None else f" of {total}"
                beside = f", {note()}" if note() else ""
                print(f"{label}: {done}{of} after {now - begun:.0f} s{beside}", file=sys.stderr)
            yield item
        print(f"{label}: done in {time.monotonic() - begun:.1f} s", file=sys.stderr)
