"""Tests of forces and energies that torch can't differentiate: said in words, whatever is asked."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import ctebm
from ctebm.networks.differentiable import Differentiated

F64 = torch.float64


def energy(s):
    return s.square().sum(-1) / 2 - 0.3 * torch.tanh(s).prod(-1)


class ByAutograd(ctebm.VectorField):
    """A force that calls torch.autograd itself."""

    def force(self, s):
        u = self.as_state(s).detach().requires_grad_()
        return -torch.autograd.grad(energy(u).sum(), u)[0]


class ByFunc(ctebm.VectorField):
    """What it is told to do instead."""

    def force(self, s):
        return -torch.func.grad(lambda u: energy(u).sum())(self.as_state(s))


class Checkpointed(ctebm.Network):
    def energy(self, s):
        return checkpoint(energy, self.as_state(s), use_reentrant=False)


ASKED = {
    "simulate": lambda net: ctebm.simulate(net, torch.ones(2), n_steps=3, eps=0.1).state,
    "dopri5": lambda net: ctebm.simulate(net, torch.ones(2), times=[0, 1.0], method="dopri5").state,
    "linearize": lambda net: ctebm.linearize(net, torch.zeros(2)).eigenvalues,
    "follow": lambda net: ctebm.settle(net, [0.5, 0.2], path="flow").state,
    "search": lambda net: ctebm.find_fixed_points(net, 4, bounds=(-1.0, 1.0)).state,
    "product": lambda net: net.jacobian_product(torch.zeros(2), torch.ones(2)),
    "adjoint": lambda net: net.adjoint_product(torch.zeros(2), torch.ones(2)),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_torch_cannot_differentiate_is_said_with_the_remedy(asked):
    with pytest.raises(ValueError, match=r"^expected a force .* torch\.func\.grad\("):
        ASKED[asked](ByAutograd(2))
    with pytest.raises(ValueError, match=r"^expected an energy .* leave the checkpoint out"):
        ASKED[asked](Checkpointed(2))
    assert bool(torch.isfinite(ASKED[asked](ByFunc(2)).real).all())


def test_other_errors_stay_what_they_are():
    class Misfit(ctebm.VectorField):
        def force(self, s):
            return self.as_state(s) @ torch.ones(3, 3, dtype=F64)

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        ctebm.simulate(Misfit(2), torch.ones(2, 2), n_steps=1, eps=0.1)
    with pytest.raises(RuntimeError, match=r"^mine$"), Differentiated("a force"):
        raise RuntimeError("mine")
