r"""How a target reaches the output: the paper's drive, a nudge, a clamp.

:class:`Replace` (eq. 12) replaces the output's pressure by the target, :math:`dy = (y^* - y)\,dt`;
:class:`Nudge` adds :math:`\beta(y^* - y)` to the output's own force (equilibrium propagation);
:class:`Clamp` sets the output to the target at once. To first order all three send the chain
gradient down: replacement and a nudge with the same coefficient, a clamp one step ahead of it.
"""

from __future__ import annotations

import cmath
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ctebm.dynamics.sde import Dynamics
from ctebm.early_inference.driven import HeldOutput, TangentField, check_analytic, with_output
from ctebm.networks.base import VectorField
from ctebm.networks.numbers import finite, one_of, whole

__all__ = ["Clamp", "Drive", "Nudge", "Replace", "drive_named"]

Noise = Literal["langevin", "synaptic"]

_MOST_POINTS = 1024  # an error of beta^1024 is far below rounding for every beta up to 0.96


class Drive(ABC):
    """A way of bringing the target to the output.

    Attributes
    ----------
    name : str
        Its word in :func:`~ctebm.correspondence` and in datasets.
    one_sided : bool
        Whether a pinned output leaves its kink for an inward target; a weak nudge does not.
    lead : int
        How many steps earlier than by replacement the target arrives.
    """

    name: ClassVar[str]
    one_sided: ClassVar[bool] = True
    lead: ClassVar[int] = 0

    @property
    def strength(self) -> float:
        """What displacements are divided by: beta for a nudge, else 1."""
        return 1.0

    def runs(self) -> list[tuple[complex, complex]]:
        """Return the strength of each run, and the factor of its displacement in the response."""
        return [(1.0 + 0.0j, 1.0 + 0.0j)]

    def check(self, network: VectorField, sigma: float) -> None:
        """Refuse a network, or noise, for which this drive has no meaning."""
        return

    @abstractmethod
    def dynamics(
        self,
        network: VectorField,
        target: Tensor,
        sigma: float = 0.0,
        noise: Noise = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        """Return the motion of a network under this drive, at a real strength.

        It begins where :meth:`start` says, and its states are read through :meth:`seen`.
        """

    def start(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        """Return the state from which the motion begins."""
        return self.seen(network, state, target)

    def seen(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        """Return states of the motion, with the output at its target where it is held there."""
        return state

    def tangent(
        self, network: VectorField, state: Tensor, target: Tensor, responsive: Tensor
    ) -> tuple[Dynamics, Tensor]:
        """Return the linearised motion under this drive and where it begins."""
        pull = target - state[..., network.layers[network.output]]
        tangent = TangentField(network, state, responsive)
        return Dynamics(tangent, drive=pull), self.start(tangent, torch.zeros_like(state), pull)

    def attributes(self) -> dict[str, Any]:
        """Return its name and its parameters, for a dataset."""
        return {"drive": self.name}


@dataclass(frozen=True)
class Replace(Drive):
    """The paper's drive (eq. 12): the target replaces the output's pressure.

    Examples
    --------
    >>> from ctebm.early_inference.drive import Replace, drive_named
    >>> drive_named("replace") == Replace()
    True
    """

    name = "replace"

    def dynamics(
        self,
        network: VectorField,
        target: Tensor,
        sigma: float = 0.0,
        noise: Noise = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        return Dynamics(network, sigma=sigma, noise=noise, drive=target)


@dataclass(frozen=True)
class Clamp(Drive):
    """The output is at the target from the first moment on, and has no noise.

    Examples
    --------
    >>> from ctebm.early_inference.drive import Clamp
    >>> Clamp().lead
    1
    """

    name = "clamp"
    lead = 1

    def dynamics(
        self,
        network: VectorField,
        target: Tensor,
        sigma: float = 0.0,
        noise: Noise = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        if sigma > 0:
            network = HeldOutput(network, target)
        return Dynamics(network, sigma=sigma, noise=noise, drive=target)

    def seen(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        return with_output(network, state, target)


@dataclass(frozen=True)
class Nudge(Drive):
    r"""The force :math:`\beta(y^* - y)` is added to the output's own (equilibrium propagation).

    Parameters
    ----------
    beta : float
        Strength; negative pushes away.
    points : int
        Strengths :math:`\beta\,e^{2\pi i j/N}`, `N` of them, whose responses are combined as
        :math:`\frac{1}{N\beta}\sum_j e^{-2\pi i j/N}\Delta_j`: the response for unit strength with
        an error of :math:`O(\beta^N)`. 1 is one-sided, 2 is symmetric, more are complex (Laborieux
        & Zenke 2022) and need an activation that is analytic as far as they move the states, see
        :attr:`ctebm.networks.activation.Activation.analytic_strip`.

    Examples
    --------
    >>> from ctebm.early_inference.drive import Nudge
    >>> [strength.real for strength, _ in Nudge(0.1, points=2).runs()]
    [0.1, -0.1]
    """

    beta: float
    points: int = 1

    name = "nudge"
    one_sided = False

    def __post_init__(self) -> None:
        if self.beta is None or finite("beta", self.beta) == 0:
            raise ValueError(
                f"expected a finite beta other than 0 with a nudge, got {self.beta}; without "
                "strength it moves nothing."
            )
        object.__setattr__(self, "beta", finite("beta", self.beta))
        object.__setattr__(self, "points", whole("points", self.points, 1, _MOST_POINTS))

    @property
    def strength(self) -> float:
        return self.beta

    def runs(self) -> list[tuple[complex, complex]]:
        """Return strengths and factors; of two conjugate strengths one, counted twice."""
        n, runs = self.points, []
        for j in range(n // 2 + 1):
            root = cmath.exp(2j * math.pi * j / n)
            real = 2 * j in (0, n)
            root = complex(round(root.real)) if real else root
            runs.append((root * self.beta, (1 if real else 2) / (root * n * self.beta)))
        return runs

    def check(self, network: VectorField, sigma: float) -> None:
        if self.points <= 2:
            return
        if sigma > 0:
            raise ValueError(
                f"expected points=1 or 2 with noise, got {self.points}; a complex run has no noise."
            )
        check_analytic(network)

    def dynamics(
        self,
        network: VectorField,
        target: Tensor,
        sigma: float = 0.0,
        noise: Noise = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        return Dynamics(network, sigma=sigma, noise=noise, nudge=target, beta=strength)

    def tangent(
        self, network: VectorField, state: Tensor, target: Tensor, responsive: Tensor
    ) -> tuple[Dynamics, Tensor]:
        """Return the response for unit strength in the limit of a weak nudge."""
        pull = target - state[..., network.layers[network.output]]
        return Dynamics(TangentField(network, state, responsive, pull)), torch.zeros_like(state)

    def attributes(self) -> dict[str, Any]:
        return {"drive": self.name, **asdict(self)}


def drive_named(name: str, beta: float | None = None, points: int = 1) -> Drive:
    """Return a drive by its word, ``"replace"``, ``"nudge"`` or ``"clamp"``.

    Parameters
    ----------
    name : str
        The word.
    beta, points
        Of a nudge, and given with it only.

    Raises
    ------
    ValueError
        For another word, a nudge without a strength, or a strength without a nudge.
    """
    plain = {kind.name: kind for kind in (Replace, Clamp)}
    if one_of("a drive", name, [*plain, Nudge.name]) == Nudge.name:
        return Nudge(beta, points)  # pyright: ignore[reportArgumentType]  # it refuses None itself
    if beta is not None or points != 1:
        raise ValueError(f"expected beta and points with drive='nudge' only, got {name!r}.")
    return plain[name]()
