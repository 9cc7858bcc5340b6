"""First passage: when noise carries a network out of a region, for many chains at once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from scipy.stats import chi2
from torch import Tensor

from ctebm.dataset import provenance, variable
from ctebm.dynamics.clock import step_size
from ctebm.dynamics.methods import Stream
from ctebm.dynamics.request import check_method, first_state
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.seeding import seeding
from ctebm.dynamics.streams import SUBSTREAM
from ctebm.dynamics.threads import torch_threads
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.numbers import finite, whole
from ctebm.sampling.chains import check_noise
from ctebm.sampling.exits import Exits, Region
from ctebm.sampling.recorded import recorded_run

__all__ = ["Passage", "first_passage"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Passage:
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
    dynamics: Dynamics = field(repr=False)

    @property
    def network(self) -> VectorField:
        """What moved."""
        return self.dynamics.network

    def raise_for_status(self) -> Passage:
        """Return the record, or raise RuntimeError if a chain failed or none left."""
        if bool(((self.status == 1) | (self.status == 3)).any()) or bool(self.censored.all()):
            raise RuntimeError(self.message[0])
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return a dataset with dimensions ``chain`` and ``unit``."""
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
        s = self.state
        attrs = provenance(seed=self.seed, device=s.device, dtype=s.dtype, threads=self.threads)
        attrs |= {
            "title": "first passage", "eps": self.eps, "n_steps": self.n_steps,
            "bridged": int(self.bridged), "method": self.method, "noise_stream": self.stream,
        }  # fmt: skip
        return xr.Dataset(data, attrs=attrs)


def first_passage(
    dynamics: Dynamics,
    start: StateLike,
    inside: Region,
    *,
    eps: float,
    n_steps: int,
    method: str = "euler",
    seed: int | None = None,
    stream: Stream = "host",
    threads: int | None = None,
) -> Passage:
    r"""Return when chains first leave a region.

    Say what the region is: the time to the ridge between two valleys, to a ball around the other
    minimum, and the relaxation time of the slowest mode differ by factors (for the pair of tanh
    units with w = 8 at a barrier of 4 D: 181, 365, 359).

    Parameters
    ----------
    dynamics : Dynamics
        A motion with noise in every chain.
    start : array or record, (chain, unit)
        The first state of each chain.
    inside : callable
        Takes states ``(chain, unit)`` and returns ``(chain,)``: whether each is inside, as truth
        values, or its distance from the border, positive inside. Truth values are looked at after
        each step, so that an exit is seen late, and one between two steps missed: the border acts
        as if it were :math:`0.58\,\sigma\sqrt\epsilon` further away (Siegmund). With a distance
        an exit between two steps at distances :math:`d, d'` counts with the probability
        :math:`e^{-2dd'/\sigma^2\epsilon}` of a Brownian bridge, exact for a plane.
    eps : float
        Step size.
    n_steps : int
        Most steps; the run ends once all chains have left.
    method : {"euler", "heun", "srk"}
        How a step is taken.
    seed : int, optional
        Root seed of the noise; drawn freshly, and recorded, if None.
    stream, threads
        As in :func:`~ctebm.simulate`.

    Returns
    -------
    Passage
        Chains that are still inside at the end are censored: their time counts, their exit does
        not.

    Raises
    ------
    ValueError
        Without noise, if `inside` returns something else, or if no chain starts inside.

    References
    ----------
    D. Siegmund, Sequential Analysis (1985), section 10.1; E. Gobet, Stoch. Proc. Appl. 87, 167
    (2000), for the bridge.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.DenseNetwork([[0, 8], [8, 0]], [-4, -4], ctebm.Tanh())
    >>> well, noisy = torch.full((100, 2), 0.756232), ctebm.Dynamics(net, sigma=0.5)
    >>> ridge = lambda s: s.sum(-1) / 2**0.5  # the distance from s1 + s2 = 0
    >>> found = ctebm.first_passage(noisy, well, ridge, eps=0.02, n_steps=1000, seed=0)
    >>> int(found.censored.sum()) > 0, found.mean > float(found.time.mean())
    (True, True)
    """
    check_noise(dynamics)
    check_method(method, [dynamics], None)
    eps, n_steps = finite("eps", eps, above=0.0), whole("n_steps", n_steps, least=1)
    s = first_state([dynamics], start, eps)
    s = s.unsqueeze(0) if s.ndim == 1 else s
    if s.ndim != 2:
        raise ValueError(
            f"expected starts (chain, unit), got {tuple(s.shape)}; go sample by sample."
        )
    step = step_size(eps, method)
    source = seeding(s, step, seed, None, None, True, stream)
    with torch_threads(threads, s) as used, torch.no_grad():
        exits = Exits(s, inside, dynamics.sigma.square() * eps, source.seed or 0)
        for first in range(0, n_steps, SUBSTREAM):
            rows = exits.watch(first, shared=not dynamics.batch)
            run = recorded_run(
                dynamics, exits.state[rows], step, min(SUBSTREAM, n_steps - first), 0, 1, method,
                dataclasses.replace(source, samples=tuple(rows.tolist())), exits, first,
            )  # fmt: skip
            run.go()
            if exits.over:
                break
    return _record(
        exits, dynamics=dynamics, eps=eps, n_steps=n_steps, method=method, stream=stream,
        seed=source.seed, threads=used,
    )  # fmt: skip


def _record(
    exits: Exits,
    *,
    dynamics: Dynamics,
    eps: float,
    n_steps: int,
    method: str,
    stream: str,
    seed: int | None,
    threads: int,
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
        message=[_message(exits, left, censored, lost, float(dynamics.sigma.max()), eps)],
        eps=eps, n_steps=n_steps, bridged=exits.bridged, method=method, stream=stream, seed=seed,
        threads=threads, dynamics=dynamics,
    )  # fmt: skip


def _interval(total: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean time, from `n` exits in a total time at constant rate."""
    low = 2 * total / float(chi2.ppf(0.975, 2 * n + 2))
    high = 2 * total / float(chi2.ppf(0.025, 2 * n)) if n else np.inf
    return low, float(high)


def _message(
    exits: Exits, left: Tensor, censored: Tensor, lost: Tensor, sigma: float, eps: float
) -> str:
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
    if not exits.bridged:
        said.append(
            "`inside` was looked at after each step only, as if its border were "
            f"{0.5826 * sigma * math.sqrt(eps):.2g} further away; return a distance to count "
            "crossings between steps."
        )
    return " ".join(said)
