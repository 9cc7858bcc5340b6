"""The process that a file belongs to: its machine, its number, and whether it still runs."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

__all__ = ["Process", "this_process"]

_PATTERN = r"(?P<pid>\d+)-(?P<begun>[\da-f]+)-(?P<host>.+)"
_PROC = Path("/proc")  # of Linux
_STATE, _STARTED = 0, 19  # fields of /proc/PID/stat behind the name of the program
_BOOT = 8  # letters that tell one boot of a machine from another
_CLOCK_TOLERANCE = 2  # seconds; elsewhere the time of beginning moves as the clock is set


@dataclass(frozen=True)
class Process:
    """A process, as names of files and locks write it down.

    Attributes
    ----------
    pid : int
        Its number.
    begun : str
        When it began, since a number is used again by later processes: on Linux the boot of its
        machine and the ticks since then, which don't move when somebody sets the clock; elsewhere
        seconds since 1970.
    host : str
        The machine that it runs on.

    Examples
    --------
    >>> from ctebm.files.process import Process
    >>> print(Process.parse("12-8c798af700057942-node-3"))
    process 12 on node-3
    """

    pid: int
    begun: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Process | None:
        """Return the process that :meth:`tag` wrote down, or None."""
        found = re.fullmatch(_PATTERN, text)
        return found and cls(int(found["pid"]), found["begun"], found["host"])

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
            return not _same(self.begun, _begun(self.pid))
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's, of which this one sees nothing
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
    return Process(os.getpid(), _begun(os.getpid()), socket.gethostname())


@cache
def _boot() -> str:
    """Return which boot of this machine this is, or "" where it has no /proc."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text()[:_BOOT]
    except OSError:
        return ""


def _begun(pid: int) -> str:
    """Return when a process began; raise ProcessLookupError if it has ended."""
    if not (boot := _boot()):
        return _seconds(pid)
    try:
        fields = (_PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        os.kill(pid, 0)  # raises what is the case: it has ended, or is hidden
        raise PermissionError(f"process {pid} is hidden") from None
    if fields[_STATE] in "ZX":  # it has ended, and nobody has asked how
        raise ProcessLookupError(f"process {pid} has ended")
    return f"{boot}{int(fields[_STARTED]):08x}"


def _seconds(pid: int) -> str:
    try:
        running = psutil.Process(pid)
        if running.status() == psutil.STATUS_ZOMBIE:
            raise ProcessLookupError(f"process {pid} has ended")
        return str(int(running.create_time()))
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(f"process {pid} has ended") from error
    except psutil.AccessDenied as error:
        raise PermissionError(f"process {pid} is hidden") from error


def _same(begun: str, other: str) -> bool:
    """Return whether two beginnings are one."""
    if _boot() or not begun.isdigit():
        return begun == other
    return abs(int(begun) - int(other)) <= _CLOCK_TOLERANCE
