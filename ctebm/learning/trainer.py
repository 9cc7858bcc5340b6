r"""How to train, and what changes while training: one epoch of mini-batches at a time.

Each batch settles with its input clamped, the rule says what to descend, and a torch optimiser
descends it through ``.grad``. Epochs draw their order from the seed and their number alone, so that
a run that is resumed takes the very same steps.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctebm.equilibria.alternating import Rest
from ctebm.learning.plastic import PlasticNetwork
from ctebm.learning.rules import Chain, Early, Implicit, Rule, ThroughTime, WeightGradient
from ctebm.networks.layered import LayeredField

__all__ = ["REFERENCES", "Plan", "Trainer", "kink_shares"]

REFERENCES: dict[str, Rule] = {"chain": Chain(), "implicit": Implicit(), "bptt": ThroughTime()}
_PROBE_SIZE = 128


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes
    ----------
    rule : Rule
        What to descend.
    epochs : int
        Passes over the data; raising it continues a finished run.
    batch : int
        Samples a step; the last batch of an epoch is smaller if they don't divide.
    rate : float or tuple of float
        Learning rate, or one for each pair of neighbouring layers, input first.
    decay : float
        Factor of the rates from epoch to epoch.
    optimizer : str
        Name of a class of :mod:`torch.optim`.
    options : mapping
        Its options beside the rate.
    low, high : float
        Firing rates that stand for "another class" and "this class" at the output.
    tol : float
        Residual of the equilibria.
    max_sweeps : int
        Bound on the work for one batch.
    warm : bool
        Start from the equilibria of the epoch before, instead of a pass upwards.
    tied : bool
        One weight for both directions.
    patience : int, optional
        Stop after so many epochs without a better held-out error.
    seed : int
        Of the order of samples.
    """

    rule: Rule = field(default_factory=Early)
    epochs: int = 10
    batch: int = 50
    rate: float | tuple[float, ...] = 0.001
    decay: float = 1.0
    optimizer: str = "Adam"
    options: Mapping[str, Any] = field(default_factory=dict)
    low: float = 0.1
    high: float = 0.9
    tol: float = 1e-4
    max_sweeps: int = 200
    warm: bool = False
    tied: bool = True
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        rates = np.atleast_1d(self.rate)
        if not (np.all(np.isfinite(rates)) and np.all(rates >= 0)):
            raise ValueError(f"expected finite learning rates >= 0, got {self.rate}.")
        if self.batch < 1 or self.epochs < 0:
            raise ValueError(
                f"expected batch >= 1 and epochs >= 0, got {self.batch} and {self.epochs}."
            )
        if not 0 < self.decay <= 1:
            raise ValueError(f"expected 0 < decay <= 1, got {self.decay}.")
        if not self.low < self.high:
            raise ValueError(f"expected low < high, got {self.low} and {self.high}.")
        if not self.tol > 0:
            raise ValueError(f"expected tol > 0, got {self.tol}.")
        if not issubclass(getattr(torch.optim, self.optimizer, object), torch.optim.Optimizer):
            raise ValueError(f"expected an optimiser of torch.optim, got {self.optimizer!r}.")
        known = inspect.signature(getattr(torch.optim, self.optimizer)).parameters
        for name in self.options:
            if name not in known or name in ("params", "lr"):
                raise ValueError(
                    f"expected options of torch.optim.{self.optimizer} beside its rate, got "
                    f"{name!r}; it has {', '.join(list(known)[2:])}."
                )

    def rates(self, n: int) -> list[float]:
        """Return the rate of each of `n` pairs of layers."""
        rates = np.atleast_1d(np.asarray(self.rate, float)).tolist()
        if len(rates) not in (1, n):
            raise ValueError(f"expected 1 or {n} learning rates, got {len(rates)}.")
        return rates * n if len(rates) == 1 else rates

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to be continued."""
        free = ("epochs", "patience", "rule")
        fields = {k: v for k, v in vars(self).items() if k not in free}
        return {"rule": repr(self.rule), **fields, "options": dict(self.options)}


class Trainer:
    """What changes during a training: parameters, optimiser, equilibria kept, history."""

    def __init__(self, network: LayeredField, plan: Plan) -> None:
        self.plan, self.plastic = plan, PlasticNetwork(network, tied=plan.tied)
        groups = self.plastic.parameters
        self.rates = plan.rates(len(groups))
        self.parameters = [p for group in groups for p in group]
        self.optimizer = getattr(torch.optim, plan.optimizer)(
            [{"params": group, "lr": rate} for group, rate in zip(groups, self.rates, strict=True)],
            **plan.options,
        )
        rates = [plan.low, plan.high]
        low, high = network.activation.inverse(torch.tensor(rates, dtype=network.dtype)).tolist()
        n = self.plastic.sizes[-1]
        eye = torch.eye(n, dtype=network.dtype, device=network.device)
        self.targets = low + (high - low) * eye
        self.resting: list[Tensor] | None = None
        self.history: list[dict[str, Any]] = []

    def epoch(
        self, epoch: int, data: tuple[Tensor, Tensor], progress: Callable[..., Iterable[Any]] | None
    ) -> dict[str, Any] | None:
        """Go through the data once; return the epoch's row, or None if numbers ran away."""
        x, label = data
        begun = time.perf_counter()
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(len(x))
        batches = torch.as_tensor(order, device=x.device).split(self.plan.batch)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.plan.decay**epoch
        wrong = cost = 0.0
        sweeps, residuals, seen = [], [], 0

        def note() -> str:
            if not seen:
                return ""
            return f"error {100 * wrong / seen:.2f} %, residual {max(residuals):.1e}"

        for chosen in progress(batches, f"epoch {epoch + 1}", note=note) if progress else batches:
            target = self.targets[label[chosen]]
            rest = self._settle(x, chosen)
            y = rest.states[-1]
            residuals.append(float(rest.residual.max()))
            sweeps.append(float(rest.sweeps.double().mean()))
            seen += len(chosen)
            wrong += int((y.argmax(-1) != label[chosen]).sum())
            cost += float((y - target).square().sum()) / 2
            gradient = self.plan.rule.gradient(self.plastic, rest, target)
            if not (math.isfinite(residuals[-1]) and _finite(gradient)):
                return None
            for p, g in zip(self.parameters, self._ordered(gradient), strict=True):
                p.grad = g
            self.optimizer.step()
        if not all(bool(torch.isfinite(p).all()) for p in self.parameters):
            return None
        return {
            "train_error": 100 * wrong / len(x), "cost": cost / len(x),
            "residual": max(residuals),
            "unsettled": float(np.mean(np.array(residuals) > self.plan.tol)),
            "sweeps": float(np.mean(sweeps)),
            "rate": [group["lr"] for group in self.optimizer.param_groups],
            "seconds": time.perf_counter() - begun,
        }  # fmt: skip

    def probe(self, data: tuple[Tensor, Tensor]) -> dict[str, Any]:
        """Look at the first samples in float64: units at kinks, and the rule beside gradients."""
        x, label = data[0][:_PROBE_SIZE].double(), data[1][:_PROBE_SIZE]
        exact = self.plastic.to(dtype=torch.float64)
        target = self.targets[label].double()
        rest = exact.settle(x, tol=1e-9, max_sweeps=2000)
        mine = self.plan.rule.gradient(exact, rest, target).weights
        alignment = [
            [_cosine(a, b) for a, b in
             zip(mine, reference.gradient(exact, rest, target).weights, strict=True)]
            if self.plan.tied or name == "chain" else [math.nan] * len(mine)
            for name, reference in REFERENCES.items()
        ]  # fmt: skip
        rule = self.plan.rule
        change = exact.drive(
            rest, target, eps=getattr(rule, "eps", 0.1), n_steps=getattr(rule, "n_steps", None)
        )
        return {
            "alignment": alignment,
            **kink_shares(exact, rest, change),
            # what goes back to a clamped input is neither used nor changed
            "symmetry": [math.nan, *(_cosine(W, V.mT) for W, V in
                         zip(self.plastic.weights[1:], self.plastic.feedback[1:], strict=True))],
        }  # fmt: skip

    def error(self, x: Tensor, label: Tensor) -> float:
        """Return the share of samples in another class than their label, in per cent."""
        wrong = 0
        for x_part, label_part in zip(x.split(1000), label.split(1000), strict=True):
            rest = self.plastic.settle(x_part, tol=self.plan.tol, max_sweeps=self.plan.max_sweeps)
            wrong += int((rest.states[-1].argmax(-1) != label_part).sum())
        return 100 * wrong / len(x)

    def content(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, as copies."""
        state = self.optimizer.state_dict()
        return {
            "parameters": [p.clone() for p in self.parameters],
            "optimizer": _copied(state),
            "resting": _copied(self.resting),
            "history": [dict(row) for row in self.history],
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back, or forward, to what :meth:`content` returned."""
        for p, saved in zip(self.parameters, content["parameters"], strict=True):
            p.copy_(saved)
        self.optimizer.load_state_dict(_copied(content["optimizer"]))
        self.resting = _copied(content["resting"])
        self.history = list(content["history"])

    def _settle(self, x: Tensor, chosen: Tensor) -> Rest:
        plan = self.plan
        start = [s[chosen] for s in self.resting] if self.resting is not None else None
        rest = self.plastic.settle(x[chosen], start, tol=plan.tol, max_sweeps=plan.max_sweeps)
        if plan.warm:
            if self.resting is None:
                self.resting = [x.new_zeros(len(x), n) for n in self.plastic.sizes[1:]]
            for kept, s in zip(self.resting, rest.states[1:], strict=True):
                kept[chosen] = s
        return rest

    def _ordered(self, gradient: WeightGradient) -> Iterator[Tensor | None]:
        """Yield gradients in the order of the parameters; None where the rule says nothing."""
        n = len(gradient.weights)
        feedback = gradient.feedback or [None] * n
        for W, b, V in zip(gradient.weights, gradient.biases, feedback, strict=True):
            yield from (W, b) if self.plan.tied else (W, b, V)


def kink_shares(network: PlasticNetwork, rest: Rest, change: list[Tensor]) -> dict[str, Any]:
    """Return what kinks do to a batch at rest, and to its early motion.

    Parameters
    ----------
    network : PlasticNetwork
        The parameters.
    rest : Rest
        The batch at equilibrium.
    change : list of Tensor, (batch, size)
        How far each layer moves, input first; see :meth:`PlasticNetwork.drive`.

    Returns
    -------
    dict
        ``pinned`` and ``dead``, the shares of units at a kink and of those there in every sample,
        one a hidden layer; ``crossed``, the share of samples in which a hidden unit meets or
        leaves a kink. Zero without kinks.
    """
    held = [_at_kink(network, s) for s in rest.states[1:-1]]
    crossed = torch.zeros(len(rest.states[0]), dtype=torch.bool, device=network.device)
    for s, d, k in zip(rest.states[1:-1], change[1:-1], held, strict=True):
        crossed |= (_at_kink(network, s + d) != k).any(-1)
    return {
        "pinned": [float(k.double().mean()) for k in held],
        "dead": [float(k.all(0).double().mean()) for k in held],
        "crossed": float(crossed.double().mean()),
    }


def _finite(gradient: WeightGradient) -> bool:
    """Return whether a gradient is finite; biases tell, since a NaN state reaches them."""
    return all(bool(torch.isfinite(b).all()) for b in gradient.biases)


def _cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine of two arrays; NaN if one vanishes."""
    return float((a * b).sum() / (a.norm() * b.norm()))


def _at_kink(network: PlasticNetwork, s: Tensor) -> Tensor:
    if network.activation.box is None:
        return torch.zeros_like(s, dtype=torch.bool)
    low, high = network.activation.box
    return (s <= low) | (s >= high)


def _copied(value: Any) -> Any:
    """Return nested lists and mappings with copies of their tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(v) for v in value]
    return value
