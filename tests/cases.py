"""Networks and activations that every contract test runs over."""

from __future__ import annotations

import torch

import ctebm
from ctebm.early_inference.driven import ComplexNudge, HeldOutput, TangentField
from ctebm.networks.activation import Activation

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


def sparse(rho: Activation) -> ctebm.SparseNetwork:
    """A ring with chords, in two layers."""
    net = dense(rho)
    keep = torch.tensor([[abs(i - j) in (1, 3, 6) for i in range(7)] for j in range(7)])
    weight = (net.weight * keep).to_sparse()  # coordinates
    return ctebm.SparseNetwork(weight, net.bias, rho, layers=dict(net.layers))


def every_network() -> dict[str, ctebm.Network]:
    """Return networks whose force is the gradient of their energy."""
    nets: dict[str, ctebm.Network] = {"quartic": Quartic(6, {"x": slice(0, 2), "y": slice(2, 6)})}
    for name, rho in ACTIVATIONS.items():
        nets[f"dense-{name}"] = dense(rho)
        nets[f"layered-{name}"] = layered(rho)
    for name in ("hard", "tanh"):
        nets[f"sparse-{name}"] = sparse(ACTIVATIONS[name])
    for n in (2, 3, 5, 6):
        nets[f"{n}-layers"] = layered(ACTIVATIONS["logistic"], (5, 4, 3, 4, 2, 3)[:n])
    whole = layered(ACTIVATIONS["tanh"])
    nets["clamped-layered"] = whole.clamp({"x": torch.full((5,), 0.3, dtype=torch.float64)})
    nets["clamped-dense"] = nets["dense-hard"].clamp({"x": torch.zeros(3, dtype=torch.float64)})
    nets["clamped-sparse"] = nets["sparse-tanh"].clamp({"y": torch.zeros(4, dtype=torch.float64)})
    nets["one-layer"] = whole.clamp({"x": [0.3] * 5, "h2": [0.1] * 4, "h1": [0.0] * 3})
    nets["parted"] = whole.clamp({"h1": torch.full((3,), -0.2, dtype=torch.float64)})
    nets["plastic"] = ctebm.PlasticNetwork(layered(ACTIVATIONS["hard"])).to_network()
    nets["clamped-quartic"] = nets["quartic"].clamp({"x": torch.ones(2, dtype=torch.float64)})
    return nets


class Chain(ctebm.VectorField):
    """A user's motion: a force and nothing else, of layers that copy the layer below."""

    def force(self, s):
        s = self.as_state(s)
        return torch.nn.functional.pad(s, (1, 0))[..., :-1] - s + torch.sin(s) / 9


def every_motion() -> dict[str, ctebm.VectorField]:
    """Return motions whose force is no gradient."""
    chain3 = {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)}
    nets: dict[str, ctebm.VectorField] = {"chain": Chain(3, chain3)}
    nets["clamped-chain"] = nets["chain"].clamp({"x": [0.4]})
    nets["parted-chain"] = nets["chain"].clamp({"h": [0.4]})
    for name in ("hard", "tanh"):
        rho = ACTIVATIONS[name]
        net, chain = dense(rho), layered(rho)
        skew = net.weight + 0.2 * torch.triu(torch.ones_like(net.weight), 1)
        nets[f"asymmetric-{name}"] = ctebm.AsymmetricNetwork(
            skew, net.bias, rho, layers=dict(net.layers)
        )
        nets[f"feedback-{name}"] = ctebm.FeedbackNetwork.at_angle(chain, 50.0, seed=2)
        nets[f"hopfield-dense-{name}"] = ctebm.HopfieldNetwork(net)
        nets[f"hopfield-layered-{name}"] = ctebm.HopfieldNetwork(chain)
        nets[f"held-output-{name}"] = HeldOutput(net, torch.full((4,), 0.1, dtype=torch.float64))
    x = torch.full((5,), 0.3, dtype=torch.float64)
    for name in ("feedback-tanh", "hopfield-layered-tanh"):
        nets[f"clamped-{name}"] = nets[name].clamp({"x": x})
    free = layered(ACTIVATIONS["tanh"]).clamp({"x": x})
    nets["tangent"] = TangentField(
        nets["feedback-tanh"], torch.full((14,), 0.2, dtype=torch.float64), torch.ones(14)
    )
    nets["complex-nudge"] = ComplexNudge(free, torch.zeros(2, dtype=torch.float64), 0.1 + 0.2j)
    return nets


def states(net: ctebm.VectorField, batch=(9,), seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    """Return random states that keep away from every kink."""
    draw = torch.Generator().manual_seed(seed)
    assert net.n_units is not None
    s = spread * torch.randn(*batch, net.n_units, generator=draw, dtype=torch.float64)
    for kink in getattr(getattr(net, "activation", None), "kinks", ()):
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
