r"""Networks with a driven output: linearised, and held."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.kinks import Box, Kinks
from ctebm.networks.layout import broadcast_shapes, rows_of

__all__ = ["HeldOutput", "TangentField", "with_output"]


class TangentField(VectorField):
    r"""The linear motion :math:`\dot v = J v + u` of small deviations `v` from an equilibrium.

    It is the linear response of the network, at any step and by any solver.

    Parameters
    ----------
    network : VectorField
        The network that is at equilibrium at `state`.
    state : Tensor, (*batch, unit)
        The equilibrium.
    responsive : Tensor, (*batch, unit)
        Which units move, and move others; pinned units do neither.
    pull : Tensor, (*batch, output unit), optional
        A constant force `u` on the output.
    curvature : Tensor, (*batch, output unit, output unit), optional
        That of a cost whose slope replaces the output's pressure, so that the output follows
        :math:`u - C'' v`, whatever the others do.
    """

    network: VectorField
    state: Tensor
    responsive: Tensor
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        network: VectorField,
        state: Tensor,
        responsive: Tensor,
        pull: Tensor | None = None,
        curvature: Tensor | None = None,
    ) -> None:
        super().__init__(state.shape[-1], network.layers)
        self.network, self.state, self.responsive = network, state, responsive.to(state.dtype)
        self.dtype, self.device = state.dtype, state.device
        self.pull: Tensor | None = None
        self.curvature = curvature
        if pull is not None:
            u = torch.zeros_like(state)
            u[..., network.layers[network.output]] = pull
            self.pull = u if curvature is not None else u * self.responsive

    def force(self, s: Tensor) -> Tensor:
        f = self.jacobian_product(s, s)
        if self.curvature is not None:
            y = self.layers[self.output]
            f[..., y] = -torch.einsum("...ij,...j->...i", self.curvature, s[..., y])
        return f if self.pull is None else f + self.pull

    @property
    def batch(self) -> torch.Size:
        return self.state.shape[:-1]

    def snapshot(self) -> Self:
        other = copy.copy(self)
        other.network = self.network.snapshot()
        return other

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other = copy.copy(self)
        other.network = self.network.samples(batch, rows)
        other.state, other.responsive = (
            rows_of(t, batch, rows) for t in (self.state, self.responsive)
        )
        other.pull = None if self.pull is None else rows_of(self.pull, batch, rows)
        if self.curvature is not None:
            curvature = self.curvature.flatten(-2)
            other.curvature = rows_of(curvature, batch, rows).unflatten(
                -1, self.curvature.shape[-2:]
            )
        return other

    def jacobian_product(self, s: Tensor, v: Tensor) -> Tensor:
        free = self.responsive
        return free * self.network.jacobian_product(self.state, free * self.as_state(v))

    def adjoint_product(self, s: Tensor, v: Tensor) -> Tensor:
        free = self.responsive
        return free * self.network.adjoint_product(self.state, free * self.as_state(v))


class HeldOutput(VectorField):
    """A network whose other units see the output at a target, whatever the output's state.

    Noise on the output then reaches nothing else, which is how a clamped run and an undriven one
    share one noise.

    Parameters
    ----------
    network : VectorField
        Its last layer is the output.
    target : Tensor, (*batch, output unit)
        Where the output is held.
    """

    network: VectorField
    target: Tensor
    box: Box | None
    kinks: Kinks | None
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: VectorField, target: Tensor) -> None:
        super().__init__(network.n_units, network.layers)
        self.network, self.target = network, target
        self.box, self.kinks = network.box, network.kinks
        self.dtype, self.device = network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        held = with_output(self.network, s, self.target)
        return self.network.force(held) + (held - s)  # so that the pressure is that at the target

    def jacobian(self, s: Tensor) -> Tensor:
        held = with_output(self.network, self._in_samples(s), self.target)
        J, y = self.network.jacobian(held).clone(), self.layers[self.output]
        J[..., y] = 0
        J[..., y, y] = -torch.eye(self.target.shape[-1], dtype=J.dtype, device=J.device)
        return J

    @property
    def batch(self) -> torch.Size:
        return broadcast_shapes(self.network.batch, self.target.shape[:-1])

    def snapshot(self) -> Self:
        other = copy.copy(self)
        other.network = self.network.snapshot()
        return other

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        network = self.network.samples(batch, rows)
        return type(self)(network, rows_of(self.target, batch, rows))


def with_output(network: VectorField, state: Tensor, target: Tensor) -> Tensor:
    """Return states with the output at a target."""
    held = state.clone()
    held[..., network.layers[network.output]] = target
    return held
