r"""Layers coupled to their neighbours: eq. 6 with couplings in blocks."""

# Long because layers whose directions share their weights keep one matrix of them as well.

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import finite_tensors
from ctebm.networks.blocks import Blocks, KeptMatrix, product
from ctebm.networks.layer_rates import LayerRates, rates_without
from ctebm.networks.layout import consecutive, layer_names, without_layer
from ctebm.networks.memory_limits import check_matrices
from ctebm.networks.pairwise import PairwiseField, PairwiseNetwork, affine
from ctebm.networks.remainder import looks_once
from ctebm.networks.stacks import glorot_weights, one_each

_DENSE_UNITS = 100  # up to which one dense product is faster than a product a block

__all__ = ["LayeredField", "LayeredNetwork", "whole_layers"]


class LayeredField(PairwiseField):
    r"""Layers coupled to their neighbours, in two directions that may differ.

    Attributes
    ----------
    weights : list of Tensor or None
        Input first; ``weights[i]`` is ``(size_i, size_i+1)`` and leads from layer ``i`` to
        ``i + 1``. None between two layers that clamping has separated.
    depth : mapping of str to int
        Hops from the output, which has depth 0.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([4, 3, 3, 2], ctebm.Tanh())
    >>> net.depth
    {'x': 3, 'h2': 2, 'h1': 1, 'y': 0}
    >>> [W if W is None else tuple(W.shape) for W in net.clamp({"h1": [0.0] * 3}).weights]
    [(4, 3), None]
    """

    weights: list[Tensor | None]
    depth: dict[str, int]

    def _set_layers(
        self,
        weights: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor],
        activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any],
        dtype: torch.dtype,
    ) -> None:
        blocks = finite_tensors(weights, "weights", dtype)
        rows = finite_tensors(biases, "biases", dtype)
        if any(b.ndim == 0 for b in rows):
            raise ValueError("expected an array of biases for each layer, got a number.")
        if len(blocks) < 1 or len(rows) != len(blocks) + 1:
            raise ValueError(
                f"expected one more array of biases than of weights, got {len(rows)} and "
                f"{len(blocks)}; the input layer has biases too."
            )
        for i, W in enumerate(blocks):
            expected = (rows[i].shape[-1], rows[i + 1].shape[-1])
            if W.shape != expected:
                raise ValueError(
                    f"expected weights[{i}] of shape {expected} from the biases, "
                    f"got {tuple(W.shape)}; the layer nearer the input comes first."
                )
        sizes = [b.shape[-1] for b in rows]
        if 0 in sizes:
            raise ValueError(f"expected at least one unit in each layer, got sizes {sizes}.")
        names = layer_names(len(sizes))
        self.weights = list(blocks)
        self.depth = {name: len(names) - 1 - i for i, name in enumerate(names)}
        bias = torch.cat(rows, dim=-1)
        layers = consecutive(dict(zip(names, sizes, strict=True)))
        each = one_each(activation, len(sizes))
        own = isinstance(activation, list | tuple)
        rho = LayerRates(tuple(each), tuple(sizes)) if own else each[0]
        self._set(rho, bias, layers)

    @property
    def biases(self) -> list[Tensor]:
        """The biases layer by layer, as views of ``bias``."""
        return [self.bias[..., where] for where in self.layers.values()]

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield ``weights.0 ..``, ``biases.0 ..`` and their tensors, input first."""
        whole = self.origin[0]
        assert isinstance(whole, LayeredField)
        for word in ("weights", "feedback", "biases"):
            for i, p in enumerate(getattr(whole, word, ())):
                yield f"{word}.{i}", p

    @property
    def drives(self) -> Mapping[str, str]:
        """The layer nearer the output for weights, nearer the input for feedback."""
        _, *above = names = list(self.origin[0].layers)
        found = {f"weights.{i}": name for i, name in enumerate(above)}
        if any(name.startswith("feedback") for name, _ in self.named_parameters()):
            found |= {f"feedback.{i}": name for i, name in enumerate(names[:-1]) if i > 0}
        return found | {f"biases.{i}": name for i, name in enumerate(names) if i > 0}

    @property
    def blocks(self) -> Blocks:
        """The couplings layer by layer, with the parameters themselves."""
        return Blocks(self.activation, self.weights, self.weights, self.biases)

    @looks_once
    def dense_weight(self) -> Tensor:
        if not self.layers:  # all are held
            return self.bias.new_zeros(0, 0)
        check_matrices(self.bias.new_empty(self.bias.shape[-1]))
        return self.blocks.matrix()

    def _restrict(self, clamped: str, bias: Tensor) -> Self:
        network = copy.copy(self)
        network.weights = self._blocks_without(self.weights, clamped)
        rho = rates_without(self.activation, list(self.layers).index(clamped))
        network._set(rho, bias, without_layer(self.layers, clamped))
        return network

    def _blocks_without(self, blocks: list[Tensor | None], clamped: str) -> list[Tensor | None]:
        """Return what is left of one block for each pair of neighbours."""
        i = list(self.layers).index(clamped)
        bridge = [None] if 0 < i < len(self.layers) - 1 else []
        return [*blocks[: max(i - 1, 0)], *bridge, *blocks[i + 1 :]]


class LayeredNetwork(LayeredField, PairwiseNetwork):
    r"""Layers coupled to their neighbours, eq. 6 with block-tridiagonal ``W``.

    The layers are called ``x, h_K ... h_1, y`` as in the paper (``"x", "h2", "h1", "y"``), the
    depth counted from the output.

    Parameters
    ----------
    weights : sequence of array
        Input first; ``weights[i]`` is ``(size_i, size_i+1)`` and serves both directions.
    biases : sequence of array
        Input first; ``biases[i]`` is ``(size_i,)``.
    activation : Activation, callable, or a sequence of them
        The firing rate, one for all layers or one a layer, input first.
    dtype : torch.dtype
        Of the parameters, whatever that of the arrays: float32 weights become float64 unless this
        is ``torch.float32``.

    Raises
    ------
    ValueError
        For arrays whose shapes do not fit each other, or that are not finite and real.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork([[[1.0], [2.0]]], [[0, 0], [-1.5]], ctebm.HardSigmoid())
    >>> net
    LayeredNetwork(x: 2, y: 1; HardSigmoid(lower=-0.5))
    >>> ctebm.settle(net.clamp({"x": [0.0, 0.1]})).state  # clip(0.5 + 2 * 0.6 - 1.5)
    tensor([0.2000], dtype=torch.float64)
    """

    _kept: KeptMatrix | None = None

    def __init__(
        self,
        weights: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor],
        activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self._set_layers(weights, biases, activation, dtype)

    @classmethod
    def random(
        cls,
        sizes: Sequence[int],
        activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any],
        *,
        gain: float = 1.0,
        seed: int = 0,
        centred: bool = True,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        r"""Draw Glorot weights, uniform in :math:`\pm g\sqrt{6/(n_i + n_{i+1})}`.

        Parameters
        ----------
        sizes : sequence of int
            Units in each layer, input first.
        activation : Activation or callable
            The firing rate.
        gain : float
            The factor `g`.
        seed : int
            Root seed; weights between two layers depend on it and on their place alone.
        centred : bool
            Choose biases so that the state 0 is a fixed point (see :meth:`centred`), else 0.
        dtype : torch.dtype
            Of the parameters.

        Returns
        -------
        LayeredNetwork
            The same for the same seed, on any machine.

        Raises
        ------
        ValueError
            For less than two layers, an empty one, a gain that is negative or not finite, or
            weights that do not fit the free memory.
        """
        weights = glorot_weights(sizes, gain, seed)
        sizes = [len(weights[0]), *(W.shape[1] for W in weights)]
        network = cls(weights, [np.zeros(n) for n in sizes], activation, dtype=dtype)
        return network.centred() if centred else network

    @looks_once
    def coupling(self, r: Tensor) -> Tensor:
        if not self.layers:  # all are held
            return r
        rates = [r[..., where] for where in self.layers.values()]
        parts: list[Tensor | None] = [None] * len(rates)
        for i, W in enumerate(self.weights):
            if W is not None:
                below = product(rates[i + 1], W.mT)
                own = parts[i]
                parts[i] = below if own is None else own + below
                parts[i + 1] = product(rates[i], W)
        return torch.cat(
            [torch.zeros_like(rate) if part is None else part
             for part, rate in zip(parts, rates, strict=True)], dim=-1
        )  # fmt: skip

    def _current(self, r: Tensor) -> Tensor:
        return self.current_operator()(r)

    @looks_once
    def current_operator(self) -> Callable[[Tensor], Tensor]:
        if self._is_small:
            W = self._small_weight()
            return lambda r: affine(self.bias, r, W)
        if not self.weights or any(W is None for W in self.weights):
            return lambda r: self.bias + self.coupling(r)
        return self.blocks.current_operator()

    @looks_once
    def coupling_operator(self) -> Callable[[Tensor], Tensor]:
        if self._is_small:
            W = self._small_weight()
            return lambda r: r @ W
        return self.coupling

    @property
    def _is_small(self) -> bool:
        """Whether one dense product is fast; to compare weights, a GPU would have to wait."""
        return 0 < self.bias.shape[-1] <= _DENSE_UNITS and not self.bias.is_cuda

    def _matrix(self) -> Tensor:
        return self._small_weight() if self._is_small else self.dense_weight()

    def _small_weight(self) -> Tensor:
        """Return the dense weights, kept as long as the blocks and their numbers are the same."""
        if self._kept is None or not self._kept.holds(self.weights):
            if any(W.requires_grad for W in self.weights if W is not None):
                return self.dense_weight()
            self._kept = KeptMatrix.of(self.weights, self.dense_weight)
        return self._kept.dense

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = super().samples(batch, rows)
        network._kept = self._kept  # all samples have the same weights
        return network

    def snapshot(self) -> Self:
        now = super().snapshot()
        if now is not self and now._is_small:
            W = now._small_weight()
            if not W.requires_grad:  # from here on nobody looks whether the blocks have changed
                now._kept = KeptMatrix.fixed(now.weights, W)
        return now

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}


def whole_layers(network: LayeredField) -> list[Tensor]:
    """Return the weights of a layered network, or refuse one with a layer clamped, or another."""
    if not isinstance(network, LayeredField):
        raise ValueError(
            f"expected a network in layers, got {type(network).__name__}; give a LayeredNetwork "
            "or FeedbackNetwork."
        )
    weights = [W for W in network.weights if W is not None]
    if len(weights) != len(network.layers) - 1 or network.bias.ndim != 1:
        raise ValueError("expected a network with nothing clamped; its input comes in batches.")
    return weights
