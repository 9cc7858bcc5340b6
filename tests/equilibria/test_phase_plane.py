"""Planes of two units: energy, force, equilibria and paths."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, random_dense

import ctebm
from ctebm import (
    AsymmetricNetwork,
    Custom,
    FeedbackNetwork,
    HopfieldNetwork,
    LayeredNetwork,
    VectorField,
    find_fixed_points,
    phase_plane,
)
from ctebm.networks.kinks import Box


class HalfKinked(VectorField):
    """A user's motion whose first unit has kinks and whose second has none."""

    box = Box(torch.tensor([-0.5, -torch.inf]), torch.tensor([0.5, torch.inf]))

    def force(self, s):
        return torch.tensor([1.0, 0.25], dtype=torch.float64) - s


def test_it_holds_force_and_energy():
    network = pair(8.0, TANH)
    plane = phase_plane(network, limits=(-1, 1), n_grid=9, starts=[(0.5, -0.9)], n_starts=20)
    s = torch.tensor([float(plane.x[6]), float(plane.y[2])], dtype=torch.float64)
    here = plane.isel(x=6, y=2)
    assert float(here.energy) == pytest.approx(float(network.energy(s)))
    assert here.force.values == pytest.approx(network.force(s).numpy())
    assert sorted(plane.stability.values) == ["saddle", "stable", "stable"]
    start, end = plane.path_state.isel(path=0, step=[0, -1]).values
    assert start == pytest.approx([0.5, -0.9])
    # most of the way to a minimum
    assert np.abs(plane.equilibrium.values - end).max(1).min() < 0.05


def test_units_in_either_order():
    network = random_dense(2, 0, TANH)
    forth = phase_plane(network, (0, 1), n_grid=5, starts=[(0.1, 0.4)], n_starts=5)
    back = phase_plane(network, (1, 0), n_grid=5, starts=[(0.4, 0.1)], n_starts=5)
    assert np.allclose(forth.energy.values, back.energy.values.T)
    assert np.allclose(forth.path_state.values, back.path_state.values[..., ::-1])


def test_a_slice_of_a_larger_network():
    network = random_dense(5, 0, HARD)
    base = 0.1 * torch.arange(5, dtype=torch.float64)
    plane = phase_plane(network, (1, 3), base=base, limits=(-0.4, 0.4), n_grid=5)
    s = base.clone()
    s[1], s[3] = float(plane.x[4]), float(plane.y[0])
    assert float(plane.energy.isel(x=4, y=0)) == pytest.approx(float(network.energy(s)))
    assert "equilibrium" not in plane


def test_the_base_can_be_a_record():
    network = random_dense(4, 0, TANH)
    points = ctebm.settle(network)
    plane = phase_plane(network, (0, 2), base=points, n_grid=3)
    s = points.state.clone()
    s[[0, 2]] = 0.0
    assert float(plane.energy.isel(x=1, y=1)) == pytest.approx(float(network.energy(s)))


def motions():
    layers = LayeredNetwork.random([1, 1, 1], TANH, gain=2.0, seed=0)
    hidden = FeedbackNetwork.scaled(layers, 0.5).clamp({"x": [0.3]})
    return {
        "asymmetric": AsymmetricNetwork([[0.3, 4.0], [-3.0, 0.5]], [0.1, -0.2], TANH),
        "asymmetric, kinks": AsymmetricNetwork([[0.0, 2.0], [-1.0, 0.0]], [-0.5, 0.2], HARD),
        "feedback": hidden,
        "hopfield": HopfieldNetwork(pair(3.0, TANH)),
        "hopfield, no integral": HopfieldNetwork(pair(1.0, Custom(torch.tanh))),
        "user's": HalfKinked(2),
    }


@pytest.mark.parametrize("name", motions())
def test_motions_with_and_without_an_energy(name):
    """The force is the network's own, the equilibria are the search's, paths follow the motion."""
    network = motions()[name]
    plane = phase_plane(network, limits=(-1, 1), n_grid=7, starts=[(0.2, -0.3)], n_starts=20)
    s = torch.tensor([float(plane.x[5]), float(plane.y[1])], dtype=torch.float64)
    here = plane.isel(x=5, y=1)
    assert here.force.values == pytest.approx(network.force(s).numpy(), abs=1e-14)
    assert ("energy" in plane) == (name == "hopfield")
    if "energy" in plane:
        assert float(here.energy) == pytest.approx(float(network.energy(s)))
    points = find_fixed_points(network, 20)
    assert np.array_equal(plane.equilibrium.values, points.state.numpy())
    before, after = plane.path_state.isel(path=0, step=[0, 1]).values
    step = 0.02 * network.force(torch.as_tensor(before)).numpy()
    assert after - before == pytest.approx(step, abs=1e-14)


def test_kinks_of_each_axis():
    plane = phase_plane(pair(2.0, HARD), n_grid=3, n_starts=5)
    assert (plane.lower_kink, plane.upper_kink) == (-0.5, 0.5)
    assert phase_plane(pair(2.0, TANH), n_grid=3, n_starts=5).upper_kink == np.inf
    assert phase_plane(HalfKinked(2), n_grid=3, n_starts=5).upper_kink == [0.5, np.inf]
    assert phase_plane(HalfKinked(2), (1, 0), n_grid=3, n_starts=5).lower_kink == [-np.inf, -0.5]


def test_refusals():
    network = random_dense(5, 0, HARD)
    with pytest.raises(ValueError, match="leave the plane"):
        phase_plane(network, (1, 3), starts=[(0.0, 0.0)])
    with pytest.raises(ValueError, match="two different units"):
        phase_plane(network, (1, 1))
    with pytest.raises(ValueError, match="n_grid >= 2"):
        phase_plane(network, n_grid=1)
    with pytest.raises(ValueError, match="finite the upper limit"):
        phase_plane(network, limits=(-1.0, np.inf))
    samples = LayeredNetwork.random([2, 2], HARD).clamp({"x": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match="one sample"):
        phase_plane(samples)


def test_paths_are_twelve_time_constants_long_in_steps_of_a_fiftieth():
    plane = phase_plane(pair(2.0, TANH), n_grid=3, starts=[(0.5, -0.9), (0.1, 0.2)], n_starts=5)
    assert dict(plane.path_state.sizes) == {"path": 2, "step": 601, "component": 2}
    assert phase_plane(pair(2.0, TANH), n_starts=5).sizes["x"] == 81


def test_paths_last_as_long_as_is_asked_and_a_step_at_least():
    options = {"n_grid": 2, "starts": [(0.1, 0.2)], "n_starts": 2, "eps": 0.1}
    for t_end, n_steps in ((1.0, 10), (0.01, 1)):
        plane = phase_plane(pair(2.0, TANH), t_end=t_end, **options)
        assert plane.sizes["step"] == n_steps + 1 and plane.sizes["x"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"units": (0, 2)}, "two different units below 2"),
        ({"units": (2, 0)}, "two different units below 2"),
        ({"units": (0, -1)}, "unit >= 0"),
        ({"units": (0, 1, 1)}, "expected two units"),
        ({"limits": (0.0,)}, "expected two limits"),
        ({"starts": [(0.0, 0.0, 0.0)]}, r"shape \(path, 2\), got \(1, 3\)"),
        ({"base": [[0.0, 0.0]]}, r"one base state of shape \(2,\)"),
    ],
)
def test_what_is_no_plane_of_two_units_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        phase_plane(pair(2.0, TANH), **options)


@pytest.mark.parametrize(
    "listed", [tuple, list, np.array, torch.tensor], ids=["tuple", "list", "array", "tensor"]
)
def test_two_numbers_come_in_a_tuple_a_list_or_an_array_of_one_dimension(listed):
    network = random_dense(3, 0, TANH, gain=1.0)
    plane = phase_plane(network, listed([0, 2]), limits=listed([-1.0, 1.0]), n_grid=3)
    assert plane.x.values.tolist() == plane.y.values.tolist() == [-1.0, 0.0, 1.0]
    if listed in (np.array, torch.tensor):
        for wrong in ([[-1.0], [1.0]], [-1.0, 0.0, 1.0]):
            with pytest.raises(ValueError, match="expected two limits"):
                phase_plane(network, (0, 2), limits=listed(wrong), n_grid=3)
