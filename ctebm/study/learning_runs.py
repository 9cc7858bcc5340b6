"""Networks looked at before they learn, and after a few epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ctebm.study.diagnostics import linear_share, pushes, settled_kinks

if TYPE_CHECKING:
    from torch import Tensor

    import ctebm
    from ctebm.learning.trainer import Trainer
    from ctebm.study.diagnostics import KinkShares
    from ctebm.study.images import Images

__all__ = ["AFTER", "BEFORE", "Split", "after_learning", "before_learning", "last_push", "split"]

SETTLED, N_SWEEPS = 1e-3, 60  # residual and work of equilibria that are learned from
N_EXACT, N_LINEAR, N_PUSHED = 8, 1000, 256  # images for Hessians, for linear fits, for pushes

BEFORE = {
    "hessian": "smallest eigenvalue on the free units at the settled states",
    "pinned": "share of hidden units held at a kink",
    "dead": "share of hidden units held at a kink in every sample",
    "margin": "distance of a unit from losing or gaining a kink, median",
    "crossed": "share of samples in which a unit meets or leaves a kink early on",
    "cosine": "smallest cosine of the early rule with the chain gradient",
    "linear": "share of the last hidden layer's rates that is linear in the input",
    "push": "shift of the last hidden layer's currents by a step of rate 1",
    "error": "errors on the test images",
}
"""What :func:`before_learning` returns."""

AFTER = {
    "pinned": "largest share of a hidden layer's units held at a kink",
    "dead": "largest share of a hidden layer's units held at a kink in every sample",
    "push": "shift of the last hidden layer's currents by the first step",
    "error_before": "errors on the test images before learning (%)",
    "error_after": "errors on the test images (%)",
    "eigenvalue_after": "smallest eigenvalue at the centred state after learning",
}
"""What :func:`after_learning` returns."""


class Split(NamedTuple):
    """Rates and labels to learn from and to test on.

    Attributes
    ----------
    name : str
        Of the images.
    train, test : tuple of Tensor
        Rates in [0, 1], ``(sample, pixel)``, and labels from 0.

    Examples
    --------
    >>> import torch
    >>> from ctebm.study.learning_runs import Split
    >>> samples = torch.zeros(2, 9), torch.tensor([0, 1])
    >>> Split("dark", samples, samples).train[1].max()
    tensor(1)
    """

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def split(images: Images, device: str = "cpu") -> Split:
    """Set a fifth of the images aside to test on, with the same share of every class.

    Parameters
    ----------
    images : Images
        All of them.
    device : str
        Where they are to lie.

    Examples
    --------
    >>> from ctebm.study.images import load_images
    >>> from ctebm.study.learning_runs import split
    >>> [len(label) for _, label in split(load_images())[1:]]
    [1437, 360]
    """
    import torch

    from ctebm.study.images import split_images

    train, test = (
        (torch.as_tensor(part.input).to(device), torch.as_tensor(part.label).to(device))
        for part in split_images(images, 0.2)
    )
    return Split(images.name, train, test)


def before_learning(
    net: ctebm.LayeredNetwork, data: Split, n_samples: int, eps: float
) -> dict[str, float]:
    """Look at a network as it settles before it learns.

    Parameters
    ----------
    net : LayeredNetwork
        With nothing clamped.
    data : Split
        Images.
    n_samples : int
        Of them, those whose kinks are counted.
    eps : float
        Step size of the early phase.

    Returns
    -------
    dict
        As :data:`BEFORE` describes it.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.images import load_images
    >>> from ctebm.study.learning_runs import before_learning, split
    >>> net = ctebm.LayeredNetwork.random((64, 16, 10), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> net = net.centred({"x": load_images().input.mean(0)})
    >>> before_learning(net, split(load_images(n_samples=100)), 32, eps=0.1)["dead"]
    0.0
    """
    import torch

    import ctebm
    from ctebm.learning.trainer import Trainer

    trainer = Trainer(net, ctebm.Plan(tol=SETTLED, max_sweeps=N_SWEEPS))
    seen = _look(trainer, data, n_samples, eps)
    few, n_pixels = seen.state[:N_EXACT], len(net.biases[0])
    exact = trainer.plastic.to(dtype=torch.float64).to_network()
    at = exact.clamp({"x": few[:, :n_pixels]})
    point = ctebm.linearize(at, ctebm.settle(at, few[:, n_pixels:]).state)
    return {
        "hessian": float(point.lambda_min.min()),
        "pinned": sum(seen.pinned) / len(seen.pinned),
        "dead": sum(seen.dead) / len(seen.dead),
        "margin": float(point.margin.median()),
        "crossed": seen.crossed,
        "cosine": seen.cosine,
        "linear": linear_share(net, data.train[0][:N_LINEAR]),
        "push": last_push(net, data, [1.0] * (len(net.layers) - 1)),
        "error": trainer.test(_states(net, data.test))["test_error"],
    }


def after_learning(
    net: ctebm.LayeredNetwork, data: Split, n_samples: int, eps: float, plan: ctebm.Plan
) -> dict[str, float]:
    """Train a network and look at what became of it.

    Parameters
    ----------
    net, data, n_samples, eps
        As in :func:`before_learning`.
    plan : Plan
        Rule, batches, learning rates and epochs; equilibria are those of
        :func:`before_learning`.

    Returns
    -------
    dict
        As :data:`AFTER` describes it.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.images import load_images
    >>> from ctebm.study.learning_runs import after_learning, split
    >>> net = ctebm.LayeredNetwork.random((64, 16, 10), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> data, plan = split(load_images(n_samples=300)), ctebm.Plan(epochs=3, rate=3e-3)
    >>> found = after_learning(net, data, 32, 0.1, plan)
    >>> found["error_after"] < found["error_before"]
    True
    """
    import torch

    from ctebm.learning.initial_weights import smallest_curvature
    from ctebm.learning.rules import in_layers
    from ctebm.learning.trainer import Trainer

    trainer = Trainer(net, dataclasses.replace(plan, tol=SETTLED, max_sweeps=N_SWEEPS))
    train, test = _states(net, data.train), _states(net, data.test)
    before = trainer.test(test)["test_error"]
    for epoch in range(plan.epochs):
        trainer.epoch(epoch, train, None)
    seen = _look(trainer, data, n_samples, eps)
    adam = isinstance(trainer.optimizer, torch.optim.Adam)
    return {
        "pinned": max(seen.pinned),
        "dead": max(seen.dead),
        "push": last_push(net, data, trainer.learning_rates, adam),
        "error_before": before,
        "error_after": trainer.test(test)["test_error"],
        "eigenvalue_after": smallest_curvature(in_layers(trainer.plastic, plan.rule).to_network()),
    }


def last_push(
    net: ctebm.LayeredNetwork, data: Split, rates: Sequence[float], adam: bool = False
) -> float:
    """Return how far the last hidden layer is pushed by a first step; see :func:`pushes`.

    Parameters
    ----------
    net : LayeredNetwork
        With nothing clamped.
    data : Split
        Images.
    rates : sequence of float
        Learning rates, one for each pair of neighbouring layers, input first.
    adam : bool
        Whether the optimiser is Adam, and not steepest descent.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.images import load_images
    >>> from ctebm.study.learning_runs import last_push, split
    >>> net = ctebm.LayeredNetwork.random((64, 16, 10), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> last_push(net, split(load_images(n_samples=100)), [0.1, 0.1]) > 0
    True
    """
    import ctebm
    from ctebm.learning.trainer import Trainer

    x, label = (of[:N_PUSHED] for of in data.train)
    return pushes(net, x, Trainer(net, ctebm.Plan()).targets[label], rates, adam)[-1]


def _look(trainer: Trainer, data: Split, n_samples: int, eps: float) -> KinkShares:
    from ctebm.learning.rules import in_layers

    rates, label = (of[:n_samples] for of in data.train)
    plastic = in_layers(trainer.plastic, trainer.plan.rule)
    return settled_kinks(plastic, rates, trainer.targets[label], eps)


def _states(net: ctebm.LayeredNetwork, samples: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return net.state(samples[0]), samples[1]
