r"""Early inference against back-propagation, measured (section 3 of the paper).

From an equilibrium :math:`\hat s` with clamped input, the output is driven towards a target
(eq. 12) and the displacement :math:`\Delta s(n) = s(n) - \hat s` of every layer is compared with
the chain gradient, the implicit gradient and the laws of :mod:`ctebm.early_inference.laws`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.methods import method_named
from ctebm.early_inference.displacement import BASELINES, DrivenRun
from ctebm.early_inference.drive import Drive
from ctebm.early_inference.driven import check_analytic
from ctebm.early_inference.gradients import chain_gradient, implicit_gradient, responsive_units
from ctebm.early_inference.record import Correspondence
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.newton import newton_step
from ctebm.equilibria.record import FixedPoints
from ctebm.equilibria.settling import settle
from ctebm.networks.base import Network, VectorField

__all__ = ["correspondence", "saved_steps"]


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
    start: ArrayLike | Tensor | None = None,
    state: ArrayLike | Tensor | None = None,
    tol: float = 1e-12,
    sigma: float = 0.0,
    noise: Literal["langevin", "synaptic"] = "langevin",
    replicates: int = 1,
    baseline: Literal["undriven", "held", "equilibrium"] = "undriven",
    intervals: bool = False,
    seed: int | None = None,
    track: Callable[[Iterable[float]], Iterable[float]] | None = None,
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
        not change its rate: nothing comes back from it, which the record's `message` says.
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
        the first moment.
        A clamped output has no noise, the other units have theirs.
    beta : float, optional
        Strength of a nudge.
    points : int
        Strengths :math:`\beta e^{2\pi i j/N}` of a nudge whose responses are combined, with an
        error :math:`O(\beta^N)`: 1 one-sided, 2 symmetric, more complex.
    save_all : bool
        Save every step; by default each up to two past the first arrival in the deepest layer,
        then at most 48 in all, evenly in log time.
    start : array, (*batch, unit), optional
        Where settling starts.
    state : array, (*batch, unit), optional
        The equilibrium, if it is known; nothing is settled then.
    tol : float
        Bound on the residual of the equilibrium.
    sigma : float
        Intensity of the noise.
    noise : {"langevin", "synaptic"}
        Its kind (see :class:`ctebm.Dynamics`).
    replicates : int
        Noisy runs of each sample, whose mean is the displacement.
    baseline : {"undriven", "held", "equilibrium"}
        What is subtracted from a noisy run: the undriven network on the same Brownian path; a twin
        on the same path whose output is driven, nudged or clamped to its own equilibrium: in the
        linear regime the noise cancels at every step (with the undriven network it does so up to
        the first arrival only, since the drive changes the output's feedback); or the equilibrium.
        Without noise all three are the same.
    intervals : bool
        Give confidence intervals (95 %) of the coefficient and of the cosine with the chain
        gradient over replicates, see :func:`ctebm.early_inference.metrics.replicate_intervals`.
    seed : int, optional
        Root seed of the noise.
    track : callable, optional
        Wraps the loop over step sizes, for a progress bar.

    Returns
    -------
    Correspondence

    Raises
    ------
    ValueError
        For a request without meaning, and for a given `state` that is no equilibrium: its
        displacement would measure how it relaxes, not the drive.
    """
    clamped = network if x is None else network.clamp({next(iter(network.layers)): x})
    target = clamped._layer_state(clamped.output, target)
    arrival = Drive(drive, beta, points)
    sizes = _checked_sizes(eps)
    method_named(method)
    _check_noise(sigma, replicates, baseline, intervals, arrival)
    if n_steps is not None and n_steps < 1:
        raise ValueError(f"expected n_steps >= 1, got {n_steps}.")
    if points > 2:
        check_analytic(clamped)
    n_samples = target.shape[0] if target.ndim > 1 else 1
    target = target.reshape(n_samples, -1)
    fixed = _equilibrium(clamped, start, state, n_samples, tol)
    responsive = responsive_units(clamped, fixed.state, target, arrival.one_sided)
    chain = chain_gradient(clamped, fixed.state, target, arrival.one_sided)
    deepest = len(clamped.layers) - 1
    saves = [
        saved_steps(
            deepest, n_steps or max(round(t_end / e), deepest + 3), None if save_all else 48
        )
        for e in sizes.tolist()
    ]
    driven = DrivenRun(
        clamped, fixed.state, target, responsive, chain, arrival, method, float(sigma), noise,
        replicates, baseline, intervals,
    )  # fmt: skip
    runs, responses = [], []
    for e, steps in zip((track or iter)(sizes.tolist()), saves, strict=True):
        runs.append(driven.at(e, steps, seed))
        seed = runs[-1].seed if sigma > 0 else None
        responses.append(driven.linear_response(e, steps).transpose(0, 1))
    displacement = _filled([run.mean.transpose(0, 1) for run in runs], dim=1)
    displacement[~fixed.converged] = torch.nan
    first = next(iter(network.layers))
    return Correspondence(
        network=network,
        input=None if x is None else network._layer_state(first, x).expand(n_samples, -1),
        target=target,
        fixed=fixed,
        responsive=responsive,
        message=_messages(clamped, fixed, responsive, arrival),
        eps=sizes,
        step=_filled([torch.tensor(steps) for steps in saves], dim=0, fill=-1),
        displacement=displacement,
        standard_error=_gathered([run.standard_error for run in runs], 0, 1),
        coefficient_interval=_gathered([run.coefficient_interval for run in runs], 1, 2),
        cosine_interval=_gathered([run.cosine_interval for run in runs], 1, 2),
        linear_response=_filled(responses, dim=1),
        chain=chain,
        implicit=implicit_gradient(clamped, fixed.state, target),
        first_crossing=torch.stack([run.crossings.step for run in runs], -1),
        crossing_unit=torch.stack([run.crossings.unit for run in runs], -1),
        crossing_direction=torch.stack([run.crossings.direction for run in runs], -1),
        drive=arrival,
        method=method,
        sigma=float(sigma),
        noise=noise,
        replicates=replicates,
        baseline=baseline if sigma > 0 else "equilibrium",
        seed=seed,
        layers=list(clamped.layers),
    )


def saved_steps(deepest: int, n_steps: int, at_most: int | None = 48) -> list[int]:
    """Return every step up to two past the first arrival at a depth, then evenly in log time.

    Parameters
    ----------
    deepest : int
        The depth.
    n_steps : int
        The last step.
    at_most : int or None
        Number of steps to save; None for all.
    """
    if at_most is None:
        return list(range(n_steps + 1))
    early = list(range(min(deepest + 3, n_steps) + 1))
    n_late = at_most - len(early)
    late = (
        np.geomspace(early[-1], n_steps, n_late + 1).round().astype(int)[1:] if n_late > 0 else []
    )
    return sorted({*early, *map(int, late), n_steps})


def _checked_sizes(eps: float | Sequence[float]) -> Tensor:
    sizes = torch.as_tensor(eps, dtype=torch.float64).reshape(-1)
    if len(sizes) == 0 or not bool(((sizes > 0) & (sizes <= 1)).all()):
        raise ValueError(f"expected step sizes 0 < eps <= 1, got {eps}; larger steps overshoot.")
    return sizes


def _check_noise(
    sigma: float, replicates: int, baseline: str, intervals: bool, drive: Drive
) -> None:
    if replicates < 1 or not sigma >= 0:
        raise ValueError(f"expected replicates >= 1 and sigma >= 0, got {replicates}, {sigma}.")
    if baseline not in BASELINES:
        raise ValueError(f"expected baseline {', '.join(BASELINES)}, got {baseline!r}.")
    if replicates > 1 and sigma == 0:
        raise ValueError(f"expected sigma > 0 with {replicates} replicates, got 0; all are equal.")
    if intervals and replicates < 2:
        raise ValueError(
            f"expected replicates >= 2 with intervals, got {replicates}; one run has no spread."
        )
    if sigma > 0 and drive.points > 2:
        raise ValueError(
            f"expected points=1 or 2 with noise, got {drive.points}; a complex run has no noise."
        )


def _equilibrium(
    network: VectorField,
    start: ArrayLike | Tensor | None,
    state: ArrayLike | Tensor | None,
    n_samples: int,
    tol: float,
) -> FixedPoints:
    """Settle and polish, or take a given equilibrium as it is."""
    if state is not None:
        if start is not None:
            raise ValueError("expected start or state, got both; a given state isn't settled.")
        s = network.as_state(state).expand(n_samples, -1)
        far = residual(network, s)
        if not bool((far <= tol).all()):
            raise ValueError(
                f"expected an equilibrium, got a state with residual {float(far.max()):.3g} > "
                f"{tol:g}: its displacement would measure how it relaxes; settle it first."
            )
        return settle(network, s, tol=tol)
    if start is None:
        if network.n_units is None:
            raise ValueError("this network takes states of any length; give a start.")
        start = torch.zeros(network.n_units)
    fixed = settle(network, network.as_state(start).expand(n_samples, -1), tol=tol)
    return _polished(network, fixed, tol)


def _polished(network: VectorField, fixed: FixedPoints, tol: float) -> FixedPoints:
    """Take one Newton step where it lowers the residual, which lowers the rounding floor."""
    if not isinstance(network, Network):
        return fixed
    s = fixed.state + newton_step(network, fixed.state)
    if network.box is not None:
        s = network.box.project(s)
    better = fixed.converged & (residual(network, s) < fixed.residual)
    s = torch.where(better.unsqueeze(-1), s, fixed.state)
    return settle(network, s, tol=tol) if bool(fixed.converged.all()) else fixed


def _messages(
    network: VectorField, fixed: FixedPoints, responsive: Tensor, drive: Drive
) -> list[str]:
    silent = ~responsive[..., network.layers[network.output]]
    messages = list(fixed.message)
    for i in torch.nonzero(silent.any(-1)).flatten().tolist():
        if not messages[i]:
            why = "pulled further out" if drive.one_sided else "a weak nudge leaves them there"
            messages[i] = (
                f"sample {i}: outputs {torch.nonzero(silent[i]).flatten().tolist()} are pinned at "
                f"a kink and {why}, so that nothing comes back from them."
            )
    return messages


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
