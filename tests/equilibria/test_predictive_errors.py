"""Predictive coding at rest: errors as coordinates find what the motion in states finds."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import ctebm
from ctebm.equilibria import predictive_errors, settling
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.predictive_errors import descend_in_errors, is_predictive
from ctebm.equilibria.rows import Rows
from ctebm.networks.error_coordinates import ErrorCoordinates

F64 = torch.float64


def deep(n_hidden=8, gain=1.0, n=4):
    """A chain of tanh layers, its inputs and its targets."""
    net = ctebm.PredictiveNetwork.random([6, *[12] * n_hidden, 3], ctebm.SignedTanh(), gain=gain)
    draw = torch.Generator().manual_seed(2)
    x, target = (torch.randn(n, m, generator=draw, dtype=F64) for m in (6, 3))
    return net.clamp({"x": x}), target


@pytest.mark.parametrize("arrival", ["clamped", "nudged"])
def test_it_is_the_equilibrium_that_the_motion_settles_at(arrival):
    free, target = deep(4)
    net = free.clamp({"y": target}) if arrival == "clamped" else free.nudged(target, 0.5)
    start = net.first_guess()
    s, steps = descend_in_errors(Rows.of(net, net.batch), start, 1e-11, 200)
    assert float(residual(net, s).max()) < 1e-10 and int(steps.min()) > 0
    flow = ctebm.settle(net, start, path="flow", max_iterations=20_000).raise_for_status()
    torch.testing.assert_close(s, flow.state, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ctebm.settle(net).state, s, rtol=1e-8, atol=1e-8)


def counted_passes(monkeypatch):
    """Return a list that grows with each pass down and up: a force, or a product."""
    passes, force, operator = (
        [],
        ErrorCoordinates.energy_and_force,
        ErrorCoordinates.hessian_operator,
    )

    def with_force(self, s):
        passes.append(1)
        return force(self, s)

    def with_product(self, s):
        multiply = operator(self, s)
        return lambda v: (passes.append(1), multiply(v))[1]

    monkeypatch.setattr(ErrorCoordinates, "energy_and_force", with_force)
    monkeypatch.setattr(ErrorCoordinates, "hessian_operator", with_product)
    return passes


def test_few_passes_reach_rest_where_the_motion_needs_hundreds(monkeypatch):
    """Ten layers: an Euler step of the motion costs a pass, and so does a step here."""
    free, target = deep(9, n=1)
    net = free.nudged(target, 1.0)
    passes = counted_passes(monkeypatch)
    s, _ = descend_in_errors(Rows.of(net, net.batch), net.first_guess(), 1e-8, 200)
    assert float(residual(net, s).max()) < 1e-7
    eigenvalues = torch.linalg.eigvalsh(net.hessian(s))[0]
    step, u, steps = 1.0 / float(eigenvalues[-1]), net.first_guess(), 0
    while float(residual(net, u).max()) > 1e-7:
        u, steps = u + step * net.force(u), steps + 1
    assert len(passes) > 3 and 10 * len(passes) < steps


@pytest.mark.parametrize(
    ("sizes", "most"), [([10, 20, 20, 20, 20, 5], (22, 25, 14)), ([50] * 12, (62, 62, 24))]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_passes_of_the_literature(monkeypatch, sizes, most, seed):
    """Clamped, nudged by 1 and by 0.1: at most what conjugate gradients are known to take."""
    draw = np.random.default_rng(seed)
    weights = [draw.standard_normal(mn) / np.sqrt(mn[0]) for mn in pairwise(sizes)]
    net = ctebm.PredictiveNetwork(weights, [np.zeros(n) for n in sizes], ctebm.SignedTanh())
    x, target = (draw.standard_normal((1, n)) for n in (sizes[0], sizes[-1]))
    free, passes = net.clamp({"x": x}), counted_passes(monkeypatch)
    arrivals = (free.clamp({"y": target}), free.nudged(target, 1.0), free.nudged(target, 0.1))
    for one, bound in zip(arrivals, most, strict=True):
        passes.clear()
        s, steps = descend_in_errors(Rows.of(one, one.batch), one.first_guess(), 1e-8, 1000)
        assert int(steps) <= len(passes) <= bound
        coded = ErrorCoordinates(one)
        assert float(coded.force(coded.errors(s)).abs().max()) <= 1.01e-8


def test_what_such_steps_do_not_end_starts_anew_by_newton_steps(monkeypatch):
    monkeypatch.setattr(predictive_errors, "LEARNING_STEPS", 2)
    free, target = deep(4)
    net = free.nudged(target, 0.5)
    s, steps = descend_in_errors(Rows.of(net, net.batch), net.first_guess(), 1e-11, 200)
    assert float(residual(net, s).max()) < 1e-10 and int(steps.min()) > 0


def test_rows_that_rest_already_stay_where_they_are():
    free, target = deep(3)
    rest = ctebm.settle(free.nudged(target, 0.5)).state
    s, steps = descend_in_errors(Rows.of(free.nudged(target, 0.5), free.batch), rest, 1e-9, 50)
    assert torch.equal(s, rest) and not steps.any()


def test_other_networks_are_not_predictive():
    pair = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    assert not is_predictive(Rows.of(pair, torch.Size([1])))
    assert settling.settle(pair).converged


def test_a_negative_nudge_beyond_the_limit_does_not_settle():
    net = ctebm.PredictiveNetwork.random([3, 4, 2], ctebm.Identity(), seed=3).clamp(
        {"x": [1.0] * 3}
    )
    limit = float(ctebm.nudge_limit(net, ctebm.settle(net)))
    within = ctebm.settle(net.nudged([1.0, 1.0], -0.99 * limit))
    beyond = ctebm.settle(net.nudged([1.0, 1.0], -1.01 * limit), max_iterations=200)
    assert bool(within.converged) and within.stability == ["stable"]
    assert not bool(beyond.converged)
