"""The conditions of an equilibrium: residual, pinned units, margin."""

import pytest
import torch
from analytic import HARD, TANH, pair, random_dense

import ctebm
from ctebm.equilibria.kkt import (
    check_tolerance,
    force_in_box,
    jump_beside,
    margin,
    picard_map,
    pinned_units,
    project,
    residual,
    residual_vector,
)

STATES = torch.tensor([[0.5, 0.5], [0.5, -0.2], [0.1, 0.3]], dtype=torch.float64)
# forces: out of the box, back into it, beyond the kink; nothing on a pinned unit is a residual
FORCES = torch.tensor([[1.0, 2.0], [-0.3, 0.1], [0.9, -0.1]], dtype=torch.float64)


def test_with_kinks_it_is_what_a_projected_step_moves():
    found = residual_vector(pair(2.0, HARD), STATES, FORCES)
    expected = [[0.0, 0.0], [-0.3, 0.1], [0.4, -0.1]]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-15)


def test_without_kinks_it_is_the_force():
    network = random_dense(4, 0, TANH)
    s = torch.linspace(-1, 1, 4, dtype=torch.float64)
    assert torch.equal(residual_vector(network, s, network.force(s)), network.force(s))
    assert residual(network, s) == network.force(s).abs().max()


@pytest.mark.parametrize("w", [1.5, 2.0, 4.0])
def test_the_kinked_pair_by_hand(w):
    """Currents are +-w/2 at the corners, whose kinks are +-1/2; the force is beyond them."""
    network, s = pair(w, HARD), torch.tensor([0.5, 0.5], dtype=torch.float64)
    f = network.force(s)
    assert residual(network, s) == 0
    assert pinned_units(network, s).all()
    assert margin(network, s, f).item() == pytest.approx(w / 2 - 0.5, abs=1e-15)
    assert not pinned_units(network, 0.9 * s).any()
    assert margin(network, 0.9 * s, f).item() == pytest.approx(0.05, abs=1e-15)


def test_without_kinks_nothing_is_pinned():
    network, s = pair(2.0, TANH), torch.ones(3, 2, dtype=torch.float64)
    assert not pinned_units(network, s).any()
    assert margin(network, s, network.force(s)).isposinf().all()
    assert torch.equal(project(network, 5 * s), 5 * s)
    assert torch.equal(project(pair(2.0, HARD), 5 * s), 0.5 * s)


@pytest.mark.parametrize(("dtype", "floor"), [(torch.float64, 1.8e-15), (torch.float32, 9.6e-7)])
def test_a_tolerance_below_rounding_is_refused(dtype, floor):
    check_tolerance(floor, dtype)
    for tol in (0.9 * floor, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rounding floor"):
            check_tolerance(tol, dtype)


@pytest.mark.parametrize("path", ["fast", "flow"])
def test_a_kink_that_is_not_declared_is_named_where_settling_fails(path):
    class Clipped(ctebm.Network):
        def energy(self, s):
            return s.square().sum(-1) / 2 - 1.2 * s[..., 1].clamp(0, 1)

    found = ctebm.settle(Clipped(2), [0.3, 0.5], path=path, max_iterations=200)
    assert found.status.item() == 1
    assert "the force on unit 1 jumps by 1.2 at the state 1, a kink that is not" in found.message[0]


def test_a_smooth_force_does_not_jump():
    stiff = ctebm.DenseNetwork([[0, 9], [9, 0]], [-4, -4], ctebm.Logistic(8))
    for s in ([0.3, 0.1], [0.0, 0.0]):
        assert jump_beside(stiff, stiff.as_state(s)) == ""
    hard = ctebm.DenseNetwork([[0, 9], [9, 0]], [-4, -4], ctebm.HardSigmoid())
    assert jump_beside(hard, hard.as_state([0.5, 0.4])) == ""  # its kinks are known


def test_a_fixed_point_step_moves_by_the_residual():
    """By the currents, by the force and its box, by the force alone."""
    W = [[0.0, 3.0], [-1.0, 0.0]]
    for network in (
        pair(2.0, HARD),
        ctebm.AsymmetricNetwork(W, [0.3, -0.2], HARD),
        ctebm.HopfieldNetwork(pair(2.0, HARD)),
        pair(2.0, TANH),
    ):
        s = project(network, torch.tensor([[0.5, -0.5], [0.1, 0.4], [-0.5, 0.0]]).double())
        expected = residual_vector(network, s, network.force(s))
        torch.testing.assert_close(picard_map(network)(s) - s, expected, atol=4e-16, rtol=0)


def test_the_tolerance_nobody_asked_for():
    assert check_tolerance(None, torch.float64) == 1e-10
    assert check_tolerance(None, torch.float64, 1e-7) == 1e-7
    for dtype in (torch.float64, torch.float32):
        assert check_tolerance(None, dtype, 0.0) == pytest.approx(100 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("state", "far"), [(0.01, 1e-3), (1.0, 1e-3), (20.0, 2e-2)])
def test_a_jump_is_looked_for_at_a_thousandth_of_the_state_or_of_one(state, far):
    """And at a tenth of that, on both sides along the force."""
    asked = []

    class Spied(ctebm.VectorField):
        def force(self, s):
            asked.append(s.tolist())
            return torch.tensor([-2.0, 1.0], dtype=torch.float64)

    s = torch.tensor([state, -state / 2], dtype=torch.float64)
    assert jump_beside(Spied(2), s) == ""
    apart = sorted((a[0] - state, a[1] + state / 2) for a in asked)
    expected = sorted((-side * d, side * d / 2) for d in (far, far / 10) for side in (1, -1))
    assert [*apart[:2], *apart[3:]] == [pytest.approx(e, rel=1e-9) for e in expected]
    assert apart[2] == (0, 0)


def test_forces_of_many_states_are_those_of_each():
    """Of pairwise couplings, of a rate a layer, of others; in the box, where there is one."""
    layered = ctebm.LayeredNetwork.random([3, 4, 2], [HARD, HARD, TANH], gain=2.0)
    for network in (
        pair(2.0, HARD),
        pair(2.0, TANH),
        layered,
        layered.clamp({"x": [0.1, 0.2, 0.3]}),
        ctebm.HopfieldNetwork(pair(2.0, HARD)),
    ):
        draw = torch.Generator().manual_seed(0)
        s = torch.randn(20, network.n_units, generator=draw, dtype=torch.float64)
        s = project(network, s)
        torch.testing.assert_close(force_in_box(network)(s), network.force(s))
