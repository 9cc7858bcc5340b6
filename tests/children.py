"""Work in a child process: forked, so that it need not import the libraries again."""

from __future__ import annotations

import os
from collections.abc import Callable


def start_child(work: Callable[[], None]) -> int:
    """Return the number of a process that does this work and ends, with code 0 if it could."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def end_of(child: int) -> int:
    """Return the exit code of a child, or the negative number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
