r"""Networks at complex states, which nudges of complex strength move them to.

A force in closed form is computed at complex states as it is. Where an energy alone is known, with
:math:`e(x, y) = \mathrm{Re}\,E(x + iy)`, the force is :math:`-E'(z) = -e_x + i\,e_y`.

Letters: complex state ``z``, force ``f``, energy ``E``, cost ``C``, strength ``beta``.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction, cost_name
from ctebm.early_inference.costs import OfRates
from ctebm.networks.base import VectorField, count_units
from ctebm.networks.energy import ClampedNetwork, Network
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.layer_rates import LayerRates
from ctebm.networks.layout import broadcast_shapes, rows_of

__all__ = [
    "AnalyticField",
    "ComplexNudge",
    "check_analytic",
    "check_analytic_cost",
    "check_analytic_strip",
]

_DIFFERENCE = 1e-4  # of complex states: its error, about its square, is far below the tolerance
_SLOPE_TOLERANCE = 1e-4  # slopes in two directions, or of another function, differ by far more
_PROBED = 2  # states at which a force is tried
_SIZE = 0.3  # of their units
_LARGEST = 10.0  # states at which a cost is tried
_HEIGHT = 0.05  # of their imaginary parts, where the strip of the rate is wider


class AnalyticField:
    """A network at complex states.

    Parameters
    ----------
    network : VectorField
        Whose energy or force is made of analytic functions that take complex tensors.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.early_inference.analytic import AnalyticField
    >>> class Quartic(ctebm.Network):
    ...     def energy(self, s):
    ...         return s.pow(4).sum(-1) / 4
    >>> AnalyticField(Quartic(1)).force(torch.tensor([1j], dtype=torch.complex128)).imag  # -z^3
    tensor([1.], dtype=torch.float64)
    """

    inner: VectorField

    def __init__(self, network: VectorField) -> None:
        wide = network.dtype.to_complex()
        inner = network._map(lambda t: t.to(wide) if t.is_floating_point() else t)
        self.inner = inner.snapshot()  # the copy stays as it is

    def energy(self, z: Tensor) -> Tensor:
        """Return the complex energy, ``(*batch)``, of a network that has one."""
        inner = self.inner
        if isinstance(inner, ClampedNetwork):  # without what it keeps of real states
            return inner.whole.energy(inner.completed(z))
        assert isinstance(inner, Network | HopfieldNetwork)
        return inner.energy(z)

    def force(self, z: Tensor) -> Tensor:
        """Return the complex force, ``(*batch, unit)``."""
        inner = self.inner
        own = inner.whole if isinstance(inner, ClampedNetwork) else inner
        if type(own).force is not Network.force:
            return inner.force(z)
        slope = _slope(lambda u: self.energy(u), z)
        return -slope

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        other = copy.copy(self)
        other.inner = self.inner._map(change)
        return other

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        """Return the network of some rows of the flattened `batch`."""
        other = copy.copy(self)
        other.inner = self.inner.samples(batch, rows)
        return other


def _slope(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Return the derivative of a sum of an analytic function by `z`, at any order."""

    def real(x: Tensor, y: Tensor) -> Tensor:
        return function(torch.complex(x, y)).real.sum()

    x, y = torch.func.grad(real, argnums=(0, 1))(z.real.contiguous(), z.imag.contiguous())
    return torch.complex(x, -y)


class ComplexNudge(VectorField):
    r"""A nudged network at a complex strength: real and imaginary parts as units of their own.

    .. math:: \dot z = f(z) - \beta\,\partial C/\partial y, \qquad \beta \in \mathbb{C}

    Parameters
    ----------
    network : VectorField
        Analytic; see :func:`check_analytic`.
    target : Tensor, (*batch, output unit)
        The target states.
    beta : complex
        The strength.
    cost : callable, optional
        Analytic in `y`; the squared error by default. One of the rates (``OfRates``) adds to the
        energy of 1984.
    """

    field: AnalyticField
    target: Tensor
    beta: complex
    cost: CostFunction | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        network: VectorField,
        target: Tensor,
        beta: complex,
        cost: CostFunction | None = None,
    ) -> None:
        check_analytic(network)
        super().__init__(2 * count_units(network))
        self.field, self.target, self.beta = AnalyticField(network), target, beta
        self.cost, self.dtype, self.device = cost, network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        n, inner = s.shape[-1] // 2, self.field.inner
        where = inner.layers[inner.output]
        z = torch.complex(s[..., :n], s[..., n:])
        pull = -self.beta * self._slope_of_cost(z[..., where])
        f = self.field.force(z)
        f = torch.cat([f[..., : where.start], f[..., where] + pull], -1)
        return torch.cat([f.real, f.imag], -1)

    def _slope_of_cost(self, y: Tensor) -> Tensor:
        if self.cost is None:
            return y - self.target
        target = self.target.expand(*y.shape[:-1], -1)
        if isinstance(self.cost, OfRates) and isinstance(self.field.inner, HopfieldNetwork):
            of_rates = self.cost.cost
            return _slope(lambda r: of_rates(r, target), self.cost.activation(y))
        cost = self.cost
        return _slope(lambda u: cost(u, target), y)

    @property
    def batch(self) -> torch.Size:
        return broadcast_shapes(self.field.inner.batch, self.target.shape[:-1])

    def samples(self, batch: torch.Size, rows: Tensor) -> Self:
        other = copy.copy(self)
        other.field = self.field.samples(batch, rows)
        other.target = rows_of(self.target, batch, rows)
        return other


def check_analytic(network: VectorField, remedy: str = "use points=1 or 2") -> None:
    """Refuse complex nudging where the force has no complex continuation.

    It is tried at a few states beside the real axis: its slope must be the same in the real and the
    imaginary direction, and on the axis the force must be the real one.
    """
    rho = getattr(network, "activation", None)
    kinks, what = getattr(rho, "kinks", ()), rho or type(network).__name__
    if kinks:
        raise ValueError(f"complex nudging needs an analytic activation, got {what}; {remedy}.")
    if network.box is not None:
        raise ValueError(
            f"complex nudging needs states without kinks, got {type(network).__name__}, which "
            f"keeps them in an interval; {remedy}."
        )
    if not _is_analytic(network):
        raise ValueError(f"{what} takes no complex states, which complex nudging needs; {remedy}.")


@torch.no_grad()
def check_analytic_cost(motion: ComplexNudge, y: Tensor, remedy: str) -> None:
    """Refuse a cost without a complex continuation, tried beside the output's states `y`.

    Its second derivatives must be the same in the real and the imaginary direction.
    """
    if motion.cost is None:
        return
    height = min(_HEIGHT, _strip(motion.field.inner) / 4)
    h, most = (min(_DIFFERENCE, height / 4), _SLOPE_TOLERANCE)
    if y.dtype != torch.float64:
        h, most = 1e-2, 1e-2
    y = y.nan_to_num(0.0).clamp(-_LARGEST, _LARGEST)  # states that ran away are met later
    up = height * torch.linspace(0.5, 1, y.shape[-1], dtype=y.dtype, device=y.device)
    z = torch.complex(y.contiguous(), up.expand_as(y).contiguous())
    try:
        slope = motion._slope_of_cost
        along, across = ((slope(z + w) - slope(z - w)) / (2 * w) for w in (h, 1j * h))
        off = (along - across).abs().amax()
        taken = bool(off < most * (1 + along.abs().amax()))
    except (RuntimeError, TypeError):
        taken = False  # of what the cost does with a complex tensor
    if not taken:
        raise ValueError(
            "complex nudging needs a cost of analytic functions that take complex tensors, got "
            f"{cost_name(motion.cost)}; write it without moduli and kinks, or {remedy}."
        )


@torch.no_grad()
def _is_analytic(network: VectorField) -> bool:
    n = count_units(network)
    if network.batch:
        network = network.samples(
            network.batch, torch.zeros(_PROBED, dtype=torch.long, device="cpu")
        )
    draw = torch.Generator().manual_seed(0)
    x, v = (
        torch.randn(_PROBED, n, generator=draw, dtype=torch.float64, device="cpu").to(
            network.device, network.dtype
        )
        for _ in range(2)
    )
    x, height = _SIZE * x, min(_HEIGHT, _strip(network) / 4)
    up = height * torch.linspace(0.5, 1, n, dtype=x.dtype, device=x.device).expand_as(x)
    h, most = min(_DIFFERENCE, height / 4), _SLOPE_TOLERANCE
    if x.dtype != torch.float64:
        h, most = 1e-2, 1e-2
    try:
        f = AnalyticField(network).force
        z = torch.complex(x, up)
        slopes = [(f(z + w * v) - f(z - w * v)) / (2 * w) for w in (h, 1j * h)]
        on_axis = f(torch.complex(x, torch.zeros_like(x))) - network.force(x)
        off = torch.stack([(slopes[0] - slopes[1]).abs().max(), on_axis.abs().max()])
        return bool((off < most * (1 + slopes[0].abs().max())).all())
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return False  # of what the network does with a complex tensor


def _strip(network: VectorField) -> float:
    """Return how far beside the real axis the rates are analytic, as far as it is known."""
    rho = getattr(network, "activation", None)
    each = rho.activations if isinstance(rho, LayerRates) else [rho]
    return min((getattr(one, "analytic_strip", math.inf) for one in each), default=math.inf)


def check_analytic_strip(network: VectorField, reached: float, beta: complex) -> None:
    """Warn where a complex nudge has moved states past the nearest singularity of the rate."""
    strip = _strip(network)
    if reached >= strip:
        warnings.warn(
            f"a nudge of complex strength {beta:.3g} moved a state to imaginary part "
            f"{reached:.3g}, beyond the singularities of {getattr(network, 'activation', '')} at "
            f"{strip:.3g}: its error is not of order beta^points there; use a smaller beta.",
            stacklevel=2,
        )
