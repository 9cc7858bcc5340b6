"""Sample what a network with noise visits: many chains, their moments, and how sure these are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ctebm.dynamics.clock import step_size
from ctebm.dynamics.methods import Stream
from ctebm.dynamics.recorder import Observables
from ctebm.dynamics.request import first_state
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.seeding import seeding
from ctebm.dynamics.threads import torch_threads
from ctebm.networks.base import StateLike
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import whole
from ctebm.sampling.kinks import kink_number
from ctebm.sampling.mala import adjusted_chains, check_energy
from ctebm.sampling.moments import MOST_BLOCKS, Moments
from ctebm.sampling.recorded import (
    check_draws,
    check_noise,
    check_steps,
    recorded_run,
    step_limit,
)
from ctebm.sampling.samples import Samples, samples_of

__all__ = ["sample"]


def sample(
    dynamics: Dynamics,
    start: StateLike,
    *,
    n_steps: int,
    eps: float | Tensor,
    burn_in: int,
    every: int = 10,
    method: Literal["euler", "heun", "srk", "mala"] = "euler",
    seed: int | None = None,
    stream: Stream = "host",
    observe: Observables | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> Samples:
    r"""Run chains of the noisy motion, and return the moments of what they visit.

    In continuous time chains visit states with the density :math:`e^{-2E/\sigma^2}` (section
    2.2). Steps have another stationary law, at a distance that grows with `eps`; that of the
    paper's map is not near it in any limit (N3). ``"mala"`` corrects each Euler-Maruyama step by
    accepting or rejecting it, and has this density at every `eps`. Moments are gathered during
    the run, so that its length costs no memory.

    Parameters
    ----------
    dynamics : Dynamics
        A motion with noise. Clamp layers of its network to sample the others given them.
    start : array or record, ``(chain, *sample, unit)``
        The first state of each chain; a single state is one chain. Further dimensions are samples
        with laws of their own, such as clamped inputs.
    n_steps : int
        Steps after `burn_in`.
    eps : float or Tensor
        Step size; one for each chain and sample if of shape ``(chain, *sample)``.
    burn_in : int
        Steps before the first draw; 0 if the chains start in their stationary law.
    every : int
        Steps between draws.
    method : {"euler", "heun", "srk", "mala"}
        How a step is taken.
    seed : int, optional
        Root seed of the noise; drawn freshly, and recorded, if None.
    stream : {"host", "philox"}
        As in :func:`~ctebm.simulate`.
    observe : mapping of str to callable, optional
        Functions of a state ``(chain, *sample, unit)`` whose means are wanted too, with errors;
        each returns real numbers or truth values, ``(chain, *sample, ...)``.
    threads : int, optional
        Threads of torch, as in :func:`~ctebm.simulate`.
    progress : bool
        Show a bar (not with ``"mala"``).

    Returns
    -------
    Samples
        Chains that disagree, or that left the finite numbers, are reported in its ``status``.

    Raises
    ------
    ValueError
        Without noise in some sample; for ``"mala"`` without an energy or with synaptic noise.

    Examples
    --------
    >>> import torch, ctebm
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.2], ctebm.HardSigmoid())
    >>> noisy, start = ctebm.Dynamics(unit, sigma=0.05), torch.full((256, 1), 0.2)
    >>> found = ctebm.sample(noisy, start, n_steps=500, eps=0.1, burn_in=100, seed=1)
    >>> abs(float(found.mean) - 0.2) < 4 * float(found.mean_error)
    True
    """
    n_steps = whole("n_steps", n_steps, least=1)
    burn_in, every = (
        whole("burn_in", burn_in, least=0),
        whole("every", every, least=1, most=n_steps),
    )
    check_noise(dynamics)
    check_steps(dynamics, method, "mala")
    if adjusted := method == "mala":
        check_energy(dynamics)
    s = first_state([dynamics], start, eps)
    s = s.unsqueeze(0) if s.ndim == 1 else s
    if 0 in s.shape[:-1]:
        raise ValueError("expected one chain or more, got none; give a start for each chain.")
    step = step_size(eps, method)
    step = step.expand(s.shape[:-1]) if step.ndim else step
    source = seeding(s, step, seed, None, None, True, stream)
    kept = MOST_BLOCKS * s.numel() * s.element_size() + s.shape[-1] ** 2 * s.element_size()
    check_memory("the sums of these chains", kept, "take fewer chains", s.device)
    moments = Moments(s, burn_in, every, observe)
    as_factor = step.to(s) if step.ndim == 0 else step.to(s).unsqueeze(-1)
    with torch_threads(threads, s) as used, torch.no_grad():
        if adjusted:
            check_draws((burn_in + n_steps) // every)
            draws = [n for n in range(every, burn_in + n_steps + 1, every) if n > burn_in]
            last, acceptance = adjusted_chains(
                dynamics.snapshot(), s, as_factor, draws, burn_in, source, moments
            )
            failed = torch.full(s.shape[:-1], -1, device=s.device)
        else:
            run = recorded_run(dynamics, s, step, n_steps, burn_in, every, method, source, moments)
            run.go(progress)
            last, acceptance = run.state, s.new_full(s.shape[:-1], torch.nan, dtype=torch.float64)
            failed = run.failures.step.reshape(s.shape[:-1])
        kappa = s.new_zeros(s.shape[1:-1])
        if dynamics.noise == "langevin" and bool((failed < 0).all()):
            kappa = kink_number(dynamics, last, as_factor)
        limit = None if adjusted else step_limit(dynamics, s, float(step.max()))
        if not (n_draws := moments.state.n_draws):  # all chains were lost before
            moments.add(last.unsqueeze(0))
    return samples_of(
        moments, n_draws=n_draws, dynamics=dynamics, eps=step, every=every, burn_in=burn_in,
        n_steps=n_steps, method=method, seed=source.seed, stream=stream, threads=used,
        acceptance=acceptance, kink_number=kappa, failed_step=failed, eps_limit=limit, state=last,
    )  # fmt: skip
