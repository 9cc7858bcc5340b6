"""The record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import provenance, variable
from ctebm.networks.base import VectorField

__all__ = ["Trajectory"]

STATUS = "0 finite, 1 left the finite numbers, 2 not steady by the last step"


@dataclass(frozen=True)
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
        become steady and did not, ``(*batch)``.
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
    method : str
        The solver.
    threads : int
        Threads that torch computed a step with.
    network : VectorField
        That of the last phase.
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
    method: str
    threads: int
    network: VectorField = field(repr=False)

    def raise_for_status(self) -> Trajectory:
        """Return the trajectory itself, or raise FloatingPointError for the first failure."""
        for sentence in self.message:
            if sentence:
                raise FloatingPointError(sentence)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return what was saved, with dimensions ``step``, ``sample`` and ``unit``."""
        batch, n_units = self.state.shape[1:-1], self.state.shape[-1]
        data = {
            "status": variable("sample", self.status.reshape(-1), STATUS),
            "failed_step": variable("sample", self.failed_step.reshape(-1), "step of failure"),
        }
        if self.observed:
            last = self.state[-1].reshape(-1, n_units)
            data["last_state"] = variable(("sample", "unit"), last, "last state")
        else:
            states = self.state.reshape(len(self.state), -1, n_units)
            data["state"] = variable(("step", "sample", "unit"), states, "state")
        for name, value in self.observed.items():
            flat = value.reshape(len(value), -1, *value.shape[1 + len(batch) :])
            own = [f"{name}_axis{i}" for i in range(flat.ndim - 2)]
            data[name] = variable(("step", "sample", *own), flat, name)
        attrs = provenance(
            seed=self.seed, device=self.state.device, dtype=self.state.dtype, threads=self.threads
        )
        attrs |= {"method": self.method, "noise_substeps": self.substeps}
        return xr.Dataset(data, self._coordinates(data["status"].sizes["sample"]), attrs)

    def _coordinates(self, n_samples: int) -> dict[str, Any]:
        names = np.full(self.state.shape[-1], "s", dtype=object)
        for name, where in self.network.layers.items():
            names[where] = name
        time = self.time.reshape(len(self.time), -1).expand(-1, n_samples)
        phase = np.array(self.phases)[self.phase.numpy()]
        coords = {
            "step_number": variable("step", self.step, "steps taken"),
            "time": variable(("step", "sample"), time, "time", "membrane time constant"),
            "phase": variable("step", phase, "phase that led to the save"),
            "sample_number": variable("sample", list(self.samples), "number of the sample"),
            "layer_of_unit": variable("unit", names.astype(str), "layer of the unit"),
        }
        if self.eps is not None:
            eps = self.eps.reshape(-1).expand(n_samples)
            coords["eps"] = variable("sample", eps, "step size", "membrane time constant")
        return coords


def failures(
    failed_step: Tensor, unit: Tensor, force: Tensor | None, tol: float | None, last: int
) -> tuple[Tensor, list[str]]:
    """Return the status of each sample and its sentence, ``(*batch)`` flattened.

    Parameters
    ----------
    failed_step, unit : Tensor, (sample,)
        Where a sample left the finite numbers; -1 if it did not.
    force : Tensor, (sample,), optional
        Largest force at the last state, if it was to be within `tol`.
    tol : float, optional
        Bound on the force.
    last : int
        The last step.
    """
    status = (failed_step >= 0).to(torch.int8)
    message = [""] * len(status)
    for i in torch.nonzero(status).flatten().tolist():
        message[i] = (
            f"sample {i} left the finite numbers at step {int(failed_step[i])} in unit "
            f"{int(unit[i])}; use a smaller eps."
        )
    if force is not None and tol is not None:
        late = (status == 0) & ~(force <= tol)
        status[late] = 2
        for i in torch.nonzero(late).flatten().tolist():
            message[i] = (
                f"sample {i} has force {float(force[i]):.3g} > {tol:g} after {last} steps; "
                "take more steps."
            )
    return status, message
