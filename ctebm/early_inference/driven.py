r"""Networks with a driven output: linearised, held, and nudged at a complex strength."""

from __future__ import annotations

import copy
import warnings
from typing import Self

import torch
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.kinks import Box
from ctebm.networks.layout import rows_of
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = [
    "ComplexNudge",
    "HeldOutput",
    "TangentField",
    "check_analytic",
    "check_analytic_strip",
    "with_output",
]

_DIFFERENCE = 1e-4  # of complex states: its error, about its square, is far below the tolerance
_SLOPE_TOLERANCE = 1e-4  # slopes in two directions, or of another function, differ by far more


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
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: VectorField, target: Tensor) -> None:
        super().__init__(network.n_units, network.layers)
        self.network, self.target, self.box = network, target, network.box
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
        return torch.broadcast_shapes(self.network.batch, self.target.shape[:-1])

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


class ComplexNudge(VectorField):
    r"""A nudged network at a complex strength: real and imaginary parts as units of their own.

    .. math:: \dot z = f(z) + \beta\,(y^* - y), \qquad \beta \in \mathbb{C}

    Parameters
    ----------
    network : PairwiseNetwork
        With an analytic activation that takes complex tensors.
    target : Tensor, (*batch, output unit)
        The target states.
    beta : complex
        The strength.
    """

    inner: PairwiseNetwork
    target: Tensor
    beta: complex
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: VectorField, target: Tensor, beta: complex) -> None:
        check_analytic(network)
        assert isinstance(network, PairwiseNetwork) and network.n_units is not None
        super().__init__(2 * network.n_units)
        wide = torch.complex128 if network.dtype == torch.float64 else torch.complex64
        self.inner, self.target, self.beta = network._map(lambda t: t.to(wide)), target, beta
        self.dtype, self.device = network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        n, y = self.inner.n_units, self.inner.layers[self.inner.output]
        z = torch.complex(s[..., :n], s[..., n:])
        f = self.inner.force(z)
        f[..., y] = f[..., y] + self.beta * (self.target - z[..., y])
        return torch.cat([f.real, f.imag], -1)

    @property
    def batch(self) -> torch.Size:
        return torch.broadcast_shapes(self.inner.batch, self.target.shape[:-1])

    def snapshot(self) -> Self:
        other = copy.copy(self)
        other.inner = self.inner.snapshot()
        return other

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other = copy.copy(self)
        other.inner = self.inner.samples(batch, rows)
        other.target = rows_of(self.target, batch, rows)
        return other


def check_analytic(network: VectorField) -> None:
    """Refuse complex nudging where the activation has no complex continuation."""
    remedy = "use points=1 or 2"
    if not isinstance(network, PairwiseNetwork):
        raise ValueError(
            f"complex nudging needs the closed form of eq. 6, got {type(network).__name__}; "
            f"{remedy}."
        )
    rho = network.activation
    if rho.kinks:
        raise ValueError(f"complex nudging needs an analytic activation, got {rho}; {remedy}.")
    try:
        z = torch.tensor([0.1 + 1j * min(0.1, rho.analytic_strip / 2)], dtype=torch.complex128)
        h = _DIFFERENCE
        slope = (rho(z + h) - rho(z - h)) / (2 * h)
        turned = (rho(z + 1j * h) - rho(z - 1j * h)) / (2j * h)
        slopes = torch.cat([turned, rho.derivative(z)])
        analytic = bool(((slope - slopes).abs() < _SLOPE_TOLERANCE).all())
    except (RuntimeError, NotImplementedError, TypeError):
        analytic = False
    if not analytic:
        raise ValueError(f"{rho} takes no complex states, which complex nudging needs; {remedy}.")


def check_analytic_strip(network: VectorField, reached: float, beta: complex) -> None:
    """Warn where a complex nudge has moved states past the nearest singularity of the rate."""
    rho = network.activation if isinstance(network, PairwiseNetwork) else None
    if rho is not None and reached >= rho.analytic_strip:
        warnings.warn(
            f"a nudge of complex strength {beta:.3g} moved a state to imaginary part "
            f"{reached:.3g}, beyond the singularities of {rho} at {rho.analytic_strip:.3g}: its "
            "error is not of order beta^points there; use a smaller beta.",
            stacklevel=2,
        )
