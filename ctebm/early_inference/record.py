r"""The record of a correspondence: displacements beside gradients, laws and their agreement."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import variable
from ctebm.dynamics.methods import METHODS
from ctebm.early_inference import metrics as metric
from ctebm.early_inference.drive import Drive
from ctebm.early_inference.laws import driven_coefficient, paper_coefficient
from ctebm.equilibria.record import FixedPoints
from ctebm.networks.base import VectorField
from ctebm.networks.layered import LayeredField
from ctebm.networks.parameters import network_dataset

__all__ = ["Correspondence"]

Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Correspondence:
    """Displacements from equilibrium under a drive, and what they are compared with.

    Rows of samples whose equilibrium was not reached are NaN.

    Attributes
    ----------
    network : VectorField
        The network as given, before its input was clamped.
    input, target : Tensor
        States, ``(sample, input unit)`` (None if the network came clamped) and
        ``(sample, output unit)``.
    fixed : FixedPoints
        The equilibria, of the free units ``h_K ... h_1, y``.
    responsive : Tensor
        Units that carry a small change, ``(sample, unit)``.
    message : list of str
        A sentence for each sample of which something must be said, else ``""``: no equilibrium, or
        outputs that the target pulls out of the box, from which nothing is sent back.
    eps : Tensor
        ``(eps,)``.
    step : Tensor
        Saved steps, ``(eps, save)``; -1 fills the rows of step sizes with fewer of them.
    displacement : Tensor
        ``(sample, eps, save, unit)``, for unit strength of the drive (a nudge's is divided by
        beta); with noise the mean over replicates.
    standard_error : Tensor or None
        Of that mean, of the same shape; None without noise.
    coefficient_interval, cosine_interval : Tensor or None
        Confidence intervals (95 %) over replicates, ``(2, sample, eps, save, layer)``, lower
        end first; None if not asked for.
    linear_response : Tensor
        What the linearised network does under the same drive, solver and step.
    chain, implicit : Tensor
        The gradients, ``(sample, unit)``.
    first_crossing, crossing_unit, crossing_direction : Tensor
        ``(sample, eps)``: the first step at which a unit meets (+1) or leaves (-1) a kink;
        -1, -1 and 0 if none does.
    drive : Drive
        How the target arrived.
    """

    network: VectorField
    input: Tensor | None
    target: Tensor
    fixed: FixedPoints
    responsive: Tensor
    message: list[str]
    eps: Tensor
    step: Tensor
    displacement: Tensor
    standard_error: Tensor | None
    coefficient_interval: Tensor | None
    cosine_interval: Tensor | None
    linear_response: Tensor
    chain: Tensor
    implicit: Tensor
    first_crossing: Tensor
    crossing_unit: Tensor
    crossing_direction: Tensor
    drive: Drive
    method: str
    sigma: float
    noise: str
    replicates: int
    baseline: str
    seed: int | None
    layers: list[str] = field(repr=False)

    @property
    def depth(self) -> list[int]:
        """Hops from the output of each layer."""
        return list(range(len(self.layers) - 1, -1, -1))

    @property
    def time(self) -> Tensor:
        """Physical times, ``(eps, save)``; NaN where no step was saved."""
        return torch.where(self.step >= 0, self.step * self.eps[:, None].cpu(), torch.nan)

    @property
    def coefficient(self) -> Tensor:
        r"""How much of the chain gradient is there, ``(sample, eps, save, layer)``.

        :math:`-\langle\Delta h_k, g_k\rangle / |g_k|^2`; NaN where the gradient is zero.
        """
        return self.by_layer(metric.projection, self.chain)

    @property
    def tangent(self) -> Tensor:
        """Tangent of the angle between ``-displacement`` and the chain gradient."""
        return self.by_layer(metric.tangent, self.chain)

    @property
    def linear_error(self) -> Tensor:
        """Relative distance from the linear response, ``(sample, eps, save, layer)``."""
        return self.by_layer(metric.relative_error, self.linear_response)

    @property
    def sign_agreement(self) -> Tensor:
        """Share of units that move down their own gradient, ``(sample, eps, save, layer)``."""
        return self.by_layer(metric.sign_agreement, self.chain)

    @property
    def law(self) -> Tensor:
        """The coefficient the solver should give on the feedback path, ``(eps, save, layer)``.

        Binomial for Euler, its Runge-Kutta relatives, or the continuous limit; for a nudge in the
        limit of a weak one.
        """
        return self._per_layer(
            lambda k, n, e: driven_coefficient(k - self.drive.lead, n, e, self.order)
        )

    @property
    def order(self) -> int:
        """Layers that the solver crosses in one step; 0 if any number."""
        chosen = METHODS[self.method]
        return 0 if chosen.adaptive else chosen.order

    def cosine(self, gradient: Tensor) -> Tensor:
        """Cosine of ``-displacement`` with a gradient, ``(sample, eps, save, layer)``."""
        return self.by_layer(metric.cosine, gradient)

    def by_layer(self, function: Metric, other: Tensor) -> Tensor:
        """Apply a metric of :mod:`ctebm.early_inference.metrics` to each layer of the displacement.

        Parameters
        ----------
        function : callable
            Takes the displacement and `other`, vectors along the last dimension.
        other : Tensor
            ``(sample, unit)``, or ``(sample, eps, save, unit)``.

        Returns
        -------
        Tensor, (sample, eps, save, layer)
        """
        if other.ndim == 2:
            other = other[:, None, None]
        slices = self.fixed.network.layers.values()
        return torch.stack(
            [function(self.displacement[..., where], other[..., where]) for where in slices], -1
        )

    @property
    def first_arrival(self) -> list[int]:
        """The step in which each layer first moves; 0 if it does at once."""
        order = self.order
        return [-(-(k + 1 - self.drive.lead) // order) if order else 0 for k in self.depth]

    @property
    def rounding_floor(self) -> Tensor:
        r"""Relative error that rounding leaves at the first arrival, ``(sample, eps, layer)``.

        After `n` steps the states carry about :math:`n (u |h_k| + 2 u a_k |g_k| + \epsilon r)`,
        with unit roundoff `u` and residual `r` of the equilibrium, against a signal
        :math:`a_k |g_k|`, times beta for a nudge. NaN for solvers without a first arrival.
        """
        unit = torch.finfo(self.displacement.dtype).eps / 2
        parts = []
        where_n = zip(
            self.fixed.network.layers.values(), self.depth, self.first_arrival, strict=True
        )
        for where, k, n in where_n:
            size = self.fixed.state[:, where].norm(dim=-1)[:, None]
            residual = self.fixed.residual[:, None] * (where.stop - where.start) ** 0.5
            n = max(n, 1) if self.order else np.nan
            a = [
                float(driven_coefficient(k - self.drive.lead, n, e, self.order))
                for e in self.eps.tolist()
            ]
            signal = torch.as_tensor(a).to(size) * self.chain[:, where].norm(dim=-1)[:, None]
            noise = n * (unit * (size + 2 * signal) + self.eps.to(size) * residual)
            parts.append(noise / (signal * abs(self.drive.strength)))
        return torch.stack(parts, -1)

    def to_dataset(self) -> xr.Dataset:
        """Return everything with names: results, gradients, laws, and what they came from."""
        data = self._equilibrium() | self._measured() | self._laws() | _parameters(self.network)
        data["target"] = variable(("sample", "output"), self.target, "target states")
        if self.input is not None:
            data["input"] = variable(("sample", "pixel"), self.input, "clamped input states")
        layer_of_unit = np.empty(self.displacement.shape[-1], dtype=object)
        for name, where in self.fixed.network.layers.items():
            layer_of_unit[where] = name
        tau = "membrane time constant"
        coords = {
            "eps": variable("eps", self.eps, "step size", tau),
            "step": variable(("eps", "save"), self.step, "steps since the target arrived"),
            "time": variable(("eps", "save"), self.time, "time since the target arrived", tau),
            "layer_name": variable("layer", np.array(self.layers), "layer"),
            "depth": variable("layer", np.array(self.depth), "hops from the output"),
            "layer_of_unit": variable("unit", layer_of_unit.astype(str), "layer of the unit"),
        }
        return xr.Dataset(data, coords, self._attributes())

    def _equilibrium(self) -> dict[str, xr.Variable]:
        per_unit, fixed = ("sample", "unit"), self.fixed
        return {
            "fixed_point": variable(per_unit, fixed.state, "equilibrium state"),
            "pinned": variable(per_unit, fixed.pinned, "held at a kink by its current"),
            "responsive": variable(per_unit, self.responsive, "carries a small change"),
            "residual": variable("sample", fixed.residual, "largest force at equilibrium"),
            "margin": variable("sample", fixed.margin, "distance from a change of pinning"),
            "converged": variable("sample", fixed.converged, "equilibrium was reached"),
            "chain_gradient": variable(per_unit, self.chain, "chain gradient dC/ds"),
            "implicit_gradient": variable(per_unit, self.implicit, "implicit gradient"),
        }

    def _measured(self) -> dict[str, xr.Variable]:
        run, unit = ("sample", "eps"), ("sample", "eps", "save", "unit")
        layer = ("sample", "eps", "save", "layer")
        end = ("bound", *layer)
        names = {
            "first_crossing": (run, "first step at which a unit meets or leaves a kink"),
            "crossing_unit": (run, "unit of the first crossing"),
            "crossing_direction": (run, "1 meets a kink, -1 leaves it, 0 no crossing"),
            "displacement": (unit, "displacement from equilibrium for unit strength"),
            "standard_error": (unit, "standard error of the mean displacement"),
            "coefficient": (layer, "share of the chain gradient"),
            "coefficient_interval": (end, "95 % interval of the coefficient"),
            "cosine_interval": (end, "95 % interval of the cosine with the chain gradient"),
            "tangent": (layer, "tangent of the angle to the chain gradient"),
            "sign_agreement": (layer, "share of units that move down their own gradient"),
            "linear_error": (layer, "relative distance from linear response"),
            "rounding_floor": ((*run, "layer"), "relative rounding error at arrival"),
        }
        data = {
            name: variable(dims, getattr(self, name), text)
            for name, (dims, text) in names.items()
            if getattr(self, name) is not None
        }
        for name, gradient in (("cosine", self.chain), ("cosine_implicit", self.implicit)):
            text = f"cosine with the {'implicit' if '_' in name else 'chain'} gradient"
            data[name] = variable(layer, self.cosine(gradient), text)
        return data

    def _laws(self) -> dict[str, xr.Variable]:
        curve = ("eps", "save", "layer")
        lead = self.drive.lead
        paper = self._per_layer(lambda k, n, e: paper_coefficient(k - lead, e) + 0.0 * n)
        flow = self._per_layer(lambda k, n, e: driven_coefficient(k - lead, n, e, 0))
        return {
            "law_coefficient": variable(curve, self.law, "coefficient of the feedback path"),
            "paper_coefficient": variable(curve, paper, "eps^(k+1), size at first arrival"),
            "continuous_coefficient": variable(curve, flow, "coefficient in continuous time"),
        }

    def _attributes(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "method": self.method,
            "drive": self.drive.kind,
            "points": self.drive.points,
            "sigma": self.sigma,
            "noise": self.noise,
            "replicates": self.replicates,
            "baseline": self.baseline,
            "n_failed": int((~self.fixed.converged).sum()),
            "messages": [m for m in self.message if m] or "",
        }
        if self.drive.beta is not None:
            attributes["beta"] = self.drive.beta
        if self.seed is not None:
            attributes["noise_seed"] = str(self.seed)
        activation: Any = getattr(self.network, "activation", None)
        if activation is not None:
            names = getattr(type(activation), "__dataclass_fields__", {})
            parameters = {k: v for k, v in vars(activation).items() if k in names}
            attributes["activation"] = type(activation).__name__
            attributes["activation_parameters"] = json.dumps(parameters, default=str)
            attributes["kinks"] = list(activation.kinks) or ""
        return attributes

    def _per_layer(self, function: Callable[..., Any]) -> Tensor:
        rows = []
        for e, steps in zip(self.eps.tolist(), self.step.cpu().numpy(), strict=True):
            known = np.where(steps >= 0, steps, 0)
            values = np.stack([function(k, known, e) for k in self.depth], -1)
            rows.append(np.where(steps[:, None] >= 0, values, np.nan))
        return torch.as_tensor(np.stack(rows))


def _parameters(network: VectorField) -> dict[str, xr.Variable]:
    if not isinstance(network, LayeredField):
        return {}
    data = {str(name): array.variable for name, array in network_dataset(network).items()}
    for i, V in enumerate(getattr(network, "feedback", [])):
        if V is not None:
            dims = data[f"weight_{i}"].dims
            data[f"feedback_{i}"] = variable(
                [str(d) for d in dims], V, f"feedback of layers {i}, {i + 1}"
            )
    return data
