"""Training of a layered network by a rule, with history and checkpoints."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.learning.checkpoint import load_checkpoint, save_checkpoint
from ctebm.learning.trainer import REFERENCES, Plan, Trainer
from ctebm.networks.layered import LayeredField, LayeredNetwork
from ctebm.networks.parameters import network_dataset

__all__ = ["Training", "smallest_curvature", "train", "weakly_coupled"]


@dataclass(frozen=True)
class Training:
    """What a training came to.

    Attributes
    ----------
    network : LayeredNetwork
        What was trained, a FeedbackNetwork if its two directions learned separately; of a run
        that failed, that after its last good epoch.
    history : dict of str to ndarray
        One row an epoch; see :meth:`to_dataset`.
    status : str
        ``"done"``, ``"stopped early"``, ``"diverged"`` or ``"collapsed"``.
    message : str
        A sentence if the training failed, else ``""``.
    """

    network: LayeredField
    history: dict[str, np.ndarray]
    status: str
    message: str
    plan: Plan = field(repr=False)

    def raise_for_status(self) -> Training:
        """Return the training itself, or raise FloatingPointError if it failed."""
        if self.message:
            raise FloatingPointError(self.message)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return history and weights; :func:`ctebm.load_network` reads the latter."""
        names = list(self.network.layers)
        dims = {"pinned": ("epoch", "hidden"), "dead": ("epoch", "hidden"),
                "alignment": ("epoch", "reference", "connection"),
                "rate": ("epoch", "connection"), "symmetry": ("epoch", "connection")}  # fmt: skip
        data = {
            name: variable(dims.get(name, ("epoch",)), rows, *_MEANING[name])
            for name, rows in self.history.items()
        }
        n_epochs = len(self.history.get("sweeps", []))
        coords = {
            "epoch": variable("epoch", np.arange(n_epochs), "epochs done"),
            "hidden": variable("hidden", names[1:-1], "hidden layer"),
            "connection": variable(
                "connection", [f"{a}-{b}" for a, b in itertools.pairwise(names)],
                "pair of neighbouring layers",
            ),
            "reference": variable("reference", list(REFERENCES), "reference gradient"),
        }  # fmt: skip
        attrs = {
            "status": self.status, "message": self.message,
            "rule": repr(self.plan.rule),
            "plan": json.dumps(self.plan.identity(), default=str),
        }  # fmt: skip
        dataset = xr.Dataset(data, coords, attrs)
        return dataset.merge(network_dataset(self.network), combine_attrs="no_conflicts")


_MEANING = {
    "train_error": ("errors on the training samples as they came", "%"),
    "test_error": ("errors on the held-out samples", "%"),
    "cost": ("mean |y - y*|^2 / 2 over the training samples as they came", "1"),
    "residual": ("largest residual of an equilibrium", "1"),
    "unsettled": ("share of batches with a residual above the tolerance", "1"),
    "sweeps": ("mean updates of every layer to settle a sample", "1"),
    "pinned": ("share of units held at a kink", "1"),
    "dead": ("share of units held at a kink in every sample", "1"),
    "crossed": ("share of samples in which a unit meets or leaves a kink early on", "1"),
    "alignment": ("cosine of the rule's gradient with a reference", "1"),
    "symmetry": ("cosine of the weights of the two directions; NaN from the input", "1"),
    "rate": ("learning rate", "1"),
    "seconds": ("time for the epoch", "s"),
}


def train(
    network: LayeredField,
    input: ArrayLike | Tensor,
    label: ArrayLike | Tensor,
    plan: Plan,
    *,
    held_out: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    report: Callable[[str], None] | None = None,
) -> Training:
    """Train a network to classify.

    Parameters
    ----------
    network : LayeredNetwork
        Where to begin; it is not changed. Its dtype is that of the training. With ``tied=False``
        it may be a FeedbackNetwork, whose two directions begin unequal.
    input : array, (sample, input unit)
        Rates.
    label : array of int, (sample,)
        Classes from 0; output unit `c` stands for class `c`.
    plan : Plan
        Rule, rates and so on.
    held_out : pair of arrays, optional
        Samples and labels that are only tested.
    checkpoint : path, optional
        A file to resume from if it is there, and to write after every epoch.
    progress : callable, optional
        Wraps the batches of an epoch, such as :class:`ctebm.study.Progress`: it is called with
        them, a label, and as `note` a function that says how errors and residual stand.
    report : callable, optional
        Receives one sentence an epoch.

    Returns
    -------
    Training
        A run that blows up or in which a whole layer goes silent stops with a sentence in
        ``message``; the checkpoint stays that of the last good epoch.

    Raises
    ------
    ValueError
        If data and network don't fit, or the checkpoint belongs to another run.
    """
    run = Trainer(network, plan)
    data = _samples(network, input, label)
    tested = None if held_out is None else _samples(network, *held_out, training=False)
    if plan.patience is not None and tested is None:
        raise ValueError("early stopping judges by held-out samples; give held_out.")
    identity = {
        "sizes": run.plastic.sizes, "activation": repr(network.activation),
        "dtype": str(network.dtype), **plan.identity(),
        "data": _digest(*data), "start": _digest(*run.parameters),
    }  # fmt: skip
    if checkpoint is not None and (content := load_checkpoint(checkpoint, identity)):
        run.restore(content)
    status, message = "done", ""
    for epoch in range(len(run.history), plan.epochs):
        if _patience_is_over(run.history, plan.patience):
            status = "stopped early"
            break
        good = run.content()
        row = run.epoch(epoch, data, progress)
        if row is not None:
            row |= run.probe(data)
            row["test_error"] = run.error(*tested) if tested else math.nan
        status, message = _verdict(row, epoch, plan)
        if message or row is None:
            run.restore(good)
            break
        run.history.append(row)
        if report is not None:
            report(_sentence(epoch, row))
        if checkpoint is not None:
            save_checkpoint(checkpoint, run.content(), identity)
    columns = run.history[0].keys() if run.history else ()
    history = {name: np.array([row[name] for row in run.history]) for name in columns}
    return Training(run.plastic.to_network(), history, status, message, plan)


def weakly_coupled(network: LayeredField, stability: float = 0.5) -> LayeredNetwork:
    r"""Scale the weights above the input so that the centred state is stable by a margin.

    The Hessian on the free units at a state between the kinks is :math:`1 - W`. Its smallest
    eigenvalue is made `stability`: above 0 the network rests where its input says, with
    reverberation of at most ``1 / stability``; below it falls to the kinks, where no gradient
    passes. The first weights, from the clamped input, do not enter.

    Parameters
    ----------
    network : LayeredNetwork
        Not clamped.
    stability : float
        In (0, 1].

    Raises
    ------
    ValueError
        For another `stability`.
    """
    if not 0 < stability <= 1:
        raise ValueError(f"expected 0 < stability <= 1, got {stability}.")
    weights = [W for W in network.weights if W is not None]
    coupling = 1 - smallest_curvature(network)
    scale = (1 - stability) / coupling if coupling > 0 else 1.0
    return LayeredNetwork(
        [weights[0], *(W * scale for W in weights[1:])], network.biases,
        network.activation, dtype=network.dtype,
    )  # fmt: skip


def smallest_curvature(network: LayeredField) -> float:
    r"""Return the smallest eigenvalue of the Hessian at the centred state, above the input.

    With currents of 0 it is :math:`1 - \rho'(0)^2 W`; the clamped input has no part in it.

    Parameters
    ----------
    network : LayeredNetwork
        Not clamped.
    """
    weights = [W for W in network.weights if W is not None]
    if len(weights) == 1:
        return 1.0
    rho = network.activation
    above = LayeredNetwork(weights[1:], network.biases[1:], rho, dtype=torch.float64)
    slope = float(rho.derivative(torch.zeros(1, dtype=torch.float64)))
    return 1 - slope**2 * float(torch.linalg.eigvalsh(above.dense_weight())[-1])


def _samples(
    network: LayeredField,
    input: ArrayLike | Tensor,
    label: ArrayLike | Tensor,
    *,
    training: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return input states and labels that fit the network, or say why they don't."""
    rates = torch.as_tensor(input, dtype=network.dtype, device=network.device)
    label = torch.as_tensor(label, device=network.device)
    sizes = [where.stop - where.start for where in network.layers.values()]
    if rates.ndim != 2 or rates.shape[1] != sizes[0]:
        raise ValueError(
            f"expected input of shape (sample, {sizes[0]}), got {tuple(rates.shape)}; "
            "the input layer has one unit a pixel."
        )
    if label.shape != rates.shape[:1]:
        raise ValueError(f"expected one label a sample, ({len(rates)},), got {tuple(label.shape)}.")
    if len(rates) == 0:
        raise ValueError("expected at least one sample, got an empty data set.")
    if label.is_floating_point() or label.dtype == torch.bool:
        raise ValueError(f"expected whole numbers as labels, got {label.dtype}.")
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= sizes[-1]:
        raise ValueError(
            f"expected labels from 0 to {sizes[-1] - 1}, one output unit a class, got {low} to "
            f"{high}; use an output layer of {high + 1} units or renumber the classes."
        )
    if training and low == high:
        raise ValueError(
            f"expected samples of at least two classes to learn from, got class {low} alone."
        )
    return network.activation.inverse(rates), label.long()


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for t in tensors:
        found.update(np.ascontiguousarray(t.detach().cpu().numpy()).data)
    return found.hexdigest()[:16]


def _patience_is_over(history: list[dict[str, Any]], patience: int | None) -> bool:
    if patience is None or not history:
        return False
    errors = [row["test_error"] for row in history]
    return len(errors) - 1 - int(np.argmin(errors)) >= patience


def _verdict(row: dict[str, Any] | None, epoch: int, plan: Plan) -> tuple[str, str]:
    """Return status and sentence for an epoch that ended, or blew up (None)."""
    if row is None:
        return "diverged", (
            f"states or weights left the finite numbers in epoch {epoch + 1}; the weights of the "
            f"epoch before are kept: lower the learning rate (now {plan.rate})."
        )
    silent = [i for i, share in enumerate(row["pinned"]) if share == 1.0]
    if silent:
        return "collapsed", (
            f"every unit of hidden layer {silent[0] + 1} from the input is held at a kink after "
            f"epoch {epoch + 1}, so that no gradient passes; the weights of the epoch before are "
            f"kept: lower the learning rate (now {plan.rate}) or the initial weights."
        )
    return "done", ""


def _sentence(epoch: int, row: dict[str, Any]) -> str:
    pinned = ", ".join(f"{100 * share:.0f}" for share in row["pinned"])
    return (
        f"epoch {epoch + 1}: training error {row['train_error']:.2f} %, held-out "
        f"{row['test_error']:.2f} %, {row['sweeps']:.1f} sweeps to a residual of "
        f"{row['residual']:.1e}, pinned {pinned or '-'} %, {row['seconds']:.1f} s"
    )
