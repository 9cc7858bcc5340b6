r"""Numbers that say how well a displacement agrees with a gradient, and how sure they are.

Vectors lie along the last dimension. A displacement that descends a gradient `g` is ``-a g``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

__all__ = [
    "Exponent",
    "angle",
    "bootstrap_interval",
    "cosine",
    "curve_rmse",
    "fit_exponent",
    "projection",
    "relative_error",
    "sign_agreement",
    "tangent",
]


def projection(d: Tensor, g: Tensor) -> Tensor:
    r"""Return `a` such that ``-a g`` is nearest to `d`; NaN where `g` is zero."""
    return -(d * g).sum(-1) / g.square().sum(-1)


def cosine(d: Tensor, g: Tensor) -> Tensor:
    """Return the cosine of ``-d`` with `g`; NaN where one of them is zero."""
    return -(d * g).sum(-1) / (d.norm(dim=-1) * g.norm(dim=-1))


def tangent(d: Tensor, g: Tensor) -> Tensor:
    """Return the tangent of the angle between ``-d`` and `g`.

    From the part of `d` across `g`, so that small angles keep their digits, which ``1 - cosine``
    loses. Negative beyond a right angle.
    """
    unit = g / g.norm(dim=-1, keepdim=True)
    along = (d * unit).sum(-1)
    across = d - along.unsqueeze(-1) * unit
    return -across.norm(dim=-1) / along


def angle(d: Tensor, g: Tensor) -> Tensor:
    """Return the angle between ``-d`` and `g` in radians, 0 to pi."""
    t = tangent(d, g)
    return torch.atan2(t.abs(), t.sign())


def relative_error(d: Tensor, expected: Tensor) -> Tensor:
    """Return ``|d - expected| / |expected|``; NaN where both are zero."""
    return (d - expected).norm(dim=-1) / expected.norm(dim=-1)


def sign_agreement(d: Tensor, g: Tensor) -> Tensor:
    """Return the share of units in which ``-d`` has the sign of `g`, of those where `g` is not 0.

    NaN where `d` has not moved at all.
    """
    counts = (g != 0).expand(torch.broadcast_shapes(d.shape, g.shape))
    agree = (counts & (torch.sign(-d) == torch.sign(g))).sum(-1) / counts.sum(-1)
    return torch.where((d != 0).any(-1), agree, torch.nan)


def curve_rmse(a: Tensor, b: Tensor) -> Tensor:
    r"""Return the relative distance of two curves along the first dimension.

    .. math:: \sqrt{\frac{\sum_t (a_t - b_t)^2}{\max(\sum_t a_t^2,\ \sum_t b_t^2)}}

    as in Ernoult et al. (2019), appendix; 0 where both curves are zero.
    """
    scale = torch.maximum(a.square().sum(0), b.square().sum(0))
    return torch.where(scale > 0, (a - b).square().sum(0) / scale, 0.0).sqrt()


@dataclass(frozen=True)
class Exponent:
    """A fitted power law ``y = c x^slope`` with the confidence interval of its slope."""

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
        With fewer than two pairs, or values that are not positive.
    """
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(np.unique(x)) < 2 or not ((x > 0).all() and (y > 0).all()):
        raise ValueError(
            f"expected two or more different x > 0 with y > 0, got {len(x)} pairs; a power law has "
            "no exponent without them."
        )
    u, v = np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()
    slope, n = float(u @ v / (u @ u)), len(x)
    error = np.sqrt(np.sum((v - slope * u) ** 2) / (u @ u) / max(n - 2, 1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 2) * error) if n > 2 else 0.0
    return Exponent(slope, slope - half, slope + half, n)


def bootstrap_interval(
    dots: Tensor, gram: Tensor, norm: Tensor, seed: int, n_draws: int = 200, level: float = 0.95
) -> tuple[Tensor, Tensor]:
    r"""Return intervals of coefficient and cosine of a mean over replicates, by the bootstrap.

    Means of redrawn replicates need their dot products alone: with weights `w`,
    :math:`|\sum w_r d_r|^2 = w' G w`.

    Parameters
    ----------
    dots : Tensor, (*batch, replicate)
        :math:`\langle d_r, g\rangle`.
    gram : Tensor, (*batch, replicate, replicate)
        :math:`G_{rq} = \langle d_r, d_q\rangle`.
    norm : Tensor, (*batch)
        :math:`|g|`.
    seed : int
        Of the redrawing.
    n_draws : int
        Redrawn sets of replicates.
    level : float
        Of the intervals, whose ends are quantiles over the draws.

    Returns
    -------
    tuple of Tensor
        Coefficient and cosine, ``(2, *batch)``, lower end first.
    """
    n = dots.shape[-1]
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(n, n_draws)))
    counts = torch.as_tensor(draw.multinomial(n, np.full(n, 1 / n), size=n_draws) / n)
    w = counts.to(dots)  # (draw, replicate)
    along = torch.einsum("wr,...r->w...", w, dots)
    size = torch.einsum("wr,...rq,wq->w...", w, gram, w).clamp(min=0).sqrt()
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=dots.dtype, device=dots.device)
    return (
        torch.quantile(-along / norm.square(), ends, dim=0),
        torch.quantile(-along / (size * norm), ends, dim=0),
    )
