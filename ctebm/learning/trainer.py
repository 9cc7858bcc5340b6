r"""What changes during a training: one epoch of mini-batches at a time.

Each batch settles with its input clamped, the rule says what to descend, and a torch optimiser
descends it through ``.grad``. Epochs draw their order from the seed and their number alone, so that
a run that is resumed takes the very same steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plan import Plan
from ctebm.learning.plastic import PlasticNetwork
from ctebm.learning.probe import probe
from ctebm.learning.rules import WeightGradient
from ctebm.networks.layered import LayeredField

__all__ = ["Trainer", "classify"]

_PROBE_SIZE = 128  # samples that are looked at after each epoch
_CLASSIFIED_TOGETHER = 1000  # samples, to bound the memory


class Trainer:
    """What changes during a training: parameters, optimiser, equilibria kept, history.

    Parameters
    ----------
    network : LayeredNetwork or FeedbackNetwork
        Where to begin.
    plan : Plan
        How to train.
    """

    plan: Plan
    plastic: PlasticNetwork
    learning_rates: list[float]
    parameters: list[Tensor]
    optimizer: torch.optim.Optimizer
    targets: Tensor

    def __init__(self, network: LayeredField, plan: Plan) -> None:
        if not isinstance(plan, Plan):
            raise ValueError(f"expected a Plan, got {type(plan).__name__}; give Plan(epochs=10).")
        _check_optimizer(plan)
        self.plan, self.plastic = plan, PlasticNetwork(network, tied=plan.tied)
        groups = self.plastic.parameters
        self.learning_rates = plan.learning_rates(len(groups))
        self.parameters = [p for group in groups for p in group]
        self.optimizer = _optimizer(plan, groups, self.learning_rates)
        rates = torch.tensor([plan.low, plan.high], dtype=network.dtype)
        low, high = network.activation.inverse(rates).tolist()
        n = self.plastic.sizes[-1]
        eye = torch.eye(n, dtype=network.dtype, device=network.device)
        self.targets = low + (high - low) * eye
        self.kept: list[Tensor] | None = None
        self.history: list[dict[str, Any]] = []

    def epoch(
        self, epoch: int, data: tuple[Tensor, Tensor], progress: Callable[..., Iterable[Any]] | None
    ) -> dict[str, Any] | None:
        """Go through the data once; return the epoch's row, or None if numbers ran away.

        Parameters
        ----------
        epoch : int
            Its number, from 0.
        data : pair of Tensor
            Input states, one row a sample, and labels.
        progress : callable or None
            As in :func:`ctebm.train`.
        """
        begun, tally = time.perf_counter(), _Tally(self.plan.tol)
        for group, rate in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = rate * self.plan.decay**epoch
        batches = self._batches(epoch, data[0])
        if progress is not None:
            batches = progress(batches, f"epoch {epoch + 1}", note=tally.note)
        for chosen in batches:
            if not self._step(data, chosen, tally):
                return None
        if not all(bool(torch.isfinite(p).all()) for p in self.parameters):
            return None
        return tally.row() | {
            "rate": [group["lr"] for group in self.optimizer.param_groups],
            "seconds": time.perf_counter() - begun,
        }

    def _batches(self, epoch: int, x: Tensor) -> Iterable[Tensor]:
        """Return the places of the samples of each batch, in the order of this epoch."""
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(len(x))
        return torch.as_tensor(order, device=x.device).split(self.plan.batch)

    def _step(self, data: tuple[Tensor, Tensor], chosen: Tensor, tally: _Tally) -> bool:
        """Settle a batch and change the weights; return whether all numbers are finite."""
        label = data[1][chosen]
        target = self.targets[label]
        equilibrium = self._settle(data[0], chosen)
        tally.add(equilibrium, label, target)
        gradient = self.plan.rule.gradient(self.plastic, equilibrium, target)
        if not (math.isfinite(tally.residuals[-1]) and _is_finite(gradient)):
            return False
        for p, g in zip(self.parameters, self._ordered(gradient), strict=True):
            p.grad = None if g is None else _laid_out_like(p, g)
        self.optimizer.step()
        return True

    def _settle(self, x: Tensor, chosen: Tensor) -> Equilibrium:
        plan = self.plan
        start = [s[chosen] for s in self.kept] if self.kept is not None else None
        found = self.plastic.settle(x[chosen], start, tol=plan.tol, max_sweeps=plan.max_sweeps)
        if plan.warm:
            if self.kept is None:
                self.kept = [x.new_zeros(len(x), n) for n in self.plastic.sizes[1:]]
            for kept, s in zip(self.kept, found.states[1:], strict=True):
                kept[chosen] = s
        return found

    def _ordered(self, gradient: WeightGradient) -> Iterator[Tensor | None]:
        """Yield gradients in the order of the parameters; None where the rule says nothing."""
        n = len(gradient.weights)
        feedback = gradient.feedback or [None] * n
        for W, b, V in zip(gradient.weights, gradient.biases, feedback, strict=True):
            yield from (W, b) if self.plan.tied else (W, b, V)

    def probe(self, data: tuple[Tensor, Tensor]) -> dict[str, Any]:
        """Return :func:`ctebm.learning.probe.probe` of the first samples."""
        x, label = data[0][:_PROBE_SIZE], data[1][:_PROBE_SIZE]
        return probe(self.plastic, self.plan.rule, x, self.targets[label])

    def error(self, x: Tensor, label: Tensor) -> float:
        """Return the share of samples in another class than their label, in per cent."""
        return 100 * int((classify(self.plastic, x, self.plan) != label).sum()) / len(x)

    def content(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, as copies."""
        return {
            "parameters": [p.clone() for p in self.parameters],
            "optimizer": _copied(self.optimizer.state_dict()),
            "kept": _copied(self.kept),
            "history": [dict(row) for row in self.history],
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back, or forward, to what :meth:`content` returned."""
        for p, saved in zip(self.parameters, content["parameters"], strict=True):
            p.copy_(saved)
        self.optimizer.load_state_dict(_copied(content["optimizer"]))
        self.kept = _copied(content["kept"])
        self.history = list(content["history"])


def classify(network: PlasticNetwork, x: Tensor, plan: Plan) -> Tensor:
    """Return the output unit with the largest state at equilibrium, one a sample.

    Parameters
    ----------
    network : PlasticNetwork
        The parameters.
    x : Tensor, (sample, input unit)
        Input states.
    plan : Plan
        Says how precisely to settle.
    """
    parts = [network.settle(part, tol=plan.tol, max_sweeps=plan.max_sweeps).states[-1].argmax(-1)
             for part in x.split(_CLASSIFIED_TOGETHER)]  # fmt: skip
    return torch.cat(parts)


@dataclass
class _Tally:
    """How an epoch goes: errors, cost, residuals and sweeps of its batches so far."""

    tol: float
    seen: int = 0
    wrong: int = 0
    cost: float = 0.0
    residuals: list[float] = field(default_factory=list)
    sweeps: list[float] = field(default_factory=list)

    def add(self, equilibrium: Equilibrium, label: Tensor, target: Tensor) -> None:
        y = equilibrium.states[-1]
        self.residuals.append(float(equilibrium.residual.max()))
        self.sweeps.append(float(equilibrium.sweeps.double().mean()))
        self.seen += len(label)
        self.wrong += int((y.argmax(-1) != label).sum())
        self.cost += float((y - target).square().sum()) / 2

    def note(self) -> str:
        """Return how errors and residual stand."""
        if not self.seen:
            return ""
        error = 100 * self.wrong / self.seen
        return f"error {error:.2f} %, residual {max(self.residuals):.1e}"

    def row(self) -> dict[str, Any]:
        """Return the means over the samples, or over the batches."""
        return {
            "train_error": 100 * self.wrong / self.seen,
            "cost": self.cost / self.seen,
            "residual": max(self.residuals),
            "unsettled": float(np.mean(np.array(self.residuals) > self.tol)),
            "sweeps": float(np.mean(self.sweeps)),
        }


def _optimizer(
    plan: Plan, groups: Sequence[Sequence[Tensor]], rates: Sequence[float]
) -> torch.optim.Optimizer:
    layers = [{"params": group, "lr": r} for group, r in zip(groups, rates, strict=True)]
    return getattr(torch.optim, plan.optimizer)(layers, **plan.options)


def _check_optimizer(plan: Plan) -> None:
    """Let the optimiser make a step with weights and biases that belong to nobody, or refuse it."""
    layers = [[torch.ones(2, 2), torch.ones(2)] for _ in range(2)]
    for p in (p for layer in layers for p in layer):
        p.grad = torch.ones_like(p)
    try:
        _optimizer(plan, layers, [0.1, 0.1]).step()
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        options = f" with {dict(plan.options)}" if plan.options else ""
        reason = str(error).rstrip(".").splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            "expected an optimiser that takes weights and biases, a rate for each pair of layers, "
            f"and steps by gradients alone, got {plan.optimizer!r}{options} ({reason}); take "
            "another, such as 'Adam'."
        ) from error


def _laid_out_like(p: Tensor, g: Tensor) -> Tensor:
    """Return `g` in the memory order of `p`, which the fused optimisers take for granted."""
    return g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)


def _is_finite(gradient: WeightGradient) -> bool:
    """Return whether a gradient is finite; biases tell, since a NaN state reaches them."""
    return all(bool(torch.isfinite(b).all()) for b in gradient.biases)


def _copied(value: Any) -> Any:
    """Return nested lists and mappings with copies of their tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(v) for v in value]
    return value
