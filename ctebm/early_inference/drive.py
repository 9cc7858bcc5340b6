r"""How a target reaches the output: the paper's drive, a nudge, a clamp.

``replace`` (eq. 12) replaces the output's pressure by the target, :math:`dy = (y^* - y)\,dt`;
``nudge`` adds :math:`\beta(y^* - y)` to the output's own force (equilibrium propagation); ``clamp``
sets the output to the target at once. To first order all three send the chain gradient down:
replacement and a nudge with the same coefficient, a clamp one step ahead of it.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ctebm.dynamics.sde import Dynamics
from ctebm.early_inference.driven import HeldOutput, TangentField, with_output
from ctebm.networks.base import VectorField

__all__ = ["Drive"]

KINDS = ("replace", "nudge", "clamp")


@dataclass(frozen=True)
class Drive:
    r"""A way of bringing the target to the output.

    Parameters
    ----------
    kind : {"replace", "nudge", "clamp"}
        See the module's page.
    beta : float, optional
        Strength of a nudge, given with it and only then; negative pushes away.
    points : int
        Strengths :math:`\beta\,e^{2\pi i j/N}` of a nudge, `N` of them, whose responses are
        combined as :math:`\frac{1}{N\beta}\sum_j e^{-2\pi i j/N}\Delta_j`: the response for unit
        strength with an error of :math:`O(\beta^N)`. 1 is one-sided, 2 is symmetric, more are
        complex (Laborieux & Zenke 2022) and need an activation that is analytic as far as they
        move the states, see :attr:`ctebm.networks.activation.Activation.strip`.
    """

    kind: Literal["replace", "nudge", "clamp"] = "replace"
    beta: float | None = None
    points: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"expected a drive {', '.join(KINDS)}, got {self.kind!r}.")
        if self.kind != "nudge" and (self.beta is not None or self.points != 1):
            raise ValueError(
                f"expected beta and points with drive='nudge' only, got {self.kind!r}."
            )
        if self.kind == "nudge" and not (
            self.beta is not None and math.isfinite(self.beta) and self.beta != 0
        ):
            raise ValueError(
                f"expected a finite beta other than 0 with a nudge, got {self.beta}; without "
                "strength it moves nothing."
            )
        if self.points < 1:
            raise ValueError(f"expected points >= 1, got {self.points}.")

    @property
    def one_sided(self) -> bool:
        """Whether a pinned output leaves its kink for an inward target; a weak nudge does not."""
        return self.kind != "nudge"

    @property
    def lead(self) -> int:
        """How many steps earlier than by replacement the target arrives."""
        return int(self.kind == "clamp")

    @property
    def strength(self) -> float:
        """What displacements are divided by: beta, or 1."""
        return 1.0 if self.beta is None else self.beta

    def weights(self) -> list[tuple[complex, complex]]:
        """Return strengths and their factors; of two conjugate strengths one, counted twice."""
        n, roots = self.points, []
        for j in range(n // 2 + 1):
            root = cmath.exp(2j * math.pi * j / n)
            real = 2 * j in (0, n)
            root = complex(round(root.real)) if real else root
            roots.append((root * self.strength, (1 if real else 2) / (root * n * self.strength)))
        return roots

    def dynamics(
        self,
        network: VectorField,
        target: Tensor,
        sigma: float = 0.0,
        noise: Literal["langevin", "synaptic"] = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        """Return the motion of a network under this drive, at a real strength.

        That of a clamp begins where :meth:`start` says, and is seen through :meth:`seen`.
        """
        if self.kind == "nudge":
            return Dynamics(network, sigma=sigma, noise=noise, nudge=target, beta=strength)
        if self.kind == "clamp" and sigma > 0:
            network = HeldOutput(network, target)
        return Dynamics(network, sigma=sigma, noise=noise, drive=target)

    def start(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        """Return the state from which the motion begins."""
        return self.seen(network, state, target)

    def seen(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        """Return states of the motion with a clamped output where it is held."""
        return with_output(network, state, target) if self.kind == "clamp" else state

    def tangent(
        self, network: VectorField, state: Tensor, target: Tensor, responsive: Tensor
    ) -> tuple[Dynamics, Tensor]:
        """Return the linearised motion under this drive and where it begins.

        For a nudge it is the response for unit strength in the limit of a weak one.
        """
        y = network.layers[network.output]
        pull = target - state[..., y]
        if self.kind == "nudge":
            return Dynamics(TangentField(network, state, responsive, pull)), torch.zeros_like(state)
        tangent = TangentField(network, state, responsive)
        return Dynamics(tangent, drive=pull), self.start(tangent, torch.zeros_like(state), pull)
