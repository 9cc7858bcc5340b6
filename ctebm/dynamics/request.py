"""What a request to integrate means, and what is refused before the first step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.clock import Clock, Saves, in_double_precision
from ctebm.dynamics.methods import method_named
from ctebm.dynamics.sde import Dynamics, Phase, as_dynamics
from ctebm.dynamics.trajectory import Trajectory
from ctebm.networks.base import StateLike, VectorField
from ctebm.networks.differentiable import Differentiated, check_force
from ctebm.networks.layout import broadcast_shapes
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite

__all__ = [
    "Room", "check_adaptive", "check_fixed", "check_method", "clock_of", "first_state",
    "motions_of",
]  # fmt: skip

_BEYOND = 2**62  # saves or steps, more than any memory holds
_GRAPH_STATES = 6  # states' worth of memory that a drift keeps for its gradient, about
_OBSERVED_BYTES = 600  # of a number that is observed, a tensor until the run ends
_TIME_BYTES = 16  # of a time, twice
_SAVE_BYTES = 128  # of a save's number, time and phase, as lists of Python hold them


def motions_of(
    dynamics: Dynamics | VectorField | Sequence[Phase],
) -> tuple[list[Dynamics], list[Phase]]:
    """Return the motions one after another, and their phases if these were given."""
    if isinstance(dynamics, Dynamics | VectorField):
        return [as_dynamics(dynamics)], []
    phases: list[Any] = list(dynamics) if isinstance(dynamics, list | tuple) else [dynamics]
    wrong = [type(phase).__name__ for phase in phases if not isinstance(phase, Phase)]
    if wrong or not phases:
        raise ValueError(
            "expected Dynamics, a network, or one or more of Phase(name, dynamics, n_steps), got "
            f"{wrong[0] if wrong else 'none'}."
        )
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ValueError(f"expected phases of different names, got {names}.")
    sizes = {phase.dynamics.network.n_units for phase in phases}
    if len(sizes) > 1:
        raise ValueError(f"expected phases with the same units, got {sorted(map(str, sizes))}.")
    return [phase.dynamics for phase in phases], phases


def check_method(method: str, motions: Sequence[Dynamics], steady: float | None) -> None:
    """Refuse a method that does not exist, or not for these motions."""
    solver = method_named(method)
    noisy = [motion.noisy for motion in motions]
    for motion, has_noise in zip(motions, noisy, strict=True):
        if has_noise and solver.sde is None:
            raise ValueError(f"{method} takes no noise; use method='euler' or sigma=0.")
        if not has_noise and solver.ode is None:
            raise ValueError(
                f"{method} is for noise, and a motion has none; use method='heun', or give a sigma."
            )
        if has_noise and motion.noise == "synaptic" and method != "euler":
            raise ValueError(
                f"the map with synaptic noise is one step of Euler's method, got {method!r}; use "
                "method='euler', or noise='langevin'."
            )
    quiet = not any(noisy) and not solver.adaptive
    if steady is not None and not (quiet and finite("steady", steady, above=0)):
        raise ValueError("expected steady > 0 with a fixed-step method and no noise; leave it out.")


def check_adaptive(dynamics: Dynamics, method: str, options: Mapping[str, object]) -> None:
    """Refuse what an adaptive method does not take: options of fixed steps, and kinks."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"{method} chooses its own steps, and has one path for its batch; expected times "
            f"alone, got {' and '.join(given)}; leave it out, or use a fixed-step method."
        )
    network = dynamics.network
    kinks = getattr(getattr(network, "activation", None), "kinks", ()) or network.box
    if not kinks and network.kinks is not None:
        at = torch.as_tensor(network.kinks.at, device="cpu")
        kinks = at[at.isfinite()].unique().tolist()
    if kinks:
        raise ValueError(
            f"{method} stalls where units chatter around the kinks at {tuple(kinks)}; use a "
            "fixed-step method, which slides on kinks, or a smooth activation such as "
            "SmoothHardSigmoid."
        )


def check_fixed(method: str, given: Iterable[str]) -> None:
    """Refuse options of adaptive methods, by their names.

    Examples
    --------
    >>> from ctebm.dynamics.request import check_fixed
    >>> check_fixed("euler", [])
    """
    if names := list(given):
        raise ValueError(
            f"{method} takes steps of eps, whatever their error, got {' and '.join(names)}; leave "
            "it out, or use an adaptive method such as dopri5."
        )


def first_state(
    motions: Sequence[Dynamics], start: StateLike, eps: float | Tensor | None
) -> Tensor:
    """Return the first state, broadcast against biases, targets, noise and step sizes."""
    if isinstance(start, Trajectory):
        raise ValueError(
            "expected a state, got a whole trajectory; give run.state[-1] to go on from its end."
        )
    s = motions[0].network.finite_state(start)
    each = () if eps is None else in_double_precision(eps).shape
    for motion in motions:
        motion.refuse_labels(s.shape[:-1])
    batches = [s.shape[:-1], each, *(motion.batch for motion in motions)]
    try:
        batch = broadcast_shapes(*batches)
    except ValueError as error:
        raise ValueError(
            "expected as many samples of start, eps and dynamics, got "
            f"{', '.join(str(tuple(b)) for b in batches)}; give each as many rows, or one."
        ) from error
    s = s.expand(*batch, s.shape[-1]).contiguous()
    for motion in motions:
        _check_own_force(motion.network, s)
    return s


def _check_own_force(network: VectorField, s: Tensor) -> None:
    """Refuse a force of one's own that is no number for each unit; those of ctebm are."""
    if not type(network.origin[0]).force.__module__.startswith("ctebm."):
        with torch.no_grad(), Differentiated("a force"):
            check_force(network.force(s), s)


@dataclass(frozen=True)
class Room:
    """The memory that a run needs for what it keeps.

    Attributes
    ----------
    state : Tensor, (*batch, unit)
        A state of the run.
    states : bool
        Whether states are kept, and not only functions of them.
    stages : int
        Evaluations of the drift in a step whose graph is kept.
    observed : int
        Functions of the state that are kept.
    each : int
        Step sizes, each of which has a time of its own at every save.
    """

    state: Tensor
    states: bool
    stages: int
    observed: int
    each: int

    def check(self, n_saves: int, n_steps: int) -> None:
        """Refuse a run whose saves do not fit the free memory."""
        n_saves, n_steps = min(n_saves, _BEYOND), min(n_steps, _BEYOND)
        a_state = self.state.numel() * self.state.element_size()
        graph = _GRAPH_STATES * self.stages * n_steps
        a_save = _SAVE_BYTES + _TIME_BYTES * self.each + _OBSERVED_BYTES * self.observed
        needed = a_state * (n_saves * self.states + graph) + a_save * n_saves
        remedy = "take fewer steps" if graph else "save fewer (save_every) or use observe"
        check_memory("the states that this run keeps", needed, remedy, self.state.device)


def clock_of(
    eps: Tensor,
    room: Room,
    phases: Sequence[Phase],
    n_steps: int | None,
    times: ArrayLike | Tensor | None,
    save_every: int,
    save_steps: Sequence[int] | None,
    first: int,
) -> Clock:
    """Return the clock of a run with fixed steps, once there is room for its saves."""
    ways = {"n_steps": n_steps is not None, "times": times is not None, "phases": bool(phases)}
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise ValueError(f"expected n_steps, times or phases, got {got}; give one.")
    if times is not None:
        if save_every != 1 or save_steps is not None:
            raise ValueError(
                "expected save_every and save_steps with n_steps only; times are saved."
            )
        clock = Clock.of_times(eps, times, first)
        room.check(len(clock.saved), clock.n_steps)
        return clock
    ends = list(accumulate(phase.n_steps for phase in phases))
    saves = Saves(ends[-1] if n_steps is None else n_steps, save_every, save_steps, ends)
    room.check(saves.most, saves.n_steps)
    return Clock.of_steps(eps, saves, first)
