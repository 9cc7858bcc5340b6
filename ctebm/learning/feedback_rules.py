"""Rules that make separate directions of a coupling fit each other, beside another rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.early_rules import Early
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.rules import Rule
from ctebm.learning.samples import digest
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.named import named_tensors, recording, with_leaves
from ctebm.networks.numbers import finite, whole

__all__ = ["JacobianHomeostasis", "KolenPollack"]


@dataclass(frozen=True)
class KolenPollack(Rule):
    r"""Both directions of a coupling get the change of the forward one, and decay.

    With `g` what another rule asks of the weights `W` towards the output,

    .. math:: \Delta W = -\eta (g + \lambda W), \qquad \Delta V = -\eta (g + \lambda V),

    so that in plain gradient descent the difference :math:`W - V` of the two directions shrinks by
    :math:`1 - \eta\lambda` in each step, whatever is learned. Adam scales the two by themselves;
    there take ``decay=0`` and leave the decay to AdamW, whose option ``weight_decay`` it is. What
    goes back to the input is not used, and stays.

    Parameters
    ----------
    rule : Rule
        That learns.
    decay : float
        :math:`\lambda`.

    Raises
    ------
    ValueError
        For what is no rule or a negative decay; in use for a network without feedback of its own.

    References
    ----------
    J. F. Kolen and J. B. Pollack, "Backpropagation without weight transport", Proc. ICNN 3, 1375
    (1994); M. Akrout et al., NeurIPS 32 (2019).

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> turned = ctebm.FeedbackNetwork.at_angle(net, 90)
    >>> plastic, x = ctebm.PlasticNetwork(turned, tied=False), torch.full((1, 4), 0.2).double()
    >>> equilibrium, target = plastic.settle(x, tol=1e-12), torch.eye(3)[:1].double() / 4
    >>> g = ctebm.KolenPollack(decay=0.1).gradient(plastic, equilibrium, target).by_name
    >>> W, V = plastic.weights[1], plastic.feedback[1]
    >>> torch.allclose(g["weights.1"] - g["feedback.1"], 0.1 * (W - V))
    True
    """

    rule: Rule = field(default_factory=Early)
    decay: float = 1e-3

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        finite("decay", self.decay, low=0)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        parameters = network.parameters
        pairs = [
            (name, name.replace("feedback", "weights", 1))
            for name in parameters
            if name.startswith("feedback.") and name != "feedback.0"
        ]
        if not pairs:
            raise ValueError(
                "KolenPollack lets two directions of a coupling meet, and this network has one "
                "weight for both; give a FeedbackNetwork, or train with tied=False and a hidden "
                "layer."
            )
        gradient = self.rule.gradient(network, equilibrium, target)
        found = dict(gradient.by_name)
        found.pop("feedback.0", None)
        for back, forth in pairs:
            g = found[forth]
            found[forth] = g + self.decay * parameters[forth]
            found[back] = g + self.decay * parameters[back]
        return replace(gradient, by_name=found)


@dataclass(frozen=True)
class JacobianHomeostasis(Rule):
    r"""Another rule, and the descent of what is not symmetric in the Jacobian at rest.

    To what the rule asks is added :math:`\kappa` times the gradient, at fixed states, of

    .. math::
        L = \mathrm{E}\left[|J\xi|^2 - \xi^\mathsf{T} J^2 \xi\right]
          = \tfrac12 |J - J^\mathsf{T}|_F^2,

    with `J` the Jacobian of the force on the units that are free to move, and normal noise
    :math:`\xi`. Products :math:`J\xi` and :math:`J(J\xi)` are all it takes: no unit knows the way
    back. Symmetric weights make `J` symmetric where :math:`\rho'` is the same everywhere; of
    smooth rates it is `J` that counts, and not the weights. The noise depends on the states and
    the seed alone, so that a resumed training takes the same steps.

    Parameters
    ----------
    rule : Rule
        That learns.
    strength : float
        :math:`\kappa`.
    n_draws : int
        Draws of the noise for each sample.
    seed : int
        Of the noise.

    Raises
    ------
    ValueError
        For what is no rule, numbers out of range; in use for a network with an energy, whose
        Jacobian is symmetric.

    References
    ----------
    A. Laborieux and F. Zenke, "Improving equilibrium propagation without weight symmetry through
    Jacobian homeostasis", ICLR (2024), eq. 12.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 5, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> plastic = ctebm.PlasticNetwork(ctebm.FeedbackNetwork.at_angle(net, 90), tied=False)
    >>> rest = plastic.settle(torch.full((1, 4), 0.2).double(), tol=1e-12)
    >>> rules = ctebm.JacobianHomeostasis(strength=1, n_draws=2000), ctebm.Early()
    >>> g, early = (r.gradient(plastic, rest, torch.zeros(1, 3)).weights[1] for r in rules)
    >>> W, V = plastic.weights[1], plastic.feedback[1]
    >>> bool((g - early - 2 * (W - V)).norm() < 0.1 * (W - V).norm())  # L = |W - V|^2
    True
    """

    rule: Rule = field(default_factory=Early)
    strength: float = 0.1
    n_draws: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        finite("strength", self.strength, low=0)
        whole("n_draws", self.n_draws, least=1)
        whole("seed", self.seed, least=0)

    def gradient(
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        motion = with_leaves(network.to_network())
        if isinstance(motion, Network):
            raise ValueError(
                "JacobianHomeostasis makes a Jacobian symmetric, and that of an energy is; give a "
                "FeedbackNetwork, or train with tied=False."
            )
        gradient = self.rule.gradient(network, equilibrium, target)
        found = dict(gradient.by_name)
        parameters = {
            name: p for name, p in named_tensors(motion).items() if name in network.parameters
        }
        x, *above = equilibrium.states
        s = torch.cat(above, -1)
        draw = np.random.default_rng([self.seed, int(digest(s), 16)])
        noise = torch.as_tensor(draw.standard_normal((self.n_draws, *s.shape))).to(s)
        for name, g in _asymmetry_gradient(motion, parameters, x, s, noise).items():
            part = self.strength * g
            found[name] = found[name] + part if name in found else part
        return replace(gradient, by_name=found)


def _asymmetry_gradient(
    motion: VectorField, parameters: dict[str, Tensor], x: Tensor, s: Tensor, noise: Tensor
) -> dict[str, Tensor]:
    """Return the derivative of the mean of ``|J xi|^2 - xi' J^2 xi`` by each parameter."""
    with recording(parameters):
        held = motion.clamp({next(iter(motion.layers)): x})
        at = s.detach().requires_grad_()
        f, v = held.force(at), torch.zeros_like(s, requires_grad=True)
        (back,) = torch.autograd.grad(f, at, v, create_graph=True)
        free = torch.ones_like(s) if held.box is None else held.box.inside(s).to(s)

        def J(u: Tensor) -> Tensor:
            return free * torch.autograd.grad(back, v, u, create_graph=True)[0]

        loss = s.new_zeros(())
        for xi in free * noise:
            u = J(xi)
            loss = loss + (u.square() - xi * J(u)).sum(-1).mean() / len(noise)
        g = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, g, strict=True))


def _check_rule(rule: Rule) -> None:
    if not isinstance(rule, Rule):
        raise ValueError(f"expected a rule such as Early(), got {rule!r}.")
