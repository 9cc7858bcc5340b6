r"""Signal against noise: how many noisy runs show a gradient, and how well (N4).

All take numbers that are finite and in range, and raise ValueError for others. What was measured
(a signal, a variance, a cosine) can be NaN where it is not known, and then so is the result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctebm.networks.numbers import finite_array, known_array, whole, whole_array

__all__ = ["noise_variance", "predicted_cosine", "replicates_needed"]

Array = NDArray[np.float64]

_COSINE_ROUNDING = 1e-6  # of a cosine that was measured in single precision


def noise_variance(n_steps: ArrayLike, eps: ArrayLike, sigma: ArrayLike) -> Array:
    r"""Return the variance of a unit that starts at equilibrium and only leaks, by Euler-Maruyama.

    .. math:: v(n) = \sigma^2\epsilon\,\frac{1 - (1-\epsilon)^{2n}}{1 - (1-\epsilon)^2}

    about :math:`\sigma^2 t` early. Couplings change it at second order in their strength.

    Parameters
    ----------
    n_steps : array_like of int
        Steps since the start, `n`.
    eps : array_like of float
        Step size, 0 < eps <= 1.
    sigma : array_like of float
        Intensity of the noise, 0 or more.

    Returns
    -------
    ndarray of float
        Of the broadcast shape.

    Examples
    --------
    >>> from ctebm.early_inference.noise_laws import noise_variance
    >>> noise_variance([0, 1, 2], 0.1, sigma=1.0)
    array([0.   , 0.1  , 0.181])
    """
    n, eps = (
        whole_array("n_steps", n_steps, least=0),
        finite_array("eps", eps, above=0, high=1, remedy="larger steps overshoot"),
    )
    sigma = finite_array("sigma", sigma, low=0)
    return sigma**2 * (1 - (1 - eps) ** (2 * n)) / (2 - eps)


def replicates_needed(
    signal: ArrayLike, n_units: ArrayLike, variance: ArrayLike, relative_error: ArrayLike
) -> Array:
    r"""Return how many noisy runs bring the error of a layer's mean displacement to a share.

    :math:`M = n_k v / (r^2 |\Delta|^2)` with the signal :math:`|\Delta| = a_k |g_k|` and the
    variance of one unit, such as :func:`noise_variance`.

    Parameters
    ----------
    signal : array_like
        Norm of the layer's displacement without noise; NaN where it is not known.
    n_units : array_like of int
        Units in the layer.
    variance : array_like
        Of one unit of one run about its mean; NaN where it is not known.
    relative_error : array_like
        The share, root mean square, above 0.

    Returns
    -------
    ndarray of float
        Of the broadcast shape. Infinite where there is noise and no signal, NaN where there is
        neither or one is not known.

    Examples
    --------
    >>> from ctebm.early_inference.noise_laws import replicates_needed
    >>> float(replicates_needed(signal=0.5, n_units=10, variance=0.25, relative_error=0.5))
    40.0
    """
    signal, v = known_array("signal", signal, low=0), known_array("variance", variance, low=0)
    n_k = whole_array("n_units", n_units, least=0)
    r = finite_array("relative_error", relative_error, above=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return n_k * v / (r * signal) ** 2


def predicted_cosine(
    cosine: ArrayLike, signal: ArrayLike, n_units: ArrayLike, variance: ArrayLike, replicates: int
) -> Array:
    r"""Return the cosine with a gradient that a mean over noisy runs should have.

    Noise adds :math:`n_k v / M` to the squared length and, on average, nothing along the gradient:
    :math:`c / \sqrt{1 + n_k v / (M |\Delta|^2)}` with the cosine `c` without noise.

    Parameters
    ----------
    cosine, signal : array_like
        Cosine and norm of the displacement without noise; NaN where they are not known.
    n_units, variance
        As for :func:`replicates_needed`.
    replicates : int
        Runs in the mean.

    Returns
    -------
    ndarray of float
        Of the broadcast shape; NaN where something is not known.

    Examples
    --------
    >>> from ctebm.early_inference.noise_laws import predicted_cosine
    >>> float(predicted_cosine(1.0, signal=1.0, n_units=3, variance=1.0, replicates=1))
    0.5
    """
    c = known_array("cosine", cosine, low=-1 - _COSINE_ROUNDING, high=1 + _COSINE_ROUNDING)
    needed = replicates_needed(signal, n_units, variance, 1.0)
    return c / np.sqrt(1 + needed / whole("replicates", replicates, least=1))
