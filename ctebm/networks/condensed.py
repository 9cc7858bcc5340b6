r"""Every other layer of a chain, with the layers between at their minimum (static condensation).

Layers at even depth are coupled to layers at odd depth only. Between kinks the minimum over the
ones, `e`, is known for each state of the others, `o`:

.. math:: e(o) = \mathrm{clip}(b_e + K \rho(o),\, \beta_1,\, \beta_2), \qquad
          E(o) = \tfrac12 |o|^2 - b_o'\rho(o) + \tfrac12 |e|^2 - \rho(e)'(b_e + K\rho(o))

What is left has the same minima and saddles, and the curvature :math:`1 - K_F' K_F` with the units
`F` of the layers between that no kink holds: its condition number is about the root of the whole
network's.

Letters: ``o`` the kept layers (the states of this network), ``e`` the layers between, rates ``r``,
currents ``I``, blocks ``W``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Self, TypeGuard

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.blocks import Blocks, LayersAt, affine_product, product
from ctebm.networks.energy import Network
from ctebm.networks.free_blocks import FreeBlocks, FreeRows
from ctebm.networks.kinks import Box
from ctebm.networks.layered import LayeredNetwork
from ctebm.networks.layout import broadcast_shapes, rows_of

__all__ = ["Condensed", "condenses"]

# Numbers that are read in the time of a call, and rows that are multiplied in the time in which the
# weights are read.
CALL, ROWS = 10_000, 8
# Weights from which on products cost more than the calls that condensing takes.
LEAST_WEIGHTS = 2**16


def condenses(network: VectorField) -> TypeGuard[LayeredNetwork]:
    """Return whether a network is a chain of layers with two kinks each, and large enough.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.condensed import condenses
    >>> rates = ctebm.HardSigmoid(), ctebm.Tanh()
    >>> [condenses(ctebm.LayeredNetwork.random([400, 200], rho)) for rho in rates]
    [True, False]
    """
    if not isinstance(network, LayeredNetwork) or _n_weights(network.weights) < LEAST_WEIGHTS:
        return False
    boxes = [network.rate_of(name).box for name in network.layers]
    return all(box is not None and math.isfinite(box.high - box.low) for box in boxes)


def _n_weights(weights: Sequence[Tensor | None]) -> int:
    return sum(W.numel() for W in weights if W is not None)


class Condensed(Network):
    r"""The energy of every other layer, those between at their minimum.

    Of the two halves the one with fewer units is kept.

    Parameters
    ----------
    network : LayeredNetwork
        With two kinks in each layer.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.condensed import Condensed
    >>> net = ctebm.LayeredNetwork.random([3, 2, 4, 3], ctebm.HardSigmoid(), gain=2.0)
    >>> half, o = Condensed(net), torch.tensor([0.1, -0.2, 0.4, 0.0, 0.3], dtype=torch.float64)
    >>> s = half.states(o)
    >>> bool((half.energy(o) - net.energy(s)).abs() < 1e-12), half.kept(s).equal(o)
    (True, True)
    """

    blocks: Blocks
    constant: Tensor
    box: Box | None
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: LayeredNetwork) -> None:
        where, blocks = list(network.layers.values()), network.blocks
        sizes = [w.stop - w.start for w in where]
        first = int(sum(sizes[1::2]) < sum(sizes[::2]))
        self._o, self._e = range(first, len(where), 2), range(1 - first, len(where), 2)
        self._where, self._sizes = where, [sizes[i] for i in self._o]
        super().__init__(sum(self._sizes))
        self.dtype, self.device = network.dtype, network.device
        self.constant = network.constant
        self._set_blocks(blocks)
        assert network.box is not None
        units = self.kept(torch.arange(where[-1].stop, device="cpu"))
        self.box = network.box.of_units(units.to(self.device))

    def _set_blocks(self, blocks: Blocks) -> None:
        self.blocks = blocks
        below, above = [None, *blocks.weights], [*blocks.weights, None]
        self._neighbours = [
            [(j, M) for j, M in ((i - 1, W), (i + 1, V if V is None else V.mT)) if M is not None]
            for i, (W, V) in enumerate(zip(below, above, strict=True))
        ]

    @property
    def batch(self) -> torch.Size:
        return broadcast_shapes(self.constant.shape, *(b.shape[:-1] for b in self.blocks.biases))

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other, blocks = copy.copy(self), self.blocks
        biases = [rows_of(b, batch, rows) for b in blocks.biases]
        other.blocks = Blocks(blocks.activation, blocks.weights, blocks.feedback, biases)
        if self.constant.ndim:
            other.constant = rows_of(self.constant.unsqueeze(-1), batch, rows).squeeze(-1)
        return other

    def single(self) -> Self:
        """Return the same in float32, for steps that need not be exact."""
        other, blocks = copy.copy(self), self.blocks
        weights = [None if W is None else W.float() for W in blocks.weights]
        biases = [b.float() for b in blocks.biases]
        other._set_blocks(Blocks(blocks.activation, weights, weights, biases))
        other.constant, other.dtype = self.constant.float(), torch.float32
        other.box = None if self.box is None else self.box.to(biases[0])
        return other

    def kept(self, s: Tensor) -> Tensor:
        """Return the kept layers of states of the whole network, ``(*batch, unit)``."""
        return torch.cat([s[..., self._where[i]] for i in self._o], -1)

    def states(self, o: Tensor) -> Tensor:
        """Return the states of the whole network, ``(*batch, unit)``."""
        parts = self._parts(o)
        parts |= {i: self.blocks.project(i, I) for i, I in self._between(o)[1].items()}
        return torch.cat([parts[i] for i in range(len(parts))], -1)

    @property
    def n_weights(self) -> int:
        """How many weights there are."""
        return _n_weights(self.blocks.weights)

    def of_kept(self, parts: Sequence[Tensor] | Mapping[int, Tensor]) -> Tensor:
        """Return what belongs to the kept layers, of a tensor a layer."""
        own = [parts[i] for i in self._o]
        return own[0] if len(own) == 1 else torch.cat(own, -1)

    def force_at(self, o: Tensor, now: LayersAt) -> Tensor:
        """Return the force from what all layers are."""
        return self.of_kept(now.currents) - o

    def layers_at(self, o: Tensor) -> LayersAt:
        """Return what all layers of the whole network are at states ``(*batch, unit)``."""
        s, (r, I) = self._parts(o), self._between(o)
        s |= {i: self.blocks.project(i, I[i]) for i in self._e}
        I |= {i: self._received(i, r, self.blocks.biases[i]) for i in self._o}
        return LayersAt(*([part[i] for i in range(len(part))] for part in (s, r, I)))

    def among(self, row: int, moving: Sequence[Tensor], now: LayersAt) -> Self:
        """Return the energy of some units of one sample, for states ``(1, unit)``.

        The others stay as they are, and the energy is without their own.

        Parameters
        ----------
        row : int
            The sample.
        moving : sequence of Tensor
            Which units, layer by layer, ``(unit,)``.
        now : LayersAt
            Where all of them are.
        """
        other, at = copy.copy(self), [torch.nonzero(m).squeeze(-1) for m in moving]
        weights = [
            None if W is None else W.index_select(0, here).index_select(1, above)
            for W, (here, above) in zip(self.blocks.weights, pairwise(at), strict=True)
        ]
        other._sizes = [len(at[i]) for i in self._o]
        other.n_units, other.constant = sum(other._sizes), self.constant.new_zeros(1)
        r, I = ([part[row : row + 1, u] for part, u in zip(parts, at, strict=True)]
                for parts in (now.rates, now.currents))  # fmt: skip
        other._set_blocks(Blocks(self.blocks.activation, weights, weights, I))
        own = dict(enumerate(r))
        biases = [I_i - other._received(i, own) for i, I_i in enumerate(I)]
        other.blocks = Blocks(self.blocks.activation, weights, weights, biases)
        if self.box is not None:
            other.box = self.box.of_units(self.of_kept(moving))
        return other

    def energy(self, s: Tensor) -> Tensor:
        o = self._in_samples(s)
        return self._energy(o, *self._between(o))

    def force(self, s: Tensor) -> Tensor:
        o = self._in_samples(s)
        return self._force(o, self._between(o)[0])

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        o = self._in_samples(s)
        r, I = self._between(o)
        return self._energy(o, r, I), self._force(o, r)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(self.as_state(v))

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        free = {i: m.to(s.dtype) for i, m in self._free_between(self._in_samples(s)).items()}

        def multiply(v: Tensor) -> Tensor:
            parts = self._parts(v)
            between = {i: self._received(i, parts) * m for i, m in free.items()}
            return v - self.of_kept({i: self._received(i, between) for i in self._o})

        return multiply

    def hessian_operator_on(self, s: Tensor, free: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the products with the Hessian on some units, 0 on the others.

        Where few units are free their weights are gathered first.

        Parameters
        ----------
        s, free : Tensor
            States, and 1 for the units that count, else 0, ``(*batch, unit)``.
        """
        s = self._in_samples(s)
        few = None if s.is_cuda else self._few(s, free)
        if few is not None:
            return few
        multiply = self.hessian_operator(s)
        return lambda v: free * multiply(v)

    def _parts(self, o: Tensor) -> dict[int, Tensor]:
        """Return the kept layers one by one."""
        return dict(zip(self._o, o.split(self._sizes, -1), strict=True))

    def _between(self, o: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return the rates of all layers, and the currents of those between."""
        blocks = self.blocks
        r = {i: blocks.rate(i, part) for i, part in self._parts(o).items()}
        I = {i: self._received(i, r, blocks.biases[i]) for i in self._e}
        return r | {i: blocks.rate(i, blocks.project(i, I[i])) for i in self._e}, I

    def _received(self, i: int, r: Mapping[int, Tensor], bias: Tensor | None = None) -> Tensor:
        """Return the current of layer `i` from the rates of its neighbours."""
        I = bias
        for j, M in self._neighbours[i]:
            I = product(r[j], M) if I is None else affine_product(I, r[j], M)
        one = next(iter(r.values()))
        shape = (*one.shape[:-1], self.blocks.biases[i].shape[-1])
        return one.new_zeros(shape) if I is None else I.expand(shape)

    def _energy(self, o: Tensor, r: Mapping[int, Tensor], I: Mapping[int, Tensor]) -> Tensor:
        E = (o * o).sum(-1) / 2 + self.constant
        for i in self._o:
            E = E - (self.blocks.biases[i] * r[i]).sum(-1)
        for i, current in I.items():
            e = self.blocks.project(i, current)
            E = E + (e * e / 2 - r[i] * current).sum(-1)
        return E

    def _force(self, o: Tensor, r: Mapping[int, Tensor]) -> Tensor:
        return self.of_kept({i: self._received(i, r, self.blocks.biases[i]) for i in self._o}) - o

    def _free_between(self, o: Tensor) -> dict[int, Tensor]:
        """Return which units between are free, or held at a kink by a rounding alone."""
        near, free = math.sqrt(torch.finfo(o.dtype).eps), {}
        for i, I in self._between(o)[1].items():
            box = self.blocks.rho(i).box
            assert box is not None
            free[i] = box.distance(I) > -near
        return free

    def _few(self, s: Tensor, free: Tensor) -> FreeRows | FreeBlocks | None:
        """Return the products on free units by the weights among these, None if these are many."""
        between = self._free_between(s)
        inside = {i: part > 0 for i, part in self._parts(free).items()} | between
        counts = {i: m.sum(-1) for i, m in inside.items()}
        pairs = [(i, j) for i in self._e for j, _ in self._neighbours[i]]
        rows = free.shape[:-1].numel()
        numbers = sum(int((counts[i] * counts[j]).sum()) for i, j in pairs)
        all_numbers = (1 + rows / ROWS) * _n_weights(self.blocks.weights)
        if numbers + 2 * CALL * rows * len(pairs) > all_numbers:
            return None
        flat = {i: m.reshape(rows, -1) for i, m in inside.items()}
        each = [
            FreeBlocks.of({i: m[k] for i, m in flat.items()}, self._o, self._neighbours)
            for k in range(rows)
        ]
        return each[0] if free.ndim == 1 else FreeRows(each)
