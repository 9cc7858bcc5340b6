"""The motion followed in time: against fine simulations, past saddles, and where it never ends."""

import itertools
import math

import pytest
import torch
import zoo
from analytic import HARD, TANH, pair, pitchfork_state

from ctebm import VectorField, simulate
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.relaxation import relax
from ctebm.equilibria.rows import Rows


class Decay(VectorField):
    """``s' = -s``."""

    def force(self, s):
        return -s


class Growth(VectorField):
    """``s' = s``."""

    def force(self, s):
        return s.clone()


def followed(network, starts, tol=1e-10, max_iterations=2000):
    s = torch.as_tensor(starts, dtype=torch.float64)
    return relax(Rows.repeated(network, len(s)), s, tol, max_iterations)


def test_time_is_the_time_of_the_motion():
    found = followed(Decay(1), [[1.0], [2.0]], max_iterations=8)
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64) * (-found.time).exp()
    assert (found.time > 0.1).all()
    assert torch.allclose(found.state[:, 0], exact, atol=1e-5)


def test_it_leaves_a_saddle_that_it_passes():
    up = pitchfork_state(8.0)
    # along the stable direction of the state 0, off it by 1e-6
    found = followed(pair(8.0, TANH), [[0.5, -0.5 + 1e-6], [0.5, -0.5 - 1e-6]])
    expected = torch.tensor([[up, up], [-up, -up]], dtype=torch.float64)
    assert torch.allclose(found.state, expected, atol=1e-10)
    assert found.stable.all()


def test_on_its_stable_set_it_ends_at_the_saddle_and_does_not_call_it_stable():
    found = followed(pair(8.0, TANH), [[0.5, -0.5]])
    assert found.state.abs().max() < 1e-9
    assert not found.stable.any()


def test_a_cycle_has_no_end():
    for network in (zoo.rotor(), zoo.hard_asymmetric(0)):
        start = torch.full((1, network.n_units), 0.1)
        found = followed(network, start, max_iterations=200)
        assert found.steps.tolist() == [200]
        assert residual(network, found.state) > 1e-3


def test_growth_ends_it():
    found = followed(Growth(1), [[1.0]])
    assert found.state.abs().max() > 1e12
    assert found.time.item() == pytest.approx(math.log(found.state.item()), rel=1e-3)


def test_rows_are_independent():
    network = zoo.cyclic()
    start = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3).roll(1, 0)
    together = followed(network, start)
    for i in range(4):
        alone = followed(network, start[i : i + 1])
        assert torch.allclose(alone.state[0], together.state[i], atol=1e-12)
        assert alone.steps[0] == together.steps[i]


def test_units_slide_on_kinks():
    found = followed(zoo.inhibition(3, -5.0), [[0.4, 0.35, -0.1], [0.1, -0.3, 0.2]])
    assert found.state.tolist() == [[0.5, 0.0, -0.5], [0.0, -0.5, 0.5]]
    assert residual(pair(2.0, HARD), followed(pair(2.0, HARD), [[0.1, 0.2]]).state) == 0


@pytest.mark.parametrize(
    "name",
    ["inhibition-5-2", "inhibition-3-2-logistic", "inhibited-layer", "clone-layers", "hebbian",
     "excitation-inhibition", "cyclic", "hard-asymmetric-5", "hopfield-layers"],
)  # fmt: skip
def test_it_ends_where_a_fine_simulation_ends(name):
    member = zoo.zoo()[name]
    network, starts = member.network, member.starts(10, seed=1)
    found = followed(network, starts)
    stiff = torch.linalg.eigvals(network.jacobian(found.state)).abs().amax()
    eps = 0.1 / max(float(stiff), 1.0)
    run = simulate(network, starts, n_steps=4000, eps=eps, steady=1e-4, save_every=4000)
    apart = (run.state[-1] - found.state).abs().amax(-1)
    assert found.stable.all()
    assert (apart < 0.02).all()


@pytest.mark.slow
def test_a_bump_that_drifts_ends_in_the_basin_where_it_moves():
    """A bump between two units is held by 1e-6 and drifts for 1e5 time constants.

    Mirrored at a unit the ring is itself: bumps that stand on one are saddles, and none passes
    one. Where Newton's method ends the motion, it is between the units where the bump was.
    """
    n, network = 16, zoo.cosine_ring(16)
    starts = zoo.zoo()["cosine-ring"].starts(20)
    found = followed(network, starts, max_iterations=100)
    wave = torch.exp(-2j * math.pi * torch.arange(n) / n).to(torch.complex128)

    def place(s):
        return torch.angle(s.to(wave) @ wave) * n / (2 * math.pi) % n

    fine = simulate(network, starts, n_steps=5000, eps=0.02, save_every=5000).state[-1]
    assert found.stable.sum() == 14  # the others still drift, and are not said to be stable
    assert torch.equal(place(found.state).floor(), place(fine).floor())
    ends = place(found.state[found.stable]) % 1
    assert torch.allclose(ends, torch.full_like(ends, 0.5), atol=1e-5)
    # the nearest to its end, to that end
    start = found.stable & ((place(fine) % 1 - 0.5).abs() < 0.05)
    assert start.any()
    options = {"n_steps": 10**6, "eps": 1.0, "steady": 1e-7, "save_every": 10**6}
    end = simulate(network, fine[start], **options).state[-1]
    assert (end - found.state[start]).abs().max() < 3e-3 < 5e-3 < (end - fine[start]).abs().max()


def test_equal_units_end_at_their_saddle_instead_of_jumping_beside_it():
    """A curvature of 7: longer and longer steps, at the limit of the method, never ended."""
    found = followed(zoo.inhibition(2, -6.0), [[0.4, 0.4], [0.1, 0.1]], max_iterations=200)
    assert found.state.abs().max() < 1e-9
    assert not found.stable.any()


class SlowDecay(VectorField):
    """``s' = -s / 4``."""

    def force(self, s):
        return -s / 4


def test_no_step_is_longer_than_the_fastest_mode_allows():
    """Also where that is slower than the leak: 2.2 of its own time constants."""
    times = [followed(SlowDecay(1), [[1.0]], 1e-300, n).time.item() for n in range(20, 40)]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 2.2 * 4 * 1.001
