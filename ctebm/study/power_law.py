"""What happens as a small quantity goes to 0: a limit, or an exponent with what follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["at_zero", "corrected_order"]


def corrected_order(x: np.ndarray, y: np.ndarray) -> float:
    r"""Return the exponent `p` of :math:`y \approx C x^p (1 + O(x))`.

    The fit is :math:`\log y = c + p \log x + d x + e x^2`: a plain line through the logarithms
    would mistake the corrections for a part of the exponent.

    Parameters
    ----------
    x, y : ndarray
        Positive, at least four different `x`; with four the curve goes through every point.

    Returns
    -------
    float
        NaN if there are fewer than four points or one is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.study.power_law import corrected_order
    >>> x = np.array([0.4, 0.2, 0.1, 0.05, 0.025])
    >>> round(corrected_order(x, x**2 * np.exp(x)), 9)
    2.0
    """
    import numpy as np

    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 4 or not np.isfinite([x, y]).all():
        return float("nan")
    design = np.stack([np.ones(len(x)), np.log(x), x, x**2], 1)
    return float(np.linalg.lstsq(design, np.log(y), rcond=None)[0][1])


def at_zero(x: np.ndarray, y: np.ndarray) -> float:
    """Return the polynomial through all points at 0.

    Parameters
    ----------
    x, y : ndarray
        Different `x`.

    Returns
    -------
    float
        NaN if a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.study.power_law import at_zero
    >>> x = np.array([0.1, 0.2, 0.4])
    >>> round(at_zero(x, 3 + x - 2 * x**2), 9)
    3.0
    """
    import numpy as np

    if not np.isfinite([x, y]).all():
        return float("nan")
    return float(np.polyfit(x, y, len(x) - 1)[-1])
