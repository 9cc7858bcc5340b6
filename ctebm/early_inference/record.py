r"""The record of a correspondence: displacements beside gradients, laws and their agreement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dynamics.methods import METHODS
from ctebm.early_inference import metrics as metric
from ctebm.early_inference.arrivals import along_paths, first_steps, rounding_floor
from ctebm.early_inference.correspondence_dataset import correspondence_dataset
from ctebm.early_inference.drive import Drive, Replace
from ctebm.early_inference.laws import driven_coefficient
from ctebm.equilibria.record import FixedPoints
from ctebm.networks.base import VectorField
from ctebm.networks.couplings import Couplings
from ctebm.networks.record import SampledRecord, rows_at

__all__ = ["Correspondence"]

Metric = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False, repr=False)
class Correspondence(SampledRecord):
    """Displacements from equilibrium under a drive, and what they are compared with.

    Attributes
    ----------
    network : VectorField
        The network as given, before its input was clamped.
    input : Tensor or None
        Clamped input states, ``(sample, input unit)``; None if the network came clamped.
    target : Tensor
        Target states, ``(sample, output unit)``.
    fixed : FixedPoints
        The equilibria, of the free units ``h_K ... h_1, y``.
    responsive : Tensor
        Units that carry a small change, ``(sample, unit)``.
    status : Tensor
        0 where all is well, 1 where no equilibrium was reached, 2 where outputs are pinned at a
        kink and send no gradient back (the other units are measured as usual), 3 where the driven
        motion left the finite numbers, 4 where the equilibrium is not stable, ``(sample,)``.
    message : list of str
        A sentence for each sample whose status is not 0, else ``""``.
    eps : Tensor
        Step sizes, ``(eps,)``.
    step : Tensor
        Saved steps, ``(eps, save)``; -1 fills the rows of step sizes with fewer of them.
    displacement : Tensor
        ``(sample, eps, save, unit)``, for unit strength of the drive (a nudge's is divided by
        beta); with noise the mean over replicates. NaN for samples without an equilibrium and
        where no step was saved.
    standard_error : Tensor or None
        Of that mean, of the same shape; None without noise.
    coefficient_interval, cosine_interval : Tensor or None
        Confidence intervals (95 %) over replicates, ``(2, sample, eps, save, layer)``, lower
        end first; None if not asked for.
    linear_response : Tensor
        What the linearised network does under the same drive, solver and step, of the same shape
        as the displacement.
    chain, implicit : Tensor
        The gradients, ``(sample, unit)``.
    first_crossing : Tensor
        First step at which a unit meets or leaves a kink, ``(sample, eps)``; -1 if none does.
    crossing_unit : Tensor
        That unit, ``(sample, eps)``; -1 if there is none.
    crossing_direction : Tensor
        1 if it meets the kink, -1 if it leaves it, 0 if there is none, ``(sample, eps)``.
    drive : Drive
        How the target arrived.
    method : str
        The solver.
    sigma : float
        Intensity of the noise.
    noise : {"langevin", "synaptic"}
        Kind of the noise.
    replicates : int
        Runs of each sample.
    baseline : {"undriven", "held", "equilibrium"}
        What was subtracted from each run; the equilibrium if there was no noise.
    seed : int or None
        Root seed of the noise; None without noise.
    layers : list of str
        Names of the free layers, output last.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid(), gain=0.2)
    >>> record = ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=0.1, n_steps=4)
    >>> record.raise_for_status().coefficient[0, 0, 2]  # of h1 and y after 2 steps
    tensor([0.0100, 0.1900], dtype=torch.float64)
    """

    network: VectorField
    input: Tensor | None
    target: Tensor
    fixed: FixedPoints
    responsive: Tensor
    status: Tensor
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
    layers: list[str]

    _shown = ("displacement",)
    _outcomes = (
        "fine", "without an equilibrium", "with outputs that send no gradient back",
        "that left the finite numbers", "at an equilibrium that is not stable",
    )  # fmt: skip

    @cached_property
    def couplings(self) -> Couplings:
        """Which layers act on which."""
        return Couplings.of(self.fixed.network)

    @property
    def depth(self) -> list[Any]:
        """Hops from the output of each layer by the shortest path, whole; inf without a path."""
        return list(self.couplings.depth.values())

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
    def has_law(self) -> bool:
        """Whether the law holds after the first arrival, for any but a cost that replaces."""
        return self.drive.cost is None or not isinstance(self.drive, Replace)

    @property
    def law(self) -> Tensor:
        """The coefficient the solver should give on the feedback path, ``(eps, save, layer)``.

        Binomial for Euler, its Runge-Kutta relatives, or the continuous limit; for a nudge in the
        limit of a weak one. NaN for a layer with paths of several lengths to the output, along
        which parts of the gradient arrive at different times.

        Raises
        ------
        ValueError
            Where the slope of another cost replaces the output's pressure.
        """
        if not self.has_law:
            raise ValueError(
                "expected the squared error, after whose first arrival the coefficient has a law, "
                "got another cost; use drive='nudge', or leaky_coefficient of the dataset."
            )
        return self.by_depth(lambda k, n, eps: driven_coefficient(k, n, eps, self.order))

    @property
    def order(self) -> int:
        """Layers that the solver crosses in one step; 0 if any number."""
        return 0 if METHODS[self.method].adaptive else METHODS[self.method].order

    def cosine(self, gradient: Tensor) -> Tensor:
        """Return the cosine of ``-displacement`` with a gradient, of the shape of `coefficient`."""
        return self.by_layer(metric.cosine, self.fixed.network.as_state(gradient))

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

    def by_depth(self, law: Callable[[int, np.ndarray, float], Any]) -> Tensor:
        """Return a law of the feedback path at the saved steps.

        Parameters
        ----------
        law : callable
            Takes the hops that the change has to make, which a clamp saves one of, saved steps and
            the step size.

        Returns
        -------
        Tensor, (eps, save, layer)
            NaN where no step was saved.
        """
        return along_paths(self, law)

    @property
    def first_arrival(self) -> list[Any]:
        """The step in which each layer first moves; 0 if it does at once, inf if it never does."""
        return first_steps(self)

    @property
    def rounding_floor(self) -> Tensor:
        r"""Relative error that rounding leaves at the first arrival, ``(sample, eps, layer)``.

        After `n` steps the states carry about :math:`n (u |h_k| + 2 u a_k |g_k| + \epsilon r)`,
        with unit roundoff `u` and residual `r` of the equilibrium, against a signal
        :math:`a_k |g_k|`, times beta for a nudge. NaN for solvers without a first arrival.
        """
        return rounding_floor(self)

    def _of_samples(self, rows: Tensor) -> dict[str, Any]:
        batch, rows = self.status.shape, rows.reshape(-1)
        names = ("input", "target", "responsive", "status", "displacement", "standard_error",
                 "linear_response", "chain", "implicit", "first_crossing", "crossing_unit",
                 "crossing_direction")  # fmt: skip
        lead = dict.fromkeys(names, 0) | {"coefficient_interval": 1, "cosine_interval": 1}
        fields = {name: getattr(self, name) for name in lead}
        found: dict[str, Any] = {
            name: None if t is None else rows_at(t, rows, batch, lead[name])
            for name, t in fields.items()
        }
        numbers = rows.tolist()
        return found | {"fixed": self.fixed[numbers], "message": [self.message[i] for i in numbers]}

    def to_dataset(self) -> xr.Dataset:
        """Return everything with names: results, gradients, laws, and what they came from.

        Dimensions are ``sample, eps, save, layer, unit``; ``sel(layer="h1")`` picks a layer of
        what is one number a layer, ``sel(layer_of_unit="h1")`` its units. With the network and its
        input, see :func:`~ctebm.networks.parameters.network_dataset`.
        """
        return correspondence_dataset(self)

    def plot(self, ax: Any = None) -> Any:
        """Draw shares of the chain gradient and angles to it, layer by layer.

        Parameters
        ----------
        ax : array of matplotlib.axes.Axes, optional
            ``(2, layer)``; a new figure of pyplot by default, which a notebook or
            ``plt.show()`` shows, and which is pyplot's until it is closed.

        Returns
        -------
        ndarray of matplotlib.axes.Axes, (2, layer)
        """
        from ctebm.figures.correspondence import correspondence_figure

        figure = correspondence_figure(self.to_dataset(), ax=ax, window=ax is None)
        return np.array(figure.axes, dtype=object).reshape(2, -1) if ax is None else ax
