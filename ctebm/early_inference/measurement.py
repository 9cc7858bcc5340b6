r"""Early inference against back-propagation, measured (section 3 of the paper).

From an equilibrium :math:`\hat s` with clamped input, the output is driven towards a target
(eq. 12) and the displacement :math:`\Delta s(n) = s(n) - \hat s` of every layer is compared with
the chain gradient, the implicit gradient and the laws of :mod:`ctebm.early_inference.laws`.
"""

# Long because every setting of a measurement is told, checked and recorded in one place.

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction
from ctebm.dynamics.threads import small_on_one_thread
from ctebm.early_inference.displacement import Displacement, DrivenRun
from ctebm.early_inference.drive import drive_named
from ctebm.early_inference.gradients import implicit_gradient
from ctebm.early_inference.outcomes import outcomes
from ctebm.early_inference.record import Correspondence
from ctebm.early_inference.schedule import Replicates, Schedule
from ctebm.early_inference.targets import (
    checked_network,
    deepest_layer,
    one_state_each,
    one_target_each,
)
from ctebm.equilibria.kkt import check_tolerance, project, residual
from ctebm.equilibria.newton import newton_step
from ctebm.equilibria.record import FixedPoints
from ctebm.equilibria.settling import settle
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.energy import Network
from ctebm.networks.layer_states import states_of_layer
from ctebm.networks.memory_limits import check_memory

__all__ = ["correspondence"]

_TOL = 1e-12  # of the equilibrium: what is left of its residual adds to every displacement


@small_on_one_thread()
def correspondence(
    network: VectorField,
    x: ArrayLike | Tensor | None,
    target: ArrayLike | Tensor,
    eps: float | Sequence[float] = (0.1,),
    *,
    t_end: float = 8.0,
    n_steps: int | None = None,
    method: str = "euler",
    drive: Literal["replace", "nudge", "clamp"] = "replace",
    beta: float | None = None,
    points: int = 1,
    save_all: bool = False,
    start: StateLike | None = None,
    state: StateLike | None = None,
    tol: float | None = None,
    sigma: float = 0.0,
    noise: Literal["langevin", "synaptic"] = "langevin",
    replicates: int = 1,
    baseline: Literal["undriven", "held", "equilibrium"] = "undriven",
    intervals: bool = False,
    seed: int | None = None,
    track: Callable[[Iterable[float]], Iterable[float]] | None = None,
    cost: CostFunction | None = None,
) -> Correspondence:
    r"""Drive a network from equilibrium towards a target and measure what back-propagates.

    Parameters
    ----------
    network : VectorField
        With named layers, input first and output last.
    x : array, (sample, input unit), or None
        Input states to clamp the first layer at; None if the network came clamped.
    target : array, (sample, output unit)
        Target states :math:`y^*`. An output that is pinned at a kink and pulled further out does
        not change its rate: no gradient comes back from it, which `status` and `message` of the
        record say.
    eps : float or sequence of float
        Step sizes; for adaptive methods the spacing of the saved times.
    t_end : float
        Physical time to run, in membrane time constants: ``round(t_end / eps)`` steps, at least
        two past the first arrival in the deepest layer.
    n_steps : int, optional
        The same number of steps for every eps, instead of `t_end`.
    method : str
        One of :data:`ctebm.dynamics.methods.METHODS`.
    drive : {"replace", "nudge", "clamp"}
        How the target arrives (see :class:`ctebm.early_inference.drive.Drive`): replaces the
        output's pressure (eq. 12), adds :math:`\beta(y^* - y)` to its force, or is its state from
        the first moment. A clamped output has no noise, the other units have theirs.
    beta : float, optional
        Strength of a nudge.
    points : int
        Strengths :math:`\beta e^{2\pi i j/N}` of a nudge whose responses are combined, with an
        error :math:`O(\beta^N)`: 1 one-sided, 2 symmetric, more complex.
    save_all : bool
        Save every step; by default each up to two past the first arrival in the deepest layer,
        then at most 48 in all, evenly in log time.
    start : array or FixedPoints, (*batch, unit), optional
        Where settling starts.
    state : array or FixedPoints, (*batch, unit), optional
        The equilibrium, if it is known; nothing is settled then.
    tol : float, optional
        Bound on the residual of the equilibrium: 1e-12 by default, in float32 1.2e-5.
    sigma : float
        Intensity of the noise.
    noise : {"langevin", "synaptic"}
        Its kind (see :class:`ctebm.Dynamics`).
    replicates : int
        Noisy runs of each sample, whose mean is the displacement.
    baseline : {"undriven", "held", "equilibrium"}
        What is subtracted from a noisy run: the undriven network on the same Brownian path; a
        network on the same path whose output is driven, nudged or clamped to its own equilibrium,
        so that in the linear regime the noise cancels at every step (with the undriven network it
        does so up to the first arrival only, since the drive changes the output's feedback, and
        not at all if the noise is synaptic and the output driven or clamped, which takes the noise
        out of its pressure); or the equilibrium. Without noise all three are the same.
    intervals : bool
        Give confidence intervals (95 %) of the coefficient and of the cosine with the chain
        gradient over replicates, see :func:`ctebm.early_inference.metrics.replicate_intervals`.
    seed : int, optional
        Root seed of the noise.
    track : callable, optional
        Wraps the loop over step sizes, for a progress bar.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(*batch)``; then :math:`-\partial C/\partial y` drives
        or nudges the output. By default the squared error, which a clamp, a complex nudge and the
        baseline "held" need.

    Returns
    -------
    Correspondence
        A sample without an equilibrium has NaN as its displacement, and says so in `status` and
        `message`; the others are measured.

    Raises
    ------
    ValueError
        For a request without meaning or too large for memory, for labels in place of targets, and
        for a given `state` that is no equilibrium: its displacement would measure how it relaxes,
        not the drive.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid(), gain=0.2)
    >>> x, target = [[0.1, 0.2, 0.3]], [[0.2, -0.2]]
    >>> record = ctebm.correspondence(net, x, target, eps=[0.5, 0.1], n_steps=3)
    >>> arrived = record.to_dataset().sel(layer="h1").isel(save=2)
    >>> arrived.coefficient.values.round(9), arrived.cosine.values.round(9)
    (array([[0.25, 0.01]]), array([[1., 1.]]))
    """
    checked_network(network)
    clamped = network if x is None else network.clamp({next(iter(network.layers)): x})
    target = one_target_each(checked_network(clamped), target)
    arrival = drive_named(drive, beta, points, cost)
    if cost is not None and baseline == "held":
        raise ValueError(
            "expected baseline='undriven' or 'equilibrium' with a cost; only the squared error is "
            "at rest where the output is its own target."
        )
    noisy = Replicates(sigma, noise, replicates, baseline, intervals, seed)
    schedule = Schedule.of(eps, method, deepest_layer(clamped), t_end, n_steps, save_all)
    arrival.check(clamped, noisy.sigma)
    _check_memory(clamped, target, noisy, schedule)
    tol = check_tolerance(tol, clamped.dtype, _TOL)
    fixed = _equilibrium(clamped, start, state, len(target), tol)
    run = DrivenRun(clamped, fixed.state, target, arrival, method, noisy)
    displacements = []
    for one, steps in zip((track or iter)(schedule.eps.tolist()), schedule.steps, strict=True):
        displacements.append(run.displacement(one, steps, seed))
        seed = displacements[-1].seed
    first = next(iter(network.layers))
    states = None if x is None else states_of_layer(network, first, x).expand(len(target), -1)
    return _recorded(network, states, fixed, run, schedule, displacements)


def _check_memory(
    network: VectorField, target: Tensor, noisy: Replicates, schedule: Schedule
) -> None:
    """Refuse runs whose displacements do not fit memory."""
    n_saves, longest = sum(map(len, schedule.steps)), max(map(len, schedule.steps))
    state = len(target) * (network.n_units or target.shape[-1])
    numbers = 4 * n_saves * state  # displacements and linear responses, run by run and together
    if noisy.sigma > 0:  # the runs and what is subtracted from them
        numbers += 2 * longest * noisy.n * state
    if noisy.intervals:  # products of every run with every other
        numbers += longest * len(target) * noisy.n**2
    check_memory(
        f"a record of {n_saves} saved steps of {len(target)} samples, {noisy.n} runs each,",
        numbers * target.element_size(),
        "save or run fewer",
        network.device,
    )


def _equilibrium(
    network: VectorField,
    start: StateLike | None,
    state: StateLike | None,
    n_samples: int,
    tol: float,
) -> FixedPoints:
    """Settle and polish, or take a given equilibrium as it is."""
    if state is not None:
        if start is not None:
            raise ValueError("expected start or state, got both; a given state isn't settled.")
        s = one_state_each(network, state, "state", n_samples)
        far = residual(network, s)
        if not bool((far <= tol).all()):
            raise ValueError(
                f"expected an equilibrium, got a state with residual {float(far.max()):.3g} > "
                f"{tol:g}: its displacement would measure how it relaxes; settle it first."
            )
        return settle(network, s, tol=tol)
    start = network.first_guess() if start is None else start
    fixed = settle(network, one_state_each(network, start, "start", n_samples), tol=tol)
    return _polished(network, fixed, tol)


def _polished(network: VectorField, fixed: FixedPoints, tol: float) -> FixedPoints:
    """Take one Newton step where it lowers the residual, which lowers the rounding floor."""
    if not isinstance(network, Network):
        return fixed
    s = project(network, fixed.state + newton_step(network, fixed.state))
    better = fixed.converged & (residual(network, s) < fixed.residual)
    s = torch.where(better.unsqueeze(-1), s, fixed.state)
    return settle(network, s, tol=tol) if bool(fixed.converged.all()) else fixed


def _recorded(
    network: VectorField,
    states: Tensor | None,
    fixed: FixedPoints,
    run: DrivenRun,
    schedule: Schedule,
    displacements: list[Displacement],
) -> Correspondence:
    """Return the record of runs at every step size."""
    noise = run.replicates
    crossings = [d.crossings for d in displacements]
    moved = _filled([d.mean.transpose(0, 1) for d in displacements], dim=1)
    step = _filled([torch.tensor(steps, device="cpu") for steps in schedule.steps], dim=0, fill=-1)
    finite = torch.isfinite(moved).all(-1) | (step < 0).to(moved.device)
    implicit = implicit_gradient(run.network, fixed.state, run.aim)
    status, message = outcomes(fixed, run, finite.flatten(1).all(-1), _unstable(fixed, implicit))
    moved[~fixed.converged] = torch.nan
    return Correspondence(
        network=network,
        input=states,
        target=run.target,
        fixed=fixed,
        responsive=run.responsive,
        status=status.to(moved.device),
        message=message,
        eps=schedule.eps,
        step=step,
        displacement=moved,
        standard_error=_gathered([d.standard_error for d in displacements], 0, 1),
        coefficient_interval=_gathered([d.coefficient_interval for d in displacements], 1, 2),
        cosine_interval=_gathered([d.cosine_interval for d in displacements], 1, 2),
        linear_response=_filled([d.linear_response.transpose(0, 1) for d in displacements], dim=1),
        chain=run.chain,
        implicit=implicit,
        first_crossing=_of_runs([found.step for found in crossings], moved),
        crossing_unit=_of_runs([found.unit for found in crossings], moved),
        crossing_direction=_of_runs([found.direction for found in crossings], moved),
        drive=run.drive,
        method=schedule.method,
        sigma=noise.sigma,
        noise=noise.noise,
        replicates=noise.n,
        baseline=noise.baseline if noise.sigma > 0 else "equilibrium",
        seed=displacements[-1].seed,
        layers=list(run.network.layers),
    )


def _unstable(fixed: FixedPoints, implicit: Tensor) -> Tensor:
    """Return which equilibria are known not to be stable, ``(sample,)``.

    With an energy the implicit gradient has found out on its way; without one by the eigenvalues.
    """
    if isinstance(fixed.network, Network):
        return torch.isnan(implicit).any(-1)
    return (fixed.index > 0).reshape(-1)


def _of_runs(found: list[Tensor], like: Tensor) -> Tensor:
    """Return what is known of the runs at each step size, ``(sample, eps)``, on a device."""
    return torch.stack(found, -1).to(like.device)


def _filled(rows: list[Tensor], dim: int, fill: float = torch.nan) -> Tensor:
    """Stack rows of different lengths along `dim`, before that dimension; the rest is `fill`."""
    width = max(row.shape[dim] for row in rows)
    shape = list(rows[0].shape)
    shape[dim] = width
    full = rows[0].new_full((len(rows), *shape), fill)
    for i, row in enumerate(rows):
        full[i].narrow(dim, 0, row.shape[dim]).copy_(row)
    return full.movedim(0, dim)


def _gathered(rows: list[Tensor | None], save: int, sample: int) -> Tensor | None:
    """Bring rows ``(..., save, sample, ...)`` to ``(..., sample, eps, save, ...)``."""
    known = [row.transpose(save, sample) for row in rows if row is not None]
    return _filled(known, dim=sample) if known else None
