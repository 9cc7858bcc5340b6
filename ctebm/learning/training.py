"""Training of any network by a rule: checkpoints, and what ends it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader

from ctebm.files.lock import locked
from ctebm.learning.checkpoint import load_checkpoint, save_checkpoint
from ctebm.learning.plan import Plan
from ctebm.learning.plastic_field import PlasticField
from ctebm.learning.record import Training
from ctebm.learning.samples import BatchError, Loader, check_kind, digest, labelled_states
from ctebm.learning.trainer import Trainer
from ctebm.networks.base import VectorField
from ctebm.networks.layered import LayeredField

__all__ = ["train"]


def train(
    network: VectorField,
    rates: ArrayLike | Tensor | Iterable[Any],
    labels: ArrayLike | Tensor | None,
    plan: Plan,
    *,
    held_out: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    report: Callable[[str], None] | None = None,
    on_step: Callable[[int, dict[str, float]], object] | None = None,
    on_epoch: Callable[[int, dict[str, Any]], object] | None = None,
) -> Training:
    """Train a network, of any kind, to classify or to give target states.

    Parameters
    ----------
    network : VectorField
        Where to begin, with named layers, input first; it is not changed. Its dtype is that of the
        training. A FeedbackNetwork, whose two directions begin unequal, needs ``tied=False``.
    rates : array, (sample, input unit), or DataLoader
        Firing rates of the input, in the range of the activation, such as pixels from 0 to 1; input
        states for a network that is not in layers coupled as in eq. 6. A DataLoader, or another
        iterable that is gone through anew in each epoch, gives pairs of rates and labels in
        batches of its own.
    labels : array of int, (sample,), or of float, (sample, output unit)
        Classes from 0, where output unit `c` stands for class `c`; or target states of the output,
        or what else the cost takes. None with a DataLoader.
    plan : Plan
        Rule, learning rates and so on.
    held_out : pair of arrays, optional
        Rates and labels that are only tested.
    checkpoint : path, optional
        A file to resume from if it is there, and to write after every epoch. It belongs to this
        training until that ends.
    progress : callable, optional
        Wraps the batches of an epoch, such as :class:`ctebm.study.Progress`: it is called with
        them, a label, and as `note` a function that says how errors and residual stand.
    report : callable, optional
        Receives one sentence an epoch.
    on_step, on_epoch : callable, optional
        Called with the number of steps or epochs done and a dict of numbers: ``error`` (per cent),
        ``cost`` and ``residual`` of the batch, or the epoch's row of the history.

    Returns
    -------
    Training
        A run that blows up, in which a whole layer goes silent, or whose DataLoader gives after an
        epoch no batch any more or one that does not fit, stops with a sentence in ``message``;
        network and checkpoint stay those of the last good epoch.

    Raises
    ------
    ValueError
        If data and network don't fit, rates are out of range, or the checkpoint belongs to another
        run.
    TypeError
        If `network` is none.
    BlockingIOError
        If another training uses the checkpoint.

    Examples
    --------
    >>> import ctebm, numpy as np
    >>> net = ctebm.LayeredNetwork.random([2, 6, 2], ctebm.HardSigmoid(), gain=0.5)
    >>> rates, labels = np.array([[0.2, 0.8], [0.8, 0.2]] * 50), np.array([0, 1] * 50)
    >>> found = ctebm.train(net, rates, labels, ctebm.Plan(epochs=3, batch=10, rate=0.01))
    >>> found.history["train_error"].tolist()
    [...0.0]
    """
    if not isinstance(network, VectorField):
        raise TypeError(f"expected a network to train, got {type(network).__name__}.")
    trainer = Trainer(network, plan)
    start = trainer.plastic.to_network()
    idle = trainer.plastic.idle if isinstance(trainer.plastic, PlasticField) else []
    if idle:
        warnings.warn(
            f"{' and '.join(map(repr, idle))} had no effect on the force of "
            f"{type(network).__name__} at the states that were tried, and may not learn; look at "
            "your energy, or name what learns by Plan(parameters=...).",
            stacklevel=2,
        )
    data = _samples(network, rates, labels)
    if held_out is not None and not (isinstance(held_out, list | tuple) and len(held_out) == 2):
        raise ValueError(
            f"expected held_out as (rates, labels), got {type(held_out).__name__}; leave it None."
        )
    tested = None if held_out is None else labelled_states(network, *held_out, training=False)
    if tested is not None and not isinstance(data, Loader):
        check_kind(tested[1], data[1], "held_out")
    if plan.patience is not None and tested is None:
        raise ValueError("early stopping judges by held-out samples; give held_out.")
    whose = type(rates).__name__ if isinstance(data, Loader) else digest(*data)
    kind = repr(network.activation) if isinstance(network, LayeredField) else repr(network)
    identity = {
        "sizes": trainer.plastic.sizes, "activation": kind,
        "dtype": str(network.dtype), **plan.identity(),
        "data": whose, "start": digest(*trainer.parameters),
    }  # fmt: skip
    with locked(checkpoint) if checkpoint is not None else nullcontext():
        if checkpoint is not None:
            _resume(trainer, checkpoint, identity)
        status, message = "done", ""
        for epoch in range(len(trainer.history), plan.epochs):
            if _patience_is_over(trainer.history, plan.patience):
                status = "stopped early"
                break
            status, message = _try_epoch(trainer, epoch, data, tested, progress, on_step)
            if message:
                break
            if on_epoch is not None:
                on_epoch(epoch + 1, dict(trainer.history[-1]))
            if report is not None:
                report(_sentence(epoch, trainer.history[-1]))
            if checkpoint is not None:
                save_checkpoint(checkpoint, trainer.content(), identity)
    columns = trainer.history[0].keys() if trainer.history else ()
    history = {name: np.array([row[name] for row in trainer.history]) for name in columns}
    _warn_of_nudged_rests(trainer.history, plan)
    labelled = data.labelled() if isinstance(data, Loader) else not data[1].is_floating_point()
    return Training(
        trainer.plastic.to_network(), history, status, message, plan, start, whose, labelled
    )


def _samples(network: VectorField, rates: Any, labels: Any) -> tuple[Tensor, Tensor] | Loader:
    """Return samples in two tensors, or batches as they come."""
    if labels is not None and isinstance(rates, DataLoader):
        raise ValueError(
            f"expected labels=None with a {type(rates).__name__}, which has its own, got "
            f"{type(labels).__name__}."
        )
    if labels is not None:
        return labelled_states(network, rates, labels)
    if isinstance(rates, Tensor | np.ndarray) or not hasattr(rates, "__iter__"):
        raise ValueError("expected labels or targets of the samples, got None.")
    if iter(rates) is rates:
        raise ValueError(
            "expected batches that can be gone through anew in each epoch, got an iterator; give a "
            "DataLoader or a list."
        )
    return Loader(network, rates)


def _resume(
    trainer: Trainer, checkpoint: str | os.PathLike[str], identity: Mapping[str, Any]
) -> None:
    """Go on from a checkpoint if it is there."""
    content = load_checkpoint(checkpoint, identity)
    if content is None:
        return
    if missing := trainer.content().keys() - content.keys():
        raise ValueError(
            f"{checkpoint} lacks {', '.join(sorted(missing))} of a training; name another."
        )
    trainer.restore(content)


def _try_epoch(
    trainer: Trainer,
    epoch: int,
    data: tuple[Tensor, Tensor] | Loader,
    tested: tuple[Tensor, Tensor] | None,
    progress: Callable[..., Iterable[Any]] | None,
    on_step: Callable[[int, dict[str, float]], object] | None,
) -> tuple[str, str]:
    """Train for an epoch, or go back to where it began; return status and sentence."""
    good = trainer.content()
    try:
        row = trainer.epoch(epoch, data, progress, on_step)
        if row is not None:
            row |= trainer.probe(data) | trainer.test(tested)
    except BatchError as error:
        if not good["history"]:
            raise
        trainer.restore(good)
        return "out of samples", (
            f"in epoch {epoch + 1}: {str(error).rstrip('.')}; the weights of the epoch before are "
            "kept: mend the data, and go on from the checkpoint or from these weights."
        )
    status, message = _verdict(row, epoch, trainer.plan)
    if message or row is None:
        trainer.restore(good)
    else:
        trainer.history.append(row)
    return status, message


def _patience_is_over(history: list[dict[str, Any]], patience: int | None) -> bool:
    if patience is None or not history:
        return False
    word = "test_cost" if math.isnan(history[-1]["test_error"]) else "test_error"
    errors = [row[word] for row in history]
    return len(errors) - 1 - int(np.argmin(errors)) >= patience


def _verdict(row: dict[str, Any] | None, epoch: int, plan: Plan) -> tuple[str, str]:
    """Return status and sentence for an epoch that ended, or blew up (None)."""
    if row is None:
        return "diverged", (
            f"states or weights left the finite numbers in epoch {epoch + 1}, or grew a "
            "billion-fold; the weights of the epoch before are kept: lower the learning rate (now "
            f"{plan.rate})."
        )
    silent = [i for i, share in enumerate(row["pinned"]) if share == 1.0]
    if silent:
        return "collapsed", (
            f"every unit of hidden layer {silent[0] + 1} from the input is held at a kink after "
            f"epoch {epoch + 1}, so that no gradient passes; the weights of the epoch before are "
            f"kept: lower the learning rate (now {plan.rate}) or the initial weights."
        )
    return "done", ""


def _warn_of_nudged_rests(history: list[dict[str, Any]], plan: Plan) -> None:
    """Say that a rule's nudged rests were none, since weights then follow no gradient."""
    unsettled = [epoch for epoch, row in enumerate(history, 1) if row["nudged_unsettled"] > 0]
    if unsettled:
        row = history[unsettled[-1] - 1]
        warnings.warn(
            f"{type(plan.rule).__name__} found no rest of the nudged network in "
            f"{100 * row['nudged_unsettled']:.0f} % of the batches of epoch {unsettled[-1]} "
            f"(residual {row['nudged_residual']:.1e}), so that weights followed no gradient there: "
            "lower its beta, or raise its tol if that is near.",
            stacklevel=3,
        )


def _sentence(epoch: int, row: dict[str, Any]) -> str:
    pinned = ", ".join(f"{100 * share:.0f}" for share in row["pinned"])
    return (
        f"epoch {epoch + 1}: training error {row['train_error']:.2f} %, held-out "
        f"{row['test_error']:.2f} %, {row['sweeps']:.1f} sweeps to a residual of "
        f"{row['residual']:.1e}, pinned {pinned or '-'} %, {row['seconds']:.1f} s"
    )
