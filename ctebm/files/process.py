"""The process that a file belongs to: its machine, its number, and whether it still runs."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

import psutil

__all__ = ["Process", "this_process"]

_PATTERN = r"(?P<pid>\d+)-(?P<begun>\d+)-(?P<host>.+)"
_CLOCK_TOLERANCE = 2  # seconds; the time at which a process began moves as the clock is set


@dataclass(frozen=True)
class Process:
    """A process, as names of files and locks write it down.

    Attributes
    ----------
    pid : int
        Its number.
    begun : int
        When it began, in seconds since 1970; a number is used again by later processes.
    host : str
        The machine that it runs on.

    Examples
    --------
    >>> from ctebm.files.process import Process
    >>> print(Process.parse("12-1764178083-node-3"))
    process 12 on node-3
    """

    pid: int
    begun: int
    host: str

    @classmethod
    def parse(cls, text: str) -> Process | None:
        """Return the process that :meth:`tag` wrote down, or None."""
        found = re.fullmatch(_PATTERN, text)
        return found and cls(int(found["pid"]), int(found["begun"]), found["host"])

    def tag(self) -> str:
        """Return it as a part of a file's name."""
        return f"{self.pid}-{self.begun}-{self.host}"

    def is_here(self) -> bool:
        """Return whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    def is_gone(self) -> bool:
        """Return whether it is known to have ended; of other machines nothing is known."""
        if not self.is_here():
            return False
        try:
            running = psutil.Process(self.pid)
            if running.status() == psutil.STATUS_ZOMBIE:
                return True
            return abs(running.create_time() - self.begun) > _CLOCK_TOLERANCE
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Process:
    """Return the process that asks.

    Examples
    --------
    >>> from ctebm.files.process import this_process
    >>> this_process().is_gone()
    False
    """
    running = psutil.Process()
    return Process(running.pid, int(running.create_time()), socket.gethostname())
