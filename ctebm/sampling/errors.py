"""The error of a response read from fluctuations, in linear theory."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.stability.record import Linearization

__all__ = ["error_rate"]

# Correlations are summed until they are below this share of their first value.
_FORGOTTEN = 1e-12
_LONGEST_SUM = 10**5


def error_rate(linear: Linearization, force: Tensor, eps: float, n_steps: int) -> Tensor:
    r"""Return the variance of the estimate times the time watched, ``(unit,)``; linear theory.

    The estimate is the mean of :math:`\delta_i\,w/\sigma^2`, with
    :math:`w(t) = u'[\delta(t) + \delta(t-1) - \delta(t-n) - \delta(t-n-1)]`, both Gaussian. Its
    variance times the time is :math:`\frac{\epsilon}{\sigma^4}
    \sum_k [C_{ii}(k) C_{ww}(k) + C_{iw}(k) C_{wi}(k)]`, in which `sigma` cancels.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.errors import error_rate
    >>> unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.HardSigmoid())
    >>> u = torch.ones(1, dtype=torch.float64)
    >>> error_rate(ctebm.linearize(unit, [0.0]), u, eps=0.1, n_steps=10).shape
    torch.Size([1])
    """
    lam, Q = linear.eigenvalues, linear.eigenvectors
    m, uQ = 1 - eps * lam, force @ Q
    variance = 1 / (lam * (2 - eps * lam))
    n, longest = n_steps, float(m.abs().max())
    reach = 0 if longest == 0 else int(torch.log(torch.tensor(_FORGOTTEN)) / torch.log(
        torch.tensor(min(longest, 1 - 1e-12))))  # fmt: skip
    reach = min(reach, _LONGEST_SUM) + n + 2
    lags = torch.arange(-reach - n - 2, reach + n + 3)
    powers = variance * m ** lags.abs().unsqueeze(-1).to(m)  # (lag, mode)
    C_ii, v = powers @ Q.square().T, (powers * uQ) @ Q.T  # (lag, unit) each
    c = powers @ uQ.square()
    centre = reach + n + 2
    k = torch.arange(-reach, reach + 1) + centre
    weights = {0: 1.0, 1: 0.0, n: 0.0, n + 1: -1.0}
    weights[1] += 1.0
    weights[n] -= 1.0
    C_ww = sum(a * b * c[k + i - j] for i, a in weights.items() for j, b in weights.items())
    C_iw = sum(b * v[k - j] for j, b in weights.items())
    C_wi = sum(a * v[k + i] for i, a in weights.items())
    C_ww = torch.as_tensor(C_ww)
    return eps * (C_ii[k] * C_ww.unsqueeze(-1) + C_iw * C_wi).sum(0)
