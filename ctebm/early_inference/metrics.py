r"""Numbers that say how well a displacement agrees with a gradient, and how sure they are.

Vectors lie along the last dimension. A displacement that descends a gradient `g` is ``-a g``. Deep
layers move by powers of eps: vectors are scaled by powers of two, so that no square underflows and
no digit changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import special
from torch import Tensor

from ctebm.equilibria.linear_systems import power_of_two
from ctebm.networks.layout import broadcast_shapes
from ctebm.networks.numbers import finite, known_array, whole

__all__ = [
    "Exponent",
    "cosine",
    "curve_rmse",
    "fit_exponent",
    "length",
    "projection",
    "relative_error",
    "replicate_intervals",
    "sign_agreement",
    "tangent",
]


def length(v: Tensor) -> Tensor:
    """Return the Euclidean length."""
    size = power_of_two(v)
    return (v / size).norm(dim=-1) * size.squeeze(-1)


def projection(d: Tensor, g: Tensor) -> Tensor:
    r"""Return `a` such that ``-a g`` is nearest to `d`; NaN where `g` is zero."""
    size, of_g = power_of_two(d), power_of_two(g)
    d, g = d / size, g / of_g
    return -(d * g).sum(-1) / g.square().sum(-1) * (size / of_g).squeeze(-1)


def cosine(d: Tensor, g: Tensor) -> Tensor:
    """Return the cosine of ``-d`` with `g`; NaN where one of them is zero."""
    d, g = d / power_of_two(d), g / power_of_two(g)
    return -(d * g).sum(-1) / (d.norm(dim=-1) * g.norm(dim=-1))


def tangent(d: Tensor, g: Tensor) -> Tensor:
    """Return the tangent of the angle between ``-d`` and `g`.

    From the part of `d` across `g`, so that small angles keep their digits, which ``1 - cosine``
    loses. Negative beyond a right angle.
    """
    d, g = d / power_of_two(d), g / power_of_two(g)
    unit = g / g.norm(dim=-1, keepdim=True)
    along = (d * unit).sum(-1)
    across = d - along.unsqueeze(-1) * unit
    return -across.norm(dim=-1) / along


def relative_error(d: Tensor, expected: Tensor) -> Tensor:
    """Return ``|d - expected| / |expected|``; NaN where both are zero."""
    size = power_of_two(expected)
    return ((d - expected) / size).norm(dim=-1) / (expected / size).norm(dim=-1)


def sign_agreement(d: Tensor, g: Tensor) -> Tensor:
    """Return the share of units in which ``-d`` has the sign of `g`, of those where `g` is not 0.

    NaN where `d` has not moved at all.
    """
    counts = (g != 0).expand(broadcast_shapes(d.shape, g.shape))
    agree = (counts & (torch.sign(-d) == torch.sign(g))).sum(-1) / counts.sum(-1)
    return torch.where((d != 0).any(-1), agree, torch.nan)


def curve_rmse(a: Tensor, b: Tensor) -> Tensor:
    r"""Return the relative distance of two curves along the first dimension.

    .. math:: \sqrt{\frac{\sum_t (a_t - b_t)^2}{\max(\sum_t a_t^2,\ \sum_t b_t^2)}}

    as in Ernoult et al. (2019), appendix; 0 where both curves are zero.
    """
    size = power_of_two(torch.maximum(a.abs(), b.abs()).movedim(0, -1)).squeeze(-1)
    a, b = a / size, b / size
    scale = torch.maximum(a.square().sum(0), b.square().sum(0))
    return torch.where(scale > 0, (a - b).square().sum(0) / scale, 0.0).sqrt()


@dataclass(frozen=True)
class Exponent:
    """A fitted power law ``y = c x^slope`` with the confidence interval of its slope.

    Attributes
    ----------
    slope : float
        The exponent.
    low, high : float
        The ends of its confidence interval.
    n : int
        The number of pairs that it was fitted to.
    """

    slope: float
    low: float
    high: float
    n: int


def fit_exponent(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Exponent:
    """Fit a power law by least squares on logarithms.

    Parameters
    ----------
    x, y : array_like of float
        Positive; pairs with a NaN are left out.
    confidence : float
        Of the interval, by Student's t on the residuals; it has no width for two points.

    Returns
    -------
    Exponent

    Raises
    ------
    ValueError
        With fewer than two pairs, values that are not positive or infinite, or a confidence that
        is not between 0 and 1.
    """
    confidence = finite("confidence", confidence, above=0, below=1)
    x, y = known_array("x", x), known_array("y", y)
    if x.shape != y.shape:
        raise ValueError(f"expected as many x as y, got shapes {x.shape} and {y.shape}.")
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(np.unique(x)) < 2 or not ((x > 0).all() and (y > 0).all()):
        raise ValueError(
            f"expected two or more different x > 0 with y > 0, got {len(x)} pairs; a power law has "
            "no exponent without them."
        )
    u, v = np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()
    slope, n = float(u @ v / (u @ u)), len(x)
    error = np.sqrt(np.sum((v - slope * u) ** 2) / (u @ u) / max(n - 2, 1))
    half = float(special.stdtrit(n - 2, (1 + confidence) / 2) * error) if n > 2 else 0.0
    return Exponent(slope, slope - half, slope + half, n)


def replicate_intervals(
    dots: Tensor, gram: Tensor, norm: Tensor, level: float = 0.95
) -> tuple[Tensor, Tensor]:
    r"""Return confidence intervals of the coefficient and the cosine over noisy replicates.

    Both are those of the expected displacement :math:`\bar d = \mathrm{E}\,d_r`. The coefficient is
    a mean, so that Student's t holds. The cosine is

    .. math:: c = -\frac{a}{|g|\sqrt q}, \qquad
        a = \frac1n \sum_r \langle d_r, g\rangle, \qquad
        q = \frac{1}{n(n-1)} \sum_{r \ne p} \langle d_r, d_p\rangle,

    with :math:`\mathrm{E}\,q = |\bar d|^2`, which the squared length of the mean is not: noise adds
    to it, and turns the mean's cosine down. Its standard error is that of the influence of each
    replicate, to first order in it.

    Parameters
    ----------
    dots : Tensor, (*batch, replicate)
        :math:`\langle d_r, g\rangle`, of two or more replicates.
    gram : Tensor, (*batch, replicate, replicate)
        :math:`G_{rp} = \langle d_r, d_p\rangle`.
    norm : Tensor, (*batch)
        :math:`|g|`.
    level : float
        Of the intervals.

    Returns
    -------
    tuple of Tensor
        Coefficient and cosine, ``(2, *batch)``, lower end first; NaN where `g` is zero, and for the
        cosine where nothing has moved. Where noise hides the length (:math:`q \le 0`) the cosine
        can be anything from -1 to 1.
    """
    n, level = dots.shape[-1], finite("level", level, above=0, below=1)
    whole("replicates", n, least=2, remedy="one run has no spread")
    reach = float(special.stdtrit(n - 1, (1 + level) / 2)) / n**0.5
    values = -dots / norm.square().unsqueeze(-1)
    coefficient = _around(values.mean(-1), reach * values.std(-1))

    a = dots.mean(-1)
    with_others = (gram.sum(-1) - gram.diagonal(dim1=-2, dim2=-1)) / (n - 1)
    q = with_others.mean(-1)
    seen = q > 0
    q = torch.where(seen, q, 1.0)
    c = -a / (norm * q.sqrt())
    influence = -(dots - a.unsqueeze(-1)) / (norm * q.sqrt()).unsqueeze(-1) - (
        c.unsqueeze(-1) * (with_others / q.unsqueeze(-1) - 1)
    )
    anything = _around(torch.zeros_like(c), torch.ones_like(c))
    cosine = torch.where(seen, _around(c, reach * influence.std(-1)).clamp(-1, 1), anything)
    moved = (gram != 0).flatten(-2).any(-1) & (norm > 0)
    return coefficient, torch.where(moved, cosine, torch.nan)


def _around(centre: Tensor, half: Tensor) -> Tensor:
    return torch.stack([centre - half, centre + half])
