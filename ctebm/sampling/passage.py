"""The record of first passages: when chains left a region, and the mean time of an exit."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.stats import chi2
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.dynamics.sde import Dynamics
from ctebm.networks.base import VectorField
from ctebm.networks.record import Record
from ctebm.sampling.exits import Exits
from ctebm.sampling.motion import overshooting, with_motion

__all__ = ["Passage", "passage_of"]


_OUTCOMES = ("left", "not finite", "still inside", "not inside at the start")  # of a chain


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Passage(Record):
    r"""When chains first left a region, from :func:`~ctebm.first_passage`.

    Attributes
    ----------
    time : Tensor
        When each chain left, ``(chain,)``; for a chain that did not, how long it was watched.
    censored : Tensor
        Whether a chain was still inside at the end, ``(chain,)``.
    mean : float
        Mean time, the total time watched over the number of exits: the maximum likelihood where
        exits come at a constant rate. Infinite without an exit.
    mean_interval : tuple of float
        95 % interval of the mean, from the chi-squared law of the total time.
    state : Tensor
        Where each chain was at its first step outside, or at the end, ``(chain, unit)``.
    status : Tensor
        0 if it left, 1 if it was not finite, 2 if it is censored, 3 if it did not start inside,
        ``(chain,)``, int8. Chains of status 1 and 3 are in no mean.
    message : list of str
        One sentence or some on what to bear in mind, or ``""``.
    eps : float
        Step size.
    n_steps : int
        Most steps.
    bridged : bool
        Whether crossings between steps were counted.
    method, stream, seed, threads : str, str, int, int
        How the steps and their noise were made.
    dynamics : Dynamics
        The motion.

    Examples
    --------
    >>> import torch, ctebm
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    >>> found = ctebm.first_passage(
    ...     ctebm.Dynamics(unit, sigma=1.0), torch.zeros(64, 1), lambda s: 0.5 - s[..., 0],
    ...     eps=0.01, n_steps=2000, seed=0,
    ... )
    >>> found.mean_interval[0] < found.mean < found.mean_interval[1], int(found.censored.sum())
    (True, 0)
    """

    time: Tensor
    censored: Tensor
    mean: float
    mean_interval: tuple[float, float]
    state: Tensor
    status: Tensor
    message: list[str]
    eps: float
    n_steps: int
    bridged: bool
    method: str
    stream: str
    seed: int | None
    threads: int
    dynamics: Dynamics

    @property
    def network(self) -> VectorField:
        """What moved."""
        return self.dynamics.network

    def _failures(self) -> list[str]:
        bad = bool(((self.status == 1) | (self.status == 3)).any()) or bool(self.censored.all())
        return self.message if bad else []

    def _outcome(self) -> str:
        counts = Counter(self.status.tolist())
        words = [f"{n} {_OUTCOMES[status]}" for status, n in sorted(counts.items())]
        low, high = self.mean_interval
        mean = f"mean time {self.mean:.4g} ({low:.4g} to {high:.4g})"
        return f"{len(self.status)} chains: {', '.join(words)}; {mean}"

    def to_dataset(self) -> xr.Dataset:
        """Return a dataset with dimensions ``chain`` and ``unit``.

        With the network and its targets, see
        :func:`~ctebm.networks.parameters.network_dataset`.
        """
        tau = "membrane time constant"
        data = {
            "time": variable("chain", self.time, "time of the exit, or time watched", tau),
            "censored": variable("chain", self.censored, "still inside at the end"),
            "state": variable(("chain", "unit"), self.state, "state at the exit"),
            "status": variable("chain", self.status, "0 left, 1 not finite, 2 inside, 3 not begun"),
            "mean": variable((), self.mean, "mean time of the exit", tau),
            "mean_interval": variable(
                "bound", self.mean_interval, "95 % interval of the mean", tau
            ),
            "message": variable((), self.message[0], "what to bear in mind"),
        }
        dataset = xr.Dataset(data).assign_coords(
            layer_of_unit(self.network.layers, self.state.shape[-1])
        )
        settings = {
            "eps": self.eps, "n_steps": self.n_steps, "bridged": self.bridged,
            "method": self.method, "noise_stream": self.stream,
            "seed": "" if self.seed is None else str(self.seed),
        }  # fmt: skip
        lead = self.status.shape
        return with_motion(dataset, self.dynamics, "first passage", settings, lead, self.threads)

    def plot(self, ax: Any = None) -> Any:
        """Return the axes of the share of chains still inside, in `ax` or a figure of pyplot.

        See :func:`ctebm.figures.survival_figure`.
        """
        from ctebm.figures.sampling import survival_figure

        figure = survival_figure(self.to_dataset(), ax=ax, window=ax is None)
        return figure.axes[0] if ax is None else ax


def passage_of(
    exits: Exits,
    *,
    dynamics: Dynamics,
    eps: float,
    n_steps: int,
    method: str,
    stream: str,
    seed: int | None,
    threads: int,
    eps_limit: float | None,
) -> Passage:
    """Return the record of what was seen, with its mean."""
    lost = exits.lost & (exits.step < 0)
    left = (exits.step > 0) & exits.begun
    censored = exits.begun & ~left & ~lost
    status = torch.where(lost, 1, torch.where(censored, 2, torch.where(exits.begun, 0, 3)))
    watched = torch.where(exits.step >= 0, exits.step, exits.steps[-1])
    # a crossing between two steps is as likely before as after their middle
    time = (watched.double() - 0.5 * (left & exits.bridged)) * eps
    total, n = float(time[left | censored].sum()), int(left.sum())
    return Passage(
        time=time, censored=censored, mean=total / n if n else math.inf,
        mean_interval=_interval(total, n), state=exits.state, status=status.to(torch.int8),
        message=[_message(exits, left, censored, lost, dynamics, eps, eps_limit)],
        eps=eps, n_steps=n_steps, bridged=exits.bridged, method=method, stream=stream, seed=seed,
        threads=threads, dynamics=dynamics,
    )  # fmt: skip


def _interval(total: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean time, from `n` exits in a total time at constant rate."""
    low = 2 * total / float(chi2.ppf(0.975, 2 * n + 2))
    high = 2 * total / float(chi2.ppf(0.025, 2 * n)) if n else np.inf
    return low, float(high)


def _message(
    exits: Exits, left: Tensor, censored: Tensor, lost: Tensor, dynamics: Dynamics, eps: float,
    eps_limit: float | None,
) -> str:  # fmt: skip
    """Return what to bear in mind, in sentences."""
    said = []
    if n := int(lost.sum()):
        said.append(f"{n} chains left the finite numbers and are in no mean; use a smaller eps.")
    if n := int((~exits.begun).sum()):
        said.append(f"{n} chains did not start inside and are in no mean.")
    if not bool(left.any()):
        said.append("no chain left: only a lower bound of the mean is known; take more steps.")
    elif n := int(censored.sum()):
        said.append(
            f"{n} of {len(left)} chains were still inside at the end; the mean counts their time "
            "and holds where exits come at a constant rate."
        )
    if not exits.bridged and dynamics.noise == "langevin":
        further = 0.5826 * float(dynamics.sigma.max()) * math.sqrt(eps)
        said.append(
            "`inside` was looked at after each step only, as if its border were "
            f"{further:.2g} further away; return a distance to count crossings between steps."
        )
    if eps_limit is not None:
        said.append(overshooting(eps, eps_limit))
    return " ".join(said)
