r"""A chain of layers, one tensor a layer: the currents and pressures of eq. 8, block by block.

Flat states ``(*batch, unit)`` are handy, but layers that take turns, or that learn at their own
rates, are better kept apart. Here states, rates and currents are sequences of one tensor
``(*batch, size)`` a layer, input first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.layer_rates import rate_of_layer, rates_without
from ctebm.networks.pairwise import affine

__all__ = ["Blocks", "KeptMatrix", "LayersAt", "affine_product", "product"]

_NARROW_UNITS = 32  # columns up to which BLAS multiplies the transpose faster


@dataclass(frozen=True, eq=False)
class Blocks:
    r"""Couplings and biases of layers that are coupled to their neighbours only.

    .. math:: I_i = b_i + \rho(s_{i-1})\,W_{i-1} + \rho(s_{i+1})\,V_i'

    with states as rows; :math:`V = W` where the couplings are symmetric (eq. 6).

    Attributes
    ----------
    activation : Activation
        The firing rate, of all layers or of each.
    weights : sequence of Tensor or None
        ``weights[i]`` is ``(size_i, size_i+1)`` and leads from layer ``i`` to ``i + 1``; None where
        nothing does.
    feedback : sequence of Tensor or None
        Of the same shapes, from layer ``i + 1`` back to ``i``.
    biases : sequence of Tensor
        ``(size_i,)``, or ``(*batch, size_i)`` where a clamped neighbour sends each sample its own.

    Examples
    --------
    >>> import ctebm, torch
    >>> net = ctebm.LayeredNetwork([[[2.0]], [[3.0]]], [[0.0], [0.5], [0.0]], ctebm.HardSigmoid())
    >>> rates = list(torch.tensor([[1.0], [0.5], [0.1]], dtype=net.dtype))
    >>> net.blocks.current(1, rates)  # 0.5 + 1.0 * 2 + 0.1 * 3
    tensor([2.8000], dtype=torch.float64)
    """

    activation: Activation
    weights: Sequence[Tensor | None]
    feedback: Sequence[Tensor | None]
    biases: Sequence[Tensor]

    def rho(self, i: int) -> Activation:
        """Return the activation of layer `i`."""
        return rate_of_layer(self.activation, i)

    def current(self, i: int, r: Sequence[Tensor]) -> Tensor:
        r"""Return :math:`I = b + W \rho(s)` of layer `i`, given the rates of all."""
        I = self.add_from_above(i, r, self.add_from_below(i, r, self.biases[i]))
        return I if I.ndim >= r[i].ndim else I.expand_as(r[i])  # of a layer without neighbours

    def current_operator(self) -> Callable[[Tensor], Tensor]:
        r"""Return the map of the rates of all units, ``(*batch, unit)``, to their currents.

        All layers have neighbours.
        """
        sizes = [b.shape[-1] for b in self.biases]
        from_below = [None, *self.weights]
        from_above = [*(V if V is None else V.mT for V in self.feedback), None]
        couplings = [
            [(j, M, affine_product if _has_few_columns(M) else affine)
             for j, M in ((i - 1, W), (i + 1, V)) if M is not None]
            for i, (W, V) in enumerate(zip(from_below, from_above, strict=True))
        ]  # fmt: skip

        def currents(r: Tensor) -> Tensor:
            rates, parts = r.split_with_sizes(sizes, -1), []
            for I, neighbours in zip(self.biases, couplings, strict=True):
                for j, M, added in neighbours:
                    I = added(I, rates[j], M)
                parts.append(I)
            return torch.cat(parts, -1)

        return currents

    def add_from_below(self, i: int, r: Sequence[Tensor | None], I: Tensor) -> Tensor:
        """Return a current plus what layer `i` receives from the side of the input.

        Parameters
        ----------
        i : int
            The layer, counted from the input.
        r : sequence of Tensor or None
            Rates, or changes of rates, of each layer; None sends nothing.
        I : Tensor, (*batch, size)
            The current.
        """
        r_below, W = (r[i - 1], self.weights[i - 1]) if i > 0 else (None, None)
        return I if r_below is None or W is None else affine_product(I, r_below, W)

    def add_from_above(self, i: int, r: Sequence[Tensor | None], I: Tensor) -> Tensor:
        """Return a current plus what layer `i` receives from the side of the output."""
        r_above, V = (r[i + 1], self.feedback[i]) if i + 1 < len(r) else (None, None)
        return I if r_above is None or V is None else affine_product(I, r_above, V.mT)

    def pressure(self, i: int, s: Tensor, I: Tensor) -> Tensor:
        r"""Return :math:`R = \rho'(s) I` (eq. 8) of layer `i`; between kinks the slope is 1."""
        rho = self.rho(i)
        return I if rho.box is not None else rho.derivative(s) * I

    def adjoint(self, i: int, s: Sequence[Tensor], v: Tensor) -> Tensor:
        r"""Return what a vector of layer `i + 1` sends back to layer `i`.

        .. math:: \rho'(s_i) \odot V_i\,(\rho'(s_{i+1}) \odot v)

        Where :math:`V = W` this is the adjoint of :math:`\partial R_{i+1} / \partial s_i`. Between
        kinks the slopes are 1.
        """
        V = self.feedback[i]
        if V is None:
            return torch.zeros_like(s[i])
        below, above = self.rho(i), self.rho(i + 1)
        if above.box is None:
            v = above.derivative(s[i + 1]) * v
        back = product(v, V.mT)
        return back if below.box is not None else below.derivative(s[i]) * back

    def matrix(self) -> Tensor:
        """Return the couplings as one matrix, from all units (columns) to all (rows)."""
        sizes = [b.shape[-1] for b in self.biases]
        rows = []
        for i, m in enumerate(sizes):
            row = [self.biases[i].new_zeros(m, n) for n in sizes]
            if i > 0 and (W := self.weights[i - 1]) is not None:
                row[i - 1] = W.mT
            if i + 1 < len(sizes) and (V := self.feedback[i]) is not None:
                row[i + 1] = V
            rows.append(torch.cat(row, dim=-1))
        return torch.cat(rows, dim=-2)

    def rate(self, i: int, s: Tensor) -> Tensor:
        r"""Return :math:`\rho(s)` of states of layer `i` in its box, if there is one."""
        rho = self.rho(i)
        return rho(s) if rho.box is None else s - rho.box.low

    def project(self, i: int, s: Tensor) -> Tensor:
        """Return the nearest states in the box of layer `i`, if there is one."""
        box = self.rho(i).box
        return s if box is None else box.project(s)

    def without_input(self, r: Tensor) -> Blocks:
        """Return the layers above the first, which is held at rates ``(*batch, size)``."""
        biases = [self.add_from_below(1, [r], self.biases[1]), *self.biases[2:]]
        rho = rates_without(self.activation, 0)
        return Blocks(rho, self.weights[1:], self.feedback[1:], biases)

    def samples(self, chosen: Tensor) -> Blocks:
        """Return the same layers for some samples of the batch, ``(batch,)`` rows or a mask."""
        biases = [b[chosen] if b.ndim > 1 else b for b in self.biases]
        return Blocks(self.activation, self.weights, self.feedback, biases)


class LayersAt(NamedTuple):
    """What layers are at some states, one tensor ``(*batch, size)`` a layer.

    Attributes
    ----------
    states, rates, currents : list of Tensor
        Input side first.
    """

    states: list[Tensor]
    rates: list[Tensor]
    currents: list[Tensor]


def product(r: Tensor, W: Tensor) -> Tensor:
    """Return ``r W``, through the transpose where `W` is narrow, which BLAS does much faster."""
    return (W.mT @ r.mT).mT if _is_narrow(r, W) else r @ W


def affine_product(bias: Tensor, r: Tensor, W: Tensor) -> Tensor:
    """Return ``bias + r W`` likewise, of at most two dimensions in one call."""
    if _is_narrow(r, W) and bias.ndim == 2 and bias.shape[0] == r.shape[0]:
        return torch.addmm(bias.mT, W.mT, r.mT).mT
    return affine(bias, r, W)


def _is_narrow(r: Tensor, W: Tensor) -> bool:
    return _has_few_columns(W) and r.ndim == 2 and r.shape[0] > 1


def _has_few_columns(W: Tensor) -> bool:
    return W.shape[1] <= _NARROW_UNITS < W.shape[0]


@dataclass(frozen=True, eq=False)
class KeptMatrix:
    """All couplings in one matrix, kept with the blocks that it was made of and their numbers.

    Attributes
    ----------
    blocks : list of Tensor or None
        The blocks themselves.
    numbers : list of Tensor or None
        What was in them; None for blocks that nobody changes.
    dense : Tensor
        ``(unit, unit)``.
    """

    blocks: list[Tensor | None]
    numbers: list[Tensor | None]
    dense: Tensor

    @classmethod
    def of(cls, blocks: list[Tensor | None], matrix: Callable[[], Tensor]) -> Self:
        """Return the `matrix` of blocks, which is computed."""
        with torch.inference_mode(False), torch.no_grad():  # to serve outside as well
            return cls(list(blocks), [None if W is None else W.clone() for W in blocks], matrix())

    @classmethod
    def fixed(cls, blocks: list[Tensor | None], dense: Tensor) -> Self:
        """Return the matrix of blocks that nobody changes."""
        return cls(list(blocks), [None] * len(blocks), dense)

    def holds(self, blocks: list[Tensor | None]) -> bool:
        """Return whether the blocks are the same, and nothing was written into them."""
        if len(blocks) != len(self.blocks):
            return False
        for W, V, numbers in zip(blocks, self.blocks, self.numbers, strict=True):
            if W is not V or (W is not None and W.requires_grad):
                return False
            # a write through `.data` leaves no trace but the numbers
            if W is not None and numbers is not None and not torch.equal(W, numbers):
                return False
        return True
