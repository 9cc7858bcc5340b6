"""Training of a layered network by a rule: checkpoints, and what ends it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.files.lock import locked
from ctebm.learning.checkpoint import load_checkpoint, save_checkpoint
from ctebm.learning.plan import Plan
from ctebm.learning.record import Training
from ctebm.learning.samples import digest, labelled_states
from ctebm.learning.trainer import Trainer
from ctebm.networks.layered import LayeredField

__all__ = ["train"]


def train(
    network: LayeredField,
    rates: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
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
    network : LayeredNetwork or FeedbackNetwork
        Where to begin; it is not changed. Its dtype is that of the training. A FeedbackNetwork,
        whose two directions begin unequal, needs ``tied=False``.
    rates : array, (sample, input unit)
        Firing rates of the input, in the range of the activation, such as pixels from 0 to 1.
    labels : array of int, (sample,)
        Classes from 0; output unit `c` stands for class `c`.
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

    Returns
    -------
    Training
        A run that blows up or in which a whole layer goes silent stops with a sentence in
        ``message``; the checkpoint stays that of the last good epoch.

    Raises
    ------
    ValueError
        If data and network don't fit, rates are out of range, or the checkpoint belongs to another
        run.
    TypeError
        If `network` has no layers.
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
    if not isinstance(network, LayeredField):
        raise TypeError(f"expected a layered network to train, got {type(network).__name__}.")
    trainer = Trainer(network, plan)
    start = trainer.plastic.to_network()
    data = labelled_states(network, rates, labels)
    if held_out is not None and not (isinstance(held_out, list | tuple) and len(held_out) == 2):
        raise ValueError(
            f"expected held_out as (rates, labels), got {type(held_out).__name__}; leave it None."
        )
    tested = None if held_out is None else labelled_states(network, *held_out, training=False)
    if plan.patience is not None and tested is None:
        raise ValueError("early stopping judges by held-out samples; give held_out.")
    identity = {
        "sizes": trainer.plastic.sizes, "activation": repr(network.activation),
        "dtype": str(network.dtype), **plan.identity(),
        "data": digest(*data), "start": digest(*trainer.parameters),
    }  # fmt: skip
    with locked(checkpoint) if checkpoint is not None else nullcontext():
        if checkpoint is not None:
            _resume(trainer, checkpoint, identity)
        status, message = "done", ""
        for epoch in range(len(trainer.history), plan.epochs):
            if _patience_is_over(trainer.history, plan.patience):
                status = "stopped early"
                break
            status, message = _try_epoch(trainer, epoch, data, tested, progress)
            if message:
                break
            if report is not None:
                report(_sentence(epoch, trainer.history[-1]))
            if checkpoint is not None:
                save_checkpoint(checkpoint, trainer.content(), identity)
    columns = trainer.history[0].keys() if trainer.history else ()
    history = {name: np.array([row[name] for row in trainer.history]) for name in columns}
    return Training(
        trainer.plastic.to_network(), history, status, message, plan, start, identity["data"]
    )


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
    data: tuple[Tensor, Tensor],
    tested: tuple[Tensor, Tensor] | None,
    progress: Callable[..., Iterable[Any]] | None,
) -> tuple[str, str]:
    """Train for an epoch, or go back to where it began; return status and sentence."""
    good = trainer.content()
    row = trainer.epoch(epoch, data, progress)
    if row is not None:
        row |= trainer.probe(data)
        row["test_error"] = trainer.error(*tested) if tested else math.nan
    status, message = _verdict(row, epoch, trainer.plan)
    if message or row is None:
        trainer.restore(good)
    else:
        trainer.history.append(row)
    return status, message


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
