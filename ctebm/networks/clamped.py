"""A motion with some layers held at states, by substitution into its force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.kinks import Box, Kinks
from ctebm.networks.layer_states import states_of_layers
from ctebm.networks.layout import broadcast_shapes, consecutive, covering, rows_of, size_of

__all__ = ["ClampedField"]

N = TypeVar("N", bound=VectorField)


class ClampedField(VectorField, Generic[N]):
    """A motion with some layers held, by substitution into its force; what ``clamp`` returns.

    Parameters
    ----------
    whole : VectorField
        The motion of all layers.
    states : mapping of str to Tensor
        A state for each held layer, ``(*batch, size)``.

    Examples
    --------
    >>> import ctebm
    >>> class Decay(ctebm.VectorField):
    ...     def force(self, s):
    ...         return s.flip(-1) - s
    >>> held = Decay(2, {"x": slice(0, 1), "y": slice(1, 2)}).clamp({"x": [[1.0], [3.0]]})
    >>> held.force(held.as_state([0.5]))
    tensor([[0.5000],
            [2.5000]], dtype=torch.float64)
    """

    whole: N
    states: dict[str, Tensor]
    free: Tensor
    n_units: int | None
    box: Box | None
    kinks: Kinks | None
    dtype: torch.dtype
    device: torch.device

    def __init__(self, whole: N, states: Mapping[str, Tensor]) -> None:
        layers = covering(whole.layers, whole.n_units)  # which a class may declare
        self.whole, self.states = whole, dict(states)
        free = {name: where for name, where in layers.items() if name not in states}
        super().__init__(None, consecutive({name: size_of(w) for name, w in free.items()}))
        self.n_units = sum(map(size_of, free.values()))
        self.dtype, self.device = whole.dtype, whole.device
        numbers = [np.arange(where.start, where.stop) for where in free.values()]
        self.free = torch.from_numpy(np.concatenate([*numbers, np.zeros(0, int)]))
        self.free = self.free.to(whole.device)
        self.box = None if whole.box is None else whole.box.of_units(self.free)
        self.kinks = None if whole.kinks is None else whole.kinks.of_units(self.free)

    def completed(self, s: Tensor) -> Tensor:
        """Return states of the free units together with the held ones."""
        s = self.as_state(s)
        batch = broadcast_shapes(s.shape[:-1], *(x.shape[:-1] for x in self.states.values()))
        parts = {k: self.states[k] if k in self.states else s[..., self.layers[k]]
                 for k in self.whole.layers}  # fmt: skip
        return torch.cat([p.expand(*batch, -1) for p in parts.values()], -1)

    def padded(self, v: Tensor) -> Tensor:
        """Return a vector on the free units with zeros on the held ones."""
        n = sum(map(size_of, self.whole.layers.values()))
        return v.new_zeros(*v.shape[:-1], n).index_copy(-1, self.free, v)

    def kept(self, t: Tensor) -> Tensor:
        """Return the free units of a vector."""
        return t.index_select(-1, self.free)

    def force(self, s: Tensor) -> Tensor:
        return self.kept(self.whole.force(self.completed(s)))

    def pressure(self, s: Tensor) -> Tensor:
        return self.kept(self.whole.pressure(self.completed(s)))

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.jacobian_product(*self._whole_with_vector(s, v)))

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.kept(self.whole.adjoint_product(*self._whole_with_vector(s, v)))

    def jacobian(self, s: Tensor) -> Tensor:
        return self._block(self.whole.jacobian(self.completed(s)))

    @property
    def batch(self) -> torch.Size:
        shapes = (x.shape[:-1] for x in self.states.values())
        return broadcast_shapes(self.whole.batch, *shapes)

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        states = {k: rows_of(x, batch, rows) for k, x in self.states.items()}
        return type(self)(self.whole.samples(batch, rows), states)

    def snapshot(self) -> Self:
        whole = self.whole.snapshot()
        return self if whole is self.whole else type(self)(whole, self.states)

    def clamp(self, states: Mapping[str, ArrayLike | Tensor]) -> Self:
        return type(self)(self.whole, self.states | states_of_layers(self, states))

    @property
    def origin(self) -> tuple[VectorField, dict[str, Tensor]]:
        whole, held = self.whole.origin
        return whole, held | self.states

    def _whole_with_vector(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        s, v = self._with_vector(s, v)
        return self.completed(s), self.padded(v)

    def _block(self, matrix: Tensor) -> Tensor:
        return matrix.index_select(-1, self.free).index_select(-2, self.free)
