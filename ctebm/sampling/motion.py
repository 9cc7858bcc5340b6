"""What moved chains, as labelled arrays: parameters, targets and noise by chain and by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import variable
from ctebm.dynamics.sde import Dynamics
from ctebm.networks.record import with_origin

__all__ = ["by_chain", "motion_of", "overshooting", "with_motion"]

_TARGETS = {
    "drive": "target states that replace the pressure of layer",
    "nudge": "target states towards which the force is pulled in layer",
}


def by_chain(
    x: Tensor, lead: torch.Size, long_name: str, *inner: str, units: str = "1"
) -> xr.Variable:
    """Return what has a value for each chain and sample, for each sample, or one for all, by name.

    Parameters
    ----------
    x : Tensor
        ``(chain, *sample, ...)``, ``(*sample, ...)`` or ``(...)``.
    lead : torch.Size
        ``(chain, *sample)``; samples are flattened, and have no dimension where there is one.
    long_name : str
        What it is, in words.
    *inner : str
        Names of the dimensions behind those.
    units : str
        Its units.

    Examples
    --------
    >>> import torch
    >>> from ctebm.sampling.motion import by_chain
    >>> by_chain(torch.ones(2, 3, 4), torch.Size((5, 2, 3)), "state", "unit").dims
    ('sample', 'unit')
    """
    shape = x.shape[x.ndim - len(inner) :]
    has = x.ndim - len(inner)
    dims = (["chain"] if has == len(lead) else []) + (["sample"] if has and lead[1:] else [])
    if has:
        x = x.expand(*lead[-has:] if has == len(lead) else lead[1:], *shape)
    sizes = {"chain": lead[0], "sample": lead[1:].numel()}
    flat = x.reshape([*(sizes[d] for d in dims), *shape])
    return variable([*dims, *inner], flat, long_name, units)


def with_motion(
    dataset: xr.Dataset,
    dynamics: Dynamics,
    what: str,
    settings: Mapping[str, Any],
    lead: torch.Size,
    threads: int,
) -> xr.Dataset:
    """Return a result of chains together with their motion, and what it came from.

    Parameters
    ----------
    dataset : Dataset
        The result.
    dynamics : Dynamics
        The motion. Targets become ``drive_y`` and ``nudge_y``, the rest coordinates.
    what, settings, threads
        As for :func:`~ctebm.networks.record.with_origin`.
    lead : torch.Size
        ``(chain, *sample)``.

    Returns
    -------
    xarray.Dataset
        Inputs have the dimension ``sample``; ``chain`` where each chain has its own, ``run``, all
        samples of the first chain first, where each sample of each chain has.
    """
    targets = {
        f"{kind}_{layer}": by_chain(x, lead, f"{words} {layer}", f"unit_{layer}")
        for kind, words in _TARGETS.items()
        for layer, x in getattr(dynamics, kind).items()
    }
    words = {"sigma": "intensity of the noise", "beta": "strength of the nudge, 0 without one"}
    strengths = {
        name: by_chain(x.squeeze(-1) if x.ndim else x, lead, words[name])
        for name, x in (("sigma", dynamics.sigma), ("beta", dynamics.beta))
    }
    row, batch = "sample", lead[1:]
    if len(dynamics.network.batch) == len(lead):
        row, batch = "run" if lead[1:] else "chain", lead
    return with_origin(
        dataset.assign(targets), dynamics.network, what,
        {**settings, "noise": dynamics.noise, **strengths}, row=row, batch=batch, threads=threads,
    )  # fmt: skip


def overshooting(eps: float, limit: float) -> str:
    """Return a sentence on steps above the largest stable one."""
    return (
        f"eps = {eps:g} is at or above {limit:.6g}, the largest stable step (2/lambda_max) at the "
        "start: steps overshoot the equilibrium, and their law is not the motion's."
    )


def motion_of(dynamics: Dynamics, lead: torch.Size, rows: Tensor) -> Dynamics:
    """Return the motion of some samples of all chains, by their numbers in the flattened batch."""
    if len(dynamics.batch) < len(lead):
        return dynamics.samples(lead[1:], rows)
    first = torch.arange(lead[0]) * lead[1:].numel()
    return dynamics.samples(lead, first.reshape(-1, *[1] * rows.ndim) + rows)
