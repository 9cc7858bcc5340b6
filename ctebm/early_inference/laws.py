r"""How much of the chain gradient has reached a layer, in closed form (P1, P2).

Along the feedback path alone, the displacement of the layer at depth `k` is
:math:`\Delta h_k = -a_k g_k`. The coefficient :math:`a_k` is the response of a cascade of `k + 1`
leaky integrators to a step, and depends on the solver, the number of steps and eps only.

All take numbers that are finite and in range, and raise ValueError for others. A saved time can be
NaN where no step was saved, and then so is the result.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite, finite_array, known_array, whole, whole_array

__all__ = [
    "cascade_coefficient",
    "continuous_coefficient",
    "discretisation_error",
    "driven_coefficient",
    "first_arrival_coefficient",
    "half_time",
    "paper_coefficient",
]

Array = NDArray[np.float64]


def _together(*arrays: Array) -> list[Array]:
    """Return arrays in their broadcast shape, or raise ValueError with their shapes."""
    try:
        return list(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"expected numbers, or arrays whose shapes broadcast, got {shapes}."
        ) from error


def first_arrival_coefficient(depth: ArrayLike, n_steps: ArrayLike, eps: ArrayLike) -> Array:
    r"""Return :math:`a_k(n) = P[\mathrm{Binomial}(n, \epsilon) \ge k + 1]` for Euler steps.

    It is 0 before the first arrival, :math:`\epsilon^{k+1}` at it (n = k + 1, eq. 25), and
    :math:`\binom{n}{k+1}\epsilon^{k+1}` early: each of the `k + 1` integrators on the path passes
    the change on with probability eps a step.

    Parameters
    ----------
    depth : array_like of int
        Hops from the output, `k`.
    n_steps : array_like of int
        Steps since the target arrived, `n`.
    eps : array_like of float
        Step size, 0 < eps <= 1.

    Returns
    -------
    ndarray of float
        Of the broadcast shape.

    Raises
    ------
    ValueError
        For a depth or number of steps that is negative or not whole, or eps out of range.

    Examples
    --------
    >>> import ctebm
    >>> ctebm.first_arrival_coefficient(1, [1, 2, 3], 0.1)
    array([0.   , 0.01 , 0.028])
    """
    k, n, eps = _together(
        whole_array("depth", depth, least=0), whole_array("n_steps", n_steps, least=0), _eps(eps)
    )
    arrived = n > k
    # At the first arrival the power itself is the exact value.
    tail = special.betainc(k + 1, np.where(arrived, n - k, 1.0), eps)
    return np.where(arrived, np.where(n == k + 1, eps ** (k + 1), tail), 0.0)


def continuous_coefficient(depth: ArrayLike, time: ArrayLike) -> Array:
    r"""Return :math:`a_k(t) = P(k + 1, t)`, the regularised lower incomplete gamma function.

    The limit of :func:`first_arrival_coefficient` as eps -> 0 at :math:`n\epsilon = t`; about
    :math:`t^{k+1}/(k+1)!` early.

    Parameters
    ----------
    depth : array_like of int
        Hops from the output, `k`.
    time : array_like of float
        In membrane time constants, 0 or more; NaN where it is not known.

    Returns
    -------
    ndarray of float
        Of the broadcast shape; NaN where the time is.

    Examples
    --------
    >>> import ctebm
    >>> ctebm.continuous_coefficient([0, 1, 2], 1.0).round(3)
    array([0.632, 0.264, 0.08 ])
    """
    k, t = _together(whole_array("depth", depth, least=0), known_array("time", time, low=0))
    return np.asarray(special.gammainc(k + 1, t))


def discretisation_error(depth: ArrayLike, time: ArrayLike, eps: ArrayLike) -> Array:
    r"""Return by how much Euler's coefficient differs from the continuous one, to first order.

    .. math:: a_k(n) - P(k+1, t) = -\frac{\epsilon t}{2} \frac{d^2}{dt^2} P(k+1, t)
        + O(\epsilon^2), \qquad t = n \epsilon,

    since :math:`(1 + \epsilon(x - 1))^n = e^{t(x-1)} (1 - \epsilon t (x-1)^2 / 2 + \dots)` in the
    shift `x` that moves a change one layer deeper. At most about :math:`0.18\,\epsilon`.

    Parameters
    ----------
    depth : array_like of int
        Hops from the output, `k`.
    time : array_like of float
        In membrane time constants, 0 or more; NaN where it is not known.
    eps : array_like of float
        Step size, 0 < eps <= 1.

    Returns
    -------
    ndarray of float
        Of the broadcast shape; NaN where the time is.

    Examples
    --------
    >>> import ctebm
    >>> law, limit = ctebm.first_arrival_coefficient, ctebm.continuous_coefficient
    >>> print(f"{law(1, 200, 0.01) - limit(1, 2.0):.6f}")
    0.001360
    >>> print(f"{ctebm.discretisation_error(1, 2.0, 0.01):.6f}")
    0.001353
    """
    k, t = whole_array("depth", depth, least=0), known_array("time", time, low=0)
    k, t, eps = _together(k, t, _eps(eps))
    log_t = np.log(np.where(t > 0, t, 1.0))
    density = np.where(t > 0, np.exp(k * log_t - t - special.gammaln(k + 1)), 0.0)  # P'(k + 1, t)
    return -eps / 2 * density * (k - t)


def paper_coefficient(depth: ArrayLike, eps: ArrayLike) -> Array:
    r"""Return the paper's :math:`\epsilon^{k+1}` (eq. 25), the size at the first arrival.

    Parameters
    ----------
    depth : array_like of int
        Hops from the output, `k`; -1 is what drives it.
    eps : array_like of float
        Step size, 0 < eps <= 1.

    Returns
    -------
    ndarray of float
        Of the broadcast shape.

    Examples
    --------
    >>> import ctebm
    >>> ctebm.paper_coefficient([0, 1, 2], 0.5)
    array([0.5  , 0.25 , 0.125])
    """
    k, eps = _together(whole_array("depth", depth, least=-1), _eps(eps))
    return eps ** (k + 1)


def half_time(depth: ArrayLike) -> Array:
    """Return the time at which half of the chain gradient is there, about k + 2/3.

    Parameters
    ----------
    depth : array_like of int
        Hops from the output, `k`.

    Returns
    -------
    ndarray of float

    Examples
    --------
    >>> import ctebm
    >>> ctebm.half_time([0, 1, 2]).round(2)
    array([0.69, 1.68, 2.67])
    """
    return np.asarray(special.gammaincinv(whole_array("depth", depth, least=0) + 1, 0.5))


def cascade_coefficient(depth: int, n_steps: ArrayLike, eps: float, order: int) -> Array:
    r"""Return :math:`a_k(n)` for an explicit Runge-Kutta method with as many stages as its order.

    One step multiplies a linear system's deviation by :math:`P(z) = \sum_{m \le p} z^m / m!`, so
    that depth `k` first moves in step :math:`\lceil (k+1)/p \rceil`. Order 1 is Euler.

    Parameters
    ----------
    depth : int
        Hops from the output, `k`.
    n_steps : array_like of int
        Steps since the target arrived.
    eps : float
        Step size, 0 < eps <= 1.
    order : int
        1 (Euler), 2 (midpoint, Heun), 3 or 4 (the Runge-Kutta methods of these orders).

    Returns
    -------
    ndarray of float
        One for each number of steps.

    Raises
    ------
    ValueError
        For another order, numbers out of range, or more steps than memory holds.

    Examples
    --------
    >>> import ctebm
    >>> ctebm.cascade_coefficient(1, [0, 1, 2], 0.1, order=2)
    array([0.      , 0.005   , 0.018075])
    """
    order = whole("order", order, 1, 4, remedy="other orders need more stages")
    depth, eps = whole("depth", depth, least=0), finite("eps", eps, above=0, high=1)
    n = whole_array("n_steps", n_steps, 0, 2**53).astype(int)
    n_most = int(n.max(initial=0))
    what = f"the coefficients of {n_most} steps down to depth {depth}"
    check_memory(what, 8 * (n_most + 1) * (depth + 1), "ask for fewer steps")
    # Polynomials in the shift x that moves a change one layer deeper: z = eps (x - 1).
    z = np.zeros(depth + 2)
    z[0], z[1] = -eps, eps
    powers = [np.eye(1, depth + 1)[0]]
    for _ in range(order):
        powers.append(np.convolve(powers[-1], z)[: depth + 1])
    step = np.sum([p / factorial(m) for m, p in enumerate(powers)], axis=0)
    forcing = eps * np.sum([p / factorial(m + 1) for m, p in enumerate(powers[:-1])], axis=0)
    a = np.zeros((n_most + 1, depth + 1))
    for i in range(1, len(a)):
        a[i] = np.convolve(step, a[i - 1])[: depth + 1] + forcing
    return a[n, depth]


def driven_coefficient(depth: int, n_steps: ArrayLike, eps: float, order: int) -> Array:
    r"""Return the coefficient of a solver of this order; 0 stands for continuous time.

    Depth -1 is what drives the output: 1 from the first moment on.

    Parameters
    ----------
    depth : int
        Hops from the output.
    n_steps : array_like of int
        Steps since the target arrived.
    eps : float
        Step size, 0 < eps <= 1.
    order : int
        0, or as for :func:`cascade_coefficient`.

    Returns
    -------
    ndarray of float
        One for each number of steps.

    Examples
    --------
    >>> from ctebm.early_inference.laws import driven_coefficient
    >>> driven_coefficient(-1, [0, 1], 0.1, order=1)
    array([1., 1.])
    """
    depth, order = whole("depth", depth, least=-1), whole("order", order, 0, 4)
    n, eps = whole_array("n_steps", n_steps, least=0), finite("eps", eps, above=0, high=1)
    if depth < 0:
        return np.ones(n.shape)
    if order == 0:
        return continuous_coefficient(depth, n * eps)
    if order == 1:
        return first_arrival_coefficient(depth, n, eps)
    return cascade_coefficient(depth, n, eps, order)


def _eps(eps: ArrayLike) -> Array:
    return finite_array("eps", eps, above=0, high=1, remedy="larger steps overshoot")
