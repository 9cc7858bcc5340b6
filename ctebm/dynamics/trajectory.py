"""The record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.dynamics.sde import Dynamics
from ctebm.dynamics.slopes import cost_name
from ctebm.networks.base import VectorField
from ctebm.networks.parameters import network_dataset, rows_by_name
from ctebm.networks.record import SampledRecord, rows_at, with_origin

__all__ = ["Trajectory"]

_TAU = "membrane time constant"


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(SampledRecord):
    """Saved states of a run.

    Attributes
    ----------
    state : Tensor
        ``(step, *batch, unit)``; the last one alone, ``(1, *batch, unit)``, if observables were
        asked for instead.
    observed : dict of str to Tensor
        Observables, ``(step, *batch, ...)`` each.
    step : Tensor
        The number of steps taken at each save, ``(step,)``; NaN for adaptive methods.
    time : Tensor
        Physical time in membrane time constants, ``(step,)``, or ``(step, *batch)`` if samples
        have their own `eps`.
    phase : Tensor
        Which of `phases` led to each save, ``(step,)``.
    phases : tuple of str
        Names of the phases; one unnamed if the dynamics did not change.
    eps : Tensor or None
        The step size, ``()`` or ``(*batch)``; None for adaptive methods.
    status : Tensor
        0 where a sample stayed finite, 1 where it left the finite numbers, 2 where it was to
        become steady and did not, 3 where an adaptive run was ended before its last time,
        ``(*batch)``.
    message : list of str
        A sentence for each sample whose status is not 0, in the order of the flattened batch,
        else ``""``.
    failed_step : Tensor
        The step at which a sample left the finite numbers, -1 if it did not, ``(*batch)``.
        What is saved of it from there on is not finite.
    seed : int or None
        Root seed of the noise; None without noise.
    samples : tuple of int
        Numbers of the samples, whose streams of noise they name.
    substeps : int
        How many finer steps of the seed's streams a step's noise is made of.
    stream : str
        How the normals were made from the seed, see :func:`~ctebm.simulate`.
    method : str
        The solver.
    threads : int
        Threads that torch computed a step with.
    dynamics : tuple of Dynamics
        What moved the state, one for each of `phases`.
    settings : mapping
        What else was asked for, by name.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
    >>> run = ctebm.simulate(net, [1.0], n_steps=20, eps=0.1, save_every=5)
    >>> run.status, run.step.tolist()
    (tensor(0, dtype=torch.int8), [0.0, 5.0, 10.0, 15.0, 20.0])
    >>> run.to_dataset().state.sel(time=1.1, method="nearest").item()
    0.348...
    """

    state: Tensor
    observed: Mapping[str, Tensor]
    step: Tensor
    time: Tensor
    phase: Tensor
    phases: tuple[str, ...]
    eps: Tensor | None
    status: Tensor
    message: list[str]
    failed_step: Tensor
    seed: int | None
    samples: tuple[int, ...]
    substeps: int
    stream: Literal["host", "philox"]
    method: str
    threads: int
    dynamics: tuple[Dynamics, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    _error = FloatingPointError
    _on_graph = True
    _outcomes = ("finite", "left the finite numbers", "not steady by the last step")

    @property
    def network(self) -> VectorField:
        """That of the last phase."""
        return self.dynamics[-1].network

    def _of_samples(self, rows: Tensor) -> dict[str, Any]:
        batch, each = self.status.shape, self.time.ndim > 1
        numbers = rows.reshape(-1).tolist()
        found: dict[str, Any] = {
            "state": rows_at(self.state, rows, batch, lead=1),
            "observed": {k: rows_at(v, rows, batch, lead=1) for k, v in self.observed.items()},
            "status": rows_at(self.status, rows, batch),
            "failed_step": rows_at(self.failed_step, rows, batch),
            "message": [self.message[i] for i in numbers],
            "samples": tuple(self.samples[i] for i in numbers),
            "dynamics": tuple(motion.samples(batch, rows) for motion in self.dynamics),
        }
        if each and self.eps is not None:
            found["time"] = rows_at(self.time, rows, batch, lead=1)
            found["eps"] = rows_at(self.eps, rows, batch)
        return found

    def to_dataset(self) -> xr.Dataset:
        """Return what was saved, by name.

        Returns
        -------
        xarray.Dataset
            Dimensions ``time``, ``sample`` (the flattened batch) and ``unit``; ``step`` instead
            of ``time`` if samples have their own `eps` and with it their own times. ``state``, or
            ``last_state`` and the observables; ``status``, ``message`` and ``failed_step``; the
            targets ``drive_y`` and ``nudge_y`` of layers, and the parameters of the network;
            coordinates ``step``, ``time``, ``sample``, ``layer`` (of each unit), ``eps``, ``sigma``
            and the other settings. If the run had phases, ``phase`` of each save, and what differs
            between phases along ``part`` or under their names, as in ``settle_drive_y``.
        """
        at = self._save
        n_saves, n_units = len(self.step), self.state.shape[-1]
        n_samples = self.status.numel()
        data = {
            "status": variable(
                "sample", self.status.reshape(-1), "outcome of the run", flag_values=[0, 1, 2, 3],
                flag_meanings="finite left_the_finite_numbers not_steady_by_the_last_step "
                "ended_before_its_last_time",
            ),
            "message": variable("sample", self.message, "why a sample failed"),
            "failed_step": variable(
                "sample", self.failed_step.reshape(-1), "first step that is not finite, or -1"
            ),
        }  # fmt: skip
        if self.observed:
            last = self.state[-1].reshape(n_samples, n_units)
            data["last_state"] = variable(("sample", "unit"), last, "last state")
        else:
            states = self.state.reshape(n_saves, n_samples, n_units)
            data["state"] = variable((at, "sample", "unit"), states, "state")
        for name, value in self.observed.items():
            flat = value.reshape(n_saves, n_samples, *value.shape[self.state.ndim - 1 :])
            own = [f"{name}_axis{i}" for i in range(flat.ndim - 2)]
            data[name] = variable((at, "sample", *own), flat, name)
        dataset = xr.Dataset(data, self._coordinates())
        dataset = dataset.assign_coords(layer_of_unit(self.network.layers, n_units))
        dataset = dataset.assign(self._targets())
        settings: dict[str, Any] = {
            "method": self.method, "seed": "" if self.seed is None else str(self.seed),
            "noise_substeps": self.substeps, "noise_stream": self.stream,
            "noise": self._noise, "sigma": self._strength("sigma"),
            "beta": self._strength("beta"), **self.settings,
        }  # fmt: skip
        dataset = with_origin(
            dataset, self.network, "a run", settings, batch=self.status.shape, threads=self.threads
        )
        costs = {cost_name(motion.cost): 0 for motion in self.dynamics if motion.cost is not None}
        if costs:
            dataset.attrs["cost"] = ", ".join(costs)
        for name, motion in zip(self.phases, self.dynamics, strict=True):
            dataset = self._with_other(dataset, name, motion.network)
        return dataset

    @property
    def _noise(self) -> xr.Variable:
        kinds = [motion.noise for motion in self.dynamics]
        if self.phases == ("",):
            return variable((), kinds[0], "kind of noise")
        return variable("part", kinds, "kind of noise")

    def plot(self, ax: Any = None, *, sample: int = 0) -> Any:
        """Draw the states of a sample, layer by layer.

        Parameters
        ----------
        ax : array of matplotlib.axes.Axes, optional
            One for each layer; a new figure of pyplot by default, which a notebook or
            ``plt.show()`` shows, and which is pyplot's until it is closed.
        sample : int
            Which row; not its number, by which its noise is named.

        Returns
        -------
        ndarray of matplotlib.axes.Axes, (layer,)
        """
        from ctebm.figures.trajectory import trajectory_figure

        figure = trajectory_figure(self.to_dataset(), sample=sample, ax=ax, window=ax is None)
        return np.array(figure.axes, dtype=object) if ax is None else ax

    def _strength(self, name: str) -> xr.Variable:
        """Return sigma or beta: a number, or one for each sample, in each phase if several."""
        n, batch = self.status.numel(), self.status.shape
        values = [getattr(motion, name) for motion in self.dynamics]
        each = any(value.ndim > 1 for value in values)
        words = "intensity of the noise" if name == "sigma" else "strength of the nudge"
        rows = [
            value.expand(*batch, 1).reshape(n) if each else value.reshape(()) for value in values
        ]
        dims = ["sample"] * each
        if self.phases == ("",):
            return variable(dims, rows[0], words)
        return variable(["part", *dims], torch.stack(rows), words)

    def _targets(self) -> dict[str, xr.Variable]:
        """Return the target states of driven and nudged layers, phase by phase."""
        said = {"drive": "target states that replace the pressure of layer",
                "nudge": "target states towards which the force is pulled in layer"}  # fmt: skip
        return {
            _of_phase(phase, f"{kind}_{layer}"): rows_by_name(
                x, ("sample", f"unit_{layer}"), self.status.shape, f"{words} {layer}"
            )
            for phase, motion in zip(self.phases, self.dynamics, strict=True)
            for kind, words in said.items()
            for layer, x in getattr(motion, kind).items()
        }

    def _with_other(self, dataset: xr.Dataset, phase: str, network: VectorField) -> xr.Dataset:
        """Add what the network of a phase has that is not that of the last phase."""
        if network is self.network:
            return dataset
        own = network_dataset(network, batch=self.status.shape)
        other = {
            _of_phase(phase, str(name)): values
            for name, values in own.variables.items()
            if name not in dataset or not dataset[name].variable.equals(values)
        }
        return dataset.assign(other)

    @property
    def _save(self) -> str:
        """The dimension of the saves: ``time``, if all samples have the same."""
        return "time" if self.time.ndim == 1 else "step"

    def _coordinates(self) -> dict[str, Any]:
        at, each = self._save, () if self.time.ndim == 1 else ("sample",)
        time = self.time.reshape(len(self.time), -1) if each else self.time
        coords = {
            "time": variable((at, *each), time, "time", _TAU),
            "sample": variable("sample", list(self.samples), "number of the sample"),
        }
        if self.eps is not None:
            coords["step"] = variable(at, self.step.long(), "number of steps taken")
            coords["eps"] = variable(each, self.eps.reshape(-1) if each else self.eps, "step size",
                                     _TAU)  # fmt: skip
        if self.phases != ("",):
            coords["part"] = variable("part", list(self.phases), "phase of the run")
            phase = np.array(self.phases)[self.phase.numpy()]
            coords["phase"] = variable(at, phase, "phase that led to the save")
        return coords


def _of_phase(phase: str, name: str) -> str:
    return f"{phase}_{name}" if phase else name
