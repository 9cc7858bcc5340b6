r"""How a target reaches the output: the paper's drive, a nudge, a clamp.

:class:`Replace` (eq. 12) replaces the output's pressure by the target, :math:`dy = (y^* - y)\,dt`;
:class:`Nudge` adds :math:`\beta(y^* - y)` to the output's own force (equilibrium propagation);
:class:`Clamp` sets the output to the target at once. To first order all three send the chain
gradient down: replacement and a nudge with the same coefficient, a clamp one step ahead of it.
With a cost :math:`C` of one's own :math:`-\partial C/\partial y` stands for :math:`y^* - y`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.slopes import CostFunction, checked_cost, cost_name
from ctebm.early_inference.analytic import check_analytic
from ctebm.early_inference.costs import curvature_of_cost, target_of_cost
from ctebm.early_inference.driven import HeldOutput, TangentField, with_output
from ctebm.early_inference.holomorphic import circle
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
    cost : callable or None
        Of which the slope drives.
    """

    name: ClassVar[str]
    one_sided: ClassVar[bool] = True
    lead: ClassVar[int] = 0
    cost: CostFunction | None = None

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
        """Return where the motion begins."""
        return self.seen(network, state, target)

    def seen(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        """Return states of the motion, with the output at its target where it is held there."""
        return state

    def tangent(
        self, network: VectorField, state: Tensor, target: Tensor, responsive: Tensor
    ) -> tuple[Dynamics, Tensor]:
        """Return the linearised motion under this drive and where it begins."""
        pull = self.aim(network, state, target) - state[..., network.layers[network.output]]
        if self.cost is None:
            tangent = TangentField(network, state, responsive)
            return Dynamics(tangent, drive=pull), self.start(tangent, torch.zeros_like(state), pull)
        curvature = curvature_of_cost(network, state, target, self.cost)
        tangent = TangentField(network, state, responsive, pull, curvature)
        return Dynamics(tangent), torch.zeros_like(state)

    def aim(self, network: VectorField, state: Tensor, target: Tensor) -> Tensor:
        """Return the target whose squared error has the slope of the cost at a state."""
        return target_of_cost(network, state, target, self.cost)

    def stiffness(self, network: VectorField, state: Tensor, target: Tensor, v: Tensor) -> Tensor:
        r"""Return :math:`C'' v` for vectors of the output, which is `v` for the squared error."""
        if self.cost is None:
            return v
        curvature = curvature_of_cost(network, state, target, self.cost)
        return (curvature @ v.unsqueeze(-1)).squeeze(-1)

    def attributes(self) -> dict[str, Any]:
        """Return its name and its parameters, for a dataset."""
        cost = {} if self.cost is None else {"cost": cost_name(self.cost)}
        return {"drive": self.name} | cost


@dataclass(frozen=True)
class Replace(Drive):
    """The paper's drive (eq. 12): the target replaces the output's pressure.

    Parameters
    ----------
    cost : callable, optional
        As for :class:`ctebm.Dynamics`.

    Examples
    --------
    >>> from ctebm.early_inference.drive import Replace, drive_named
    >>> drive_named("replace") == Replace()
    True
    """

    cost: CostFunction | None = None

    name = "replace"

    def dynamics(
        self,
        network: VectorField,
        target: Tensor,
        sigma: float = 0.0,
        noise: Noise = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        return Dynamics(network, sigma=sigma, noise=noise, drive=target, cost=self.cost)


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
    cost : callable, optional
        As for :class:`ctebm.Dynamics`.

    Examples
    --------
    >>> from ctebm.early_inference.drive import Nudge
    >>> [strength.real for strength, _ in Nudge(0.1, points=2).runs()]
    [0.1, -0.1]
    """

    beta: float
    points: int = 1
    cost: CostFunction | None = None

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
        if self.points > 2 and self.cost is not None:
            raise ValueError(
                f"expected points=1 or 2 with a cost, got {self.points}; a complex nudge takes the "
                "squared error."
            )

    @property
    def strength(self) -> float:
        return self.beta

    def runs(self) -> list[tuple[complex, complex]]:
        """Return strengths and factors; of two conjugate strengths one, counted twice."""
        return circle(self.beta, self.points)

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
        return Dynamics(
            network, sigma=sigma, noise=noise, nudge=target, beta=strength, cost=self.cost
        )

    def tangent(
        self, network: VectorField, state: Tensor, target: Tensor, responsive: Tensor
    ) -> tuple[Dynamics, Tensor]:
        """Return the response for unit strength in the limit of a weak nudge."""
        pull = self.aim(network, state, target) - state[..., network.layers[network.output]]
        return Dynamics(TangentField(network, state, responsive, pull)), torch.zeros_like(state)

    def attributes(self) -> dict[str, Any]:
        return super().attributes() | {"beta": self.beta, "points": self.points}


def drive_named(
    name: str, beta: float | None = None, points: int = 1, cost: CostFunction | None = None
) -> Drive:
    """Return a drive by its word, ``"replace"``, ``"nudge"`` or ``"clamp"``.

    Parameters
    ----------
    name : str
        The word.
    beta, points
        Of a nudge, and given with it only.
    cost : callable, optional
        Of a nudge or a replacement.

    Raises
    ------
    ValueError
        For another word, a nudge without a strength, or a strength or cost without meaning.
    """
    cost = checked_cost(cost)
    if one_of("a drive", name, [Replace.name, Clamp.name, Nudge.name]) == Nudge.name:
        # it refuses None itself
        return Nudge(beta, points, cost)  # pyright: ignore[reportArgumentType]
    if beta is not None or points != 1:
        raise ValueError(f"expected beta and points with drive='nudge' only, got {name!r}.")
    if name == Clamp.name and cost is not None:
        raise ValueError(
            "expected drive='replace' or 'nudge' with a cost, got 'clamp'; a clamped output is at "
            "its target, whatever that costs."
        )
    return Clamp() if name == Clamp.name else Replace(cost)
