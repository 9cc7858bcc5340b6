r"""Predictive coding in the coordinates of its errors, which makes its equilibrium easy to find.

The errors tell the states by the forward recursion :math:`s_{l+1} = \phi(s_l) W + b + e_{l+1}`. In
them the energy of a chain whose last layer is held or nudged is a sum of squares plus one cost at
the end, so that the Hessian is about the precision plus a matrix of the rank of the output
(Goemaere et al., arXiv:2505.20137): conjugate gradients need few steps, however deep the network.

Letters: error ``e`` (the state ``s`` of this network), adjoint ``a`` =
:math:`\partial E / \partial s` through all later layers, slope and curvature of the rate, tangents
with a dot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from ctebm.networks.blocks import product
from ctebm.networks.energy import Network
from ctebm.networks.predictive import PredictiveNetwork

__all__ = ["ErrorCoordinates"]


class ErrorCoordinates(Network):
    r"""The energy of a predictive network as a function of its errors.

    A free layer that nothing predicts is its own coordinate.

    Parameters
    ----------
    network : PredictiveNetwork
        Usually with its input clamped, and its output clamped or nudged. Its rates are smooth: a
        kink of a unit is a surface in these coordinates.

    Raises
    ------
    ValueError
        For rates with kinks.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.error_coordinates import ErrorCoordinates
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [1], [0]], ctebm.Identity())
    >>> errors = ErrorCoordinates(net.clamp({"x": [0.5]}))
    >>> errors.states(errors.as_state([0.0, 0.1]))
    tensor([2.0000, 6.1000], dtype=torch.float64)
    """

    network: PredictiveNetwork
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: PredictiveNetwork) -> None:
        if network.kinks is not None:
            rates = {type(p.activation).__name__ for p in network.predictions if p.activation.kinks}
            raise ValueError(
                f"expected smooth rates, got {', '.join(sorted(rates))}, whose kinks no unit rests "
                "on in the coordinates of errors; settle the network itself."
            )
        super().__init__(network.n_units, network.layers)
        self.network = network
        self.dtype, self.device = network.dtype, network.device

    def states(self, e: Tensor) -> Tensor:
        """Return the states with given errors, ``(*batch, unit)``."""
        e = self._in_samples(e)
        return self.network.joined(self._pass(e)[0], e)

    def errors(self, s: Tensor) -> Tensor:
        """Return the errors of given states, ``(*batch, unit)``."""
        s = self._in_samples(s)
        parts = self.network.parts(s)
        return self.network.joined([parts[0], *self.network.errors(parts)], s)

    def energy(self, s: Tensor) -> Tensor:
        return self.network.energy(self.states(s))

    def force(self, s: Tensor) -> Tensor:
        e = self._in_samples(s)
        states, errors = self._pass(e)
        return self._force(e, states, errors)

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        e = self._in_samples(s)
        states, errors = self._pass(e)
        energy = e.new_zeros(e.shape[:-1])
        for p, error in zip(self.network.predictions, errors[1:], strict=True):
            energy = energy + p.precision / 2 * error.square().sum(-1)
        return energy, self._force(e, states, errors)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        e = self._in_samples(s)
        net = self.network
        states, errors = self._pass(e)
        sent = self._sent(states, errors)
        slopes, curvatures = {}, {}
        for l, p in enumerate(net.predictions):
            if self._free(l):
                slopes[l] = p.activation.derivative(states[l])
                back = product(sent[l + 1], p.weight.mT)
                curvatures[l] = p.activation.second_derivative(states[l]) * back

        def multiply(v: Tensor) -> Tensor:
            dots = net.parts(self.as_state(v).expand_as(e))
            moved, reached = [dots[0]], {}
            for l, p in enumerate(net.predictions):
                if self._free(l):
                    reached[l + 1] = product(slopes[l] * moved[l], p.weight)
                moved.append(dots[l + 1] + reached.get(l + 1, 0.0))
            found: list[Tensor] = [torch.zeros_like(dot) for dot in dots]
            turned: Tensor | None = None  # tangent of the adjoint of the layer above
            for l in range(len(net.predictions) - 1, -1, -1):
                p = net.predictions[l]
                if self._free(l + 1):
                    own = p.precision * dots[l + 1]
                    found[l + 1] = own if turned is None else own + turned
                    dot = torch.zeros_like(dots[l + 1]) if turned is None else turned
                else:
                    dot = p.precision * reached.get(l + 1, torch.zeros_like(dots[l + 1]))
                if self._free(l):
                    turned = curvatures[l] * moved[l] + slopes[l] * product(dot, p.weight.mT)
                else:
                    turned = None
            if turned is not None:
                found[0] = turned
            return net.joined(found, e)

        return multiply

    @property
    def batch(self) -> torch.Size:
        return self.network.batch

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        return type(self)(self.network.samples(batch, rows))

    def _free(self, l: int) -> bool:
        """Return whether the layer in place `l` of the order of prediction is free."""
        return self.network.order[l] in self.network.layers

    def _pass(self, e: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return states and errors of all layers, held ones too, in the order of prediction.

        The first layer has no error.
        """
        given = self.network.parts(e)
        states, errors = [given[0]], [torch.zeros_like(given[0])]
        for l in range(len(self.network.predictions)):
            predicted = self.network.predicted(l, states[l])
            free = self._free(l + 1)
            states.append(predicted + given[l + 1] if free else given[l + 1])
            errors.append(given[l + 1] if free else given[l + 1] - predicted)
        return states, errors

    def _sent(self, states: Sequence[Tensor], errors: Sequence[Tensor]) -> list[Tensor]:
        """Return what each layer sends back to the one that predicts it.

        Its adjoint if it is free, since it moves along, and minus its precise error if it is held.
        """
        predictions = self.network.predictions
        sent = [torch.zeros_like(s) for s in states]
        for l in range(len(predictions) - 1, -1, -1):
            p = predictions[l]
            if not self._free(l + 1):
                sent[l + 1] = -p.precision * errors[l + 1]
            if self._free(l):
                slope = p.activation.derivative(states[l])
                sent[l] = slope * product(sent[l + 1], p.weight.mT)
        return sent

    def _force(self, e: Tensor, states: list[Tensor], errors: list[Tensor]) -> Tensor:
        adjoints = self._sent(states, errors)
        force = [-adjoints[0]]
        for p, a, error in zip(self.network.predictions, adjoints[1:], errors[1:], strict=True):
            force.append(-p.precision * error - a)
        return self.network.joined(force, e)
