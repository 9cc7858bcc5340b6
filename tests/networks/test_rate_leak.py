"""The leak on the rates of Scellier & Bengio (2017), against a loop of their update."""

import math

import pytest
import torch
from cases import F64, dense, graph, layered, rows

import ctebm

SIGMOID = ctebm.Logistic(4, centre=0.5)


def by_hand(net, s):
    """Return sum r^2/2 - r' W r / 2 - b' r, sample by sample."""
    W, b, r = net.pairwise.dense_weight(), net.bias, net.activation(s)
    return torch.stack([(q @ q / 2 - q @ W @ q / 2 - b @ q) for q in r])


@pytest.mark.parametrize("make", [dense, layered, graph], ids=["dense", "layered", "graph"])
def test_the_energy_is_theirs(make):
    net = ctebm.RateLeakNetwork(make(SIGMOID))
    s = rows(5, net.n_units)
    torch.testing.assert_close(net.energy(s), by_hand(net, s))


def test_in_the_box_of_a_hard_sigmoid_it_is_eq_6():
    whole = layered(ctebm.HardSigmoid(lower=0))
    net, s = ctebm.RateLeakNetwork(whole), rows(5, 14).abs().clamp(0, 1)
    for call in ("energy", "force", "hessian"):
        torch.testing.assert_close(getattr(net, call)(s), getattr(whole, call)(s))
    held = {"x": torch.full((5,), 0.3, dtype=F64)}
    mine, other = (ctebm.settle(n.clamp(held), tol=1e-13) for n in (net, whole))
    torch.testing.assert_close(mine.state, other.state, rtol=0, atol=1e-12)
    assert torch.equal(mine.pinned, other.pinned)


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-1.0, 2.0)])
def test_equilibria_are_where_clipped_steps_end(low, high):
    net = ctebm.RateLeakNetwork(layered(SIGMOID, gain=0.8), low, high)
    free = net.clamp({"x": rows(4, 5)})
    found = ctebm.settle(free, tol=1e-13).raise_for_status()
    s = free.first_guess().expand(4, -1)
    for _ in range(20_000):
        s = (s + 0.5 * free.force(s)).clamp(low, high)
    torch.testing.assert_close(found.state, s, rtol=0, atol=1e-9)
    assert found.pinned.any() and not found.pinned.all()
    inside = ~found.pinned
    gap = free.rate(found.state) - free.pairwise.current(found.state)
    assert float(gap[inside].abs().max()) < 1e-11


def test_gradients_are_finite_differences_of_the_settled_error():
    whole = layered(SIGMOID, gain=0.3)
    whole.bias.fill_(0.4)  # rates that are currents, of units inside the interval
    net = ctebm.RateLeakNetwork(whole, -3, 3)
    x, target = rows(1, 5), rows(1, 2, seed=8)
    rest = ctebm.settle(net.clamp({"x": x}), tol=1e-13)
    assert not rest.pinned.any()
    found = ctebm.parameter_gradient(net, x, rest, target, "implicit").by_name

    def cost(h):
        weights = [W.clone() for W in net.pairwise.weights]
        weights[1][0, 1] += h
        other = ctebm.LayeredNetwork(weights, net.pairwise.biases, SIGMOID)
        other = ctebm.RateLeakNetwork(other, -3, 3).clamp({"x": x})
        y = ctebm.settle(other, rest.state, tol=1e-13).state[:, -2:]
        return float((y - target).square().sum() / 2)

    slope = (cost(1e-5) - cost(-1e-5)) / 2e-5
    assert math.isclose(slope, float(found["pairwise.weights.1"][0, 0, 1]), rel_tol=1e-6)


def test_what_has_no_place_is_refused():
    with pytest.raises(ValueError, match="a kink between 0 and 1"):
        ctebm.RateLeakNetwork(layered(ctebm.HardSigmoid()))
    with pytest.raises(ValueError, match="states lie between low and high"):
        ctebm.RateLeakNetwork(layered(SIGMOID), 1.0, 0.0)
    turned = ctebm.FeedbackNetwork.at_angle(layered(SIGMOID), 90)
    with pytest.raises(TypeError, match="symmetric couplings"):
        ctebm.RateLeakNetwork(turned)
