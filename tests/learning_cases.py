"""Small problems of learning that the tests of the wing share."""

from __future__ import annotations

import numpy as np
import torch

import ctebm
from ctebm.networks.activation import Activation

ACTIVATIONS = [ctebm.HardSigmoid(), ctebm.HardSigmoid(-0.1), ctebm.Logistic(), ctebm.Tanh()]
SIZES = (12, 10, 3)
PLAN = ctebm.Plan(epochs=4, batch=16, rate=0.01, decay=0.9)


def states(sizes, activation: Activation, gain=0.3, n=7):
    """Return a layered network, input states and target states."""
    generator = torch.Generator().manual_seed(3)
    network = ctebm.LayeredNetwork.random(sizes, activation, gain=gain, seed=1)
    x = torch.rand(n, sizes[0], generator=generator, dtype=torch.float64) - 0.4
    target = 0.6 * torch.rand(n, sizes[-1], generator=generator, dtype=torch.float64) - 0.1
    return network, x, target


def settled(activation=None, sizes=(9, 8, 7, 5), gain=0.25, n=6, tied=True):
    """Return a plastic network, a batch at equilibrium and target states."""
    generator = torch.Generator().manual_seed(5)
    network = ctebm.LayeredNetwork.random(
        sizes, activation or ctebm.HardSigmoid(), gain=gain, seed=2
    )
    x = 0.8 * torch.rand(n, sizes[0], generator=generator, dtype=torch.float64) - 0.4
    target = 0.8 * torch.rand(n, sizes[-1], generator=generator, dtype=torch.float64) - 0.4
    plastic = ctebm.PlasticNetwork(network, tied=tied)
    return plastic, plastic.settle(x, tol=1e-14, max_sweeps=2000), target


def samples(n=240, seed=0):
    """Return noisy copies of three patterns, as rates, and their classes."""
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(7).uniform(0.2, 0.8, (3, SIZES[0]))
    label = rng.integers(0, 3, n)
    return np.clip(pattern[label] + 0.1 * rng.standard_normal((n, SIZES[0])), 0, 1), label


def small_network(sizes=SIZES, dtype=torch.float64):
    net = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(), gain=0.5, seed=1, dtype=dtype)
    return net.centred({"x": np.full(sizes[0], 0.5)})


def free(states):
    """Return the layers above the input side by side."""
    return torch.cat(list(states[1:]), -1)


def same_weights(a, b):
    """Return whether two trainings came to the same bits."""
    mine, theirs = ([*t.network.weights, t.network.bias] for t in (a, b))
    return all(torch.equal(p, q) for p, q in zip(mine, theirs, strict=True))
