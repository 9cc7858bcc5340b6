"""Networks of several energies on digits, and the feed-forward pass that belongs to each.

The pass is written out here, from the weights and rates alone, so that the chain gradient of a
network is compared with automatic differentiation of something else than its own energy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm.networks.numbers import one_of
from ctebm.study.problem import TARGET_RATES, reachable

if TYPE_CHECKING:
    from torch import Tensor

    from ctebm.networks.base import VectorField
    from ctebm.study.images import Images

__all__ = ["ENERGIES", "FeedForwardModel", "energy_model", "feedback_at", "pass_gradients"]

ENERGIES = (
    "eq. 6, hard sigmoid", "eq. 6, logistic", "Hopfield 1984", "predictive coding", "convolutions",
)  # fmt: skip
CHANNELS = (6, 8)  # of the two layers of maps


@dataclass(frozen=True, eq=False)
class FeedForwardModel:
    """A network with its input clamped, and what its feed-forward pass is made of.

    Attributes
    ----------
    network : VectorField
        With the input clamped.
    x, target : Tensor
        States of the input and of the output, ``(sample, unit)``.
    rate : callable
        The firing rate of a state.
    up : callable
        Takes the place of a layer and its rates to the current that the next one gets.
    biases : list of Tensor
        Input first.
    state : callable
        Takes a current to the state at which a unit rests.

    Examples
    --------
    >>> from ctebm.study.feed_forward import energy_model
    >>> from ctebm.study.images import load_images
    >>> energy_model("Hopfield 1984", load_images(n_samples=2), width=4, gain=0.5).network
    HopfieldNetwork(h3: 4, h2: 4, h1: 4, y: 10; Logistic(gain=4.0, centre=0.0))
    """

    network: VectorField
    x: Tensor
    target: Tensor
    rate: Callable[[Tensor], Tensor]
    up: Callable[[int, Tensor], Tensor]
    biases: list[Tensor]
    state: Callable[[Tensor], Tensor]


def energy_model(
    name: str, images: Images, *, width: int, gain: float, seed: int = 0
) -> FeedForwardModel:
    """Return three hidden layers with one of the energies, the images clamped at their input.

    Parameters
    ----------
    name : str
        One of `ENERGIES`.
    images : Images
        Of 8 times 8 pixels and 10 classes.
    width : int
        Units in each hidden layer; of convolutions, in the one after the maps.
    gain : float
        Of the Glorot weights; half of it where rates are hard sigmoids.
    seed : int
        Of the weights.

    Raises
    ------
    ValueError
        For another name.

    Examples
    --------
    >>> from ctebm.study.feed_forward import energy_model
    >>> from ctebm.study.images import load_images
    >>> energy_model("convolutions", load_images(n_samples=2), width=4, gain=0.5).x.shape
    torch.Size([2, 64])
    """
    makers = (_hard, _logistic, _hopfield, _predictive, _convolutional)
    return makers[ENERGIES.index(one_of("name", name, ENERGIES))](images, width, gain, seed)


def pass_gradients(
    model: FeedForwardModel, down: list[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Back-propagate through a feed-forward pass, by automatic differentiation.

    Parameters
    ----------
    model : FeedForwardModel
        Whose pass it is.
    down : list of Tensor, optional
        Feedback into each free layer, held as if it were a bias; none by default.

    Returns
    -------
    tuple of Tensor
        The gradients by states of half the squared error, and those by rates of what has the same
        error as its gradient by the output's rate, ``(sample, unit)`` each.

    Examples
    --------
    >>> from ctebm.study.feed_forward import energy_model, pass_gradients
    >>> from ctebm.study.images import load_images
    >>> model = energy_model("predictive coding", load_images(n_samples=2), width=4, gain=0.5)
    >>> pass_gradients(model)[0].shape
    torch.Size([2, 22])
    """
    import torch

    rates, states = [model.rate(model.x)], []
    for i in range(len(model.biases) - 1):
        c = model.up(i, rates[-1]) + model.biases[i + 1]
        states.append(model.state(c if down is None else c + down[i]).requires_grad_())
        rates.append(model.rate(states[-1]))
    error = (states[-1] - model.target).detach()
    by_state = torch.autograd.grad(states[-1], states, error, retain_graph=True)
    by_rate = torch.autograd.grad(rates[-1], rates[1:], error)
    return torch.cat(by_state, -1), torch.cat(by_rate, -1)


def feedback_at(model: FeedForwardModel, s: Tensor) -> list[Tensor]:
    """Return what each free layer gets from the layer above it.

    Parameters
    ----------
    model : FeedForwardModel
        Whose layers are coupled in both directions alike.
    s : Tensor, (sample, unit)
        States.

    Examples
    --------
    >>> import torch
    >>> from ctebm.study.feed_forward import energy_model, feedback_at
    >>> from ctebm.study.images import load_images
    >>> model = energy_model("Hopfield 1984", load_images(n_samples=2), width=4, gain=0.5)
    >>> [current.shape[1] for current in feedback_at(model, torch.zeros(2, 22).double())]
    [4, 4, 4, 10]
    """
    import torch

    rates = [model.rate(s[..., w]) for w in model.network.layers.values()]
    found = [
        torch.func.vjp(lambda r, i=i: model.up(i, r), rates[i - 1])[1](rates[i])[0]
        for i in range(1, len(rates))
    ]
    return [*found, torch.zeros_like(rates[-1])]


def _targets(images: Images) -> Tensor:
    """Return one-hot rates inside the kinks."""
    import torch

    low, high = TARGET_RATES
    hot = torch.eye(10, dtype=torch.float64)[torch.as_tensor(images.label)]
    return low + (high - low) * hot


def _sizes(images: Images, width: int) -> tuple[int, ...]:
    return (images.input.shape[1], width, width, width, 10)


def _hard(images: Images, width: int, gain: float, seed: int) -> FeedForwardModel:
    import torch

    import ctebm

    rho, pixels = ctebm.HardSigmoid(), images.input
    net = ctebm.LayeredNetwork.random(_sizes(images, width), rho, gain=gain / 2, seed=seed)
    net = net.centred({"x": pixels.mean(0)})
    return FeedForwardModel(
        *_clamped(net, rho.inverse(torch.as_tensor(pixels))), rho.inverse(_targets(images)), rho,
        _all_to_all(net.weights), net.biases, lambda c: c.clamp(*rho.kinks),
    )  # fmt: skip


def _logistic(images: Images, width: int, gain: float, seed: int) -> FeedForwardModel:
    """Biases take units from the middle of the sigmoid, where it has no curvature."""
    import numpy as np
    import torch

    import ctebm

    rho = ctebm.Logistic()
    rates, _ = reachable(images.input, rho)
    net = ctebm.LayeredNetwork.random(_sizes(images, width), rho, gain=gain, seed=seed)
    net = net.centred({"x": rates.mean(0)})
    draw = np.random.default_rng(seed)
    biases = [b + torch.as_tensor(draw.uniform(-0.5, 0.5, len(b))) for b in net.biases]
    net = ctebm.LayeredNetwork(_given(net.weights), biases, rho)

    def state(c: Tensor) -> Tensor:
        h = torch.zeros_like(c)
        for _ in range(300):  # h = rho'(h) c is no explicit function of the current
            h = (h + rho.derivative(h) * c) / 2
        return h

    return FeedForwardModel(
        *_clamped(net, rho.inverse(torch.as_tensor(rates))), rho.inverse(_targets(images)), rho,
        _all_to_all(net.weights), biases, state,
    )  # fmt: skip


def _hopfield(images: Images, width: int, gain: float, seed: int) -> FeedForwardModel:
    """Give the network of the logistic rate the other energy."""
    import ctebm

    one = _logistic(images, width, gain, seed)
    assert isinstance(one.network, ctebm.LayeredNetwork)
    network = ctebm.HopfieldNetwork(one.network)
    return dataclasses.replace(one, network=network, state=lambda c: 1.0 * c)


def _predictive(images: Images, width: int, gain: float, seed: int) -> FeedForwardModel:
    import torch

    import ctebm

    phi = ctebm.SignedTanh()
    net = ctebm.PredictiveNetwork.random(_sizes(images, width), phi, gain=gain, seed=seed)
    return FeedForwardModel(
        *_clamped(net, torch.as_tensor(images.input)), _targets(images), phi,
        _all_to_all(net.weights), net.biases, lambda c: 1.0 * c,
    )  # fmt: skip


def _convolutional(images: Images, width: int, gain: float, seed: int) -> FeedForwardModel:
    """Biases leave every unit in the middle at the mean image."""
    import torch
    from torch.nn import functional as F

    import ctebm

    rho, pixels = ctebm.HardSigmoid(), torch.as_tensor(images.input)
    net = ctebm.ConvolutionalNetwork.random(
        (1, 8, 8), CHANNELS, 3, (width, 10), rho, gain=gain / 2, seed=seed, padding=1
    )
    shapes = list(net.shapes.values())

    def up(i: int, r: Tensor) -> Tensor:
        if i >= len(CHANNELS):
            return r @ net.weights[i - len(CHANNELS)]
        maps = F.conv2d(r.reshape(-1, *shapes[i]), net.kernels[i], padding=1)
        return F.avg_pool2d(maps, 2).flatten(1)

    mean, target = rho.inverse(pixels.mean(0, keepdim=True)), rho.inverse(_targets(images))
    model = FeedForwardModel(net.clamp({"x": mean}), mean, target, rho, up, net.biases, rho.inverse)
    middle = torch.zeros(1, model.network.n_units or 0, dtype=torch.float64)
    rates = [rho(mean), *(rho(middle[..., w]) for w in model.network.layers.values())]
    biases: list[Tensor] = [torch.zeros(1, dtype=torch.float64)]
    for i, down in enumerate(feedback_at(model, middle)):
        biases.append(-(up(i, rates[i]) + down)[0])
    net = ctebm.ConvolutionalNetwork(
        net.kernels, net.weights, biases, rho, shape=(1, 8, 8), padding=1
    )
    network, x = _clamped(net, rho.inverse(pixels))
    return FeedForwardModel(network, x, target, rho, up, biases, lambda c: c.clamp(*rho.kinks))


def _clamped(network: VectorField, x: Tensor) -> tuple[VectorField, Tensor]:
    return network.clamp({"x": x}), x


def _given(weights: Sequence[Tensor | None]) -> list[Tensor]:
    return [W for W in weights if W is not None]


def _all_to_all(weights: Sequence[Tensor | None]) -> Callable[[int, Tensor], Tensor]:
    kept = _given(weights)
    return lambda i, r: r @ kept[i]
