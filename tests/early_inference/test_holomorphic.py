"""Equilibria nudged at complex strengths: the implicit gradient to 1e-10."""

import cmath
import itertools
import math

import pytest
import torch
from cases import Quartic, graph, layered, rows

import ctebm
from ctebm.early_inference.costs import OfRates, cross_entropy
from ctebm.early_inference.holomorphic import circle

SMOOTH = [ctebm.Identity(), ctebm.Logistic(), ctebm.Logistic(), ctebm.Logistic()]
NETWORKS = {
    "layers": layered(ctebm.Tanh()),
    "graph": graph(ctebm.Logistic(2)),
    "1984": ctebm.HopfieldNetwork(layered(SMOOTH, gain=0.4)),
    "predictive": ctebm.PredictiveNetwork.random((5, 4, 2), ctebm.SignedTanh(), gain=0.6),
    "user": Quartic(6, {"x": slice(0, 2), "h": slice(2, 3), "y": slice(3, 6)}),
}


def rest_of(name):
    net = NETWORKS[name]
    sizes = [w.stop - w.start for w in net.layers.values()]
    free = net.clamp({"x": rows(3, sizes[0])})
    return free, ctebm.settle(free, tol=1e-13), rows(3, sizes[-1], seed=8).abs()


@pytest.mark.parametrize(
    "name, cost",
    [("layers", None), ("layers", cross_entropy), ("graph", None), ("predictive", None),
     ("user", None), ("1984", OfRates(ctebm.Logistic()))],
)  # fmt: skip
def test_the_estimate_is_the_implicit_gradient(name, cost):
    free, rest, target = rest_of(name)
    found = ctebm.holomorphic_gradient(free, rest, target, 0.05, 12, cost)
    exact = ctebm.implicit_gradient(free, rest, target, cost)
    assert float((found - exact).abs().max()) < 1e-10 < 1e-2 < float(exact.abs().max())


def test_the_error_falls_with_the_number_of_points():
    free, rest, target = rest_of("layers")
    exact = ctebm.implicit_gradient(free, rest, target)
    off = [
        float((ctebm.holomorphic_gradient(free, rest, target, 0.2, n) - exact).abs().max())
        for n in (1, 2, 3, 6)
    ]
    assert all(b < a / 4 for a, b in itertools.pairwise(off))


def test_one_point_and_two_are_real_nudges():
    free, rest, target = rest_of("layers")
    up, down = (
        ctebm.settle(ctebm.nudged(free, target, b), rest.state, tol=1e-14).state
        for b in (0.1, -0.1)
    )
    one = ctebm.holomorphic_gradient(free, rest, target, 0.1, 1)
    two = ctebm.holomorphic_gradient(free, rest, target, 0.1, 2)
    torch.testing.assert_close(one, (rest.state - up) / 0.1, rtol=0, atol=1e-11)
    torch.testing.assert_close(two, (down - up) / 0.2, rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_circle_counts_conjugates_twice(n):
    """The mean over all points of any polynomial with real coefficients."""

    def p(b):
        return 2 + 3 * b - b**2 + b**3 / 2

    roots = [0.3 * cmath.exp(2j * math.pi * j / n) for j in range(n)]
    mean = sum(p(b) / b for b in roots) / n
    found = sum((factor * p(b)).real for b, factor in circle(0.3, n))
    assert math.isclose(found, mean.real, rel_tol=1e-12) and abs(mean.imag) < 1e-12


def test_a_sample_without_an_equilibrium_is_nan():
    """Past the strength that a negative nudge may have, a linear network has none to find."""
    net = ctebm.LayeredNetwork([[[0.5]]], [[0], [0.2]], ctebm.Softplus(30.0)).clamp({"x": [[0.1]]})
    rest = ctebm.settle(net)
    found = ctebm.holomorphic_gradient(net, rest, [[0.4]], 0.1, 4, tol=0.0)
    assert bool(found.isnan().all())


@pytest.mark.parametrize(
    "network, cost, words",
    [
        (NETWORKS["1984"], None, "OfRates"),
        (ctebm.FeedbackNetwork.at_angle(layered(ctebm.Tanh()), 30), None, "use implicit_gradient"),
        (layered(ctebm.HardSigmoid()), None, "analytic activation"),
    ],
)
def test_what_has_no_holomorphic_nudge_is_refused(network, cost, words):
    free = network.clamp({"x": rows(2, 5)})
    with pytest.raises(ValueError, match=words):
        ctebm.holomorphic_gradient(free, torch.zeros(2, 9), rows(2, 2), cost=cost)


def test_no_strength_moves_nothing():
    free, rest, target = rest_of("layers")
    with pytest.raises(ValueError, match="a beta other than 0"):
        ctebm.holomorphic_gradient(free, rest, target, 0.0)


@pytest.mark.parametrize("options", [{"points": 10**12}, {"tol": -1.0}, {"tol": "small"}])
def test_options_that_are_none_are_refused_before_anything_is_computed(options):
    free, rest, target = rest_of("layers")
    with pytest.raises(ValueError, match=r"fewer points|a finite tol"):
        ctebm.holomorphic_gradient(free, rest, target, **options)


def test_no_samples_have_no_gradients():
    free = NETWORKS["layers"].clamp({"x": torch.zeros(0, 5)})
    found = ctebm.holomorphic_gradient(free, torch.zeros(0, 9), torch.zeros(0, 2))
    assert found.shape == (0, 9)


class Wide(ctebm.Network):
    """Units that rest at large states."""

    def energy(self, s):
        return (s - 3e6).square().sum(-1) / 2 + s[..., 0] * s[..., 1] / 4


def test_the_tolerance_is_relative_to_the_size_of_states():
    """States of millions, where rounding of a force is far above the tolerance."""
    free = Wide(2, {"h": slice(0, 1), "y": slice(1, 2)})
    rest = ctebm.settle(free, tol=1e-6)
    target = rest.state[..., 1:] + 0.5
    found = ctebm.holomorphic_gradient(free, rest, target, 0.1, 6)
    exact = ctebm.implicit_gradient(free, rest, target)
    assert exact[-1].item() == pytest.approx(-0.5 / (1 - 1 / 16))
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("rho", [ctebm.Tanh(), ctebm.Logistic()], ids=repr)
def test_single_precision_gives_the_estimate_to_its_rounding(rho):
    free = layered(rho, gain=0.5).to(torch.float32).clamp({"x": rows(3, 5).float()})
    rest = ctebm.settle(free, tol=1e-6)
    target = rows(3, 2, seed=8).float().abs()
    found = ctebm.holomorphic_gradient(free, rest, target, 0.2, 8, tol=1e-5)
    exact = ctebm.implicit_gradient(free, rest, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-4)  # of tol over beta


def test_states_in_rows_may_share_a_target_and_an_input():
    """Each row is the sample that it is alone, whichever of the three brings the rows."""
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=2)
    x, y = torch.tensor([0.2, 0.1, 0.4]), torch.tensor([0.3, -0.2])
    free = net.clamp({"x": x})
    rest = ctebm.settle(free, tol=1e-13).state
    alone = ctebm.holomorphic_gradient(free, rest, y, 0.05, 6)
    whole = net.clamp({"x": x.expand(2, 5, 3)})
    for given in (
        (free, rest.expand(2, 5, -1), y),
        (free, rest, y.expand(2, 5, 2)),
        (whole, rest, y),
        (net.clamp({"x": x.expand(5, 3)}), rest.expand(2, 1, -1), y),
    ):
        found = ctebm.holomorphic_gradient(*given, 0.05, 6)
        torch.testing.assert_close(found, alone.expand(2, 5, -1), rtol=0, atol=1e-12)
