r"""What a rule asks of a network whose parameters learn, and the gradient that it returns.

States are lists of one tensor ``(batch, size)`` a layer, input first. Rules are written once, by
the methods of :class:`Plastic`; :class:`~ctebm.PlasticField` has them for any network, and
:class:`~ctebm.PlasticNetwork` in closed form for layers coupled as in eq. 6.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.networks.base import VectorField

__all__ = ["Adjoint", "Plastic", "WeightGradient"]

Adjoint = Literal["chain", "chain_feedback", "implicit"]


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """What an optimiser descends, a mean over the batch.

    Attributes
    ----------
    by_name : dict of str to Tensor
        For the parameters of :class:`Plastic` by their names; one without an entry stays.
    residual : float
        The largest residual of the nudged rests that the rule settled; NaN of a rule that settles
        none.
    settled : bool
        Whether those rests are within the rule's own tolerance.

    Examples
    --------
    >>> import torch
    >>> from ctebm.learning.plastic import WeightGradient
    >>> found = WeightGradient.of_layers([torch.ones(3, 2)], [torch.zeros(2)])
    >>> list(found.by_name)
    ['weights.0', 'biases.1']
    """

    by_name: dict[str, Tensor]
    residual: float = math.nan
    settled: bool = True

    @classmethod
    def of_layers(
        cls, weights: Sequence[Tensor], biases: Sequence[Tensor], feedback: Sequence[Tensor] = ()
    ) -> Self:
        """Return the gradient for layers, input first, the biases beginning above the input."""
        lists = {"weights": (0, weights), "biases": (1, biases), "feedback": (0, feedback)}
        return cls({
            f"{name}.{i}": t
            for name, (first, tensors) in lists.items()
            for i, t in enumerate(tensors, first)
        })  # fmt: skip

    @property
    def weights(self) -> list[Tensor]:
        """The gradients called ``weights``, input first."""
        return self._called("weights")

    @property
    def biases(self) -> list[Tensor]:
        """The gradients called ``biases``, input first."""
        return self._called("biases")

    @property
    def feedback(self) -> list[Tensor]:
        """The gradients called ``feedback``, input first; none if tied, or the rule has none."""
        return self._called("feedback")

    def _called(self, name: str) -> list[Tensor]:
        return [g for key, g in self.by_name.items() if key.split(".")[0] == name]


class Plastic(ABC):
    """A network whose parameters learn, as rules see it.

    Attributes
    ----------
    tied : bool
        Whether one parameter serves both directions of a coupling.
    dtype, device
        Of the parameters.
    """

    tied: bool
    dtype: torch.dtype
    device: torch.device

    @property
    @abstractmethod
    def sizes(self) -> list[int]:
        """Units in each layer, input first."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """What learns, by name; an optimiser changes it in place."""

    @property
    @abstractmethod
    def groups(self) -> dict[str, list[str]]:
        """Names of parameters that share a learning rate, by what they belong to."""

    @property
    @abstractmethod
    def depths(self) -> list[int]:
        """Hops from the output of each layer, input first."""

    @abstractmethod
    def to_network(self) -> VectorField:
        """Return the network as it is now, a copy."""

    @abstractmethod
    def to(self, *, dtype: torch.dtype) -> Self:
        """Return a copy in another dtype."""

    @abstractmethod
    def settle(
        self, x: Tensor, start: Sequence[Tensor] | None = None, *, tol: float, max_sweeps: int = 500
    ) -> Equilibrium:
        """Find an equilibrium for each input.

        Parameters
        ----------
        x : Tensor, (batch, size)
            Input states.
        start : sequence of Tensor, optional
            States of the layers above the input.
        tol : float
            Bound on the residual.
        max_sweeps : int
            Bound on the updates of every layer; the residual says what was reached.

        Returns
        -------
        Equilibrium
            Its ``states`` begin with the input.
        """

    @abstractmethod
    def nudge(
        self,
        equilibrium: Equilibrium,
        target: Tensor,
        *,
        beta: float,
        tol: float,
        max_sweeps: int = 500,
    ) -> Equilibrium:
        r"""Settle again with :math:`-\beta\,\partial C/\partial y` added to the output's force.

        Parameters
        ----------
        equilibrium : Equilibrium
            Where to begin.
        target : Tensor, (batch, output size)
            Targets of the cost.
        beta : float
            Strength of the nudge, of either sign.
        tol, max_sweeps
            As in :meth:`settle`.
        """

    @abstractmethod
    def drive(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int | None = None
    ) -> list[Tensor]:
        r"""Move an equilibrium while its output follows :math:`-\partial C/\partial y` (eq. 12).

        Parameters
        ----------
        equilibrium : Equilibrium
            Where to begin.
        target : Tensor, (batch, output size)
            Targets of the cost.
        eps : float
            Step size.
        n_steps : int, optional
            Steps to take; None takes for each layer the steps until its first arrival, `k + 1`.

        Returns
        -------
        list of Tensor
            Changes ``s(n) - s(0)`` of each layer after the last step, the input first.
        """

    @abstractmethod
    def adjoint(self, equilibrium: Equilibrium, target: Tensor, which: Adjoint) -> list[Tensor]:
        """Return a gradient of the cost with respect to states, one a layer, input first."""

    @abstractmethod
    def driven(
        self, equilibrium: Equilibrium, v: Sequence[Tensor], *, slope: bool = True
    ) -> WeightGradient:
        r"""Return the product of each parameter with the force of the layer that it drives.

        Parameters
        ----------
        equilibrium : Equilibrium
            Where.
        v : sequence of Tensor, (batch, size)
            One a layer, input first.
        slope : bool
            For eq. 6: with :math:`\\rho'(s_i)`, which eq. 26 leaves out.
        """

    @abstractmethod
    def whole(self, equilibrium: Equilibrium, v: Sequence[Tensor]) -> WeightGradient:
        """Return the product of each parameter with the forces of all layers above the input."""

    @abstractmethod
    def contrast(
        self, equilibrium: Equilibrium, before: Equilibrium, after: Equilibrium, scale: float
    ) -> WeightGradient:
        r"""Return how :math:`\partial E/\partial\theta` differs between states, over `scale`.

        Without an energy it is the product of the force at `equilibrium` with the difference.
        """

    @abstractmethod
    def through_time(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int
    ) -> WeightGradient:
        """Return the gradient of the cost after some free steps from equilibrium."""

    @abstractmethod
    def error(self, equilibrium: Equilibrium, target: Tensor) -> Tensor:
        r"""Return :math:`\partial C/\partial y`, ``(batch, output size)``."""

    @abstractmethod
    def cost(self, equilibrium: Equilibrium, target: Tensor) -> Tensor:
        """Return the cost of each sample, ``(batch,)``."""

    @abstractmethod
    def at_kink(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Return which units are at a kink, one a layer, input first."""
