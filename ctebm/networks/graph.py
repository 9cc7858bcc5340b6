r"""Layers coupled in any graph: eq. 6 with couplings that skip layers, or lie within one.

.. math:: E(s) = \tfrac12 |s|^2 - \sum_{(a, b)} \rho(s_a)' W_{ab}\,\rho(s_b)
    - \sum_{(a, a)} \sum_{i<j} W_{aa,ij}\,\rho(s_i)\rho(s_j) - b' \rho(s)

Letters: rate ``r``, weights ``W``, biases ``b``; ``a`` and ``b`` name layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import finite_tensor
from ctebm.networks.blocks import product
from ctebm.networks.dense import check_self_coupling, check_symmetry
from ctebm.networks.layer_rates import LayerRates, rates_without
from ctebm.networks.layout import check_layer_names, consecutive, size_of, without_layer
from ctebm.networks.memory_limits import check_matrices, check_memory
from ctebm.networks.numbers import finite, whole
from ctebm.networks.pairwise import PairwiseNetwork
from ctebm.networks.remainder import looks_once
from ctebm.networks.stacks import one_each

__all__ = ["LayerGraph"]

Pair = tuple[str, str]


class LayerGraph(PairwiseNetwork):
    r"""Layers coupled in any graph, eq. 6 with ``W`` in blocks.

    Parameters
    ----------
    weights : mapping of pairs of layers to array
        ``weights["x", "y"]`` is ``(size_x, size_y)`` and serves both directions. Within a layer,
        ``weights["h", "h"]`` is symmetric with a zero diagonal, as ``W`` of eq. 6.
    biases : mapping of str to array
        ``(size,)`` for each layer, input first, output last: the order says which layer of a
        coupling is nearer the output.
    activation : Activation, callable, or a sequence or mapping of them
        The firing rate, one for all layers or one a layer, input first or by name.
    dtype : torch.dtype
        Of the parameters.

    Attributes
    ----------
    weights : dict of pairs of str to Tensor
        The earlier layer first. Within a layer each pair of units is kept once, above the
        diagonal.

    Raises
    ------
    ValueError
        For arrays whose shapes do not fit each other or that are not finite, couplings of layers
        that do not exist or that are given twice, and couplings within a layer that are not
        symmetric with a zero diagonal.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayerGraph(
    ...     {("x", "h"): [[0.5]], ("h", "y"): [[0.4]], ("x", "y"): [[0.3]]},
    ...     {"x": [0.0], "h": [0.0], "y": [0.0]},
    ...     ctebm.Identity(),
    ... )
    >>> net.clamp({"x": [1.0]}).depth
    {'h': 1, 'y': 0}
    >>> ctebm.settle(net.clamp({"x": [1.0]})).state  # h = .5 + .4 y, y = .3 + .4 h
    tensor([0.7381, 0.5952], dtype=torch.float64)
    """

    weights: dict[Pair, Tensor]

    def __init__(
        self,
        weights: Mapping[Pair, ArrayLike | Tensor],
        biases: Mapping[str, ArrayLike | Tensor],
        activation: Activation
        | Callable[[Tensor], Tensor]
        | Sequence[Any]
        | Mapping[str, Activation],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if not isinstance(biases, Mapping) or not biases:
            raise ValueError(
                f"expected biases by layer, input first, got {type(biases).__name__}; give "
                "{'x': [...], 'h': [...], 'y': [...]}."
            )
        check_layer_names(biases)
        rows = {name: finite_tensor(b, f"the biases of {name!r}", dtype) for name, b in
                biases.items()}  # fmt: skip
        for name, b in rows.items():
            if b.ndim != 1 or not len(b):
                raise ValueError(
                    f"expected a row of biases for layer {name!r}, one a unit, got shape "
                    f"{tuple(b.shape)}."
                )
        sizes = {name: len(b) for name, b in rows.items()}
        self.weights = _checked(weights, sizes, dtype)
        rho = _rates(activation, sizes)
        self._set(rho, torch.cat([*rows.values()]), consecutive(sizes))

    @classmethod
    def random(
        cls,
        sizes: Mapping[str, int],
        couplings: Sequence[Pair],
        activation: Activation
        | Callable[[Tensor], Tensor]
        | Sequence[Any]
        | Mapping[str, Activation],
        *,
        gain: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        r"""Draw Glorot weights for each coupling, uniform in :math:`\pm g\sqrt{6/(n_a + n_b)}`.

        Parameters
        ----------
        sizes : mapping of str to int
            Units in each layer, input first.
        couplings : sequence of pairs of str
            Which layers are coupled; a layer with itself for couplings among its units.
        activation, dtype
            As for the class.
        gain : float
            The factor `g`.
        seed : int
            Root seed; weights depend on it and on the place of their pair alone.

        Returns
        -------
        LayerGraph
            Centred: the state 0 is a fixed point.

        Raises
        ------
        ValueError
            For layers that do not exist, sizes below 1, or weights that do not fit the memory.
        """
        if not isinstance(sizes, Mapping):
            raise ValueError(
                f"expected the sizes of layers by name, got {type(sizes).__name__}; give "
                "{'x': 3, 'h': 4, 'y': 2}."
            )
        n = {name: whole(f"size of {name!r}", size, least=1) for name, size in sizes.items()}
        gain, seed = finite("gain", gain, low=0), whole("seed", seed, least=0)
        if not isinstance(couplings, Iterable) or getattr(couplings, "ndim", 1) == 0:
            raise ValueError(
                f"expected couplings as a list of pairs of layers, got {type(couplings).__name__}; "
                "give [('x', 'h'), ('h', 'y')]."
            )
        pairs = [_pair(pair, n) for pair in couplings]
        n_bytes = 16 * sum(n[a] * n[b] for a, b in pairs)
        check_memory("the weights of a graph of layers", n_bytes, "use smaller layers")
        weights = {}
        for (a, b), stream in zip(pairs, np.random.SeedSequence(seed).spawn(len(pairs)),
                                  strict=True):  # fmt: skip
            limit = gain * math.sqrt(6 / (n[a] + n[b]))
            W = np.random.default_rng(stream).uniform(-limit, limit, (n[a], n[b]))
            weights[a, b] = np.triu(W, 1) + np.triu(W, 1).T if a == b else W
        biases = {name: np.zeros(size) for name, size in n.items()}
        return cls(weights, biases, activation, dtype=dtype).centred()

    @property
    def biases(self) -> dict[str, Tensor]:
        """The biases of each layer, as views of ``bias``."""
        return {name: self.bias[..., where] for name, where in self.layers.items()}

    @property
    def drives(self) -> Mapping[str, str]:
        """The layer of each coupling that is nearer the output."""
        assert isinstance(self.origin[0], LayerGraph)
        return {f"weights.{a}.{b}": b for a, b in self.origin[0].weights}

    @property
    def depth(self) -> dict[str, int | float]:
        """Hops from the output in the graph of couplings, infinite where no path leads.

        What is held passes nothing on, and neither does the input.
        """
        names, x = list(self.layers), next(iter(self.origin[0].layers))
        found: dict[str, int | float] = dict.fromkeys(names, math.inf)
        front, hops = set(names[-1:]), 0
        while front:
            found |= dict.fromkeys(front, hops)
            front -= {x}
            beside = {d for pair in self.weights for c, d in (pair, pair[::-1]) if c in front}
            front, hops = {name for name in beside if math.isinf(found[name])}, hops + 1
        return found

    @looks_once
    def coupling(self, r: Tensor) -> Tensor:
        rates = {name: r[..., where] for name, where in self.layers.items()}
        received = {name: torch.zeros_like(rate) for name, rate in rates.items()}
        for (a, b), W in self.weights.items():
            W = W.triu(1) if a == b else W  # what training writes below counts for nothing
            received[b] = received[b] + product(rates[a], W)
            received[a] = received[a] + product(rates[b], W.mT)
        return torch.cat([r[..., :0], *received.values()], -1)

    @looks_once
    def dense_weight(self) -> Tensor:
        check_matrices(self.bias.new_empty(self.bias.shape[-1]))
        sizes = {name: size_of(where) for name, where in self.layers.items()}
        blocks = {(a, b): self.bias.new_zeros(m, n) for a, m in sizes.items()
                  for b, n in sizes.items()}  # fmt: skip
        for (a, b), W in self.weights.items():
            if a == b:
                W = W.triu(1)
                blocks[a, a] = W + W.mT
            else:
                blocks[a, b], blocks[b, a] = W, W.mT
        rows = [torch.cat([blocks[a, b] for b in sizes], -1) for a in sizes]
        return torch.cat(rows, -2) if rows else self.bias.new_zeros(0, 0)

    def _restrict(self, clamped: str, bias: Tensor) -> Self:
        network = copy.copy(self)
        network.weights = {pair: W for pair, W in self.weights.items() if clamped not in pair}
        rho = rates_without(self.activation, list(self.layers).index(clamped))
        network._set(rho, bias, without_layer(self.layers, clamped))
        return network


def _rates(activation: Any, sizes: Mapping[str, int]) -> Activation:
    """Return the rate of all units, given one for all layers or one each."""
    if isinstance(activation, Mapping):
        if list(activation) != list(sizes) and set(activation) != set(sizes):
            raise ValueError(
                f"expected an activation for each of the layers {', '.join(sizes)}, got "
                f"{', '.join(map(str, activation))}."
            )
        activation = [activation[name] for name in sizes]
    each = one_each(activation, len(sizes))
    own = isinstance(activation, list | tuple)
    return LayerRates(tuple(each), tuple(sizes.values())) if own else each[0]


def _pair(pair: Any, sizes: Mapping[str, int]) -> Pair:
    """Return a pair of layers, the earlier one first, or refuse what is none."""
    names = list(sizes)
    known = isinstance(pair, tuple | list) and len(pair) == 2 and all(a in names for a in pair)
    if not known:
        raise ValueError(
            f"expected couplings between two of the layers {', '.join(names)}, got {pair!r}; name "
            "them as ('x', 'h')."
        )
    a, b = sorted(pair, key=names.index)
    return a, b


def _checked(weights: Any, sizes: Mapping[str, int], dtype: torch.dtype) -> dict[Pair, Tensor]:
    """Return weights by pair, the earlier layer first, checked."""
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(
            f"expected weights by pairs of layers, got {type(weights).__name__}; give "
            "{('x', 'h'): W, ('h', 'y'): V}."
        )
    found: dict[Pair, Tensor] = {}
    for pair, given in weights.items():
        a, b = _pair(pair, sizes)
        if (a, b) in found:
            raise ValueError(
                f"expected one array of weights between {a!r} and {b!r}, which serves both "
                "directions, got two."
            )
        W = finite_tensor(given, f"the weights of {a!r} and {b!r}", dtype)
        expected = tuple(sizes[name] for name in pair)
        if W.shape != expected:
            raise ValueError(
                f"expected weights of shape {expected} between {pair[0]!r} and {pair[1]!r}, got "
                f"{tuple(W.shape)}; the biases say the sizes."
            )
        if a == b:
            check_self_coupling(W)
            check_symmetry(W)
            W = W.triu(1)
        found[a, b] = W if (a, b) == tuple(pair) else W.mT.contiguous()
    return found
