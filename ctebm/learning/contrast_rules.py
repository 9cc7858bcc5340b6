r"""Rules that contrast two rests since 2015: coupled, contrastive and asymmetric learning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ctebm.equilibria.settling import settle
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.nudged import CorrectedNudge
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.plastic_field import held_at
from ctebm.learning.rules import Rule
from ctebm.networks.energy import Network
from ctebm.networks.numbers import finite

__all__ = ["AsymmetricEquilibriumPropagation", "ContrastiveLearning", "CoupledLearning"]


@dataclass(frozen=True)
class CoupledLearning(Rule):
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

    beta: float = 0.1
    centred: bool = False
    tol: float = 1e-6

    def __post_init__(self) -> None:
        finite("beta", self.beta, above=0, high=1)
        finite("tol", self.tol, above=0)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        held, s = held_at(network, equilibrium)
        if not isinstance(held, Network):
            raise ValueError(
                f"{type(self).__name__} contrasts energies, and this motion has none; take "
                "AsymmetricEquilibriumPropagation()."
            )
        ends = [self._held(held, s, equilibrium, network.error(equilibrium, target), sign)
                for sign in ((-1, 1) if self.centred else (1,))]  # fmt: skip
        before = ends[0] if self.centred else equilibrium
        scale = (2 if self.centred else 1) * self.beta
        return network.contrast(equilibrium, before, ends[-1], scale)

    def _held(
        self, held: Network, s: Tensor, equilibrium: Equilibrium, error: Tensor, sign: int
    ) -> Equilibrium:
        """Return the rest with the output held nearer the target, or farther."""
        x, *hidden, y = equilibrium.states
        y = y - sign * self.beta * error
        if not hidden:
            return dataclasses.replace(equilibrium, states=[x, y])
        n = y.shape[-1]
        with torch.no_grad():
            found = settle(held.clamp({held.output: y}), s[:, :-n], tol=self.tol)
        parts = found.state.split([h.shape[-1] for h in hidden], -1)
        return dataclasses.replace(equilibrium, states=[x, *parts, y])


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
class AsymmetricEquilibriumPropagation(Rule):
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

    beta: float = 0.1
    centred: bool = True
    tol: float = 1e-6

    def __post_init__(self) -> None:
        if finite("beta", self.beta, above=-1, below=1) == 0:
            raise ValueError("expected 0 < |beta| < 1, got 0.")
        finite("tol", self.tol, above=0)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        held, s = held_at(network, equilibrium)
        strengths = (-self.beta, self.beta) if self.centred else (self.beta,)
        cost = getattr(network, "cost_function", None)
        with torch.no_grad():
            ends = [settle(CorrectedNudge(held, target, beta, cost, s), s, tol=self.tol).state
                    for beta in strengths]  # fmt: skip
        before = ends[0] if self.centred else s
        g = (before - ends[-1]) / ((2 if self.centred else 1) * self.beta)
        x, *above = equilibrium.states
        parts = g.split([h.shape[-1] for h in above], -1)
        return network.whole(equilibrium, [torch.zeros_like(x), *parts])
