"""A motion in the form that torchsde asks for, with time counted in steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ctebm.dynamics.sde import Dynamics

__all__ = ["Motion", "Ticks", "UnitSteps", "column"]


class Motion:
    """The SDE on states ``(sample, unit)``, in the form that torchsde asks for."""

    noise_type: str = "diagonal"
    sde_type: str
    flat: tuple[int, int]
    intensity: Tensor
    drift: Callable[[Any, Tensor], Tensor]

    def __init__(self, dynamics: Dynamics, calculus: str, shape: torch.Size) -> None:
        self.sde_type, self.flat = calculus, (shape[:-1].numel(), shape[-1])
        self.intensity = column(dynamics.sigma, shape).expand(self.flat)
        self.drift = dynamics.f
        if len(shape) != 2:
            self.drift = lambda t, s: dynamics.f(t, s.reshape(shape)).reshape(self.flat)

    def f(self, t: Any, s: Tensor) -> Tensor:
        return self.drift(t, s)

    def g(self, t: Any, s: Tensor) -> Tensor:
        return self.intensity


class UnitSteps(Motion):
    """The SDE with time in steps, whose noise comes with the intensity of a step."""

    eps: Tensor
    intensity: Tensor

    def __init__(self, dynamics: Dynamics, calculus: str, shape: torch.Size, eps: Tensor) -> None:
        super().__init__(dynamics, calculus, shape)
        self.eps = column(eps, shape)
        self.intensity = torch.ones_like(self.intensity)

    def f(self, t: Any, s: Tensor) -> Tensor:
        return self.eps * self.drift(t, s)

    def f_and_g_prod(self, t: Any, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.eps * self.drift(t, s), v


class Ticks(Tensor):
    """Times whose elements are Python numbers.

    torchsde takes numbers or tensors as times. Its loop reads them from here one by one, and
    arithmetic on tensors of one time would cost more than the drift of a small network.
    """

    numbers: list[float]

    @classmethod
    def of(cls, times: Tensor) -> Ticks:
        """Return times as these."""
        ticks = times.as_subclass(cls)
        ticks.numbers = times.tolist()
        return ticks

    def __getitem__(self, where: Any) -> Any:
        picked = self.numbers[where]
        if isinstance(picked, list):
            return Ticks.of(torch.tensor(picked, dtype=torch.float64, device="cpu"))
        return picked

    def __iter__(self) -> Any:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def column(value: Tensor, shape: torch.Size) -> Tensor:
    """Return ``()``, or one number for each of the flattened samples, ``(sample, 1)``."""
    return value if value.ndim == 0 else value.expand(*shape[:-1], 1).reshape(-1, 1)
