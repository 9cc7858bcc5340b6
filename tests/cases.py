"""Networks and activations that every contract test runs over."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

import ctebm
from ctebm.early_inference.analytic import ComplexNudge
from ctebm.early_inference.driven import HeldOutput, TangentField
from ctebm.networks.activation import Activation
from ctebm.networks.error_coordinates import ErrorCoordinates
from ctebm.networks.layout import rows_of, size_of

ACTIVATIONS: dict[str, Activation] = {
    "hard": ctebm.HardSigmoid(),
    "hard-skewed": ctebm.HardSigmoid(lower=-0.2),
    "logistic": ctebm.Logistic(gain=3.0),
    "tanh": ctebm.Tanh(),
    "smooth-hard": ctebm.SmoothHardSigmoid(width=0.05),
    "custom": ctebm.Custom(torch.sin),
}


class Quartic(ctebm.Network):
    """A user's network: an energy and nothing else."""

    def energy(self, s):
        return s.square().sum(-1) / 2 + s.pow(4).sum(-1) / 4 + s[..., 0] * s[..., -1] / 3


class Biased(Quartic):
    """A user's network that brings one row of biases a sample."""

    def __init__(self, bias, layers):
        super().__init__(bias.shape[-1], layers)
        self.bias = bias

    def energy(self, s):
        return super().energy(self.as_state(s)) - (self.bias * s).sum(-1)

    @property
    def batch(self):
        return self.bias.shape[:-1]

    def samples(self, batch, rows):
        return Biased(rows_of(self.bias, batch, rows), self.layers).to(self.dtype)


class Chain(ctebm.VectorField):
    """A user's motion: a force and nothing else, of layers that copy the layer below."""

    def force(self, s):
        s = self.as_state(s)
        return torch.nn.functional.pad(s, (1, 0))[..., :-1] - s + torch.sin(s) / 9


class Relay(ctebm.VectorField):
    """The force (-x, x - h, h - y)."""

    def force(self, s):
        x, h, y = self.as_state(s).unbind(-1)
        return torch.stack([-x, x - h, h - y], -1)


class Clipped(ctebm.VectorField):
    """A user's motion with a rate that is clipped at kinks of its own in each unit."""

    def __init__(self, weight, bias, low, high, layers):
        super().__init__(len(weight), layers)
        self.weight, self.bias = weight, bias
        self.box = ctebm.Box(low, high)

    def force(self, s):
        s = self.as_state(s)
        slope = self.box.contains(s).to(s.dtype)
        return slope * (self.bias + self.box.project(s) @ self.weight.mT) - s


class Neural(ctebm.VectorField):
    """A user's motion that a torch module computes."""

    def __init__(self, n, layers):
        super().__init__(n, layers)
        draw = torch.Generator().manual_seed(0)
        self.module = torch.nn.Linear(n, n, dtype=torch.float64)
        with torch.no_grad():
            for p in self.module.parameters():
                p.copy_(torch.randn(p.shape, generator=draw, dtype=p.dtype) / 2)

    def force(self, s):
        s = self.as_state(s)
        return torch.tanh(self.module(s)) - s


class Spiral(ctebm.LyapunovField):
    """A user's motion down an energy that is not the potential of its force."""

    def force(self, s):
        s = self.as_state(s)
        return s.roll(1, -1) - s.roll(-1, -1) - s - s**3

    def energy(self, s):
        return s.square().sum(-1) / 2


def dense(rho: Activation, n: int = 7, gain: float = 1.0, seed: int = 3) -> ctebm.DenseNetwork:
    draw = torch.Generator().manual_seed(seed)
    A = torch.randn(n, n, generator=draw, dtype=torch.float64)
    W = gain * (A + A.T) / (2 * n**0.5)
    W.fill_diagonal_(0)
    b = torch.randn(n, generator=draw, dtype=torch.float64) / 3
    return ctebm.DenseNetwork(W, b, rho, layers={"x": slice(0, 3), "y": slice(3, n)})


def layered(rho: Activation, sizes=(5, 4, 3, 2), gain: float = 1.0, seed: int = 1):
    net = ctebm.LayeredNetwork.random(sizes, rho, gain=gain, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    biases = [b + torch.randn(len(b), generator=draw, dtype=torch.float64) / 5 for b in net.biases]
    return ctebm.LayeredNetwork(net.weights, biases, rho)


PAIRS = [("x", "k"), ("k", "h"), ("h", "y"), ("x", "h"), ("k", "y"), ("h", "h")]


def graph(rho, couplings=PAIRS, gain=0.7, seed=4) -> ctebm.LayerGraph:
    """Layers coupled past others, and within one, with biases."""
    sizes = {"x": 3, "k": 3, "h": 4, "y": 2}
    net = ctebm.LayerGraph.random(sizes, couplings, rho, gain=gain, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    net.bias += torch.randn(12, generator=draw, dtype=torch.float64) / 5
    return net


def sparse(rho: Activation) -> ctebm.SparseNetwork:
    """A ring with chords, in two layers."""
    net = dense(rho)
    keep = torch.tensor([[abs(i - j) in (1, 3, 6) for i in range(7)] for j in range(7)])
    weight = (net.weight * keep).to_sparse()  # coordinates
    return ctebm.SparseNetwork(weight, net.bias, rho, layers=dict(net.layers))


def predictive(rho, sizes=(5, 4, 3, 2), direction="discriminative", seed=1):
    """Predictive coding with biases, and a precision for each layer."""
    net = ctebm.PredictiveNetwork.random(sizes, rho, gain=1.3, seed=seed, direction=direction)
    draw = torch.Generator().manual_seed(seed)
    biases = [torch.randn(n, generator=draw, dtype=F64) / 5 for n in sizes]
    precisions = [0.5 + i for i in range(len(sizes) - 1)]
    return ctebm.PredictiveNetwork(net.weights, biases, rho, precisions, direction=direction)


F64 = torch.float64
CHAIN = {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)}


def rows(n: int, size: int, seed: int = 5) -> torch.Tensor:
    """Return states of a layer, a row a sample."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, size, generator=draw, dtype=F64) / 3


def every_network() -> dict[str, ctebm.Network]:
    """Return networks whose force is the gradient of their energy."""
    quartic = {"x": slice(0, 2), "h": slice(2, 3), "y": slice(3, 6)}
    nets: dict[str, ctebm.Network] = {"quartic": Quartic(6, quartic)}
    nets["biased"] = Biased(rows(3, 6), quartic)
    for name, rho in ACTIVATIONS.items():
        nets[f"dense-{name}"] = dense(rho)
        nets[f"layered-{name}"] = layered(rho)
    for name in ("hard", "tanh"):
        nets[f"sparse-{name}"] = sparse(ACTIVATIONS[name])
    for n in (2, 3, 5, 6):
        nets[f"{n}-layers"] = layered(ACTIVATIONS["logistic"], (5, 4, 3, 4, 2, 3)[:n])
    whole = layered(ACTIVATIONS["tanh"])
    nets["clamped-layered"] = whole.clamp({"x": torch.full((5,), 0.3, dtype=F64)})
    nets["clamped-dense"] = nets["dense-hard"].clamp({"x": torch.zeros(3, dtype=F64)})
    nets["clamped-sparse"] = nets["sparse-tanh"].clamp({"y": torch.zeros(4, dtype=F64)})
    nets["one-layer"] = whole.clamp({"x": [0.3] * 5, "h2": [0.1] * 4, "h1": [0.0] * 3})
    nets["parted"] = whole.clamp({"h1": torch.full((3,), -0.2, dtype=F64)})
    mixed = [ctebm.Identity(), ctebm.Tanh(), torch.sin, ctebm.Softplus(2.0)]
    nets["predictive-mixed"] = predictive(mixed)
    nets["predictive-tanh"] = predictive(ctebm.SignedTanh())
    nets["predictive-generative"] = predictive(mixed, direction="generative")
    nets["2-layers-predictive"] = predictive(ctebm.Logistic(), (3, 2))
    coded = nets["predictive-mixed"]
    nets["clamped-predictive"] = coded.clamp({"x": torch.full((5,), 0.3, dtype=F64)})
    nets["parted-predictive"] = coded.clamp({"h1": torch.full((3,), 0.3, dtype=F64)})
    nets["nudged-predictive"] = coded.nudged([0.2, -0.4], 0.7)
    turned = nets["predictive-generative"].clamp({"h2": rows(3, 4)})
    nets["batch-nudged-predictive"] = turned.nudged(rows(3, 2), -0.2)
    nets["deep-predictive-relu"] = predictive(ctebm.ReLU(), (4, 3, 4, 3, 2))
    leaky = predictive(ctebm.LeakyReLU(0.1), (4, 3, 4, 3, 2))
    nets["nudged-deep-predictive-leaky"] = leaky.clamp({"x": rows(3, 4)}).nudged(rows(3, 2), 0.6)
    for name in ("clamped-predictive", "nudged-predictive", "batch-nudged-predictive"):
        nets[f"errors-of-{name}"] = ErrorCoordinates(nets[name])
    held = coded.clamp({"h2": torch.full((4,), 0.3, dtype=F64), "y": torch.ones(2, dtype=F64)})
    nets["errors-of-parted-predictive"] = ErrorCoordinates(held)
    parts = {"x": slice(0, 2), "y": slice(2, 5)}
    mixing = {"x": ctebm.Identity(), "k": ctebm.HardSigmoid(lower=0), "h": ctebm.Tanh(),
              "y": ctebm.Identity()}  # fmt: skip
    for name, own in {"hard": ctebm.HardSigmoid(), "tanh": ctebm.Tanh(), "mixed": mixing}.items():
        nets[f"graph-{name}"] = graph(own)
    nets["clamped-graph"] = nets["graph-tanh"].clamp({"x": torch.full((3,), 0.3, dtype=F64)})
    nets["batch-graph"] = nets["graph-mixed"].clamp({"h": rows(3, 4)})
    shifted = ctebm.Logistic(4, centre=0.5)
    nets["rate-leak"] = ctebm.RateLeakNetwork(layered(shifted))
    nets["batch-rate-leak"] = ctebm.RateLeakNetwork(graph(shifted)).clamp({"x": rows(3, 3)})
    nets["attention"] = ctebm.AssociativeMemory(rows(4, 5), 3.0, layers=parts)
    nets["polynomial"] = ctebm.PolynomialMemory(rows(4, 5).sign(), 3)
    layers = {"x": slice(0, 2), "y": slice(2, 5)}
    key = ctebm.PolynomialMemory(rows(4, 5).sign(), 3, layers=layers)
    nets["clamped-polynomial"] = key.clamp({"x": torch.ones(2, dtype=F64) / 3})
    nets["clamped-attention"] = nets["attention"].clamp({"x": torch.ones(2, dtype=F64)})
    raw, hard, rho = ctebm.Identity(), ctebm.HardSigmoid(lower=0), ctebm.Tanh()
    nets["layered-mixed-kinks"] = layered([raw, hard, ctebm.HardSigmoid(), raw])
    nets["layered-mixed"] = layered([raw, hard, rho, ctebm.Softplus()])
    nets["clamped-layered-mixed"] = nets["layered-mixed"].clamp({"h2": rows(3, 4)})
    for pooling in ("average", "max"):
        maps = ctebm.ConvolutionalNetwork.random(
            (1, 4, 4), [2], 2, [2], ctebm.Tanh(), seed=1, pooling=pooling, padding=1
        )
        nets[f"convolutional-{pooling}"] = maps
        nets[f"batch-convolutional-{pooling}"] = maps.clamp({"x": rows(3, 16)})
    own = [ctebm.Identity(), ctebm.Tanh(), ctebm.Softplus(2.0)]
    strided = ctebm.ConvolutionalNetwork.random((1, 5, 4), [2], 2, [3], own, stride=2, padding=1)
    nets["convolutional-strided"] = strided
    nets["plastic"] = ctebm.PlasticNetwork(layered(ACTIVATIONS["hard"])).to_network()
    nets["clamped-quartic"] = nets["quartic"].clamp({"x": torch.ones(2, dtype=F64)})
    nets["parted-quartic"] = nets["quartic"].clamp({"h": torch.ones(1, dtype=F64)})
    batched = (
        "layered-hard", "layered-custom", "dense-tanh", "sparse-tanh", "quartic",
        "predictive-mixed", "predictive-generative", "layered-mixed-kinks",
    )  # fmt: skip
    for name in batched:
        size = size_of(nets[name].layers["x"])
        nets[f"batch-{name}"] = nets[name].clamp({"x": rows(3, size)})
    nets["batch-parted"] = whole.clamp({"h1": rows(3, 3)})
    nets["batch-biased"] = nets["biased"].clamp({"h": rows(3, 1)})
    return nets


def every_motion() -> dict[str, ctebm.VectorField]:
    """Return motions whose force is no gradient."""
    nets: dict[str, ctebm.VectorField] = {"chain": Chain(3, CHAIN), "spiral": Spiral(3, CHAIN)}
    nets["clamped-chain"] = nets["chain"].clamp({"x": [0.4]})
    nets["parted-chain"] = nets["chain"].clamp({"h": [0.4]})
    nets["neural"] = Neural(4, {"x": slice(0, 1), "y": slice(1, 4)})
    nets["clipped"] = clipped()
    for name in ("hard", "tanh"):
        rho = ACTIVATIONS[name]
        net, chain = dense(rho), layered(rho)
        skew = net.weight + 0.2 * torch.triu(torch.ones_like(net.weight))  # and a diagonal
        nets[f"asymmetric-{name}"] = ctebm.AsymmetricNetwork(
            skew, net.bias, rho, layers=dict(net.layers)
        )
        nets[f"feedback-{name}"] = ctebm.FeedbackNetwork.at_angle(chain, 50.0, seed=2)
        nets[f"hopfield-dense-{name}"] = ctebm.HopfieldNetwork(net)
        nets[f"hopfield-layered-{name}"] = ctebm.HopfieldNetwork(chain)
        nets[f"held-output-{name}"] = HeldOutput(net, torch.full((4,), 0.1, dtype=F64))
    nets["hopfield-graph"] = ctebm.HopfieldNetwork(graph(ctebm.Tanh()))
    nets["hopfield-sparse"] = ctebm.HopfieldNetwork(sparse(ACTIVATIONS["tanh"]))
    nets["hopfield-custom"] = ctebm.HopfieldNetwork(dense(ACTIVATIONS["custom"]))
    for name in ("feedback-tanh", "hopfield-layered-tanh"):
        nets[f"clamped-{name}"] = nets[name].clamp({"x": torch.full((5,), 0.3, dtype=F64)})
    for name in ("feedback-tanh", "asymmetric-tanh", "hopfield-layered-tanh", "neural", "clipped"):
        size = size_of(nets[name].layers["x"])
        nets[f"batch-{name}"] = nets[name].clamp({"x": rows(3, size)})
    free = layered(ACTIVATIONS["tanh"]).clamp({"x": torch.full((5,), 0.3, dtype=F64)})
    whole = nets["feedback-tanh"]
    nets["tangent"] = TangentField(whole, torch.full((14,), 0.2, dtype=F64), torch.ones(14))
    pull = torch.ones(2, dtype=F64)
    nets["batch-tangent"] = TangentField(whole, rows(3, 14), torch.ones(3, 14), pull)
    nets["complex-nudge"] = ComplexNudge(free, torch.zeros(2, dtype=F64), 0.1 + 0.2j)
    nets["batch-complex-nudge"] = ComplexNudge(free, rows(3, 2), 0.1 + 0.2j)
    nets["batch-held-output"] = HeldOutput(dense(ACTIVATIONS["tanh"]), rows(3, 4))
    return nets


@cache
def every_motion_and_network() -> dict[str, ctebm.VectorField]:
    """Return all of them."""
    return every_network() | every_motion()


def clipped() -> Clipped:
    """Three units in a chain: with two kinks, with none, with one."""
    inf = torch.inf
    weight = torch.tensor([[0.0, 0, 0], [0.8, 0, 0], [0, -0.5, 0]], dtype=F64)
    low, high = torch.tensor([-0.5, -inf, 0.0]), torch.tensor([0.5, inf, inf])
    bias = torch.tensor([0.9, -1.0, 0.1], dtype=F64)
    return Clipped(weight, bias, low.to(F64), high.to(F64), CHAIN)


def states(net: ctebm.VectorField, batch=(9,), seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    """Return random states that keep away from every kink."""
    draw = torch.Generator().manual_seed(seed)
    assert net.n_units is not None
    s = spread * torch.randn(*batch, net.n_units, generator=draw, dtype=F64)
    kinks = (*getattr(getattr(net, "activation", None), "kinks", ()), *(net.box or ()))
    for kink in kinks:
        s = torch.where((s - kink).abs() < 1e-3, s + 1e-2, s)
    return s


def settled(rho, sizes=(5, 6, 4, 3), gain=0.6, n=8, seed=2):
    """A layered network at equilibrium on random inputs, with targets between the kinks."""
    draw = torch.Generator().manual_seed(seed)
    low, high = rho.box or (-0.5, 0.5)
    x = low + (high - low) * torch.rand(n, sizes[0], generator=draw, dtype=torch.float64)
    y = low + (high - low) * (0.1 + 0.8 * torch.rand(n, sizes[-1], generator=draw, dtype=x.dtype))
    net = layered(rho, sizes, gain).clamp({"x": x})
    return net, ctebm.settle(net, tol=1e-14), y


def measured(
    rho=ACTIVATIONS["hard"], sizes=(5, 6, 4, 3), gain=0.3, n=6, eps=(0.5, 0.1, 0.02), **options
):
    net = ctebm.LayeredNetwork.random(sizes, rho, gain=gain, seed=4)
    draw = torch.Generator().manual_seed(7)
    x = 0.8 * torch.rand(n, sizes[0], generator=draw, dtype=torch.float64) - 0.4
    y = 0.8 * torch.rand(n, sizes[-1], generator=draw, dtype=torch.float64) - 0.4
    return ctebm.correspondence(net, x, y, eps, **options)


def signs(n_patterns, n_units, seed=0):
    draw = np.random.default_rng(seed)
    return torch.tensor(draw.choice([-1.0, 1.0], (n_patterns, n_units)))


def corrupted(patterns, share, seed=1):
    """Return patterns with a share of their signs turned."""
    turned = np.random.default_rng(seed).random(patterns.shape) < share
    return torch.where(torch.tensor(turned), -patterns, patterns)
