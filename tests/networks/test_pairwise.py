"""Forces of networks of pairwise couplings, in batches of every shape."""

from __future__ import annotations

import pytest
import torch

import ctebm

NETWORKS = {
    "layered": lambda rho: ctebm.LayeredNetwork.random([5, 4, 3, 2], rho, seed=1),
    "clamped": lambda rho: ctebm.LayeredNetwork.random([5, 4, 3, 2], rho, seed=1).clamp(
        {"x": torch.linspace(-1, 1, 15).reshape(3, 5)}
    ),
    "wide": lambda rho: ctebm.LayeredNetwork.random([60, 50, 7], rho, seed=1),
    "dense": lambda rho: ctebm.DenseNetwork(
        torch.tensor([[0, 1, -1], [1, 0, 2], [-1, 2, 0.0]]), [0.1, 0, -0.2], rho,
        layers={"x": slice(0, 1), "y": slice(1, 3)},
    ),
}  # fmt: skip
ACTIVATIONS = [ctebm.Tanh(), ctebm.Logistic(), ctebm.HardSigmoid(), ctebm.SmoothHardSigmoid()]


def states(net: ctebm.Network, *batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, net.n_units, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("rho", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [(3,), (1,), (2, 3), (3, 1)], ids=str)
def test_force_is_the_slope_of_the_energy(name, rho, batch):
    net = NETWORKS[name](rho)
    if name == "clamped" and batch[-1] == 1:
        batch = (*batch[:-1], 3)  # its bias has three rows
    s = states(net, *batch)
    by_autograd = -torch.func.grad(lambda u: net.energy(u).sum())(s)
    torch.testing.assert_close(net.force(s).expand_as(by_autograd), by_autograd)


def test_force_sees_weights_that_were_changed_in_place():
    net = NETWORKS["layered"](ctebm.Tanh())
    s = states(net, 3)
    before = net.force(s)
    net.weights[1].mul_(2)
    fresh = ctebm.LayeredNetwork(net.weights, net.biases, ctebm.Tanh())
    torch.testing.assert_close(net.force(s), fresh.force(s))
    assert not torch.allclose(net.force(s), before)
    net.weights[0] = torch.zeros_like(net.weights[0])
    torch.testing.assert_close(net.current(s)[..., net.layers["x"]], net.biases[0].expand(3, -1))
