"""A branch of equilibria, in the order in which it was followed, and what happens on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import variable
from ctebm.equilibria.inertia import classify
from ctebm.equilibria.kkt import residual
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.stability.curve import Curve, Place
from ctebm.stability.events import Event

__all__ = ["Branch"]


@dataclass(frozen=True)
class Branch:
    """Equilibria in the order in which they were followed.

    Attributes
    ----------
    parameter : Tensor
        ``(point,)``.
    state : Tensor
        ``(point, unit)``.
    energy, residual : Tensor
        ``(point,)``.
    pinned : Tensor
        ``(point, unit)``.
    index : Tensor
        Number of unstable directions, ``(point,)``.
    stability : list of str
        ``"stable"``, ``"saddle"`` or ``"degenerate"`` at each point.
    events : list of Event
        In order.
    message : str
        Why the branch ends.
    complete : bool
        Whether it ends at an end of the parameter's range, or by closing.
    """

    parameter: Tensor
    state: Tensor
    energy: Tensor
    residual: Tensor
    pinned: Tensor
    index: Tensor
    stability: list[str]
    events: list[Event]
    message: str
    complete: bool
    parameter_range: tuple[float, float]
    tol: float
    family: Callable[[float], VectorField] = field(repr=False)

    @classmethod
    def through(
        cls,
        curve: Curve,
        places: Sequence[Place],
        events: list[Event],
        parameter_range: tuple[float, float],
        message: str,
        complete: bool,
    ) -> Self:
        """Return the branch through places of a curve, everything in it evaluated at them.

        Parameters
        ----------
        curve : Curve
            The curve.
        places : sequence of Place
            In the order in which they were found.
        events : list of Event
            What happened, in order.
        parameter_range : tuple of float
            The range that was asked for.
        message : str
            Why the branch ends.
        complete : bool
            Whether it ends where it should.
        """
        networks = [curve.network(place.p) for place in places]
        kinds = [classify(net, place.s) for net, place in zip(networks, places, strict=True)]
        s = torch.stack([place.s for place in places])
        energy = [
            net.energy(x) if isinstance(net, Network) else x.new_tensor(math.nan)
            for net, x in zip(networks, s, strict=True)
        ]
        return cls(
            parameter=torch.tensor([place.p for place in places], dtype=s.dtype),
            state=s,
            energy=torch.stack(energy),
            residual=torch.stack([residual(net, x) for net, x in zip(networks, s, strict=True)]),
            pinned=torch.stack([place.pinned for place in places]),
            index=torch.tensor([k for k, _ in kinds]),
            stability=[kind for _, kind in kinds],
            events=events,
            message=message,
            complete=complete,
            parameter_range=parameter_range,
            tol=curve.tol,
            family=curve.family,
        )

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of one kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def folds(self) -> list[Event]:
        """Where the branch turns back and an eigenvalue vanishes."""
        return self.of_kind("fold")

    @property
    def branch_points(self) -> list[Event]:
        """Where another branch crosses: pitchforks and transcritical points."""
        return [event for event in self.events if event.kind in ("pitchfork", "transcritical")]

    def raise_for_status(self) -> Branch:
        """Return the branch itself, or raise RuntimeError if it ends too early."""
        if not self.complete:
            raise RuntimeError(self.message)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return the branch with dimensions ``point``, ``unit`` and ``event``."""
        n = self.state.shape[-1]

        def stacked(of: Callable[[Event], Tensor]) -> Tensor:
            rows = [of(event) for event in self.events]
            return torch.stack(rows) if rows else self.state.new_zeros(0, n)

        events, at = ("event",), ("event", "unit")
        kinds = np.array([e.kind for e in self.events], dtype=str)
        return xr.Dataset(
            {
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
            },
            {"parameter": variable(("point",), self.parameter, "parameter")},
            {"message": self.message},
        )
