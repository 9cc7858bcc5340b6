"""Weights to begin from: coupled weakly enough that the network rests where its input says."""

from __future__ import annotations

import torch

from ctebm.networks.layer_rates import rates_given, rates_without
from ctebm.networks.layered import LayeredField, LayeredNetwork, whole_layers
from ctebm.networks.numbers import finite

__all__ = ["smallest_curvature", "weakly_coupled"]


def weakly_coupled(network: LayeredField, stability: float = 0.5) -> LayeredNetwork:
    r"""Scale the weights above the input so that the centred state is stable by a margin.

    The Hessian on the free units at a state between the kinks is :math:`1 - W`. Its smallest
    eigenvalue is made `stability`: above 0 the network rests where its input says, with
    reverberation of at most ``1 / stability``; below it falls to the kinks, where no gradient
    passes. The first weights, from the clamped input, do not enter.

    Parameters
    ----------
    network : LayeredNetwork
        Not clamped.
    stability : float
        In (0, 1].

    Returns
    -------
    LayeredNetwork
        With the same biases; see :meth:`~ctebm.LayeredNetwork.centred` for others.

    Raises
    ------
    ValueError
        For another `stability`.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork.random([4, 8, 8, 3], ctebm.HardSigmoid(), gain=2)
    >>> clamped = ctebm.weakly_coupled(net, 0.4).centred().clamp({"x": [0.0] * 4})
    >>> H = clamped.hessian(torch.zeros(19))
    >>> round(float(torch.linalg.eigvalsh(H)[0]), 9)
    0.4
    """
    finite("stability", stability, above=0, high=1)
    weights = whole_layers(network)
    coupling = 1 - smallest_curvature(network)
    scale = (1 - stability) / coupling if coupling > 0 else 1.0
    return LayeredNetwork(
        [weights[0], *(W * scale for W in weights[1:])], network.biases,
        rates_given(network.activation), dtype=network.dtype,
    )  # fmt: skip


def smallest_curvature(network: LayeredField) -> float:
    r"""Return the smallest eigenvalue of the Hessian at the centred state, above the input.

    With currents of 0 it is that of :math:`1 - \rho'(0)^2 W`; the clamped input has no part in it.

    Parameters
    ----------
    network : LayeredNetwork
        Not clamped.
    """
    weights = [W for W in network.weights if W is not None]
    if len(weights) == 1:
        return 1.0
    rho = rates_given(rates_without(network.activation, 0))
    above = LayeredNetwork(weights[1:], network.biases[1:], rho, dtype=torch.float64)
    slope = above.activation.derivative(above.bias.new_zeros(above.bias.shape[-1]))
    W = slope.unsqueeze(-1) * above.dense_weight() * slope
    return 1 - float(torch.linalg.eigvalsh(W)[-1])
