"""How to train: the rule, the optimiser, the equilibria."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from ctebm.early_inference.parameter_gradients import CostFunction
from ctebm.learning.continual_rules import ContinualEquilibriumPropagation
from ctebm.learning.contrast_rules import (
    AsymmetricEquilibriumPropagation,
    ContrastiveLearning,
    CoupledLearning,
    EquilibriumPropagation,
)
from ctebm.learning.early_rules import Early, Presynaptic, Symmetric, XieSeung
from ctebm.learning.feedback_rules import JacobianHomeostasis, KolenPollack
from ctebm.learning.gradient_rules import (
    Chain,
    ChainFeedback,
    Implicit,
    ThroughTime,
)
from ctebm.learning.rules import Rule
from ctebm.networks.numbers import finite, finite_array, whole

__all__ = ["RULES", "Plan"]

RULES: dict[str, Callable[[], Rule]] = {
    "early": Early,
    "early-with-slope": partial(Early, slope=True),
    "symmetric": Symmetric,
    "presynaptic": Presynaptic,
    "xie-seung": XieSeung,
    "equilibrium-propagation": EquilibriumPropagation,
    "equilibrium-propagation-one-sided": partial(EquilibriumPropagation, centred=False),
    "equilibrium-propagation-asymmetric": AsymmetricEquilibriumPropagation,
    "equilibrium-propagation-continual": ContinualEquilibriumPropagation,
    "coupled": CoupledLearning,
    "contrastive": ContrastiveLearning,
    "kolen-pollack": KolenPollack,
    "jacobian-homeostasis": JacobianHomeostasis,
    "chain": Chain,
    "chain-feedback": ChainFeedback,
    "implicit": Implicit,
    "through-time": ThroughTime,
}


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
        Learning rate, or one for each pair of neighbouring layers, input first; of a network that
        is not in layers coupled as in eq. 6, for each parameter.
    decay : float
        Factor of the learning rates from epoch to epoch.
    optimizer : str
        Name of a class of :mod:`torch.optim`.
    options : mapping
        Its options beside the learning rate.
    low, high : float
        Firing rates that stand for "another class" and "this class" at the output.
    tol : float
        Bound on the residual of the equilibria.
    max_sweeps : int
        Bound on the updates of every layer for one batch.
    warm : bool
        Start from the equilibria of the epoch before, instead of a pass upwards.
    tied : bool
        One weight for both directions.
    patience : int, optional
        Stop after so many epochs without a smaller held-out error.
    seed : int
        Of the order of samples.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(batch,)``, of output states and targets; by default
        the squared error :math:`|y - y^*|^2 / 2`.
    parameters : tuple of str, optional
        Names of the parameters that learn, or their first words, such as ``("weights",)``; by
        default what the network says in its ``learned``, else all.

    Raises
    ------
    ValueError
        For a number out of range, or an optimiser or option that torch has not.

    Examples
    --------
    >>> import ctebm
    >>> plan = ctebm.Plan(rule=ctebm.Early(eps=0.3), epochs=5, rate=(3e-3, 1e-3))
    >>> plan.learning_rates(2)
    [0.003, 0.001]
    >>> ctebm.Plan(optimizer="SGD", options={"momentum": 0.9}).learning_rates(2)
    [0.001, 0.001]
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
    cost: CostFunction | None = None
    parameters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):
            raise ValueError(
                f"expected a rule such as Early(), got {self.rule!r}; the rules are "
                f"{', '.join(sorted({type(make()).__name__ for make in RULES.values()}))}, and "
                "subclasses of Rule."
            )
        finite_array("learning rate", self.rate, low=0)
        for name, least in (("epochs", 0), ("batch", 1), ("max_sweeps", 1), ("seed", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.patience is not None:
            object.__setattr__(self, "patience", whole("patience", self.patience, least=0))
        finite("decay", self.decay, above=0, high=1)
        finite("tol", self.tol, above=0)
        if not finite("low", self.low) < finite("high", self.high):
            raise ValueError(f"expected low < high, got {self.low} and {self.high}.")
        if self.cost is not None and not callable(self.cost):
            raise ValueError(f"expected a cost as a function of y and y*, got {self.cost!r}.")
        if isinstance(self.parameters, str):
            object.__setattr__(self, "parameters", (self.parameters,))
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        found = getattr(torch.optim, str(self.optimizer), object)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            word = str(self.optimizer).lower()
            near = [name for name in dir(torch.optim) if name.lower() == word]
            remedy = f"write {near[0]!r}" if near else "write its name, as in 'Adam'"
            raise ValueError(
                f"expected an optimiser of torch.optim, got {self.optimizer!r}; {remedy}."
            )
        known = inspect.signature(getattr(torch.optim, self.optimizer)).parameters
        if not isinstance(self.options, Mapping):
            raise ValueError(f"expected options by their names, got {self.options!r}.")
        for name in self.options:
            if name not in known or name in ("params", "lr"):
                raise ValueError(
                    f"expected options of torch.optim.{self.optimizer} beside its rate, got "
                    f"{name!r}; it has {', '.join(list(known)[2:])}."
                )

    def learning_rates(self, n: int) -> list[float]:
        """Return the learning rate of each of `n` pairs of layers, or raise ValueError."""
        rates = np.atleast_1d(np.asarray(self.rate, float)).tolist()
        if len(rates) not in (1, n):
            raise ValueError(f"expected 1 or {n} learning rates, got {len(rates)}.")
        return rates * n if len(rates) == 1 else rates

    def settings(self) -> dict[str, Any]:
        """Return what a study varies: numbers and words by name, without the order of samples."""
        kept = ("batch", "decay", "optimizer", "low", "high", "tol", "max_sweeps", "warm", "tied")
        rates = np.atleast_1d(self.rate)
        one = {"learning_rate": float(rates[0])} if len({*rates.tolist()}) == 1 else {}
        values = {name: getattr(self, name) for name in kept}
        cost = {} if self.cost is None else {"cost": _name(self.cost)}
        return {"rule": repr(self.rule), "seed": str(self.seed), **cost, **one, **values}

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a run to be continued."""
        free = ("epochs", "patience", "rule", "cost")
        fields = {k: v for k, v in vars(self).items() if k not in free}
        own = {"rule": repr(self.rule), "cost": _name(self.cost)}
        return {**own, **fields, "options": dict(self.options)}


def _name(cost: CostFunction | None) -> str | None:
    """Return what a cost is called, which stays the same from run to run."""
    return None if cost is None else getattr(cost, "__qualname__", type(cost).__qualname__)
