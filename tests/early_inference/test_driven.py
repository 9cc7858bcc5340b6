"""Networks with a driven output against the networks they stand for."""

import torch
from cases import settled

import ctebm
from ctebm.early_inference.driven import HeldOutput, TangentField

HARD = ctebm.HardSigmoid()


def test_a_network_that_sees_its_output_held_is_that_network():
    net = ctebm.LayeredNetwork.random((5, 6, 3), ctebm.Tanh(), gain=1.0, seed=4).clamp(
        {"x": torch.zeros(2, 5)}
    )
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(2, 9, generator=draw, dtype=torch.float64)
    target = torch.randn(2, 3, generator=draw, dtype=torch.float64)
    held, clamped = HeldOutput(net, target), net.clamp({"y": target})
    torch.testing.assert_close(held.pressure(s)[:, :6], clamped.pressure(s[:, :6]))
    torch.testing.assert_close(held.jacobian(s), ctebm.VectorField.jacobian(held, s))
    second = held.samples(torch.Size((2,)), torch.tensor(1))
    torch.testing.assert_close(second.force(s[1]), held.force(s)[1])
    assert held.batch == (2,)
    assert not hasattr(held, "energy")


def test_a_tangent_field_is_the_jacobian_of_the_units_that_move():
    net, fixed, target = settled(HARD, gain=1.2)
    free = ~fixed.pinned
    assert fixed.pinned.any() and free.any()
    pull = target - fixed.state[:, net.layers["y"]]
    tangent = TangentField(net, fixed.state, free, pull)
    v = torch.randn(fixed.state.shape, generator=torch.Generator().manual_seed(0)).double()
    J = free.unsqueeze(-1) * net.jacobian(fixed.state) * free.unsqueeze(-2)
    push = torch.zeros_like(v)
    push[:, net.layers["y"]] = pull
    expected = (J @ v.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(tangent.force(v), expected + free * push)
    torch.testing.assert_close(tangent.jacobian_product(v, v), expected)
    torch.testing.assert_close(tangent.adjoint_product(v, v), (J.mT @ v.unsqueeze(-1)).squeeze(-1))
