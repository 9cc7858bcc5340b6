"""The record of a response read from fluctuations, and how it compares with a gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import layer_of_unit, provenance, variable
from ctebm.networks.numbers import finite
from ctebm.sampling.moments import BlockMeans
from ctebm.stability.record import Linearization

__all__ = ["FluctuationResponse", "error_rate", "response_of"]

# Correlations are summed until they are below this share of their first value.
_FORGOTTEN = 1e-12
_LONGEST_SUM = 10**5


@dataclass(frozen=True, eq=False, kw_only=True)
class FluctuationResponse:
    r"""A response to a constant force, read from fluctuations without it.

    Attributes
    ----------
    displacement : Tensor
        Estimate of :math:`\Delta(n)`, ``(unit,)``, for the force as it was given.
    error : Tensor
        Its standard error, ``(unit,)``, from the spread of block means.
    exact : Tensor
        The response of the linear motion, ``(unit,)``.
    predicted_error : Tensor
        The standard error that linear theory predicts for this much time, ``(unit,)``.
    blocks : Tensor
        Estimates from parts of the time, ``(block, chain, unit)``.
    force : Tensor
        The force `u`, ``(unit,)``.
    eps, sigma, time : float
        Euler's step, intensity of the noise, time that each chain was watched.
    n_steps : int
        Steps after the force is switched on.
    seed, threads : int
        Root seed and threads of torch.
    status : Tensor
        0, or 1 if a unit fluctuated over a kink, ``()``, int8.
    message : list of str
        One sentence, ``""`` where nothing is wrong.
    linearization : Linearization
        Of the network at the equilibrium.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 2], ctebm.HardSigmoid(), gain=0.5, seed=0).centred()
    >>> found = ctebm.fluctuation_response(
    ...     net, [0.0] * 5, [0, 0, 0, 1, 0], eps=0.1, n_steps=3, sigma=0.01, chains=9, time=9,
    ... )
    >>> found.to_dataset().sizes
    Frozen({'unit': 5})
    """

    displacement: Tensor
    error: Tensor
    exact: Tensor
    predicted_error: Tensor
    blocks: Tensor = field(repr=False)
    force: Tensor
    eps: float
    sigma: float
    time: float
    n_steps: int
    seed: int | None
    threads: int
    status: Tensor
    message: list[str]
    linearization: Linearization = field(repr=False)

    def raise_for_status(self) -> FluctuationResponse:
        """Return the record, or raise RuntimeError if fluctuations met a kink."""
        if self.message[0]:
            raise RuntimeError(self.message[0])
        return self

    def agreement(self, gradient: ArrayLike | Tensor) -> xr.Dataset:
        r"""Return how the displacement compares with a gradient, layer by layer.

        Parameters
        ----------
        gradient : array, (unit)
            Such as :func:`ctebm.chain_gradient` returns; the displacement is against it.

        Returns
        -------
        xarray.Dataset
            With dimension ``layer``: ``cosine`` of :math:`-\Delta` with the gradient,
            ``coefficient`` :math:`-\Delta\cdot g/|g|^2`, their standard errors by the jackknife
            over blocks of time, and what linear theory predicts for both.
        """
        network = self.linearization.network
        g = network.finite_state(gradient).cpu()
        parts = self.blocks.mean(1).cpu()
        n = len(parts)
        without = (parts.sum(0) - parts) / max(n - 1, 1)  # the mean without each block
        rows: dict[str, list[float]] = {}
        layers = network.layers or {"s": slice(None)}
        for where in layers.values():
            cosine, coefficient = _against(self.displacement.cpu()[where], g[where])
            jack = _against(without[:, where], g[where])
            noise = self.predicted_error.cpu()[where].square().sum()
            exact = self.exact.cpu()[where]
            expected, rise = _against(exact, g[where])
            size = exact.norm()
            told = {
                "cosine": cosine, "cosine_error": _jackknife(jack[0]),
                "coefficient": coefficient, "coefficient_error": _jackknife(jack[1]),
                "predicted_cosine": expected * size / (size.square() + noise).sqrt(),
                "predicted_coefficient": rise,
            }  # fmt: skip
            for name, value in told.items():
                rows.setdefault(name, []).append(float(value))
        names = {
            "cosine": "cosine of minus the displacement with the gradient",
            "coefficient": "minus the displacement along the gradient, over its square",
        }
        data = {key: variable("layer", x, _long_name(key, names)) for key, x in rows.items()}
        return xr.Dataset(data, {"layer": list(layers)})

    def time_needed(self, cosine: float, gradient: ArrayLike | Tensor) -> dict[str, float]:
        """Return the time, summed over chains, after which each layer reaches a cosine.

        Parameters
        ----------
        cosine : float
            Between 0 and 1.
        gradient : array, (unit)
            With which it is taken.

        Returns
        -------
        dict of str to float
            In membrane time constants, by linear theory; infinite where the response itself has a
            smaller cosine, NaN where the gradient is zero.
        """
        cosine = finite("cosine", cosine, above=0.0, below=1.0)
        network = self.linearization.network
        g = network.finite_state(gradient)
        rate = error_rate(self.linearization, self.force, self.eps, self.n_steps)
        needed = {}
        for name, where in (network.layers or {"s": slice(None)}).items():
            along = (self.exact[where] @ g[where]).square() / g[where].square().sum()
            room = float(along / cosine**2 - self.exact[where].square().sum())
            noise = float(rate[where].sum())
            needed[name] = noise / room if room > 0 else float("nan" if room != room else "inf")
        return needed

    def to_dataset(self) -> xr.Dataset:
        """Return a dataset with dimension ``unit``."""
        n, layers = len(self.exact), self.linearization.network.layers
        data = {
            "displacement": variable("unit", self.displacement, "response read from fluctuations"),
            "error": variable("unit", self.error, "its standard error"),
            "exact": variable("unit", self.exact, "response of the linear motion"),
            "predicted_error": variable("unit", self.predicted_error, "error that theory predicts"),
            "force": variable("unit", self.force, "constant force"),
            "message": variable((), self.message[0], "what is wrong"),
        }
        attrs = provenance(
            seed=self.seed, device=self.exact.device, dtype=self.exact.dtype, threads=self.threads
        )
        attrs |= {
            "title": "response to a force, read from fluctuations", "eps": self.eps,
            "sigma": self.sigma, "n_steps": self.n_steps, "time": self.time,
            "chains": self.blocks.shape[1],
        }  # fmt: skip
        return xr.Dataset(data, attrs=attrs).assign_coords(layer_of_unit(layers, n))


def response_of(
    products: BlockMeans,
    *,
    linear: Linearization,
    force: Tensor,
    eps: float,
    sigma: float,
    n_steps: int,
    time: float,
    seed: int | None,
    threads: int,
    furthest: Tensor,
) -> FluctuationResponse:
    """Return the record of gathered products, with what linear theory says of them."""
    scale = sigma**-2
    chains = products.blocks.shape[1]
    rate = error_rate(linear, force, eps, n_steps)
    message = _crossing(linear, furthest)
    return FluctuationResponse(
        displacement=scale * products.mean,
        error=scale * torch.as_tensor(products.error()),
        exact=linear.response(force, eps=eps, n_steps=n_steps),
        predicted_error=(rate / (chains * time)).sqrt(),
        blocks=scale * products.blocks,
        force=force, eps=eps, sigma=sigma, time=time, n_steps=n_steps, seed=seed,
        threads=threads, message=[message], linearization=linear,
        status=torch.tensor(int(bool(message)), dtype=torch.int8),
    )  # fmt: skip


def error_rate(linear: Linearization, force: Tensor, eps: float, n_steps: int) -> Tensor:
    r"""Return the variance of the estimate times the time watched, ``(unit,)``; linear theory.

    The estimate is the mean of :math:`\delta_i\,w/\sigma^2`, with
    :math:`w(t) = u'[\delta(t) + \delta(t-1) - \delta(t-n) - \delta(t-n-1)]`, both Gaussian. Its
    variance times the time is :math:`\frac{\epsilon}{\sigma^4}
    \sum_k [C_{ii}(k) C_{ww}(k) + C_{iw}(k) C_{wi}(k)]`, in which `sigma` cancels.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.sampling.response import error_rate
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


def _against(displacement: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and coefficient of minus the displacement with a gradient."""
    along = -(displacement * g).sum(-1)
    return along / (displacement.norm(dim=-1) * g.norm()), along / g.square().sum()


def _jackknife(values: Tensor) -> Tensor:
    """Return the standard error of what was computed without each block in turn."""
    n = len(values)
    if n < 2:
        return torch.tensor(torch.nan)
    return ((n - 1) / n * (values - values.mean()).square().sum()).sqrt()


def _long_name(key: str, names: dict[str, str]) -> str:
    plain = key.removesuffix("_error").removeprefix("predicted_")
    kind = "standard error of the " if key.endswith("_error") else ""
    return kind + names[plain] + (", predicted" if key.startswith("predicted") else "")


def _crossing(linear: Linearization, furthest: Tensor) -> str:
    """Return a sentence if a unit fluctuated over a kink."""
    box = linear.network.box
    if box is None:
        return ""
    room = torch.minimum(linear.state - box.low, box.high - linear.state)
    over = torch.nonzero(furthest > room).flatten()
    if not len(over):
        return ""
    unit = int(over[0])
    return (
        f"{len(over)} units fluctuated over a kink, where the response is not linear, unit {unit} "
        f"by {float(furthest[unit]):.3g} where {float(room[unit]):.3g} were left; use a smaller "
        "sigma."
    )
