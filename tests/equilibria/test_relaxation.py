"""The motion followed in time: against fine simulations, past saddles, and where it never ends."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair, pitchfork_state
from zoo import cyclic, hard_asymmetric, inhibition, rotor, zoo

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
    for network in (rotor(), hard_asymmetric(0)):
        start = torch.full((1, network.n_units), 0.1)
        found = followed(network, start, max_iterations=200)
        assert found.steps.tolist() == [200]
        assert residual(network, found.state) > 1e-3


def test_growth_ends_it():
    found = followed(Growth(1), [[1.0]])
    assert found.state.abs().max() > 1e12
    assert found.time.item() == pytest.approx(math.log(found.state.item()), rel=1e-3)


def test_rows_are_independent():
    network = cyclic()
    start = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3).roll(1, 0)
    together = followed(network, start)
    for i in range(4):
        alone = followed(network, start[i : i + 1])
        assert torch.allclose(alone.state[0], together.state[i], atol=1e-12)
        assert alone.steps[0] == together.steps[i]


def test_units_slide_on_kinks():
    found = followed(inhibition(3, -5.0), [[0.4, 0.35, -0.1], [0.1, -0.3, 0.2]])
    assert found.state.tolist() == [[0.5, 0.0, -0.5], [0.0, -0.5, 0.5]]
    assert residual(pair(2.0, HARD), followed(pair(2.0, HARD), [[0.1, 0.2]]).state) == 0


@pytest.mark.parametrize(
    "name",
    ["inhibition-5-2", "inhibition-3-2-logistic", "inhibited-layer", "clone-layers", "hebbian",
     "excitation-inhibition", "cyclic", "hard-asymmetric-5", "hopfield-layers"],
)  # fmt: skip
def test_it_ends_where_a_fine_simulation_ends(name):
    member = zoo()[name]
    network, starts = member.network, member.starts(10, seed=1)
    found = followed(network, starts)
    stiff = torch.linalg.eigvals(network.jacobian(found.state)).abs().amax()
    eps = 0.1 / max(float(stiff), 1.0)
    run = simulate(network, starts, n_steps=4000, eps=eps, steady=1e-4, save_every=4000)
    apart = (run.state[-1] - found.state).abs().amax(-1)
    assert found.stable.all()
    assert (apart < 0.02).all()
