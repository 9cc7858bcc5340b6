"""Free memory of this machine or of a device, and the refusal of what does not fit."""

from __future__ import annotations

import psutil
import torch

__all__ = ["check_memory", "free_memory"]


def free_memory(device: torch.device | None = None) -> int:
    """Return the free bytes of a CUDA device, else of this machine.

    Examples
    --------
    >>> from ctebm.networks.memory import free_memory
    >>> free_memory() > 0
    True
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def check_memory(what: str, n_bytes: int, remedy: str, device: torch.device | None = None) -> None:
    """Refuse what does not fit the free memory.

    Raises
    ------
    ValueError
        With both numbers and the remedy.

    Examples
    --------
    >>> from ctebm.networks.memory import check_memory
    >>> check_memory("the matrix of 10 units", 8 * 10**2, "use products")
    """
    free = free_memory(device)
    if n_bytes > free:
        raise ValueError(
            f"{what} takes about {n_bytes / 2**30:.3g} GiB, of which {free / 2**30:.3g} GiB are "
            f"free; {remedy}."
        )
