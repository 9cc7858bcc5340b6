"""What a run keeps at its saves: states, or what is observed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["Observables", "Recorder", "check_observables"]

Observables = Mapping[str, Callable[[Tensor], Tensor]]


def check_observables(observe: object) -> None:
    """Refuse what is no mapping of names to functions of a state, or None.

    Examples
    --------
    >>> from ctebm.dynamics.recorder import check_observables
    >>> check_observables({"norm": lambda s: s.norm(dim=-1)})
    """
    if observe is None:
        return
    if not isinstance(observe, Mapping) or not all(
        isinstance(name, str) and callable(function) for name, function in observe.items()
    ):
        raise ValueError(
            f"expected observe to name functions of a state, got {observe!r}; give "
            "{'name': function}."
        )


class Recorder:
    """The saves of a run, one after another.

    Parameters
    ----------
    start : Tensor, (*batch, unit)
        The first state, which is not saved yet.
    n_saves : int
        How many saves there may be.
    observe : mapping of str to callable or None
        Functions of a state to be kept instead of states.
    differentiable : bool
        Whether states are parts of a graph, which one block of memory can not hold.

    Attributes
    ----------
    steps, phases : list of int
        The step of each save, and the number of its phase.
    """

    def __init__(
        self, start: Tensor, n_saves: int, observe: Observables | None, differentiable: bool
    ) -> None:
        check_observables(observe)
        self.steps: list[int] = []
        self.phases: list[int] = []
        self._observe = observe or {}
        self._observed: dict[str, list[Tensor]] = {name: [] for name in self._observe}
        self._parts: list[Tensor] = []
        self._last = start.unsqueeze(0)
        in_place = not (observe or differentiable)
        self._block = start.new_empty(n_saves, *start.shape) if in_place else None

    def save(self, steps: Sequence[int], states: Tensor, phase: int) -> None:
        """Keep states, ``(step, *batch, unit)``, or what is observed of them."""
        if not steps:
            return
        if self._block is not None:
            self._block[len(self.steps) : len(self.steps) + len(steps)] = states
        elif self._observe:
            self._last = states[-1:]
        else:
            self._parts.append(states)
        for name, function in self._observe.items():
            self._observed[name] += [_observed(function, state) for state in states]
        self.steps += steps
        self.phases += [phase] * len(steps)

    @property
    def state(self) -> Tensor:
        """The saved states, ``(step, *batch, unit)``; the last alone if functions are kept."""
        if self._block is not None:
            return self._block[: len(self.steps)]
        # a copy, since the last state is a part of a block of states that are not kept
        return self._last.clone() if self._observe else torch.cat(self._parts)

    @property
    def observed(self) -> dict[str, Tensor]:
        """What was observed, ``(step, ...)`` each."""
        return {name: torch.stack(values) for name, values in self._observed.items()}


def _observed(function: Callable[[Tensor], Tensor], state: Tensor) -> Tensor:
    """Return what a function says of a state, which it may neither change nor keep alive."""
    value = function(state.clone())
    try:
        return torch.as_tensor(value).clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected a function in observe that returns numbers, got {type(value).__name__}; "
            "return a tensor, or a number."
        ) from error
