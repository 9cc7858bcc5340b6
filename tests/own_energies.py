"""Energies as users write them, which tests of any network share."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch.nn import functional as F

import ctebm
from ctebm.networks.layer_rates import rate_of_layer

SIZES = (6, 5, 4, 3)


class OwnPredictive(ctebm.Network):
    """Layers that predict the next, by an energy alone."""

    def __init__(self, W, b):
        names = ["x", *(f"h{k}" for k in range(len(W) - 1, 0, -1)), "y"]
        ends = [0]
        for n in (len(W[0]), *map(len, b)):
            ends.append(ends[-1] + n)
        super().__init__(layers={n: slice(*ends[i : i + 2]) for i, n in enumerate(names)})
        self.W, self.b = W, b

    def energy(self, s):
        h = [s[..., where] for where in self.layers.values()]
        errors = [h[i + 1] - torch.tanh(h[i]) @ W - self.b[i] for i, W in enumerate(self.W)]
        return sum(e.square().sum(-1) / 2 for e in errors)


class OwnLayers(ctebm.Network):
    """Eq. 6 in layers, by an energy alone; between the kinks of its rates, if they have any."""

    def __init__(self, net):
        super().__init__(layers=dict(net.layers))
        self.weights, self.biases = list(net.weights), [b.clone() for b in net.biases]
        self.rho, self.box = net.activation, net.box

    def energy(self, s):
        h = [s[..., where] for where in self.layers.values()]
        r = [rate_of_layer(self.rho, i)(h_i) for i, h_i in enumerate(h)]
        E = sum(h_i.square().sum(-1) / 2 for h_i in h)
        E = E - sum(r_i @ b for r_i, b in zip(r, self.biases, strict=True))
        return E - sum(((r[i] @ W) * r[i + 1]).sum(-1) for i, W in enumerate(self.weights))


class OwnConvolution(ctebm.Network):
    """A convolution of 25 inputs to 18 units and weights to 5, by an energy alone."""

    def __init__(self, gain, seed=0):
        super().__init__(layers={"x": slice(0, 25), "h": slice(25, 43), "y": slice(43, 48)})
        draw = torch.Generator().manual_seed(seed)
        normal = partial(torch.randn, generator=draw, dtype=torch.float64)
        self.K, self.W = gain * normal(2, 1, 3, 3) / 3, gain * normal(18, 5) / 18**0.5
        self.b = 0.1 * normal(48)

    def energy(self, s):
        x, h, y = (torch.tanh(s[..., where]) for where in self.layers.values())
        sent = F.conv2d(x.reshape(-1, 1, 5, 5), self.K).reshape(*x.shape[:-1], 18)
        coupled = (sent * h).sum(-1) + ((h @ self.W) * y).sum(-1)
        return s.square().sum(-1) / 2 - coupled - torch.tanh(s) @ self.b


def problem(kind=OwnPredictive, sizes=SIZES, n=7, gain=0.8):
    """Return such a network, inputs and targets."""
    draw = torch.Generator().manual_seed(4)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    W = [gain * normal(a, b) / a**0.5 for a, b in pairwise(sizes)]
    b = [0.1 * normal(n) for n in sizes[1:]]
    return kind(W, b), normal(n, sizes[0]), normal(n, sizes[-1])


def forward_pass(net, x):
    """Return the states of the layers above the input in a forward pass."""
    h = [x]
    for W, b in zip(net.W, net.b, strict=True):
        h.append(torch.tanh(h[-1]) @ W + b)
    return torch.cat(h[1:], -1)


class OwnParameters(ctebm.Network):
    """Tensors, lists, dicts and a module among the attributes."""

    def __init__(self):
        super().__init__(6, {"x": slice(0, 2), "h": slice(2, 4), "y": slice(4, 6)})
        draw = torch.Generator().manual_seed(0)
        self.W = torch.randn(2, 2, generator=draw, dtype=torch.float64)
        self.more = {"V": [torch.randn(2, 2, generator=draw, dtype=torch.float64)]}
        self.leak = torch.nn.Linear(2, 1, dtype=torch.float64)
        self.unused = torch.ones(3, dtype=torch.float64)

    def energy(self, s):
        x, h, y = (torch.tanh(s[..., where]) for where in self.layers.values())
        coupling = ((x @ self.W) * h).sum(-1) + ((h @ self.more["V"][0]) * y).sum(-1)
        return s.square().sum(-1) / 2 - coupling + self.leak(y)[..., 0]
