"""Memories of polynomial order: what they store, and their closed forms."""

import pytest
import torch
from cases import F64, corrupted, every_motion_and_network, signs
from network_contract import check

import ctebm


def test_a_higher_order_stores_what_order_2_loses():
    X = signs(40, 50)
    kept = {}
    for order in (2, 4):
        memory = ctebm.PolynomialMemory(X, order)
        points = ctebm.settle(memory, 0.4 * corrupted(X, 0.05))
        kept[order] = float((memory.overlaps(points.state).diagonal() > 0.8).double().mean())
    assert kept[2] < 0.5 and kept[4] > 0.95


def test_order_2_is_the_hebbian_network_with_self_coupling():
    X, rho = signs(3, 10), ctebm.SignedTanh(4.0)
    memory, net = ctebm.PolynomialMemory(X, 2), ctebm.DenseNetwork.hebbian(X, rho)
    s = torch.randn(4, 10, dtype=F64, generator=torch.Generator().manual_seed(2))
    own = rho(s).square().sum(-1) * 3 / 10 / 2
    torch.testing.assert_close(memory.energy(s), net.energy(s) - own)


def test_an_order_below_2_is_refused():
    with pytest.raises(ValueError, match="order"):
        ctebm.PolynomialMemory([[1.0]], 1)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_force_and_hessian_are_derivatives_of_the_energy(order):
    X = torch.randn(4, 6, dtype=F64, generator=torch.Generator().manual_seed(3))
    memory = ctebm.PolynomialMemory(X, order, ctebm.Logistic())
    s = torch.randn(6, dtype=F64, generator=torch.Generator().manual_seed(4))
    slope = torch.autograd.functional.jacobian(memory.energy, s)
    torch.testing.assert_close(memory.force(s), -slope)
    exact = torch.autograd.functional.hessian(memory.energy, s)
    torch.testing.assert_close(memory.hessian(s), exact)
    torch.testing.assert_close(memory.hessian_product(s, s.flip(0)), exact @ s.flip(0))


@pytest.mark.parametrize("name", ["polynomial", "clamped-polynomial"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
