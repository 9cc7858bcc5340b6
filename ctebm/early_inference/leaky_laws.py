r"""How much of the chain gradient has reached a layer whose own curvature is not 1 (G1).

In eq. 6 between the kinks every layer leaks at the rate 1. In predictive coding, and wherever
:math:`\rho'' \ne 0`, the diagonal block :math:`H_{kk}` of the Hessian is not 1: where it is
:math:`c_k` times the identity the direction is kept along the feedback path, and the size follows
another law than P2's binomial.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, finite_array, whole, whole_array

__all__ = ["leaky_coefficient", "orthogonal_coefficient", "orthogonal_eigenvalues"]

Array = NDArray[np.float64]


def leaky_coefficient(n_steps: ArrayLike, eps: float, leaks: ArrayLike) -> Array:
    r"""Return :math:`a_k(n)` for Euler steps through layers that leak at rates of their own.

    .. math:: a_k(n) = \epsilon^{k+1} h_{n-k-1}(1, 1 - \epsilon c_0, \dots, 1 - \epsilon c_k)

    with the complete homogeneous polynomial `h`, by the cascade
    :math:`a_k \leftarrow a_k + \epsilon\,(a_{k-1} - c_k a_k)` behind a constant drive
    :math:`a_{-1} = 1`. With all rates 1 it is :func:`ctebm.first_arrival_coefficient`.

    Parameters
    ----------
    n_steps : array_like of int
        Steps since the target arrived.
    eps : float
        Step size, 0 < eps <= 1.
    leaks : array_like, (..., k + 1)
        The rates :math:`c_0 \dots c_k` from the output down, :math:`c_0 = 1` where the target
        replaces the output's pressure.

    Returns
    -------
    ndarray of float, (..., *steps)
        For each row of `leaks`.

    Raises
    ------
    ValueError
        For numbers out of range, or more steps than memory holds.

    Examples
    --------
    >>> import ctebm
    >>> ctebm.leaky_coefficient([1, 2, 3], 0.1, [1.0, 3.0])  # of depth 1: 0, eps^2, ...
    array([0.   , 0.01 , 0.026])
    """
    c = finite_array("a leak", leaks)
    if c.ndim == 0 or c.shape[-1] == 0:
        raise ValueError(f"expected the leaks of one layer or more, got shape {c.shape}.")
    eps = finite("eps", eps, above=0, high=1)
    n = whole_array("n_steps", n_steps, 0, 2**53).astype(int)
    most = int(n.max(initial=0))
    check_memory(f"the coefficients of {most} steps", 8 * (most + 1) * c.size, "ask for fewer")
    a = np.zeros((most + 1, *c.shape))
    drive = np.ones((*c.shape[:-1], 1))
    for i in range(most):
        arriving = np.concatenate([drive, a[i, ..., :-1]], -1)
        a[i + 1] = a[i] + eps * (arriving - c * a[i])
    return np.moveaxis(a[n, ..., -1], range(n.ndim), range(-n.ndim, 0))


def orthogonal_coefficient(n_layers: int, n_steps: ArrayLike, eps: float) -> Array:
    r"""Return :math:`a_k(n)` of linear predictive coding with orthogonal square weights, exactly.

    .. math:: a_0 \leftarrow a_0 + \epsilon (1 - a_0), \qquad
        a_k \leftarrow a_k + \epsilon (a_{k-1} - 2 a_k + a_{k+1})

    The direction is that of the chain gradient at every step, since the activity that comes back
    is turned back too.

    Parameters
    ----------
    n_layers : int
        The free layers.
    n_steps : array_like of int
        Steps since the target arrived.
    eps : float
        Step size, 0 < eps <= 1.

    Returns
    -------
    ndarray of float, (*steps, layer)
        By depth, the output first.

    Examples
    --------
    >>> from ctebm.early_inference.leaky_laws import orthogonal_coefficient
    >>> orthogonal_coefficient(3, 4, 0.1).round(6)
    array([0.3439, 0.0488, 0.0035])
    """
    n_layers, eps = whole("n_layers", n_layers, least=1), finite("eps", eps, above=0, high=1)
    n = whole_array("n_steps", n_steps, 0, 2**53).astype(int)
    most = int(n.max(initial=0))
    check_memory(f"the coefficients of {most} steps", 8 * (most + 1) * n_layers, "ask for fewer")
    a = np.zeros((most + 1, n_layers))
    leak = np.full(n_layers, 2.0)
    leak[0] = 1.0  # the driven output has its own leak alone
    for i in range(most):
        above = np.append(1.0, a[i, :-1])
        below = np.append(a[i, 1:], 0.0)
        below[0] = 0.0  # its pressure is replaced
        a[i + 1] = a[i] + eps * (above - leak * a[i] + below)
    return a[n]


def orthogonal_eigenvalues(n_layers: int) -> Array:
    r"""Return the eigenvalues of the Hessian of that network, :math:`4\sin^2` of equal angles.

    .. math:: \lambda_j = 4 \sin^2 \frac{(2j - 1)\pi}{2(2K + 1)}, \qquad j = 1 \dots K

    The smallest is about :math:`(\pi / 2K)^2`: a network twice as deep takes four times as long to
    settle by its own motion.

    Parameters
    ----------
    n_layers : int
        The free layers, `K`, of equal size; each eigenvalue belongs to as many modes as a layer
        has units.

    Returns
    -------
    ndarray of float, (n_layers,)
        Rising.

    Examples
    --------
    >>> from ctebm.early_inference.leaky_laws import orthogonal_eigenvalues
    >>> orthogonal_eigenvalues(2).round(6)
    array([0.381966, 2.618034])
    """
    K = whole("n_layers", n_layers, least=1)
    angles = (2 * np.arange(1, K + 1) - 1) * np.pi / (2 * (2 * K + 1))
    return 4 * np.sin(angles) ** 2
