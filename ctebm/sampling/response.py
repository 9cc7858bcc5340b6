"""The record of a response read from fluctuations, and how it compares with a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.networks.base import VectorField
from ctebm.networks.numbers import finite
from ctebm.networks.record import Record, with_origin
from ctebm.sampling.errors import error_rate
from ctebm.sampling.moments import BlockMeans
from ctebm.stability.record import Linearization

__all__ = ["FluctuationResponse", "response_of"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FluctuationResponse(Record):
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
    >>> found.to_dataset().displacement.sizes
    Frozen({'unit': 5})
    """

    displacement: Tensor
    error: Tensor
    exact: Tensor
    predicted_error: Tensor
    blocks: Tensor
    force: Tensor
    eps: float
    sigma: float
    time: float
    n_steps: int
    seed: int | None
    threads: int
    status: Tensor
    message: list[str]
    linearization: Linearization

    _shown = ("displacement",)

    @property
    def network(self) -> VectorField:
        """What fluctuated."""
        return self.linearization.network

    def _failures(self) -> list[str]:
        return [sentence for sentence in self.message if sentence]

    def _outcome(self) -> str:
        off = float((self.displacement - self.exact).abs().max())
        return (
            f"after {self.n_steps} steps of {self.eps:g}, from {self.blocks.shape[1]} chains of "
            f"time {self.time:g}: off the linear response by {off:.2g} at most"
        )

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
        g = _one(network.finite_state(gradient)).cpu()
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
        g = _one(network.finite_state(gradient))
        rate = error_rate(self.linearization, self.force, self.eps, self.n_steps)
        needed = {}
        for name, where in (network.layers or {"s": slice(None)}).items():
            along = (self.exact[where] @ g[where]).square() / g[where].square().sum()
            room = float(along / cosine**2 - self.exact[where].square().sum())
            noise = float(rate[where].sum())
            needed[name] = noise / room if room > 0 else float("nan" if room != room else "inf")
        return needed

    def to_dataset(self) -> xr.Dataset:
        """Return a dataset with dimension ``unit``.

        With the network, see :func:`~ctebm.networks.parameters.network_dataset`.
        """
        data = {
            "displacement": variable("unit", self.displacement, "response read from fluctuations"),
            "error": variable("unit", self.error, "its standard error"),
            "exact": variable("unit", self.exact, "response of the linear motion"),
            "predicted_error": variable("unit", self.predicted_error, "error that theory predicts"),
            "force": variable("unit", self.force, "constant force"),
            "status": variable((), self.status, "1 if a unit fluctuated over a kink"),
            "message": variable((), self.message[0], "what is wrong"),
        }
        tau = "membrane time constant"
        settings = {
            "eps": self.eps, "sigma": self.sigma, "n_steps": self.n_steps,
            "time": variable((), self.time, "time that each chain was watched", tau),
            "chains": self.blocks.shape[1], "seed": "" if self.seed is None else str(self.seed),
        }  # fmt: skip
        dataset = xr.Dataset(data)
        dataset = dataset.assign_coords(layer_of_unit(self.network.layers, len(self.exact)))
        what = "response to a force, read from fluctuations,"
        return with_origin(dataset, self.network, what, settings, threads=self.threads)

    def plot(self, ax: Any = None) -> Any:
        """Return the axes of displacements against exact ones, in `ax` or one of pyplot.

        See :func:`ctebm.figures.response_figure`.
        """
        from ctebm.figures.sampling import response_figure

        figure = response_figure(self.to_dataset(), ax=ax, window=ax is None)
        return figure.axes[0] if ax is None else ax


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
        error=scale * torch.as_tensor(products.error(), device=force.device),
        exact=linear.response(force, eps=eps, n_steps=n_steps),
        predicted_error=(rate / (chains * time)).sqrt(),
        blocks=scale * products.blocks,
        force=force, eps=eps, sigma=sigma, time=time, n_steps=n_steps, seed=seed,
        threads=threads, message=[message], linearization=linear,
        status=torch.tensor(int(bool(message)), dtype=torch.int8),
    )  # fmt: skip


def _one(gradient: Tensor) -> Tensor:
    if gradient.ndim != 1:
        raise ValueError(f"expected one gradient, got a batch {tuple(gradient.shape)}.")
    return gradient


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
