"""Matrices from products with unit vectors, mapped or one at a time."""

import pytest
import torch
from cases import CHAIN, F64, Quartic, states

import ctebm
from ctebm.networks import matrices
from ctebm.networks.base import VectorField
from ctebm.networks.matrices import columns

LAYERS = CHAIN | {"z": slice(3, 4)}


class Circle(VectorField):
    """A force whose Jacobian is not symmetric."""

    def force(self, s):
        return s.flip(-1) * s.roll(1, -1) - s


class Unmapped(torch.autograd.Function):
    """Squares; its derivative decides on values, which cannot be mapped."""

    @staticmethod
    def forward(s):
        return s**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        (s,) = ctx.saved_tensors
        return 2 * s * g if float(g.detach().abs().max()) > 0 else torch.zeros_like(s)


class Branching(VectorField):
    def force(self, s):
        return Unmapped.apply(s) - s


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("net", [Circle(4), Quartic(4)], ids=repr)
def test_the_matrix_is_that_of_its_products_one_by_one(net, batch):
    s = states(net, batch)
    basis = torch.eye(s.shape[-1], dtype=F64)
    slow = torch.stack([net.jacobian_product(s, e.expand_as(s)) for e in basis], -1)
    torch.testing.assert_close(net.jacobian(s), slow, rtol=1e-14, atol=1e-14)


def test_states_are_expanded_to_the_samples_of_the_parameters():
    net = Quartic(4, LAYERS).clamp({"x": [[0.1], [0.2], [0.3]]})
    s = torch.tensor([0.5, -0.2, 0.1], dtype=F64)
    H = net.hessian(s)
    assert H.shape == (3, 3, 3)
    torch.testing.assert_close(H[1], net.hessian(s.expand(3, -1))[1])


def test_what_cannot_be_mapped_is_multiplied_one_vector_at_a_time():
    s = torch.tensor([0.5, -0.2, 0.1], dtype=F64)
    torch.testing.assert_close(Branching(3).jacobian(s), torch.diag(2 * s - 1))


def test_portions_of_the_unit_vectors_make_the_same_matrix(monkeypatch):
    s = states(Circle(5), (3,))
    whole = Circle(5).jacobian(s)
    monkeypatch.setattr("ctebm.networks.matrices._PORTION", 30)
    torch.testing.assert_close(Circle(5).jacobian(s), whole)


def test_no_units_and_no_samples_have_empty_matrices():
    assert columns(lambda v: v, torch.zeros(3, 0)).shape == (3, 0, 0)
    assert columns(lambda v: v, torch.zeros(0, 2)).shape == (0, 2, 2)


def test_linearize_calls_the_energy_a_few_times_only():
    class Counted(Quartic):
        calls = 0

        def energy(self, s):
            Counted.calls += 1
            return super().energy(s)

    net = Counted(n_units=40)
    ctebm.linearize(net, torch.zeros(40, dtype=F64))
    assert Counted.calls < 40


def test_columns_go_in_portions_that_bound_the_memory(monkeypatch):
    mapped, sizes = torch.func.vmap, []

    def noted(function, **options):
        sizes.append(options["chunk_size"])
        return mapped(function, **options)

    s = states(Circle(4), (3,))
    whole = columns(lambda v: Circle(4).jacobian_product(s, v), s)
    monkeypatch.setattr(torch.func, "vmap", noted)
    for portion in (36, 1):  # three states of four units: 12 numbers a column
        monkeypatch.setattr(matrices, "_PORTION", portion)
        torch.testing.assert_close(
            columns(lambda v: Circle(4).jacobian_product(s, v), s), whole, rtol=0, atol=1e-15
        )
    assert sizes[0] == 3 and sizes[-1] == 1
