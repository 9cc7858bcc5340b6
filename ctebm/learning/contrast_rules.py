r"""Rules that contrast two rests: equilibrium propagation and what came of it.

One rest is free, or drawn away from its target as far as the other is drawn towards it; the change
is the difference of :math:`\partial E/\partial\theta` between the two, over their distance in
:math:`\beta`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctebm.equilibria.settling import settle
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.corrected_nudge import CorrectedNudge
from ctebm.learning.field_equilibrium import held_at, moved_to
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.rules import Rule
from ctebm.networks.energy import Network
from ctebm.networks.numbers import finite

__all__ = [
    "AsymmetricEquilibriumPropagation",
    "ContrastiveLearning",
    "CoupledLearning",
    "EquilibriumPropagation",
]


@dataclass(frozen=True)
class _Contrast(Rule):
    """Two rests, and what to descend; subclasses say where the output is drawn."""

    beta: float = 0.1
    centred: bool = True
    tol: float = 1e-6

    def __post_init__(self) -> None:
        if finite("beta", self.beta, above=-1, below=1) == 0:
            raise ValueError("expected 0 < |beta| < 1, got 0.")
        finite("tol", self.tol, above=0)

    @abstractmethod
    def drawn(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor, beta: float
    ) -> Equilibrium:
        """Return the rest with the output drawn to its target by a strength of either sign."""

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        after = self.drawn(network, equilibrium, target, self.beta)
        before, scale, drawn = equilibrium, self.beta, [after]
        if self.centred:
            before, scale = self.drawn(network, equilibrium, target, -self.beta), 2 * self.beta
            drawn.append(before)
        found = self._difference(network, equilibrium, before, after, scale)
        residual = max(float(rest.residual.max()) for rest in drawn)
        return replace(found, residual=residual, settled=residual <= self.tol)

    def _difference(
        self,
        network: Plastic,
        equilibrium: Equilibrium,
        before: Equilibrium,
        after: Equilibrium,
        scale: float,
    ) -> WeightGradient:
        return network.contrast(equilibrium, before, after, scale)


@dataclass(frozen=True)
class EquilibriumPropagation(_Contrast):
    r"""Difference of :math:`\partial E/\partial\theta` between nudged and free, :math:`/ \beta`.

    Its limit as beta -> 0 is the implicit gradient (Scellier & Bengio 2017); the centred form,
    between nudges of either sign, has an error of second order in beta (Laborieux et al. 2021). In
    layers coupled as in eq. 6 it is a difference of products of rates. A motion without an energy
    takes the product of its force with the difference of states (Scellier et al. 2018).

    Parameters
    ----------
    beta : float
        Strength of the nudge.
    centred : bool
        Nudge with beta and -beta.
    tol : float
        Residual of the nudged equilibria.

    Raises
    ------
    ValueError
        For a strength of 0, or of 1 or more.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> rule = ctebm.EquilibriumPropagation(beta=0.01, tol=1e-12)
    >>> implicit = ctebm.Implicit().gradient(plastic, equilibrium, target).weights[0]
    >>> torch.allclose(rule.gradient(plastic, equilibrium, target).weights[0], implicit, rtol=1e-3)
    True
    """

    def drawn(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor, beta: float
    ) -> Equilibrium:
        return network.nudge(equilibrium, target, beta=beta, tol=self.tol)


@dataclass(frozen=True)
class CoupledLearning(_Contrast):
    r"""Difference of :math:`\partial E/\partial\theta` between an output held nearer and free.

    The output is held at :math:`y - \beta\,\partial C/\partial y`, which for the squared error is
    :math:`(1 - \beta) y + \beta y^*`, the rest settles, and the difference is divided by
    :math:`\beta`. Holding is stronger than a nudge: as :math:`\beta \to 0` this is not the gradient
    of the cost, but of a cost that weighs outputs by how stiff they are.

    Parameters
    ----------
    beta : float
        How far the output is moved, in (0, 1].
    centred : bool
        Also hold it as far on the other side.
    tol : float
        Residual of the second rest.

    Raises
    ------
    ValueError
        For another strength; in use for a motion without an energy.

    References
    ----------
    M. Stern et al., Phys. Rev. X 11, 021045 (2021); B. Scellier et al., NeurIPS 36 (2023).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic, x = ctebm.PlasticNetwork(net), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> found = ctebm.CoupledLearning(beta=0.1).gradient(plastic, equilibrium, target)
    >>> [tuple(W.shape) for W in found.weights]
    [(4, 5), (5, 3)]
    """

    centred: bool = False

    def __post_init__(self) -> None:
        finite("beta", self.beta, above=0, high=1)
        finite("tol", self.tol, above=0)

    def drawn(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor, beta: float
    ) -> Equilibrium:
        held, s = held_at(network, equilibrium)
        if not isinstance(held, Network):
            raise ValueError(
                f"{type(self).__name__} contrasts energies, and this motion has none; take "
                "AsymmetricEquilibriumPropagation()."
            )
        y = equilibrium.states[-1] - beta * network.error(equilibrium, target)
        hidden = s[:, : -y.shape[-1]]
        residual = torch.zeros_like(equilibrium.residual)
        if hidden.shape[-1] > 0:
            with torch.no_grad():
                found = settle(held.clamp({held.output: y}), hidden, tol=self.tol)
            hidden, residual = found.state, found.residual
        return moved_to(equilibrium, torch.cat([hidden, y], -1), residual)


@dataclass(frozen=True)
class ContrastiveLearning(CoupledLearning):
    r"""Difference of :math:`\partial E/\partial\theta` between the output at its target and free.

    Coupled learning with :math:`\beta = 1` (Movellan 1991, Baldi & Pineda 1991).

    Parameters
    ----------
    beta, centred, tol
        As for :class:`CoupledLearning`.

    Examples
    --------
    >>> import ctebm
    >>> ctebm.ContrastiveLearning().beta
    1.0
    """

    beta: float = 1.0


@dataclass(frozen=True)
class AsymmetricEquilibriumPropagation(_Contrast):
    r"""Equilibrium propagation for couplings that differ in the two directions, exact as beta -> 0.

    In the nudged phase :math:`(J - J')(s - \hat s)` is taken from the force, `J` its Jacobian at
    the free equilibrium :math:`\hat s`. The nudge then meets :math:`J'` in place of `J`, and the
    product of the force's derivative with the difference of states is the gradient of the cost.

    Parameters
    ----------
    beta : float
        Strength of the nudge.
    centred : bool
        Nudge with beta and -beta.
    tol : float
        Residual of the nudged equilibria.

    References
    ----------
    A. E. Scurria et al., "Equilibrium propagation for non-conservative systems",
    arXiv:2602.03670 (2026).

    Raises
    ------
    ValueError
        For a strength of 0, or of 1 or more.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.Tanh(), gain=0.5)
    >>> turned = ctebm.FeedbackNetwork.at_angle(net, 90)
    >>> plastic, x = ctebm.PlasticNetwork(turned, tied=False), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> rules = ctebm.AsymmetricEquilibriumPropagation(0.01, tol=1e-12), ctebm.Implicit()
    >>> W = [rule.gradient(plastic, equilibrium, target).weights[0] for rule in rules]
    >>> torch.allclose(*W, rtol=1e-3)
    True
    """

    def drawn(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor, beta: float
    ) -> Equilibrium:
        held, s = held_at(network, equilibrium)
        cost = getattr(network, "cost_function", None)
        with torch.no_grad():
            moved = settle(CorrectedNudge(held, target, beta, cost, s), s, tol=self.tol)
        return moved_to(equilibrium, moved.state, moved.residual)

    def _difference(
        self,
        network: Plastic,
        equilibrium: Equilibrium,
        before: Equilibrium,
        after: Equilibrium,
        scale: float,
    ) -> WeightGradient:
        pairs = zip(before.states, after.states, strict=True)
        return network.whole(equilibrium, [(a - b) / scale for a, b in pairs])
