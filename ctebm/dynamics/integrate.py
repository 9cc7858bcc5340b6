"""Integrate a network from a state."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import compress

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.adaptive import adaptive_run
from ctebm.dynamics.clock import increasing, step_size
from ctebm.dynamics.methods import METHODS, Stream
from ctebm.dynamics.recorder import Observables, Recorder, check_observables
from ctebm.dynamics.request import (
    Room,
    check_adaptive,
    check_fixed,
    check_method,
    clock_of,
    first_state,
    motions_of,
)
from ctebm.dynamics.run import Callback, Run
from ctebm.dynamics.sde import Dynamics, Phase
from ctebm.dynamics.seeding import root_seed, seeding
from ctebm.dynamics.step_limit import exceeded_limit
from ctebm.dynamics.threads import torch_threads
from ctebm.dynamics.trajectory import Trajectory
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.energy import Network

__all__ = ["simulate"]

_SYMMETRIC_UNITS = 512  # units up to which eigenvalues at the start cost little beside a run
_GENERAL_UNITS = 256  # likewise, where the Jacobian is not symmetric
_RTOL, _ATOL, _EVALUATIONS = 1e-10, 1e-12, 30_000  # of adaptive methods, where none are asked for


def simulate(
    dynamics: Dynamics | VectorField | Sequence[Phase],
    start: StateLike,
    *,
    n_steps: int | None = None,
    times: ArrayLike | Tensor | None = None,
    eps: float | Tensor | None = None,
    method: str = "euler",
    save_every: int = 1,
    save_steps: Sequence[int] | None = None,
    observe: Observables | None = None,
    seed: int | None = None,
    stream: Stream = "host",
    samples: Sequence[int] | None = None,
    noise_of: Trajectory | None = None,
    first_step: int | None = None,
    steady: float | None = None,
    projected: bool = True,
    differentiable: bool = False,
    rtol: float = _RTOL,
    atol: float = _ATOL,
    max_evaluations: int = _EVALUATIONS,
    threads: int | None = None,
    progress: bool = False,
    callback: Callback | None = None,
) -> Trajectory:
    r"""Integrate a network from a state.

    Euler's step is :math:`s \leftarrow s + \epsilon f(s) + \sigma\sqrt{\epsilon}\,\xi`; the
    paper's map with synaptic noise is :math:`s \leftarrow s + \epsilon(R(s+\eta) - s)` (eqs. 1-2).

    Parameters
    ----------
    dynamics : Dynamics, VectorField or sequence of Phase
        Drift, noise and targets; a network alone moves without noise or target; or phases one
        after another, whose ends are saved.
    start : array or record, (*batch, unit)
        The first state, or a record with a ``state``, such as that of :func:`~ctebm.settle`.
    n_steps : int, optional
        Number of steps; give it, or `times`, or phases.
    times : array, optional
        Increasing times to save, the first that of `start`; whole multiples of `eps` apart for
        methods with a fixed step, since nothing is interpolated.
    eps : float or Tensor, optional
        Step size of the fixed-step methods; one for each sample if of shape ``(*batch)``.
    method : str
        One of :data:`ctebm.dynamics.methods.METHODS`.
    save_every : int
        Steps between saved states; the first and the last are always saved.
    save_steps : sequence of int, optional
        The steps to save, instead of `save_every`; 0 and the last are added if missing.
    observe : mapping of str to callable, optional
        Functions of a state ``(*batch, unit)`` to be kept at each save instead of states.
    seed : int, optional
        Root seed of the noise; drawn freshly, and recorded, if None. One seed names one path for
        each dtype.
    stream : {"host", "philox"}
        Draw normals on the CPU and move them, so that a seed names the same path on every device;
        or compute them on the device from their place (Philox), which on a GPU is about 70 times
        faster and names another path, likewise for each sample and dtype.
    samples : sequence of int, optional
        The number of each row of the flattened batch, by which its stream of noise is found; by
        default 0, 1, ... A part of a sweep that gives its rows' numbers in the whole has the
        noise it has in the whole, to the bit, and its states to rounding: products of matrices
        are summed in another order in another batch. Rows of one number share their noise.
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
        them. A step ends on a kink inside a unit's range, and the next one leads on. With noise
        nothing slides: at a kink the drift jumps by a finite amount, and the noise carries a unit
        over it at once, so that it spends no time there and is often beyond, where the rate is
        constant and the leak brings it back. The plain step is then the right one (a projected
        step would reflect units, whose stationary density is another), of strong order 3/4 where
        units cross kinks, whatever the method.
    differentiable : bool
        Keep the graph, so that parameters and start have gradients. It holds about 6 states in
        memory for each evaluation of the drift: 6 a step with Euler's method, 24 with ``"rk4"``.
    rtol, atol : float
        Tolerances of the adaptive methods, which choose one step for the whole batch, so that a
        row is what it is alone up to the tolerance. With noise (``"adaptive_srk"``) `seed` names
        the path of a batch as a whole, over the time from the first to the last of `times`: rows
        have noise of their own, but the path of a row is another one in another batch. It does not
        depend on the tolerance, nor on the times saved in between.
    max_evaluations : int
        Evaluations of the force after which an adaptive run ends with what it has saved so far,
        and says so in ``status`` and ``message``. Networks that settle take some thousand, such
        as go on moving up to 300 a membrane time constant.
    threads : int, optional
        Threads of torch during the run. By default 1 where a state has fewer than 65,536 numbers,
        else as many as torch is set to.
    progress : bool
        Show a bar.
    callback : callable, optional
        Called as ``callback(step, state)`` at each save; the run ends if it returns a true value.
        It may change the parameters of the network only where it ends the run.

    Returns
    -------
    Trajectory
        A sample that leaves the finite numbers is reported in its ``status``, with step and unit;
        the others go on.

    Raises
    ------
    ValueError
        For a request that has no meaning, such as an adaptive method on kinks, or for states that
        do not fit the free memory; before the first step.
    FloatingPointError
        If an adaptive method can not hold its tolerance.

    Warns
    -----
    UserWarning
        If `eps` is so large that plain steps oscillate instead of settling at the start (F4), or
        that a run without noise has ended in a jump to and fro between two states.

    References
    ----------
    For additive noise and a drift that jumps, proved for one unit: A. Neuenkirch and
    M. Szölgyenyi, arXiv:1904.07784, the order 3/4 of Euler's method; S. Ellinger,
    arXiv:2303.05346, that no method which sees increments of the noise has a higher one.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0.0, 0.0], ctebm.Tanh())
    >>> ctebm.simulate(net, [0.2, 0.1], n_steps=2, eps=0.1).state[-1]  # no noise, no target
    tensor([0.1872, 0.1091], dtype=torch.float64)
    >>> noisy = ctebm.Dynamics(net, sigma=0.1)
    >>> run = ctebm.simulate(noisy, torch.zeros(3, 2), n_steps=50, eps=0.1, seed=1)
    >>> run.state.shape, run.time[-1]
    (torch.Size([51, 3, 2]), tensor(5., dtype=torch.float64))
    """
    check_observables(observe)
    motions, phases = motions_of(dynamics)
    check_method(method, motions, steady)
    solver, noisy = METHODS[method], any(motion.noisy for motion in motions)
    s = first_state(motions, start, eps)
    room = Room(
        s, states=not observe, stages=solver.stages if differentiable else 0,
        observed=len(observe or ()),
        each=1 if eps is None else torch.as_tensor(eps, device="cpu").numel(),
    )  # fmt: skip
    with torch_threads(threads, s) as used, torch.set_grad_enabled(differentiable):
        if solver.adaptive:
            fixed = {
                "phases": phases or None, "n_steps": n_steps, "eps": eps, "save_steps": save_steps,
                "save_every": None if save_every == 1 else save_every, "samples": samples,
                "noise_of": noise_of, "first_step": first_step, "callback": callback,
                "stream": None if stream == "host" else stream,
            }  # fmt: skip
            check_adaptive(motions[0], method, fixed)
            t = increasing(times)
            room.check(len(t), 0)
            return adaptive_run(
                motions[0], method, s, t, seed=root_seed(seed) if noisy else None, rtol=rtol,
                atol=atol, threads=used, max_evaluations=max_evaluations, observe=observe,
            )  # fmt: skip
        step = step_size(eps, method)
        asked = rtol != _RTOL, atol != _ATOL, max_evaluations != _EVALUATIONS
        check_fixed(method, compress(("rtol", "atol", "max_evaluations"), asked))
        step = step.expand(s.shape[:-1]) if step.ndim else step
        source = seeding(s, step, seed, samples, noise_of, noisy, stream)
        first = source.first if first_step is None else first_step
        clock = clock_of(step, room, phases, n_steps, times, save_every, save_steps, first)
        run = Run(
            phases=phases or [Phase("", motions[0], clock.n_steps)], method=method, clock=clock,
            seeding=source, projected=projected, state=s, steady=steady, callback=callback,
            recorder=Recorder(s, len(clock.saved), observe, differentiable),
        )  # fmt: skip
        _warn_unstable(run.motions[0], s, step)
        run.go(progress)
        _warn_alternating(run.alternating(), step)
        return run.trajectory(used)


def _warn_unstable(dynamics: Dynamics, s: Tensor, eps: Tensor) -> None:
    """Warn where steps are too large for the first sample at its start."""
    gradient = isinstance(dynamics.network, Network)
    if not s.numel() or s.shape[-1] > (_SYMMETRIC_UNITS if gradient else _GENERAL_UNITS):
        return
    largest = float(eps.max())
    limit = exceeded_limit(dynamics.network, s, largest)
    if limit is not None:
        warnings.warn(
            f"eps = {largest:g} is at or above 2/lambda_max = {limit:.6g} at the start: "
            "plain steps oscillate instead of settling.",
            stacklevel=3,
        )


def _warn_alternating(alternates: Tensor, eps: Tensor) -> None:
    """Warn where samples ended in a jump between two states, which no flow does."""
    if not bool(alternates.any()):
        return
    largest = float(eps[alternates.reshape(eps.shape)].max() if eps.ndim else eps)
    warnings.warn(
        f"eps = {largest:g} is too large: at the end of the run {int(alternates.sum())} of "
        f"{len(alternates)} samples jump to and fro between two states at every step, which "
        "no motion in continuous time does; use a smaller eps.",
        stacklevel=3,
    )
