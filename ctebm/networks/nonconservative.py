r"""Networks whose force is not a gradient: couplings that differ in the two directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.layered import LayeredNetwork
from ctebm.networks.pairwise import DenseNetwork, check_self_coupling, finite_tensor

__all__ = ["AsymmetricNetwork", "FeedbackNetwork"]


class AsymmetricNetwork(DenseNetwork):
    r"""The force of eq. 6 with :math:`W_{ij} \ne W_{ji}`, the coupling from unit `j` to unit `i`.

    .. math:: f_i(s) = \rho'(s_i)\,\bigl(b_i + \sum_j W_{ij}\rho(s_j)\bigr) - s_i

    No energy has this force; :attr:`is_gradient` is False, and what needs an energy or a Hessian
    raises ValueError. Motion, equilibria and :func:`ctebm.linearize` (complex eigenvalues of the
    Jacobian) are there.

    Parameters
    ----------
    weight : array, (unit, unit)
        With zero diagonal.
    bias, activation, layers, dtype
        As in :class:`~ctebm.DenseNetwork`.
    """

    is_gradient = False

    def coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight.mT

    def _current(self, r: Tensor) -> Tensor:
        return self.bias + self.coupling(r)

    def jacobian(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        bend = self.activation.second_derivative(s) * self.current(s)
        coupled = slope.unsqueeze(-1) * self.weight * slope.unsqueeze(-2)
        return torch.diag_embed(bend - 1) + coupled

    def energy(self, s: Tensor) -> NoReturn:
        _refuse("an energy")

    def energy_and_force(self, s: Tensor) -> NoReturn:
        _refuse("an energy")

    def potential(self, s: Tensor) -> NoReturn:
        _refuse("a potential")

    def hessian(self, s: Tensor) -> NoReturn:
        _refuse("a Hessian")

    def hessian_operator(self, s: Tensor) -> NoReturn:
        _refuse("a Hessian")

    def _read(self, weight: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
        tensor = finite_tensor(weight, "the weights", dtype)
        check_self_coupling(tensor)
        return tensor


def _refuse(what: str) -> NoReturn:
    raise ValueError(
        f"asymmetric couplings have no {what.split()[-1]}: their force is not a gradient; use "
        "jacobian, or DenseNetwork with the symmetric part (W + W')/2."
    )


class FeedbackNetwork(LayeredNetwork):
    r"""Layers with weights of their own for each direction.

    .. math:: f_i = \rho'(s_i)\,\bigl(b_i + \sum_j W_{ij}\rho(s_j)\bigr) - s_i

    where :math:`W_{ij}` is a forward weight if `j` is nearer the input than `i`, else a feedback
    weight.

    Parameters
    ----------
    weights : sequence of array
        Forward, input first; ``weights[i]`` is ``(size_i, size_i+1)``.
    feedback : sequence of array
        Of the same shapes, from layer ``i + 1`` back to layer ``i``; equal to `weights` it is the
        symmetric network of eq. 6.
    biases : sequence of array
        Input first.
    activation : Activation or callable
        The firing rate.
    dtype : torch.dtype
        Of the parameters.
    """

    is_gradient = False

    def __init__(
        self,
        weights: Sequence[ArrayLike | Tensor],
        feedback: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor],
        activation: Activation | Callable[[Tensor], Tensor],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(weights, biases, activation, dtype=dtype)
        back = LayeredNetwork(feedback, biases, activation, dtype=dtype)
        self.feedback: list[Tensor | None] = back.weights

    @classmethod
    def scaled(cls, network: LayeredNetwork, gain: float) -> Self:
        """Return a network with its feedback scaled by a gain (Xie & Seung 2003)."""
        return cls.of(network, [None if W is None else gain * W for W in network.weights])

    @classmethod
    def at_angle(cls, network: LayeredNetwork, degrees: float, seed: int = 0) -> Self:
        """Return a network whose feedback has this angle to the forward weights, layer by layer.

        The feedback has the norm of the forward weights; the direction it turns to is random.

        Parameters
        ----------
        network : LayeredNetwork
            The forward weights.
        degrees : float
            The angle, 0 for symmetric weights.
        seed : int
            Root seed of the directions, one stream a layer.
        """
        streams = np.random.SeedSequence(seed).spawn(len(network.weights))
        feedback = [
            None if W is None else _turned(W, degrees, np.random.default_rng(stream))
            for W, stream in zip(network.weights, streams, strict=True)
        ]
        return cls.of(network, feedback)

    @classmethod
    def of(cls, network: LayeredNetwork, feedback: Sequence[Tensor | None]) -> Self:
        """Return a layered network with other feedback weights."""
        whole = cls.__new__(cls)
        vars(whole).update(vars(network))
        whole.feedback = list(feedback)
        return whole

    def coupling(self, r: Tensor) -> Tensor:
        rates = [r[..., where] for where in self.layers.values()]
        received = [torch.zeros_like(rate) for rate in rates]
        for i, (W, V) in enumerate(zip(self.weights, self.feedback, strict=True)):
            if W is not None and V is not None:
                received[i] = received[i] + rates[i + 1] @ V.mT
                received[i + 1] = received[i + 1] + rates[i] @ W
        return torch.cat(received, dim=-1)

    def _current(self, r: Tensor) -> Tensor:
        return self.bias + self.coupling(r)

    def dense_weight(self) -> Tensor:
        n, slices = self.bias.shape[-1], list(self.layers.values())
        weight = self.bias.new_zeros(n, n)
        for W, V, low, high in zip(
            self.weights, self.feedback, slices[:-1], slices[1:], strict=True
        ):
            if W is not None and V is not None:
                weight[high, low], weight[low, high] = W.mT, V
        return weight

    def jacobian(self, s: Tensor) -> Tensor:
        """Return the matrix ``df/ds``, ``(*batch, unit, unit)``."""
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        bend = self.activation.second_derivative(s) * self.current(s)
        coupled = slope.unsqueeze(-1) * self.dense_weight() * slope.unsqueeze(-2)
        return torch.diag_embed(bend - 1) + coupled

    def energy(self, s: Tensor) -> NoReturn:
        raise ValueError(
            "feedback weights of their own have no energy: their force is not a gradient; use "
            "LayeredNetwork for symmetric weights."
        )

    def _restrict(self, clamped: str, bias: Tensor, constant: Tensor) -> Self:
        network, i = super()._restrict(clamped, bias, constant), list(self.layers).index(clamped)
        bridge = [None] if 0 < i < len(self.layers) - 1 else []
        network.feedback = [*self.feedback[: max(i - 1, 0)], *bridge, *self.feedback[i + 1 :]]
        return network

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        network = super()._map(change)
        network.feedback = [None if V is None else change(V) for V in self.feedback]
        return network


def _turned(W: Tensor, degrees: float, draw: np.random.Generator) -> Tensor:
    """Return a random matrix of the norm of `W` at an angle to it."""
    other = torch.as_tensor(draw.standard_normal(tuple(W.shape)), dtype=W.dtype, device=W.device)
    across = other - (other * W).sum() / W.square().sum() * W
    across = across * (W.norm() / across.norm())
    angle = torch.deg2rad(torch.tensor(degrees, dtype=W.dtype))
    return angle.cos() * W + angle.sin() * across
