"""First passage: when noise carries a network out of a region, for many chains at once."""

from __future__ import annotations

import dataclasses

import torch

from ctebm.dynamics.clock import step_size
from ctebm.dynamics.methods import Stream
from ctebm.dynamics.request import first_state
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.seeding import seeding
from ctebm.dynamics.streams import SUBSTREAM
from ctebm.dynamics.threads import torch_threads
from ctebm.networks.base import StateLike
from ctebm.networks.numbers import finite, whole
from ctebm.sampling.exits import Exits, Region
from ctebm.sampling.passage import Passage, passage_of
from ctebm.sampling.recorded import check_noise, check_steps, recorded_run, step_limit

__all__ = ["first_passage"]


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
        :math:`e^{-2dd'/\sigma^2\epsilon}` of a Brownian bridge, exact for a plane; not so with
        synaptic noise, whose map jumps.
    eps : float
        Step size.
    n_steps : int
        Most steps; the run ends once all chains have left.
    method : {"euler", "heun", "srk"}
        How a step is taken.
    seed, stream, threads
        As in :func:`~ctebm.sample`.

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
    check_steps(dynamics, method)
    if not callable(inside):
        raise TypeError(f"expected a function that says which states are inside, got {inside!r}.")
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
        # the paper's map jumps: nothing lies between two of its steps
        variance = dynamics.sigma.square() * eps if dynamics.noise == "langevin" else None
        exits = Exits(s, inside, variance, source.seed or 0)
        for first in range(0, n_steps, SUBSTREAM):
            rows = exits.watch(first, shared=not dynamics.batch)
            run = recorded_run(
                dynamics, exits.state[rows], step, min(SUBSTREAM, n_steps - first), 0, 1, method,
                dataclasses.replace(source, samples=tuple(rows.tolist())), exits, first,
            )  # fmt: skip
            run.go()
            if exits.over:
                break
        limit = step_limit(dynamics, s, eps)
    return passage_of(
        exits, eps_limit=limit, dynamics=dynamics, eps=eps, n_steps=n_steps, method=method,
        stream=stream, seed=source.seed, threads=used,
    )  # fmt: skip
