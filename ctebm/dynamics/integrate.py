r"""Trajectories, through torchsde and torchdiffeq on an integer clock.

Both libraries see unit steps: the drift is multiplied by :math:`\epsilon` and the noise by
:math:`\sqrt\epsilon`, so that `n` steps are exactly `n` steps and every sample can have its own
:math:`\epsilon`. Physical time is a coordinate of the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.clock import adaptive_times, clock, step_size
from ctebm.dynamics.methods import method_named
from ctebm.dynamics.noise import fresh_seed
from ctebm.dynamics.run import Observables, Run, adaptive_run, noise_source
from ctebm.dynamics.sde import Dynamics, Phase
from ctebm.dynamics.trajectory import Trajectory
from ctebm.networks.energy import Network
from ctebm.networks.memory import check_memory

__all__ = ["simulate"]

_SMALL_STEP = 2**16  # numbers in a state below which one thread is faster than many
_GRAPH_STATES = 6  # states' worth of memory that a drift keeps for its gradient, about


def simulate(
    dynamics: Dynamics | Sequence[Phase],
    start: ArrayLike | Tensor,
    *,
    n_steps: int | None = None,
    times: ArrayLike | Tensor | None = None,
    eps: float | Tensor | None = None,
    method: str = "euler",
    save_every: int = 1,
    save_steps: Sequence[int] | None = None,
    observe: Observables | None = None,
    seed: int | None = None,
    samples: Sequence[int] | None = None,
    noise_of: Trajectory | None = None,
    first_step: int | None = None,
    steady: float | None = None,
    projected: bool = True,
    differentiable: bool = False,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    threads: int | None = None,
    progress: bool = False,
    callback: Callable[[int, Tensor], object] | None = None,
) -> Trajectory:
    r"""Integrate a network from a state.

    Euler's step is :math:`s \leftarrow s + \epsilon f(s) + \sigma\sqrt{\epsilon}\,\xi`; the
    paper's map with synaptic noise is :math:`s \leftarrow s + \epsilon(R(s+\eta) - s)` (eqs. 1-2).

    Parameters
    ----------
    dynamics : Dynamics or sequence of Phase
        Drift, noise and targets; or phases one after another, whose ends are saved.
    start : array, (*batch, unit)
        The first state.
    n_steps : int, optional
        Number of steps; give it, or `times`, or phases.
    times : array, optional
        Increasing times to save, the first that of `start`; whole multiples of `eps` apart for
        methods with a fixed step, since nothing is interpolated.
    eps : float or Tensor, optional
        Step size of the fixed-step methods; one for each sample if of shape ``(*batch)``.
    method : str
        One of :data:`METHODS`.
    save_every : int
        Steps between saved states; the first and the last are always saved.
    save_steps : sequence of int, optional
        The steps to save, instead of `save_every`; 0 and the last are added if missing.
    observe : mapping of str to callable, optional
        Functions of a state ``(*batch, unit)`` to be kept at each save instead of states.
    seed : int, optional
        Root seed of the noise; drawn freshly, and recorded, if None. One seed names one path for
        each dtype.
    samples : sequence of int, optional
        The number of each row of the flattened batch, by which its stream of noise is found; by
        default 0, 1, ... A part of a sweep that gives its rows' numbers in the whole has the
        noise it has in the whole. Rows of one number share their noise.
    noise_of : Trajectory, optional
        Use the noise of that run, sample by sample the same Brownian path; this run's `eps` may
        be a whole multiple of that run's.
    first_step : int, optional
        Steps taken before `start`: clock and noise go on from there, so that a run begun from a
        saved state with its step and seed is the rest of the run that saved it.
    steady : float, optional
        Without noise, end the run when the largest force of every sample is at most this, judged
        every 16 steps and at saves; the state it is judged at is the last one saved.
    projected : bool
        Let units of samples without noise slide on kinks (Filippov) instead of chattering around
        them. With noise nothing slides: at a kink the drift jumps by a finite amount, and the
        noise carries a unit over it at once, so that it spends no time there and is often beyond,
        where the rate is constant and the leak brings it back. The plain step is then the right
        one (a projected step would reflect units, whose stationary density is another), of strong
        order 3/4 where units cross kinks, whatever the method.
    differentiable : bool
        Keep the graph, so that parameters and start have gradients. It holds about 6 states in
        memory for each evaluation of the drift: 6 a step with Euler's method, 24 with ``"rk4"``.
    rtol, atol : float
        Tolerances of the adaptive methods, which choose one step for the whole batch, so that a
        row is what it is alone up to the tolerance. With noise (``"adaptive_srk"``) `seed` names
        the path of a batch as a whole, over the time from the first to the last of `times`: rows
        have noise of their own, but the path of a row is another one in another batch. It does not
        depend on the tolerance, nor on the times saved in between.
    threads : int, optional
        Threads of torch during the run. By default 1 where a state has fewer than 65,536 numbers,
        else as many as torch is set to.
    progress : bool
        Show a bar.
    callback : callable, optional
        Called as ``callback(step, state)`` at each save; the run ends if it returns a true value.

    Returns
    -------
    Trajectory
        A sample that leaves the finite numbers is reported in its ``status``, with step and unit;
        the others go on.

    Raises
    ------
    ValueError
        For a request that has no meaning, such as an adaptive method on kinks, or no room.

    References
    ----------
    For additive noise and a drift that jumps, proved for one unit: A. Neuenkirch and
    M. Szölgyenyi, arXiv:1904.07784, the order 3/4 of Euler's method; S. Ellinger,
    arXiv:2303.05346, that no method which sees increments of the noise has a higher one.
    """
    chosen = method_named(method)
    phases = _phases(dynamics, n_steps, times)
    s = _start(phases, start)
    noisy = any(phase.dynamics.noisy for phase in phases)
    if steady is not None and (noisy or not steady > 0 or chosen.adaptive):
        raise ValueError("expected steady > 0 with a fixed-step method and no noise; leave it out.")
    if noisy and chosen.sde is None:
        raise ValueError(f"{method} takes no noise; use method='euler' or sigma=0.")
    if not noisy and chosen.ode is None:
        raise ValueError(f"{method} is for noise; use method='rk4', or give a sigma.")
    with _threads(threads, s) as used, torch.set_grad_enabled(differentiable):
        if chosen.adaptive:
            t = adaptive_times(eps, n_steps, times, method)
            _refuse_kinks(phases[0].dynamics, method)
            _check_room(len(t), s, observe, 0)
            if noise_of is not None or samples is not None:
                raise ValueError(f"{method} has one path for its batch: no samples or noise_of.")
            root = (fresh_seed() if seed is None else int(seed)) if noisy else None
            return adaptive_run(phases[0].dynamics, method, s, t, root, rtol, atol, used, observe)
        step = step_size(eps, method)
        source = noise_source(s, step, seed, samples, noise_of, noisy)
        first = first_step if first_step is not None else source.first
        if not isinstance(dynamics, Dynamics):
            n_steps = sum(phase.n_steps for phase in phases)
            ends = accumulate(phase.n_steps for phase in phases)
            save_steps = [*(save_steps or range(0, n_steps, save_every)), *ends]
            save_every = 1
        ticks = clock(step, n_steps, times, save_every, save_steps, first)
        if isinstance(dynamics, Dynamics):
            phases = [Phase("", dynamics, ticks.n_steps)]
        drifts = ticks.n_steps * chosen.stages if differentiable else 0
        _check_room(len(ticks.saved), s, observe, drifts)
        _warn_unstable(phases[0].dynamics, s, step)
        run = Run(phases, chosen, ticks, source, projected, s, observe, differentiable)
        run.go(steady, progress, callback)
        return run.trajectory(method, used, steady)


def _phases(
    dynamics: Dynamics | Sequence[Phase], n_steps: int | None, times: ArrayLike | Tensor | None
) -> Sequence[Phase]:
    if isinstance(dynamics, Dynamics):
        return [Phase("", dynamics, 1)]  # its length is the clock's to say
    phases = list(dynamics)
    if not phases or n_steps is not None or times is not None:
        raise ValueError("expected one or more phases and no n_steps or times; phases have theirs.")
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ValueError(f"expected phases of different names, got {names}.")
    sizes = {phase.dynamics.network.n_units for phase in phases}
    if len(sizes) > 1:
        raise ValueError(f"expected phases with the same units, got {sorted(map(str, sizes))}.")
    return phases


def _start(phases: Sequence[Phase], start: ArrayLike | Tensor) -> Tensor:
    """Return the first state, broadcast against biases, targets and noise."""
    s = phases[0].dynamics.network.as_state(start)
    finite = torch.isfinite(s).all(-1)
    if not bool(finite.all()):
        row = int((~finite).reshape(-1).int().argmax())
        raise ValueError(f"expected a finite start, got NaN or infinity in sample {row}; mend it.")
    batch = torch.broadcast_shapes(s.shape[:-1], *(phase.dynamics.batch for phase in phases))
    return s.expand(*batch, s.shape[-1]).contiguous()


def _refuse_kinks(dynamics: Dynamics, method: str) -> None:
    kinks = getattr(getattr(dynamics.network, "activation", None), "kinks", ())
    if kinks:
        raise ValueError(
            f"{method} stalls where units chatter around the kinks at {kinks}; use a fixed-step "
            "method, which slides on kinks, or a smooth activation such as SmoothHardSigmoid."
        )


def _warn_unstable(dynamics: Dynamics, s: Tensor, eps: Tensor, n_max: int = 512) -> None:
    """Warn where eps reaches 2 / lambda_max of the Hessian at the start (F4)."""
    if s.shape[-1] > n_max:
        return
    row = torch.zeros(1, dtype=torch.long, device=s.device)
    network, first = dynamics.network.samples(s.shape[:-1], row), s.reshape(-1, s.shape[-1])[:1]
    if network.box is not None:
        first = network.box.project(first)
    J = network.jacobian(first).detach()
    J = J[(0,) * (J.ndim - 2)]
    if float(eps.max()) * float(J.abs().sum(-1).max()) < 2:
        return
    mu = (
        torch.linalg.eigvalsh(J)
        if isinstance(dynamics.network, Network)
        else torch.linalg.eigvals(J)
    )
    mu = mu[mu.real < 0]
    limit = float((-2 * mu.real / mu.abs().square()).min()) if len(mu) else 0.0
    if limit > 0 and float(eps.max()) >= limit:
        warnings.warn(
            f"eps = {float(eps.max()):g} is at or above 2/lambda_max = {limit:.6g} at the start: "
            "plain steps oscillate instead of settling.",
            stacklevel=3,
        )


def _check_room(n_saved: int, s: Tensor, observe: Observables | None, drifts: int) -> None:
    """Refuse a run whose states do not fit into memory."""
    a_state = s.numel() * s.element_size()
    needed = a_state * ((0 if observe else n_saved) + _GRAPH_STATES * drifts)
    remedy = "take fewer steps" if drifts else "save fewer (save_every) or use observe"
    check_memory("the states that this run keeps", needed, remedy, s.device)


@contextmanager
def _threads(threads: int | None, s: Tensor) -> Iterator[int]:
    """Set the threads of torch for a while."""
    before = torch.get_num_threads()
    used = threads if threads is not None else 1 if s.numel() < _SMALL_STEP else before
    if used < 1:
        raise ValueError(f"expected threads >= 1, got {threads}.")
    torch.set_num_threads(used)
    try:
        yield used
    finally:
        torch.set_num_threads(before)
