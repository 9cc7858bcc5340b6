r"""What changes during a training: one epoch of mini-batches at a time.

Each batch settles with its input clamped, the rule says what to descend, and a torch optimiser
descends it through ``.grad``. Epochs draw their order from the seed and their number alone, so that
a run that is resumed takes the very same steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.optimizers import check_optimizer, optimizer_of
from ctebm.learning.plan import Plan
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.plastic_field import plastic
from ctebm.learning.probe import probe
from ctebm.learning.samples import Loader, class_targets
from ctebm.learning.tally import UNCOUNTED, Tally
from ctebm.networks.base import VectorField

__all__ = ["Trainer", "predict"]

_PROBE_SIZE = 128  # samples that are looked at after each epoch
_BLOWN_UP = 1e9  # times the largest parameter at the start, or 1, where none that learns comes to
_CLASSIFIED_TOGETHER = 1000  # samples, to bound the memory


class Trainer:
    """What changes during a training: parameters, optimiser, equilibria kept, history.

    Parameters
    ----------
    network : VectorField
        Where to begin.
    plan : Plan
        How to train.
    """

    plan: Plan
    plastic: Plastic
    learning_rates: list[float]
    parameters: list[Tensor]
    optimizer: torch.optim.Optimizer
    targets: Tensor

    def __init__(self, network: VectorField, plan: Plan) -> None:
        if not isinstance(plan, Plan):
            raise ValueError(f"expected a Plan, got {type(plan).__name__}; give Plan(epochs=10).")
        check_optimizer(plan)
        self.plan, self.plastic = (
            plan,
            plastic(network, tied=plan.tied, cost=plan.cost, parameters=plan.parameters),
        )
        named = self.plastic.parameters
        groups = [[named[name] for name in names] for names in self.plastic.groups.values()]
        self.learning_rates = plan.learning_rates(len(groups))
        self.parameters = list(named.values())
        self.optimizer = optimizer_of(plan, groups, self.learning_rates)
        self.targets = class_targets(network, plan.low, plan.high)
        self.kept: list[Tensor] | None = None
        self.history: list[dict[str, Any]] = []
        self.steps: int = 0  # of all epochs
        largest = max((float(p.abs().max()) for p in self.parameters if p.numel()), default=0.0)
        self.bound: float = _BLOWN_UP * max(1.0, largest)

    def epoch(
        self,
        epoch: int,
        data: tuple[Tensor, Tensor] | Loader,
        progress: Callable[..., Iterable[Any]] | None,
        on_step: Callable[[int, dict[str, float]], object] | None = None,
    ) -> dict[str, Any] | None:
        """Go through the data once; return the epoch's row, or None if numbers ran away.

        Parameters
        ----------
        epoch : int
            Its number, from 0.
        data : pair of Tensor, or Loader
            Input states, one row a sample, and labels or targets.
        progress : callable or None
            As in :func:`ctebm.train`.
        on_step : callable, optional
            As in :func:`ctebm.train`.
        """
        begun, tally = time.perf_counter(), Tally(self.plan.tol)
        for group, rate in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = rate * self.plan.decay**epoch
        batches: Iterable[Any] = data if isinstance(data, Loader) else self._batches(epoch, data[0])
        if progress is not None:
            batches = progress(batches, f"epoch {epoch + 1}", note=tally.note)
        for chosen in batches:
            if isinstance(data, Loader):
                fine = self._step(chosen[0], chosen[1], tally)
            else:
                x, label = data
                rows: Any = chosen
                fine = self._step(x[rows], label[rows], tally, rows, len(x))
            if not fine:
                return None
            self.steps += 1
            if on_step is not None:
                on_step(self.steps, tally.last())
        if not self._bounded():
            return None
        return tally.row() | {
            "rate": [group["lr"] for group in self.optimizer.param_groups],
            "seconds": time.perf_counter() - begun,
        }

    def _bounded(self) -> bool:
        """Return whether no parameter is NaN or far above what it was."""
        return all(bool((p.abs() <= self.bound).all()) for p in self.parameters)

    def _batches(self, epoch: int, x: Tensor) -> Iterable[Tensor]:
        """Return the places of the samples of each batch, in the order of this epoch."""
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(len(x))
        return torch.as_tensor(order, device=x.device).split(self.plan.batch)

    def _step(
        self,
        x: Tensor,
        label: Tensor,
        tally: Tally,
        rows: Tensor | None = None,
        n_samples: int = 0,
    ) -> bool:
        """Settle a batch and change the weights; return whether all numbers are finite."""
        target = self.target(label)
        equilibrium = self._settle(x, rows, n_samples)
        tally.add(equilibrium, label, self.plastic.cost(equilibrium, target))
        if not math.isfinite(tally.residuals[-1]):  # a rule would start from such states
            return False
        try:
            gradient = self.plan.rule.gradient(self.plastic, equilibrium, target)
        except ValueError:
            if self._bounded():
                raise
            return False  # of forces that weights which ran away no longer have
        if not _is_finite(gradient):
            return False
        tally.add_nudged(gradient)
        for name, p in self.plastic.parameters.items():
            g = gradient.by_name.get(name)
            p.grad = None if g is None else _laid_out_like(p, g)
        self.optimizer.step()
        return True

    def _settle(self, x: Tensor, rows: Tensor | None, n_samples: int) -> Equilibrium:
        plan, keeping = self.plan, self.plan.warm and rows is not None
        start = [s[rows] for s in self.kept] if keeping and self.kept is not None else None
        found = self.plastic.settle(x, start, tol=plan.tol, max_sweeps=plan.max_sweeps)
        if keeping:
            if self.kept is None:
                self.kept = [x.new_zeros(n_samples, n) for n in self.plastic.sizes[1:]]
            for kept, s in zip(self.kept, found.states[1:], strict=True):
                kept[rows] = s
        return found

    def target(self, label: Tensor) -> Tensor:
        """Return what the cost takes: the target of each label, or the targets themselves."""
        return label if label.is_floating_point() else self.targets[label]

    def probe(self, data: tuple[Tensor, Tensor] | Loader) -> dict[str, Any]:
        """Return :func:`ctebm.learning.probe.probe` of the first samples."""
        first = next(iter(data)) if isinstance(data, Loader) else data
        x, label = (part[:_PROBE_SIZE] for part in first)
        return probe(self.plastic, self.plan.rule, x, self.target(label))

    def test(self, data: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        """Return errors (per cent, NaN of targets) and mean cost of held-out samples."""
        if data is None:
            return {"test_error": math.nan, "test_cost": math.nan}
        tally = Tally(self.plan.tol)
        for x, label in zip(*(part.split(_CLASSIFIED_TOGETHER) for part in data), strict=True):
            found = self.plastic.settle(x, tol=self.plan.tol, max_sweeps=self.plan.max_sweeps)
            tally.add(found, label, self.plastic.cost(found, self.target(label)))
        row = tally.row()
        return {"test_error": row["train_error"], "test_cost": row["cost"]}

    def content(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, as copies."""
        return {
            "parameters": [p.clone() for p in self.parameters],
            "optimizer": _copied(self.optimizer.state_dict()),
            "kept": _copied(self.kept),
            "history": [dict(row) for row in self.history],
            "steps": self.steps,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back, or forward, to what :meth:`content` returned."""
        for p, saved in zip(self.parameters, content["parameters"], strict=True):
            p.copy_(saved)
        self.optimizer.load_state_dict(_copied(content["optimizer"]))
        self.kept = _copied(content["kept"])
        self.history = [row | UNCOUNTED | row for row in content["history"]]
        self.steps = int(content["steps"])


def predict(network: Plastic, x: Tensor, plan: Plan) -> Tensor:
    """Return the output states at equilibrium, ``(sample, output unit)``.

    Parameters
    ----------
    network : Plastic
        The parameters.
    x : Tensor, (sample, input unit)
        Input states.
    plan : Plan
        Says how precisely to settle.
    """
    parts = [network.settle(part, tol=plan.tol, max_sweeps=plan.max_sweeps).states[-1]
             for part in x.split(_CLASSIFIED_TOGETHER)]  # fmt: skip
    return torch.cat(parts)


def _laid_out_like(p: Tensor, g: Tensor) -> Tensor:
    """Return `g` in the memory order of `p`, which the fused optimisers take for granted."""
    return g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)


def _is_finite(gradient: WeightGradient) -> bool:
    """Return whether a gradient is finite; biases tell, since a NaN state reaches them."""
    telling = gradient.biases or gradient.by_name.values()
    finite = [torch.isfinite(b).all() for b in telling]
    return not finite or bool(torch.stack(finite).all())


def _copied(value: Any) -> Any:
    """Return nested lists and mappings with copies of their tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(v) for v in value]
    return value
