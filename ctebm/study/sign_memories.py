r"""What memories of random signs retrieve: first currents exactly, equilibria of many units.

The sign of a current at a cue of signs is a sum of independent random terms, whose law is known for
every number of units. The overlap at equilibrium is known for many units: for rates
:math:`\tanh(g s)` by self-consistent signal-to-noise analysis (Shiino & Fukai 1992), which for
signs is the theory of Amit, Gutfreund & Sompolinsky (1985), capacity 0.138.

Letters: load ``alpha`` (patterns over units), overlap ``m``, mean square ``q`` of the rates, mean
slope ``U``, gain ``g``, noise ``z`` of variance 1.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "graded_capacity",
    "graded_overlap",
    "hebbian_error",
    "polynomial_capacity",
    "polynomial_error",
]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(100)
_FAR = 9.0  # standard deviations, beyond which a normal law has nothing that float64 sees
_SPREAD = 12  # standard deviations that a table of a lattice law holds on either side
_LARGEST = 2**24  # entries of such a table


def hebbian_error(n_units: int, n_patterns: int, n_flipped: int) -> float:
    r"""Return the share of units whose first current has the wrong sign, for Hebbian weights.

    A cue is a pattern with `n_flipped` of its signs turned over. The current of unit i, times its
    sign in the pattern, is :math:`(N - 1 - 2 f_i + S) / N` with :math:`f_i` flipped signs among the
    others and `S` the sum of :math:`(N - 1)(P - 1)` independent signs. So this is exact for every
    number of units; a current of 0 counts as half an error.

    Parameters
    ----------
    n_units, n_patterns, n_flipped : int
        Units `N`, patterns `P`, flipped signs.

    Examples
    --------
    >>> from ctebm.study.sign_memories import hebbian_error
    >>> round(hebbian_error(200, 41, 0), 5)
    0.01286
    """
    from scipy.stats import binom

    n = (n_units - 1) * (n_patterns - 1)

    def wrong(flipped: int) -> float:  # S < or = -(N - 1 - 2 f), where S = 2 k - n
        edge = (n - (n_units - 1 - 2 * flipped)) / 2
        return float(binom.cdf(math.ceil(edge) - 1, n, 0.5) + binom.cdf(math.floor(edge), n, 0.5))

    share = n_flipped / n_units
    flipped = share * wrong(n_flipped - 1) if n_flipped else 0.0
    return (flipped + (1 - share) * wrong(n_flipped)) / 2


def polynomial_error(order: int, n_units: int, n_patterns: int) -> float:
    r"""Return the share of wrong signs of the first current at a pattern of a polynomial memory.

    The current of a unit, times its sign in the pattern and :math:`N^{n-1}`, is :math:`N^{n-1}` and
    a sum over the other patterns of :math:`z (T + z)^{n-1}`, where z is a sign and T the sum of
    :math:`N - 1` signs, all independent. The law of the sum is a power of its Fourier transform.
    A current of 0 counts as half an error.

    Parameters
    ----------
    order, n_units, n_patterns : int
        Order `n`, units `N`, patterns.

    Raises
    ------
    ValueError
        For sums that spread too far to be tabled.

    Examples
    --------
    >>> from ctebm.study.sign_memories import polynomial_error
    >>> round(polynomial_error(3, 32, 60), 5)
    0.0083
    """
    values, chances = _crosstalk(order, n_units)
    step = int(np.gcd.reduce(np.append(values, n_units ** (order - 1))))
    values, signal = values // step, n_units ** (order - 1) // step
    others = n_patterns - 1
    mean = others * float(chances @ values)
    spread = math.sqrt(others * float(chances @ values.astype(float) ** 2))
    size = 2 ** math.ceil(math.log2(2 * (_SPREAD * spread + abs(mean) + signal + 2)))
    if size > _LARGEST:
        raise ValueError(
            f"expected sums that fit a table of {_LARGEST:,} entries, got about {size:,}; take "
            "fewer units or patterns, or a lower order."
        )
    law = np.zeros(size)
    np.add.at(law, values % size, chances)
    law = np.fft.irfft(np.fft.rfft(law) ** others, size).clip(0)
    sums = (np.arange(size) + size // 2) % size - size // 2 + signal
    return float(law[sums < 0].sum() + law[sums == 0].sum() / 2)


def _crosstalk(order: int, n_units: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what another pattern may add to the current of a unit, and with which chances."""
    from scipy.stats import binom

    k = np.arange(n_units)
    T, chance = 2 * k - (n_units - 1), binom.pmf(k, n_units - 1, 0.5)
    values = [z * (T + z) ** (order - 1) for z in (-1, 1)]
    return np.concatenate(values).astype(np.int64), np.concatenate([chance, chance]) / 2


def polynomial_capacity(order: int, n_units: int, error: float) -> float:
    r"""Return at how many patterns a share of the first currents has the wrong sign.

    The normal law gives :math:`N^{n-1} / ((2n - 3)!!\, x^2)` for many units, with x the quantile of
    the share. Of even orders from 4 on the share stays small for ever, since units hold their own
    signs the more the more patterns there are, wrong ones as well as right ones.

    Parameters
    ----------
    order, n_units : int
        Of the memory; the order 2 or odd.
    error : float
        The share, below 1/2.

    Returns
    -------
    float
        Between two whole numbers by the normal quantile of their shares.

    Raises
    ------
    ValueError
        For an even order from 4 on, or sums that spread too far to be tabled.

    Examples
    --------
    >>> from ctebm.study.sign_memories import polynomial_capacity
    >>> round(polynomial_capacity(3, 32, 0.01), 1)
    63.9
    """
    from scipy.special import ndtri

    if order > 2 and order % 2 == 0:
        raise ValueError(f"expected an odd order or 2, got {order}, whose units hold themselves.")
    few, many = 1, 2
    while polynomial_error(order, n_units, many) < error:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        below = polynomial_error(order, n_units, middle) < error
        few, many = (middle, many) if below else (few, middle)
    low, high = (ndtri(max(polynomial_error(order, n_units, n), 1e-300)) for n in (few, many))
    return float(few + (ndtri(error) - low) / (high - low))


def graded_overlap(alpha: float, gain: float) -> float:
    r"""Return the overlap :math:`m = \sum_i x_i \tanh(g s_i) / N` at rest near a stored pattern.

    In the network of Hopfield (1984) with Hebbian weights, no self-coupling and many units:

    .. math:: y = \tanh g(m + \sigma z + \Gamma y), \quad m = \langle y\rangle, \quad
        q = \langle y^2\rangle, \quad \sigma U = \langle z y\rangle, \quad
        \sigma^2 = \frac{\alpha q}{(1-U)^2}, \quad \Gamma = \frac{\alpha U}{1 - U}

    over a normal z, and y of the sign of :math:`m + \sigma z` where several solve the first
    (Shiino & Fukai 1992). A large gain gives :math:`m = \mathrm{erf}(m / \sqrt{2}\sigma)`.

    Parameters
    ----------
    alpha : float
        Load: patterns beside the one that is retrieved, over units.
    gain : float
        The gain `g`.

    Returns
    -------
    float
        0 where nothing is retrieved.

    Examples
    --------
    >>> from ctebm.study.sign_memories import graded_overlap
    >>> round(graded_overlap(0.1, 4.0), 4), graded_overlap(0.13, 4.0)
    (0.9805, 0.0)
    """
    m, q, U = 1.0, 1.0, 0.0
    for _ in range(3000):
        sigma, back = math.sqrt(alpha * q) / (1 - U), alpha * U / (1 - U)
        z, weight = _normal_beside(-m / sigma)
        y = _graded(m + sigma * z, back, gain)
        found = float(weight @ y), float(weight @ y**2), float(weight @ (z * y)) / sigma
        if found[0] < 0.3 or found[2] >= 1:  # overlaps fall through this to nothing
            return 0.0
        change = max(abs(a - b) for a, b in zip(found, (m, q, U), strict=True))
        m, q, U = ((a + b) / 2 for a, b in zip(found, (m, q, U), strict=True))
        if change < 1e-10:
            return m
    return 0.0  # it creeps where the solution has just gone


def _normal_beside(edge: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of a normal law, on either side of a jump of what is averaged."""
    ends = [-_FAR, min(max(edge, -_FAR), _FAR), _FAR]
    z = np.concatenate([a + (b - a) * (_NODES + 1) / 2 for a, b in pairwise(ends)])
    size = np.concatenate([(b - a) * _WEIGHTS / 2 for a, b in pairwise(ends)])
    return z, size * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _graded(h: NDArray[np.float64], back: float, gain: float) -> NDArray[np.float64]:
    """Return the rate with y = tanh g(h + back y) that has the sign of h."""
    y = np.where(h < 0, -1.0, 1.0)
    for _ in range(100):  # Newton's method from beyond the outermost solution goes to it
        t = np.tanh(gain * (h + back * y))
        step = (y - t) / (1 - gain * back * (1 - t * t))
        y = y - step
        if np.abs(step).max() < 1e-13:
            break
    return y


def graded_capacity(gain: float) -> float:
    r"""Return the load up to which :func:`graded_overlap` retrieves; 0.1379 for a large gain.

    Parameters
    ----------
    gain : float
        The gain `g`, above 1.

    Examples
    --------
    >>> from ctebm.study.sign_memories import graded_capacity
    >>> round(graded_capacity(4.0), 3)
    0.119
    """
    low, high = 0.0, 0.2
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if graded_overlap(middle, gain) > 0 else (low, middle)
    return (low + high) / 2
