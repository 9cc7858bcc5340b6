"""The dynamics that studies hold against Langevin's density, and what their chains say.

Euler-Maruyama steps, the same accepted or rejected, and the paper's map (eqs. 1, 2 and 4) with
noise of a fixed variance or of one that grows as steps get smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from torch import Tensor

    from ctebm.dynamics.sde import Dynamics
    from ctebm.networks.activation import Activation
    from ctebm.networks.base import VectorField
    from ctebm.networks.dense import DenseNetwork
    from ctebm.sampling.samples import Samples

__all__ = [
    "DYNAMICS",
    "EULER",
    "FIXED",
    "LINEAR",
    "MALA",
    "MAPS",
    "SCALED",
    "held",
    "listed",
    "motion",
    "off_law",
    "pair",
    "visited",
]

EULER, MALA, FIXED, SCALED = "Euler-Maruyama", "MALA", "map, v fixed", "map, v = σ²/ε"
DYNAMICS, MAPS = (EULER, MALA, FIXED, SCALED), [FIXED, SCALED]
LINEAR = (EULER, MALA, FIXED)  # those with a law where units stay between their kinks


def pair(w: float, rho: Activation, bias: float | None = None) -> DenseNetwork:
    """Return two coupled units; centred without a bias.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.samplers import pair
    >>> pair(3.0, ctebm.Tanh()).bias
    tensor([-1.5000, -1.5000], dtype=torch.float64)
    """
    import ctebm

    b = -w / 2 if bias is None else bias
    return ctebm.DenseNetwork([[0, w], [w, 0]], [b, b], rho)


def motion(name: str, network: VectorField, sigma: float, eps: float) -> Dynamics:
    r"""Return one of the dynamics with the noise that stands for an intensity of `sigma`.

    That of the map has the variance :math:`\sigma^2` or :math:`\sigma^2/\epsilon` a step.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.samplers import SCALED, motion, pair
    >>> motion(SCALED, pair(3.0, ctebm.Tanh()), sigma=0.5, eps=0.25).sigma
    tensor(1., dtype=torch.float64)
    """
    import ctebm

    if name in (EULER, MALA):
        return ctebm.Dynamics(network, sigma=sigma)
    v = sigma**2 if name == FIXED else sigma**2 / eps
    return ctebm.Dynamics(network, sigma=v**0.5, noise="synaptic")


def visited(
    name: str,
    network: VectorField,
    sigma: float,
    eps: float,
    start: Tensor,
    function: Callable[[Tensor], Tensor],
    *,
    n_steps: int,
    burn_in: int,
    seed: int,
) -> tuple[Tensor, Tensor, Samples]:
    """Return the mean of a function over chains of one of the dynamics, its error, and the record.

    Draws are half a time constant apart, or closer in short runs.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.study.samplers import MALA, pair, visited
    >>> net, start = pair(3.0, ctebm.Tanh()), torch.zeros(400, 2, dtype=torch.float64)
    >>> mean, error, _ = visited(MALA, net, 0.5, 0.4, start, lambda s: s.square().mean(-1),
    ...                          n_steps=300, burn_in=60, seed=0)
    >>> bool(abs(mean - 0.168608867) < 4 * error)
    True
    """
    import torch

    import ctebm

    found = ctebm.sample(
        motion(name, network, sigma, eps), start, n_steps=n_steps, burn_in=burn_in, eps=eps,
        every=max(1, min(round(0.5 / eps), n_steps // 50)), seed=seed,
        method="mala" if name == MALA else "euler", observe={"x": function},
    )  # fmt: skip
    return found.observed["x"], torch.as_tensor(found.observed_error["x"]), found


def held(
    name: str, dims: Sequence[str], value: Any, error: Any, law: Any, text: str
) -> dict[str, Sequence[Any]]:
    """Return what was measured, its standard error, and the law that it is held against.

    Examples
    --------
    >>> from ctebm.study.samplers import held
    >>> list(held("variance", ["eps"], [0.2], [0.01], [0.19], "variance"))
    ['variance', 'variance_error', 'variance_law']
    """
    return {
        name: (dims, value, text),
        f"{name}_error": (dims, error, "standard error of it"),
        f"{name}_law": (dims, law, "the same, from the law"),
    }


def off_law(dataset: xr.Dataset, name: str, **at: Any) -> float:
    """Return how far a measurement is off its law, at most, in standard errors.

    Examples
    --------
    >>> from ctebm.study.record import labelled
    >>> from ctebm.study.samplers import held, off_law
    >>> data = labelled(held("variance", ["eps"], [0.2], [0.01], [0.19], "variance"), {})
    >>> round(off_law(data, "variance"), 9)
    1.0
    """
    value, error, law = (dataset[name + part].sel(at) for part in ("", "_error", "_law"))
    return largest(abs(value - law) / error)


def listed(values: np.ndarray, at: np.ndarray) -> str:
    """Return values and their places in words.

    Examples
    --------
    >>> from ctebm.study.samplers import listed
    >>> listed([0.11, 0.012], [0.4, 0.05])
    '0.11 at 0.4, 0.012 at 0.05'
    """
    return ", ".join(f"{x:.2g} at {place:g}" for x, place in zip(values, at, strict=True))
