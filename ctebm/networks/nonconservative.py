r"""Networks whose force is no gradient: couplings that differ in the two directions.

Xie & Seung (2003) scale the feedback of layers by a small gain, Lillicrap et al. (2016) draw it at
random: both are :class:`FeedbackNetwork`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import finite_tensor
from ctebm.networks.blocks import Blocks
from ctebm.networks.dense import DenseField, check_square
from ctebm.networks.layered import LayeredField, LayeredNetwork
from ctebm.networks.numbers import finite, whole
from ctebm.networks.remainder import looks_once

__all__ = ["AsymmetricNetwork", "FeedbackNetwork"]


class AsymmetricNetwork(DenseField):
    r"""The motion of eq. 8 with :math:`W_{ij} \ne W_{ji}`, the coupling from unit `j` to unit `i`.

    .. math:: f_i(s) = \rho'(s_i)\,\bigl(b_i + \sum_j W_{ij}\rho(s_j)\bigr) - s_i

    No energy has this force, so nothing here knows one: motion, equilibria and
    :func:`ctebm.linearize` (complex eigenvalues) are there.

    Parameters
    ----------
    weight : array, (unit, unit)
        A unit's coupling to itself is on the diagonal.
    bias, activation, layers, dtype
        As in :class:`~ctebm.DenseNetwork`.

    Raises
    ------
    ValueError
        If the weights are not square, finite and real.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.AsymmetricNetwork([[0, 2], [-2, 0]], [0, 0], ctebm.Tanh()).centred()
    >>> ctebm.linearize(net, [0.0, 0.0]).stability
    'stable'
    """

    def _read(self, weight: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
        tensor = finite_tensor(weight, "the weights", dtype)
        check_square(tensor)
        return tensor


class FeedbackNetwork(LayeredField):
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
    activation : Activation, callable, or a sequence of them
        The firing rate.
    dtype : torch.dtype
        Of the parameters, whatever that of the arrays: float32 weights become float64 unless this
        is ``torch.float32``.

    Raises
    ------
    ValueError
        For arrays whose shapes do not fit each other, or that are not finite and real.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh())
    >>> weak = ctebm.FeedbackNetwork.scaled(net, 0.01)
    >>> torch.equal(weak.feedback[1], 0.01 * net.weights[1])
    True
    """

    feedback: list[Tensor | None]

    def __init__(
        self,
        weights: Sequence[ArrayLike | Tensor],
        feedback: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor],
        activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self._set_layers(weights, biases, activation, dtype)
        self.feedback = _blocks_like(self.weights, feedback)

    @classmethod
    def scaled(cls, network: LayeredNetwork, gain: float) -> Self:
        """Return a network with its feedback scaled by a gain (Xie & Seung 2003).

        Raises
        ------
        ValueError
            For a gain that is not finite.
        """
        _check_layered(network)
        gain = finite("gain", gain)
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

        Raises
        ------
        ValueError
            For weights of one number or all zero, which cannot turn, or an angle that is not
            finite.
        """
        _check_layered(network)
        degrees, seed = finite("degrees", degrees), whole("seed", seed, least=0)
        streams = np.random.SeedSequence(seed).spawn(len(network.weights))
        feedback = [
            None if W is None else _turned(i, W, degrees, np.random.default_rng(stream))
            for i, (W, stream) in enumerate(zip(network.weights, streams, strict=True))
        ]
        return cls.of(network, feedback)

    @classmethod
    def of(cls, network: LayeredNetwork, feedback: Sequence[Tensor | None]) -> Self:
        """Return a layered network with other feedback weights.

        Parameters
        ----------
        network : LayeredNetwork
            The forward weights, biases and layers.
        feedback : sequence of Tensor or None
            One for each of its blocks, of the same shape; None where it has none.

        Raises
        ------
        ValueError
            For blocks of other shapes, or not finite.
        """
        _check_layered(network)
        other = cls.__new__(cls)
        other.weights = [None if W is None else W.clone() for W in network.weights]
        other.depth = network.depth
        other.feedback = _blocks_like(network.weights, feedback)
        other._set(network.activation, network.bias.clone(), network.layers)
        return other

    @property
    def blocks(self) -> Blocks:
        return Blocks(self.activation, self.weights, self.feedback, self.biases)

    @looks_once
    def coupling(self, r: Tensor) -> Tensor:
        if not self.layers:  # all are held
            return r
        rates = [r[..., where] for where in self.layers.values()]
        received = [torch.zeros_like(rate) for rate in rates]
        for i, (W, V) in enumerate(zip(self.weights, self.feedback, strict=True)):
            if W is not None and V is not None:
                received[i] = received[i] + rates[i + 1] @ V.mT
                received[i + 1] = received[i + 1] + rates[i] @ W
        return torch.cat(received, dim=-1)

    @looks_once
    def adjoint_coupling(self, r: Tensor) -> Tensor:
        return self.of_blocks(self.feedback, self.weights).coupling(r)

    def of_blocks(self, weights: list[Tensor | None], feedback: list[Tensor | None]) -> Self:
        """Return the network with other weights in the two directions."""
        network = copy.copy(self)
        network.weights, network.feedback = list(weights), list(feedback)
        network._origin = None
        return network

    def _restrict(self, clamped: str, bias: Tensor) -> Self:
        network = super()._restrict(clamped, bias)
        network.feedback = self._blocks_without(self.feedback, clamped)
        return network


def _check_layered(network: LayeredNetwork) -> None:
    if not isinstance(network, LayeredField):
        raise ValueError(f"expected a LayeredNetwork, got {type(network).__name__}.")


def _blocks_like(
    weights: Sequence[Tensor | None], feedback: Sequence[ArrayLike | Tensor | None]
) -> list[Tensor | None]:
    """Return blocks of feedback as tensors like the forward blocks, checked."""
    if not isinstance(feedback, list | tuple) or len(feedback) != len(weights):
        got = len(feedback) if isinstance(feedback, list | tuple) else type(feedback).__name__
        raise ValueError(
            f"expected {len(weights)} blocks of feedback, got {got}; give one for each "
            "pair of neighbouring layers."
        )
    pairs = enumerate(zip(feedback, weights, strict=True))
    return [_block_like(W, V, i) for i, (V, W) in pairs]


def _block_like(W: Tensor | None, V: ArrayLike | Tensor | None, i: int) -> Tensor | None:
    """Return one block of feedback."""
    if V is None or W is None:
        if V is not None or W is not None:
            raise ValueError(f"expected feedback[{i}] where there are weights and only there.")
        return None
    V = finite_tensor(V, f"feedback[{i}]", W.dtype).to(W.device)
    if V.shape != W.shape:
        raise ValueError(
            f"expected feedback[{i}] of shape {tuple(W.shape)}, got {tuple(V.shape)}; it leads "
            f"from layer {i + 1} back to {i} and has the shape of the forward weights."
        )
    return V


def _turned(i: int, W: Tensor, degrees: float, draw: np.random.Generator) -> Tensor:
    """Return a random matrix of the norm of `W` at an angle to it."""
    if W.numel() == 1 or not bool(W.any()):
        raise ValueError(
            f"expected weights[{i}] of two or more numbers, not all 0, to turn by an angle, got "
            f"shape {tuple(W.shape)}; use FeedbackNetwork.scaled, or give the feedback itself."
        )
    other = torch.as_tensor(draw.standard_normal(tuple(W.shape)), dtype=W.dtype, device=W.device)
    across = other - (other * W).sum() / W.square().sum() * W
    across = across * (W.norm() / across.norm())
    angle = torch.deg2rad(torch.tensor(degrees, dtype=W.dtype, device="cpu"))
    return angle.cos() * W + angle.sin() * across
