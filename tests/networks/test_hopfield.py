"""The Hopfield network of 1984."""

import pytest
import torch
from cases import every_motion_and_network
from network_contract import check

import ctebm

ACTIVATIONS = [ctebm.HardSigmoid(), ctebm.Logistic(), ctebm.Tanh()]


def _network(activation, gain=1.0):
    return ctebm.LayeredNetwork.random((4, 6, 3), activation, gain=gain, seed=3)


def _states(n=5, units=13):
    return (
        2 * torch.rand(n, units, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        - 1
    )


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_the_integral_has_the_rate_as_its_slope(activation):
    s = 3 * _states().flatten()
    slope = torch.func.vmap(torch.func.grad(activation.integral))(s)
    torch.testing.assert_close(slope, activation(s))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_the_motion_is_the_gradient_along_the_rates(activation):
    network, s = ctebm.HopfieldNetwork(_network(activation)), _states()
    gradient = torch.func.grad(lambda u: network.energy(u).sum())(s)
    expected = -activation.derivative(s) * network.force(s)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_equilibria_solve_s_equals_current(activation):
    network = ctebm.HopfieldNetwork(_network(activation, gain=0.3)).clamp(
        {"x": _states(units=4) / 2}
    )
    found = ctebm.settle(network, tol=1e-10)
    assert found.converged.all()
    torch.testing.assert_close(
        network.pairwise.current(found.state), found.state, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_clamping_keeps_the_energy(activation):
    network, s = ctebm.HopfieldNetwork(_network(activation)), _states()
    clamped = network.clamp({"x": s[:, :4]})
    torch.testing.assert_close(clamped.energy(s[:, 4:]), network.energy(s))
    torch.testing.assert_close(clamped.force(s[:, 4:]), network.force(s)[:, 4:])


def test_one_unit_by_hand():
    """With current 2 and kinks at -1/2, 1/2: s = 2 in Hopfield's energy, 1/2 in that of eq. 6."""
    layered = ctebm.LayeredNetwork([[[0.0]]], [[0.0], [2.0]], ctebm.HardSigmoid())
    x = {"x": [[0.0]]}
    assert float(ctebm.settle(ctebm.HopfieldNetwork(layered).clamp(x)).state) == pytest.approx(2)
    assert float(ctebm.settle(layered.clamp(x)).state) == pytest.approx(0.5)
    # integral of the inverse rate v - 1/2 from 0 to 1 vanishes, so E = -2
    assert float(ctebm.HopfieldNetwork(layered).energy(torch.tensor([0.0, 2.0])[None]) -
                 ctebm.HopfieldNetwork(layered).energy(torch.tensor([0.0, -0.5])[None])) == (
        pytest.approx(-2.0)
    )  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_the_jacobian_is_that_of_the_motion(activation):
    network, s = ctebm.HopfieldNetwork(_network(activation)), _states()
    expected = torch.func.vmap(torch.func.jacrev(network.force))(s)
    torch.testing.assert_close(network.jacobian(s), expected)


@pytest.mark.parametrize(
    "rho", [*ACTIVATIONS, ctebm.Custom(torch.sin)], ids=lambda rho: type(rho).__name__
)
def test_a_phase_plane_shows_its_own_force_and_its_energy_if_it_is_known(rho):
    pair = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0.1, -0.2], rho)
    network = ctebm.HopfieldNetwork(pair)
    plane = ctebm.phase_plane(network, n_grid=5, n_starts=5)
    axis = torch.linspace(-1, 1, 5, dtype=torch.float64)
    s = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    expected = torch.tensor([0.1, -0.2]) + rho(s).flip(-1) / 2 - s  # I - s
    torch.testing.assert_close(torch.tensor(plane.force.values), expected.movedim(-1, 0))
    assert ("energy" in plane) == (rho in ACTIVATIONS)
    if rho in ACTIVATIONS:
        torch.testing.assert_close(torch.tensor(plane.energy.values), network.energy(s))


def test_only_symmetric_couplings_have_this_energy():
    with pytest.raises(TypeError, match="symmetric couplings, got AsymmetricNetwork"):
        ctebm.HopfieldNetwork(ctebm.AsymmetricNetwork([[0, 1], [-1, 0]], [0, 0], ctebm.Tanh()))


@pytest.mark.parametrize(
    "name", ["hopfield-dense-hard", "hopfield-sparse", "batch-hopfield-layered-tanh"]
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
