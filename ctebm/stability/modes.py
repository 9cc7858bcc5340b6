r"""One mode of linear motion, :math:`dm/dt = -\lambda m + u`: what it does, and what may be asked.

What linear motion does follows from its eigenvalues one by one. The functions here take them as a
tensor of any shape and return one of the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ctebm.networks.numbers import finite, whole

__all__ = ["eps_limit", "power", "response", "transfer", "variance"]

_LARGEST = 1e100  # number of which the square is finite


def variance(lam: Tensor, sigma: float, eps: float | None = None, synaptic: bool = False) -> Tensor:
    r"""Return the stationary variance under noise (N1 to N3).

    :math:`\sigma^2/(2\lambda)` in continuous time;
    :math:`\sigma^2/(\lambda(2 - \epsilon\lambda))` by Euler-Maruyama;
    :math:`\epsilon\sigma^2(1-\lambda)^2/(\lambda(2-\epsilon\lambda))` by the paper's map.
    """
    if eps is None:
        return sigma**2 / (2 * lam)
    v = sigma**2 / (lam * (2 - eps * lam))
    return v * eps * (1 - lam) ** 2 if synaptic else v


def response(
    lam: Tensor, eps: float | None = None, n_steps: int | None = None, time: float | None = None
) -> Tensor:
    r"""Return the displacement since a constant force of size 1 was switched on.

    :math:`1/\lambda` at equilibrium, :math:`(1 - e^{-\lambda t})/\lambda` at a time,
    :math:`(1 - (1-\epsilon\lambda)^n)/\lambda` after Euler's steps; at :math:`\lambda = 0` the
    time itself.
    """
    if eps is not None and n_steps is not None:
        covered, elapsed = _one_minus_power(eps * lam, n_steps), eps * n_steps
    elif time is not None:
        covered, elapsed = -torch.expm1(-lam * time), time
    else:
        return 1 / lam
    return torch.where(lam == 0, elapsed, covered / torch.where(lam == 0, 1.0, lam))


def _one_minus_power(x: Tensor, n: int) -> Tensor:
    """Return ``1 - (1 - x)^n``, which keeps the digits of slow modes."""
    slow = -torch.expm1(n * torch.log1p(-x.clamp(max=0.5)))
    return torch.where(x.abs() < 0.5, slow, 1 - (1 - x) ** n)


def transfer(lam: Tensor, omega: float) -> tuple[Tensor, Tensor]:
    r"""Return real and imaginary part of :math:`(\lambda + i\omega)^{-1}`, for real `lam`."""
    square = lam.square() + omega**2
    return lam / square, -omega / square


def power(lam: Tensor, sigma: float, omega: Tensor) -> Tensor:
    r"""Return the power spectrum of noise, :math:`\sigma^2/(\lambda^2 + \omega^2)`."""
    return sigma**2 / (lam.square() + omega.square())


def eps_limit(lam: Tensor) -> Tensor:
    r"""Return the step below which :math:`|1 - \epsilon\lambda| < 1` (F4), for complex `lam` too.

    :math:`2\,\mathrm{Re}\,\lambda/|\lambda|^2`, which is :math:`2/\lambda` if real; 0 for a mode
    that grows. At :math:`\lambda = 0` the mode stays where it is with every step: infinite.
    """
    limit = 2 * lam.real / lam.abs().square() if lam.is_complex() else 2 / lam
    return torch.where(lam == 0, torch.inf, limit.clamp(min=0))


def is_equilibrium(residual: Tensor) -> Tensor:
    """Return whether the largest force is at most the square root of rounding."""
    return residual <= math.sqrt(torch.finfo(residual.dtype).eps)


def largest(values: Tensor, without: float = 0.0) -> Tensor:
    """Return the largest of each row, NaN left out; `without` where there is none."""
    if values.shape[-1] == 0:
        return values.new_full(values.shape[:-1], without)
    found = torch.nan_to_num(values, nan=-torch.inf).amax(-1)
    return torch.where(values.isnan().all(-1), without, found)


def smallest(values: Tensor, without: float = torch.inf) -> Tensor:
    """Return the smallest of each row, NaN left out; `without` where there is none."""
    return -largest(-values, -without)


def check_times(eps: float | None, n_steps: int | None, time: float | None) -> None:
    """Refuse a response at two kinds of time at once, at half of one, or at no number."""
    if (eps is None) != (n_steps is None) or (time is not None and eps is not None):
        raise ValueError(
            "expected eps and n_steps, or time, or none of these for the response at equilibrium, "
            f"got eps={eps}, n_steps={n_steps}, time={time}."
        )
    if eps is not None:
        finite("eps", eps, above=0)
        whole("n_steps", n_steps, least=0)
    if time is not None:
        finite("time", time, low=0)


def check_stable(what: str, stability: str | Sequence[str]) -> None:
    """Refuse what exists at stable points only."""
    kinds = {stability} if isinstance(stability, str) else set(stability)
    if kinds - {"stable"}:
        raise ValueError(
            f"expected a stable point for {what}, got {', '.join(sorted(kinds))}; "
            "linearised motion does not stay near such a point."
        )


def check_noise(what: str, sigma: float, residual: Tensor, stability: str | Sequence[str]) -> float:
    """Return the intensity; refuse a bad one, noise away from equilibrium, or where none stays."""
    sigma = finite("sigma", sigma, low=0, high=_LARGEST)
    if not bool(is_equilibrium(residual).all()):
        raise ValueError(
            f"expected an equilibrium for {what}, got a force of "
            f"{float(residual.max()):.3g}; settle the state first."
        )
    check_stable(what, stability)
    return sigma


def check_eps(eps: float | None, limit: float) -> None:
    """Refuse a step at which Euler's method is not stable."""
    if eps is not None and not 0 < finite("eps", eps) < limit:
        raise ValueError(
            f"expected 0 < eps < eps_max = {limit:.6g}, where Euler's step is stable, got {eps}."
        )
