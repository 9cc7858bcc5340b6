r"""What memories of attention hold by theory: bounds for patterns, a mean field of random ones.

The bounds are those of Ramsauer et al. (2021, theorems 3 and 5). The mean field is that of random
patterns on a sphere, in which each other pattern counts with its average over directions; what one
draw of patterns adds to it falls with their number.

Letters: patterns ``x``, ``P`` of them in ``d`` dimensions of length ``R``; sharpness ``kappa`` =
beta R^2; overlap ``a`` = s x / R^2; weight ``p`` of the pattern; ``G`` the average of
``exp(kappa q)`` over the cosine q of a random direction, ``A`` = G'/G.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ctebm.networks.associative import AssociativeMemory

__all__ = [
    "attention_capacity",
    "attention_overlap",
    "guaranteed_patterns",
    "half_weight_cosine",
    "needed_separation",
    "retrieval_bound",
    "separation",
]

_STEPS = 20_000  # most of the mean field's iteration, which creeps at the capacity alone


def separation(patterns: Tensor) -> Tensor:
    r"""Return how far each pattern is apart from all others, ``(pattern,)``.

    :math:`\Delta_\mu = |x_\mu|^2 - \max_{\nu \ne \mu} x_\mu \cdot x_\nu`

    Parameters
    ----------
    patterns : Tensor, (pattern, unit)
        Two or more.

    Examples
    --------
    >>> import torch
    >>> from ctebm.study.attention_memories import separation
    >>> separation(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    tensor([2., 0.])
    """
    products = patterns @ patterns.mT
    own = products.diagonal().clone()
    return own - products.fill_diagonal_(-math.inf).amax(-1)


def needed_separation(memory: AssociativeMemory) -> float:
    r"""Return the separation from which on a pattern surely has an equilibrium beside it.

    :math:`\frac{2}{\beta P} + \frac1\beta \ln(2 (P - 1) P \beta M^2)` with the longest length M:
    then the ball of radius :math:`1/(\beta P M)` about the pattern is mapped into itself.

    Parameters
    ----------
    memory : AssociativeMemory
        Of two patterns or more.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.attention_memories import needed_separation
    >>> round(needed_separation(ctebm.AssociativeMemory([[2, 0], [0, 2]], beta=2.0)), 3)
    2.233
    """
    P, beta = len(memory.patterns), memory.beta
    M = float(memory.patterns.norm(dim=-1).max())
    return 2 / (beta * P) + math.log(2 * (P - 1) * P * beta * M**2) / beta


def retrieval_bound(memory: AssociativeMemory, distance: Tensor) -> Tensor:
    r"""Return how far from each pattern the pressure of a state near it can be, ``(pattern,)``.

    :math:`2 (P - 1) M e^{-\beta (\Delta - 2 M |s - x|)}`; at an equilibrium the pressure is the
    state itself.

    Parameters
    ----------
    memory : AssociativeMemory
        Of two patterns or more.
    distance : Tensor, (pattern,)
        How far each state is from its pattern.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.study.attention_memories import retrieval_bound
    >>> retrieval_bound(ctebm.AssociativeMemory([[2, 0], [0, 2]], beta=2.0), torch.zeros(2))
    tensor([0.0013, 0.0013], dtype=torch.float64)
    """
    P, X = len(memory.patterns), memory.patterns
    M = X.norm(dim=-1).max()
    return 2 * (P - 1) * M * (-memory.beta * (separation(X) - 2 * M * distance)).exp()


def guaranteed_patterns(d: int, length: float, beta: float, failure: float) -> float:
    r"""Return how many random patterns on a sphere are all stored, but for a chance of `failure`.

    :math:`\sqrt{p}\, c^{(d-1)/4}` with :math:`c = b / W_0(e^{a + \ln b})`,
    :math:`a = \frac{2}{d-1}(1 + \ln(2 \beta K^2 p (d - 1)))`, :math:`b = 2 K^2 \beta / 5` and
    :math:`K = R / \sqrt{d - 1}`.

    Parameters
    ----------
    d : int
        Dimensions.
    length : float
        The length `R` of each pattern.
    beta : float
        The inverse temperature.
    failure : float
        The chance `p`.

    Returns
    -------
    float
        NaN where the theorem says nothing, for :math:`c < (2 / \sqrt p)^{4/(d-1)}`.

    Examples
    --------
    >>> from ctebm.study.attention_memories import guaranteed_patterns
    >>> round(guaranteed_patterns(20, 3 * 19**0.5, 1.0, 0.001), 2)
    7.41
    """
    from scipy.special import lambertw

    K2 = length**2 / (d - 1)
    a = 2 / (d - 1) * (1 + math.log(2 * beta * K2 * failure * (d - 1)))
    b = 2 * K2 * beta / 5
    c = b / float(lambertw(math.exp(a + math.log(b))).real)
    if c < (2 / math.sqrt(failure)) ** (4 / (d - 1)):
        return math.nan
    return math.sqrt(failure) * c ** ((d - 1) / 4)


def attention_overlap(kappa: float, d: int, n_patterns: float) -> float:
    r"""Return the overlap at rest, from a pattern on, in the mean field of random patterns.

    :math:`a = p + (1 - p) A(\kappa a)`, where :math:`p = 1 / (1 + (P - 1) G(\kappa a) e^{-\kappa
    a})` is the weight of the pattern.

    Parameters
    ----------
    kappa : float
        The sharpness.
    d : int
        Dimensions.
    n_patterns : float
        How many patterns.

    Examples
    --------
    >>> from ctebm.study.attention_memories import attention_overlap
    >>> round(attention_overlap(16.0, 16, 620), 4)
    0.9876
    """
    return _rest(kappa, d, n_patterns)[0]


def attention_capacity(kappa: float, d: int) -> float:
    r"""Return the logarithm of the most patterns of which one keeps half of the weight.

    For many dimensions it is :math:`d\,(\hat b (1 - q) - \frac12 \ln(1 - q^2))` less what
    self-consistency takes, with :math:`\hat b = \kappa/d = q / (1 - q^2)`.

    Parameters
    ----------
    kappa : float
        The sharpness.
    d : int
        Dimensions.

    Examples
    --------
    >>> from ctebm.study.attention_memories import attention_capacity
    >>> round(attention_capacity(16.0, 16), 2)
    8.43
    """
    low, high = 0.0, 2 * kappa
    while high - low > 1e-3:
        middle = (low + high) / 2
        kept = _rest(kappa, d, 1 + math.exp(middle))[1] > 0.5
        low, high = (middle, high) if kept else (low, middle)
    return (low + high) / 2


def half_weight_cosine(kappa: float, d: int, n_patterns: int) -> float:
    r"""Return the cosine of a cue with a pattern that has half of the weight at once.

    :math:`(\ln(P - 1) + \ln G(\kappa)) / \kappa`, for a cue of a pattern's length in any direction
    that knows nothing of the others, which count with their average.

    Parameters
    ----------
    kappa : float
        The sharpness.
    d : int
        Dimensions.
    n_patterns : int
        How many patterns, 2 or more.

    Examples
    --------
    >>> from ctebm.study.attention_memories import half_weight_cosine
    >>> round(half_weight_cosine(16.0, 16, 620), 3)
    0.784
    """
    return (math.log(n_patterns - 1) + _average(kappa, d)[0]) / kappa


def _rest(kappa: float, d: int, n_patterns: float) -> tuple[float, float]:
    """Return overlap and weight of a pattern at rest, from the pattern on, in the mean field."""
    a, p, others = 1.0, 1.0, math.log(n_patterns - 1)
    for _ in range(_STEPS):
        log_G, A = _average(kappa * a, d)
        p = 1 / (1 + math.exp(min(others + log_G - kappa * a, 700.0)))
        next_a = p + (1 - p) * A
        if abs(next_a - a) < 1e-12:
            break
        a = next_a
    return a, p


def _average(k: float, d: int) -> tuple[float, float]:
    """Return ln G and A of a random direction in d dimensions."""
    from scipy.special import gammaln, ive

    v = d / 2 - 1
    if k < 1e-6:
        return 0.0, k / d
    low, high = (float(ive(order, k)) for order in (v, v + 1))
    return float(gammaln(d / 2) + v * np.log(2 / k) + np.log(low)) + k, high / low
