"""A branch of equilibria, in the order in which it was followed, and what happens on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.equilibria.inertia import classify
from ctebm.equilibria.kkt import residual
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.parameters import network_dataset
from ctebm.networks.record import Record, with_origin
from ctebm.stability.curve import Curve, Point
from ctebm.stability.events import BRANCH_POINTS, Event

__all__ = ["Branch"]

_KEPT_BYTES = 2**26  # of parameters that change along the branch


@dataclass(frozen=True, eq=False, repr=False)
class Branch(Record):
    """Equilibria in the order in which they were followed.

    Attributes
    ----------
    parameter : Tensor
        ``(point,)``.
    state : Tensor
        ``(point, unit)``.
    energy : Tensor
        ``(point,)``; NaN without an energy.
    residual : Tensor
        Largest force at each point, ``(point,)``.
    pinned : Tensor
        Units held at a kink, ``(point, unit)``.
    index : Tensor
        Number of unstable directions, ``(point,)``.
    stability : list of str
        ``"stable"``, ``"saddle"`` or ``"degenerate"`` at each point.
    events : list of Event
        What happens on it, in order.
    status : str
        ``"complete"`` if the branch ends at an end of the parameter's range or by closing, else
        ``"incomplete"``.
    message : str
        Why the branch ends.
    parameter_range : tuple of float
        The range that was asked for.
    tol : float
        Bound on the force at every point.
    family : callable
        Maps a parameter to its network.

    Examples
    --------
    >>> import ctebm
    >>> def family(w):
    ...     return ctebm.DenseNetwork([[0, w], [w, 0]], [0, 0], ctebm.HardSigmoid()).centred()
    >>> branch = ctebm.continue_branch(family, [0, 0], (0.5, 2))
    >>> branch.status, branch.message
    ('complete', "reached the end 2 of the parameter's range.")
    >>> branch.branch_points
    [Event(kind='pitchfork', parameter=1.0..., point=..., transversality=0.0, multiplicity=1)]
    """

    parameter: Tensor
    state: Tensor
    energy: Tensor
    residual: Tensor
    pinned: Tensor
    index: Tensor
    stability: list[str]
    events: list[Event]
    status: str
    message: str
    parameter_range: tuple[float, float]
    tol: float
    family: Callable[[float], VectorField]

    _shown = ("parameter", "state")

    @cached_property
    def network(self) -> VectorField:
        """The network at the first point."""
        return self.family(float(self.parameter[0]))

    @classmethod
    def through(
        cls,
        curve: Curve,
        points: Sequence[Point],
        events: list[Event],
        parameter_range: tuple[float, float],
        status: str,
        message: str,
    ) -> Self:
        """Return the branch through points of a curve, everything in it evaluated at them.

        Parameters
        ----------
        curve : Curve
            The curve.
        points : sequence of Point
            In the order in which they were found.
        events : list of Event
            What happened, in order.
        parameter_range : tuple of float
            The range that was asked for.
        status : str
            ``"complete"`` or ``"incomplete"``.
        message : str
            Why the branch ends.
        """
        networks = [curve.network(point.p) for point in points]
        kinds = [classify(net, point.s) for net, point in zip(networks, points, strict=True)]
        s = torch.stack([point.s for point in points])
        energy = [
            net.energy(x) if isinstance(net, Network) else x.new_tensor(math.nan)
            for net, x in zip(networks, s, strict=True)
        ]
        return cls(
            parameter=s.new_tensor([point.p for point in points]),
            state=s,
            energy=torch.stack(energy),
            residual=torch.stack([residual(net, x) for net, x in zip(networks, s, strict=True)]),
            pinned=torch.stack([point.pinned for point in points]),
            index=torch.tensor([k for k, _ in kinds], device=s.device),
            stability=[kind for _, kind in kinds],
            events=events,
            status=status,
            message=message,
            parameter_range=parameter_range,
            tol=curve.tol,
            family=curve.family,
        )

    @property
    def complete(self) -> bool:
        """Whether the branch ends where it should."""
        return self.status == "complete"

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of one kind, or raise TypeError for what is no word."""
        if not isinstance(kind, str):
            raise TypeError(f"expected the word of a kind, such as 'fold', got {kind!r}.")
        return [event for event in self.events if event.kind == kind]

    @property
    def folds(self) -> list[Event]:
        """Where the branch turns back and an eigenvalue vanishes."""
        return self.of_kind("fold")

    @property
    def branch_points(self) -> list[Event]:
        """Where other branches cross: pitchforks, transcritical points and multiple zeros."""
        return [event for event in self.events if event.kind in BRANCH_POINTS]

    def _failures(self) -> list[str]:
        return [] if self.complete else [self.message]

    def _outcome(self) -> str:
        counts = Counter(event.kind for event in self.events)
        events = ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "no events"
        first, last = (float(p) for p in (self.parameter[0], self.parameter[-1]))
        return f"{self.status}, from {first:g} to {last:g}: {events}"

    def to_dataset(self) -> xr.Dataset:
        """Return the branch with dimensions ``point``, ``unit`` and ``event``.

        With the parameters of the networks, see
        :func:`~ctebm.networks.parameters.network_dataset`: once those that stay the same, for each
        point those that change, or at both ends (``end``) where all would take more than 64 MiB.
        """
        n = self.state.shape[-1]

        def stacked(of: Callable[[Event], Tensor]) -> Tensor:
            rows = [of(event) for event in self.events]
            return torch.stack(rows) if rows else self.state.new_zeros(0, n)

        events, at = ("event",), ("event", "unit")
        kinds = np.array([e.kind for e in self.events], dtype=str)
        dataset = xr.Dataset(
            {
                "status": variable((), self.status, "whether the branch ends where it should"),
                "message": variable((), self.message, "why the branch ends"),
                "state": variable(("point", "unit"), self.state, "state"),
                "pinned": variable(("point", "unit"), self.pinned, "held at a kink"),
                "energy": variable(("point",), self.energy, "energy"),
                "residual": variable(("point",), self.residual, "largest force"),
                "index": variable(("point",), self.index, "number of unstable directions"),
                "stability": variable(("point",), self.stability, "stability"),
                "event_kind": variable(events, kinds, "kind of event"),
                "event_parameter": variable(
                    events, [e.parameter for e in self.events], "parameter at the event"
                ),
                "event_state": variable(at, stacked(lambda e: e.state), "state at the event"),
                "event_direction": variable(
                    at, stacked(lambda e: e.direction), "null vector, or units that change pattern"
                ),
                "event_transversality": variable(
                    events, [e.transversality for e in self.events], "null vector on df/dp"
                ),
                "event_multiplicity": variable(
                    events, [e.multiplicity for e in self.events], "number of zero eigenvalues"
                ),
            },
            layer_of_unit(self.network.layers, n).assign(
                parameter=variable(("point",), self.parameter, "parameter")
            ),
        )
        first, last = self.parameter_range
        settings = {"tol": self.tol, "parameter_first": first, "parameter_last": last}
        dataset = with_origin(dataset, self.network, "branch of equilibria", settings)
        return dataset.assign(self._changing())

    def plot(self, ax: Any = None, *, unit: int = 0, parameter: str = "parameter") -> Any:
        """Draw a bifurcation diagram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw, such as beside another branch; a new figure of pyplot by default, which
            a notebook or ``plt.show()`` shows, and which is pyplot's until it is closed.
        unit : int
            Which unit's state to show.
        parameter : str
            What to call the parameter.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from ctebm.figures.equilibria import bifurcation_figure

        figure = bifurcation_figure([self.to_dataset()], parameter, unit, ax=ax, window=ax is None)
        return figure.axes[0] if ax is None else ax

    def _changing(self) -> dict[str, xr.Variable]:
        """Return the parameters of the networks that are not the same at every point."""
        start = network_dataset(self.network).variables
        n_bytes = len(self.parameter) * sum(values.nbytes for values in start.values())
        at = self.parameter if n_bytes <= _KEPT_BYTES else self.parameter[[0, -1]]
        dim = "point" if at is self.parameter else "end"
        networks = [network_dataset(self.family(p)).variables for p in at.tolist()]
        shapes = {name: values.sizes for name, values in start.items()}
        if any({k: v.sizes for k, v in other.items()} != shapes for other in networks):
            return {"end_network": variable((), repr(networks[-1]), "network at the end")}

        def stacked(name: Hashable) -> xr.Variable:
            values = np.stack([other[name].values for other in networks])
            return xr.Variable((dim, *start[name].dims), values, start[name].attrs)

        same = {
            k: all(other[k].equals(values) for other in networks) for k, values in start.items()
        }
        return {str(name): stacked(name) for name in start if not same[name]}
