"""The record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, provenance, variable
from ctebm.networks.base import VectorField

__all__ = ["Trajectory"]

_TAU = "membrane time constant"


@dataclass(frozen=True, eq=False)
class Trajectory:
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
    network : VectorField
        That of the last phase.

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
    network: VectorField = field(repr=False)

    def raise_for_status(self) -> Trajectory:
        """Return the trajectory itself if every sample's status is 0.

        Raises
        ------
        FloatingPointError
            With the sentence of the first sample that failed.
        """
        for sentence in self.message:
            if sentence:
                raise FloatingPointError(sentence)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return what was saved, by name.

        Returns
        -------
        xarray.Dataset
            Dimensions ``time``, ``sample`` (the flattened batch) and ``unit``; ``step`` instead
            of ``time`` if samples have their own `eps` and with it their own times. ``state``, or
            ``last_state`` and the observables; ``status``, ``message`` and ``failed_step``;
            coordinates ``step``, ``time``, ``sample``, ``layer`` (of each unit) and ``eps``, and
            ``phase`` if the run had phases.
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
        attrs = provenance(
            seed=self.seed, device=self.state.device, dtype=self.state.dtype, threads=self.threads
        )
        attrs |= {"method": self.method, "noise_substeps": self.substeps}
        attrs["noise_stream"] = self.stream
        dataset = xr.Dataset(data, self._coordinates(), attrs)
        return dataset.assign_coords(layer_of_unit(self.network.layers, n_units))

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
            phase = np.array(self.phases)[self.phase.numpy()]
            coords["phase"] = variable(at, phase, "phase that led to the save")
        return coords
