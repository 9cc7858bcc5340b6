"""Signals that end a process, kept back until what is under way has been tidied up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Stopped", "interrupts", "stopping_tidily", "undisturbed"]


class Stopped(BaseException):
    """A signal that ends the process, on its way through what tidies up.

    No SystemExit, which a sweep takes for the failure of a point.
    """


class _Stop:
    """What SIGTERM and SIGHUP do: the first is raised, once nothing is being tidied up."""

    def __init__(self) -> None:
        self.caught: list[int] = []
        self.busy = 0

    def __call__(self, number: int, _: Any) -> None:
        self.caught.append(number)
        if len(self.caught) == 1:
            self.raise_caught()

    def raise_caught(self) -> None:
        if self.caught and not self.busy:
            raise Stopped(128 + self.caught[0])


_stop = _Stop()


@contextmanager
def stopping_tidily() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave the block as an exception does, and end the process after it.

    Signals that the program handles or ignores itself are left to it, and so are threads other
    than the main one.

    Examples
    --------
    >>> from ctebm.files.signals import stopping_tidily
    >>> with stopping_tidily():
    ...     pass  # here SIGTERM runs every `finally` before it ends the process
    """
    numbers = []
    if _is_main():
        both = (signal.SIGTERM, signal.SIGHUP)
        numbers = [number for number in both if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        if numbers and _stop.caught:
            first = _stop.caught[0]
            _stop.caught.clear()
            signal.raise_signal(first)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the signals of :func:`stopping_tidily` back until the block is over.

    Examples
    --------
    >>> from ctebm.files.signals import stopping_tidily, undisturbed
    >>> with stopping_tidily(), undisturbed():
    ...     pass  # here SIGTERM waits
    """
    main = _is_main()
    _stop.busy += main
    try:
        yield
    finally:
        _stop.busy -= main
        if main:
            _stop.raise_caught()


@contextmanager
def interrupts() -> Iterator[Callable[[], None]]:
    """Yield a function that raises again what Ctrl-C, SIGTERM or SIGHUP raised, if it was lost.

    Python drops an exception that comes up in a destructor or in a callback of C, and goes on; so
    does code that catches everything. The last two are those of :func:`stopping_tidily`.

    Examples
    --------
    >>> from ctebm.files.signals import interrupts
    >>> with interrupts() as check:
    ...     check()  # nobody pressed Ctrl-C
    """
    pressed: list[int] = []

    def press(number: int, _: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt
        if _is_main():
            _stop.raise_caught()

    ours = _is_main() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, press)
    try:
        yield check
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
