r"""Why a layered network stops learning: units at kinks, pushes, and rates that stay linear.

A step of the learning rate :math:`\eta` moves the current of a unit of layer `k` by
:math:`\eta\,\bar g_k (1 + |\rho_{k+1}|^2)` in every sample alike, where the mean gradient
:math:`\bar g_k` over samples does not vanish. This *push* carries whole layers to a kink, and a
hidden unit at a kink in every sample learns nothing more. Adam moves every weight by the rate,
whatever the gradient, and pushes by :math:`\eta (1 + |\rho_{k+1}|_1)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    import ctebm
    from ctebm.learning.plastic_layers import PlasticNetwork

__all__ = ["KinkShares", "linear_share", "pushes", "settled_kinks"]

TOL, EXACT_TOL = 1e-4, 1e-9  # residuals of a look at rates, and of one that counts units at kinks


@dataclass(frozen=True, eq=False)
class KinkShares:
    """What kinks do to samples at equilibrium, and to their early motion.

    Attributes
    ----------
    pinned, dead : list of float
        Shares of the units of each hidden layer, input side first, that are at a kink, and that
        are there in every sample.
    crossed : float
        Share of samples in which a hidden unit meets or leaves a kink early on.
    cosine : float
        Smallest cosine, over pairs of layers, of the early rule with the chain gradient.
    state : Tensor, (sample, unit)
        The settled states, input first.

    Examples
    --------
    >>> import torch
    >>> from ctebm.study.diagnostics import KinkShares
    >>> shares = KinkShares([0.2, 0.9], [0.0, 0.8], 0.1, 0.99, torch.zeros(4, 20))
    >>> max(shares.dead)  # of the worst layer
    0.8
    """

    pinned: list[float]
    dead: list[float]
    crossed: float
    cosine: float
    state: Tensor


def settled_kinks(network: PlasticNetwork, rates: Tensor, target: Tensor, eps: float) -> KinkShares:
    """Let samples settle and look at their kinks, in float64.

    Parameters
    ----------
    network : PlasticNetwork
        The parameters.
    rates : Tensor, (sample, pixel)
        Of the input.
    target : Tensor, (sample, class)
        Target states.
    eps : float
        Step size of the early phase.

    Examples
    --------
    >>> import torch
    >>> import ctebm
    >>> from ctebm.learning.plastic_layers import PlasticNetwork
    >>> from ctebm.study.diagnostics import settled_kinks
    >>> net = ctebm.LayeredNetwork.random((3, 8, 2), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> settled_kinks(PlasticNetwork(net), torch.rand(4, 3), torch.zeros(4, 2), 0.1).dead
    [0.0]
    """
    import torch

    import ctebm
    from ctebm.learning.probe import kink_shares

    exact, target = network.to(dtype=torch.float64), target.double()
    x = exact.activation.inverse(rates.to(target))
    rest = exact.settle(x, tol=EXACT_TOL, max_sweeps=1000)
    rules = ctebm.Early(eps=eps), ctebm.Chain()
    mine, reference = (rule.gradient(exact, rest, target).weights for rule in rules)
    cosines = [
        float((a * b).sum() / (a.norm() * b.norm())) for a, b in zip(mine, reference, strict=True)
    ]
    shares = kink_shares(exact, rest, exact.drive(rest, target, eps=eps))
    return KinkShares(**shares, cosine=min(cosines), state=torch.cat(rest.states, -1))


def linear_share(network: ctebm.LayeredNetwork, rates: Tensor) -> float:
    """Return the share of the variance of the last hidden rates that the pixels explain linearly.

    Examples
    --------
    >>> import torch
    >>> import ctebm
    >>> from ctebm.study.diagnostics import linear_share
    >>> net = ctebm.LayeredNetwork.random((3, 8, 2), ctebm.HardSigmoid(), gain=0.1, seed=0)
    >>> net = net.centred({"x": [0.5] * 3})
    >>> round(linear_share(net, torch.rand(50, 3, dtype=torch.float64)), 4)  # between the kinks
    1.0
    """
    import torch

    from ctebm.learning.plastic_layers import PlasticNetwork

    rest = PlasticNetwork(network).settle(_states(network, rates), tol=TOL)
    r = network.activation(rest.states[-2]).double()
    pixels = torch.cat([rates.to(r), r.new_ones(len(rates), 1)], 1)
    left = r - pixels @ (torch.linalg.pinv(pixels) @ r)
    return 1 - float(left.square().sum() / (r - r.mean(0)).square().sum())


def pushes(
    network: ctebm.LayeredNetwork,
    rates: Tensor,
    target: Tensor,
    learning_rates: Sequence[float],
    adam: bool = False,
) -> list[float]:
    """Return how far a first step moves the current of a unit, in all samples alike.

    An estimate: rates and gradients are taken as independent over samples, and what the feedback
    half of a tied weight changes is left out.

    Parameters
    ----------
    network : LayeredNetwork
        Before the step.
    rates : Tensor, (sample, pixel)
        Of the input.
    target : Tensor, (sample, class)
        Target states.
    learning_rates : sequence of float
        One for each pair of neighbouring layers, input first.
    adam : bool
        Whether the optimiser is Adam, and not steepest descent.

    Returns
    -------
    list of float
        The root mean square over the units of each hidden layer, input side first.

    Examples
    --------
    >>> import torch
    >>> import ctebm
    >>> from ctebm.study.diagnostics import pushes
    >>> net = ctebm.LayeredNetwork.random((3, 8, 2), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> data = torch.full((1, 3), 0.5, dtype=net.dtype), torch.full((1, 2), 0.4, dtype=net.dtype)
    >>> (slow,), (fast,) = (pushes(net, *data, [rate, rate]) for rate in (0.01, 0.1))
    >>> round(fast / slow, 9)
    10.0
    """
    import ctebm
    from ctebm.learning.plastic_layers import PlasticNetwork

    plastic = PlasticNetwork(network)
    rest = plastic.settle(_states(network, rates), tol=TOL)
    step = ctebm.Chain().gradient(plastic, rest, target).biases
    rho = [network.activation(s) for s in rest.states[:-1]]
    size = [1 + float((r if adam else r.square()).sum(-1).mean()) for r in rho]
    mean = [1.0 if adam else float(g.square().mean().sqrt()) for g in step]
    return [rate * n * g for rate, n, g in zip(learning_rates, size, mean, strict=True)][:-1]


def _states(network: ctebm.LayeredNetwork, rates: Tensor) -> Tensor:
    return network.state(rates)
