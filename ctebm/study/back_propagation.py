"""Back-propagation for comparison: a feed-forward network with the weights of one that settles."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor
    from torch.optim import Optimizer

    import ctebm
    from ctebm.networks.activation import Activation
    from ctebm.networks.kinks import Box
    from ctebm.networks.layered import LayeredField

__all__ = ["FeedForward", "back_propagation"]


class FeedForward:
    """Layers of states ``clip(b + rho(below) W)``, which learn by automatic differentiation.

    The error is half the squared distance from the target, with the slope towards it at a kink.

    Parameters
    ----------
    network : LayeredField
        Whose forward weights, activation and sizes it takes.
    plan : Plan
        Optimiser, learning rates and target rates.
    rates : Tensor, (sample, pixel)
        Images; at their mean the biases leave every unit in the middle.

    Examples
    --------
    >>> import torch
    >>> import ctebm
    >>> from ctebm.study.back_propagation import FeedForward
    >>> net = ctebm.LayeredNetwork.random((2, 8, 2), ctebm.HardSigmoid(), gain=0.5, seed=0)
    >>> model = FeedForward(net, ctebm.Plan(), torch.full((1, 2), 0.3, dtype=torch.float64))
    >>> bool(model.output(torch.full((1, 2), 0.3, dtype=torch.float64)).abs().max() < 1e-12)
    True
    """

    plan: ctebm.Plan
    rho: Activation
    box: Box | None
    weights: list[Tensor]
    biases: list[Tensor]
    optimizer: Optimizer
    learning_rates: list[float]
    targets: Tensor

    def __init__(self, network: LayeredField, plan: ctebm.Plan, rates: Tensor) -> None:
        import torch

        self.plan, self.rho, self.box = plan, network.activation, network.activation.box
        dtype, rho = rates.dtype, network.activation
        self.weights = [W.clone().requires_grad_() for W in network.weights if W is not None]
        middle = rho(torch.zeros((), dtype=dtype))
        below = [rates.mean(0), *(middle.expand(len(W)) for W in self.weights[1:])]
        layers = zip(below, self.weights, strict=True)
        self.biases = [(-(r @ W.detach())).requires_grad_() for r, W in layers]
        learning_rates = plan.learning_rates(len(self.weights))
        groups = [
            {"params": [W, b], "lr": rate}
            for W, b, rate in zip(self.weights, self.biases, learning_rates, strict=True)
        ]
        options: dict[str, Any] = dict(plan.options)
        self.optimizer = getattr(torch.optim, plan.optimizer)(groups, **options)
        self.learning_rates = [group["lr"] for group in self.optimizer.param_groups]
        low, high = rho.inverse(torch.tensor([plan.low, plan.high], dtype=dtype)).tolist()
        n_classes = network.bias[network.layers["y"]].numel()
        self.targets = low + (high - low) * torch.eye(n_classes, dtype=dtype)

    def output(self, rates: Tensor) -> Tensor:
        """Return the currents of the output at rates of the input."""
        import torch

        current = r = rates
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            current = torch.addmm(b, r, W)
            if i < len(self.weights) - 1:
                r = self.rho(self._clipped(current))
        return current

    def epoch(self, epoch: int, rates: Tensor, label: Tensor) -> int:
        """Go through the images once, in the order of the plan; return how many were wrong."""
        import numpy as np
        import torch

        for group, rate in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = rate * self.plan.decay**epoch
        order = np.random.default_rng([self.plan.seed, epoch]).permutation(len(rates))
        wrong = 0
        for chosen in torch.as_tensor(order).split(self.plan.batch):
            y, target = self.output(rates[chosen]), self.targets[label[chosen]]
            wrong += int((y.detach().argmax(-1) != label[chosen]).sum())
            # At a kink the slope towards the target counts, which lies inside.
            slope = (self._clipped(y) - target).detach()
            (slope * y).sum().div(len(chosen)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return wrong

    def _clipped(self, current: Tensor) -> Tensor:
        return current if self.box is None else self.box.project(current)


def back_propagation(
    network: LayeredField,
    plan: ctebm.Plan,
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    dtype: torch.dtype,
    report: Callable[[str], None] = lambda sentence: None,
) -> dict[str, list[float]]:
    """Train a feed-forward network with the weights of another one.

    Parameters
    ----------
    network : LayeredField
        Whose forward weights, activation and sizes it takes.
    plan : Plan
        Batches, optimiser and learning rates; its rule is not used.
    train, test : tuple of array
        Rates in [0, 1], ``(sample, pixel)``, and labels from 0.
    dtype : torch.dtype
        Of the weights.
    report : callable
        Takes a sentence after every epoch.

    Returns
    -------
    dict
        ``bp_test_error`` and ``bp_train_error`` in per cent and ``bp_seconds``, one an epoch.

    Examples
    --------
    >>> import torch
    >>> import ctebm
    >>> from ctebm.study.back_propagation import back_propagation
    >>> net = ctebm.LayeredNetwork.random((2, 8, 2), ctebm.HardSigmoid(), gain=0.5, seed=0)
    >>> data = ([[0.1, 0.9], [0.9, 0.1]], [0, 1])
    >>> plan = ctebm.Plan(epochs=40, batch=2, rate=0.03)
    >>> back_propagation(net, plan, data, data, torch.float64)["bp_test_error"][-1]
    0.0
    """
    import torch

    rates, label = torch.as_tensor(train[0], dtype=dtype), torch.as_tensor(train[1])
    x, expected = torch.as_tensor(test[0], dtype=dtype), torch.as_tensor(test[1])
    model = FeedForward(network, plan, rates)
    errors: dict[str, list[float]] = {"bp_test_error": [], "bp_train_error": [], "bp_seconds": []}
    for epoch in range(plan.epochs):
        begun = time.perf_counter()
        wrong = model.epoch(epoch, rates, label)
        errors["bp_seconds"].append(time.perf_counter() - begun)
        with torch.no_grad():
            missed = (model.output(x).argmax(-1) != expected).double().mean()
        errors["bp_test_error"].append(100 * float(missed))
        errors["bp_train_error"].append(100 * wrong / len(rates))
        report(f"back-propagation, epoch {epoch + 1}: held-out {errors['bp_test_error'][-1]:.2f} %")
    return errors
