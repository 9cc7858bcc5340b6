"""Free memory of this process or of a device, and the refusal of what does not fit."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch
from torch import Tensor

try:
    import resource
except ImportError:  # there are none of these limits on Windows
    resource = None

__all__ = ["cgroup_memory", "check_matrices", "check_memory", "free_memory"]

# Where each version of control groups keeps the limit, the use, and the part of the use that is a
# cache of files, which the kernel gives back before it refuses memory.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_MATRICES = 3  # at a time, of which two are steps on the way to the third
_ALWAYS = 2**22  # bytes; to look what is free takes longer than to take them
_MOST_SHOWN = 10**300  # bytes; the estimate of an absurd request is past what a float holds


def free_memory(device: torch.device | None = None) -> int:
    """Return the bytes that this process can still take, or the free ones of a CUDA device.

    The least of what the machine has available, what is left of the process's limit of address
    space (``ulimit -v``), and what is left to its control group, as in a container or under Slurm.

    Parameters
    ----------
    device : torch.device, optional
        Where memory is asked for; the CPU by default.

    Examples
    --------
    >>> from ctebm.networks.memory_limits import free_memory
    >>> free_memory() > 0
    True
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    left = [psutil.virtual_memory().available, _address_space(), cgroup_memory()]
    return max(0, min(n for n in left if n is not None))


def cgroup_memory(root: Path = Path("/sys/fs/cgroup"), own: str | None = None) -> int | None:
    """Return the bytes that the control group of this process has left; None without a limit.

    Parameters
    ----------
    root : path
        Where control groups are mounted.
    own : str, optional
        What ``/proc/self/cgroup`` says, a line ``number:controllers:path`` for each hierarchy.

    Examples
    --------
    >>> from pathlib import Path
    >>> from ctebm.networks.memory_limits import cgroup_memory
    >>> cgroup_memory(Path("no such place"), "0::/") is None
    True
    """
    left = []
    for line in (_text(Path("/proc/self/cgroup")) if own is None else own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, files = (root / "memory", _VERSION_1) if controllers else (root, _VERSION_2)
        group = top / path.strip("/")
        # a limit holds for all groups below it; a container may see its own group as the top
        while group.is_relative_to(top):
            left.append(_left_to(group, *files))
            group = group.parent
    return min((n for n in left if n is not None), default=None)


def check_memory(what: str, n_bytes: int, remedy: str, device: torch.device | None = None) -> None:
    """Refuse what does not fit the free memory.

    Parameters
    ----------
    what : str
        What takes the memory.
    n_bytes : int
        How much, at its peak.
    remedy : str
        What to do instead.
    device : torch.device, optional
        Where; the CPU by default.

    Raises
    ------
    ValueError
        With both numbers and the remedy.

    Examples
    --------
    >>> from ctebm.networks.memory_limits import check_memory
    >>> check_memory("the matrix of 10 units", 8 * 10**2, "use products")
    """
    if n_bytes <= _ALWAYS:
        return
    free = free_memory(device)
    if n_bytes > free:
        raise ValueError(
            f"{what} takes about {min(n_bytes, _MOST_SHOWN) / 2**30:.3g} GiB, of which "
            f"{free / 2**30:.3g} GiB are free; {remedy}."
        )


def check_matrices(s: Tensor) -> None:
    """Refuse matrices ``(*batch, unit, unit)`` of states that do not fit the free memory.

    Parameters
    ----------
    s : Tensor, (*batch, unit)
        The states.

    Raises
    ------
    ValueError
        As :func:`check_memory`.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.memory_limits import check_matrices
    >>> check_matrices(torch.zeros(100, 10))
    """
    n, samples = s.shape[-1], s.shape[:-1].numel()
    what = f"a matrix of {n:,} units" if samples == 1 else f"{samples:,} matrices of {n:,} units"
    n_bytes = _MATRICES * samples * n**2 * s.element_size()
    check_memory(what, n_bytes, "use products with it, or fewer units or samples", s.device)


def _address_space() -> int | None:
    """Return the bytes of addresses that are left to this process, None without a limit."""
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - psutil.Process().memory_info().vms


def _left_to(group: Path, limit: str, use: str, cache: str) -> int | None:
    """Return what is left to one group, None where it has no limit."""
    most, used = _text(group / limit).strip(), _text(group / use).strip()
    if not (most.isdecimal() and used.isdecimal()):  # "max" without a limit
        return None
    words = _text(group / "memory.stat").split()
    given_back = int(words[words.index(cache) + 1]) if cache in words else 0
    return int(most) - int(used) + given_back


def _text(file: Path) -> str:
    """Return what a file of the kernel says, nothing where it can't be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
