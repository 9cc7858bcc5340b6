"""Nudges of any strength: the closed forms against settled networks."""

import math

import numpy as np
import pytest
import torch

import ctebm
from ctebm.early_inference.nudge_laws import nudge_limit, output_response, rescaled_loss

F64 = torch.float64


def known():
    """The linear network 6-5-4-3 of the known numbers, at rest."""
    r = np.random.default_rng(3)
    sizes = [(6, 5), (5, 4), (4, 3)]
    weights = [r.standard_normal(mn) / np.sqrt(mn[0]) for mn in sizes]
    biases = [None, *(0.1 * r.standard_normal(n) for _, n in sizes)]
    net = ctebm.PredictiveNetwork(weights, biases, ctebm.Identity())
    free = net.clamp({"x": np.random.default_rng(4).standard_normal((1, 6))})
    return free, ctebm.settle(free), np.random.default_rng(5).standard_normal((1, 3))


def test_the_numbers_known_to_ten_digits():
    free, fixed, target = known()
    S = output_response(free, fixed)
    np.testing.assert_allclose(torch.linalg.eigvalsh(S)[0],
                               [1.0026057616, 1.5404425009, 6.1940375098], atol=6e-11)  # fmt: skip
    error = fixed.state[..., free.layers["y"]] - torch.as_tensor(target)
    assert float(error.square().sum() / 2) == pytest.approx(2.6639127785, abs=6e-11)
    assert float(rescaled_loss(free, fixed, target, 0.1)) == pytest.approx(0.1785590930, abs=6e-11)
    assert float(rescaled_loss(free, fixed, target)) == pytest.approx(0.8313641674, abs=6e-11)
    assert float(nudge_limit(free, fixed)) == pytest.approx(0.1614, abs=5e-5)


@pytest.mark.parametrize("beta", [-0.1, 1e-3, 0.5, 20.0, math.inf])
def test_the_settled_energy_is_the_rescaled_loss(beta):
    free, fixed, target = known()
    driven = free.clamp({"y": target}) if beta == math.inf else free.nudged(target, beta)
    found = ctebm.settle(driven, tol=1e-12).raise_for_status().energy
    torch.testing.assert_close(found, rescaled_loss(free, fixed, target, beta), rtol=1e-12,
                               atol=1e-14)  # fmt: skip


def test_a_deep_linear_network_to_rounding():
    net = ctebm.PredictiveNetwork.random([5, *[8] * 6, 4], ctebm.Identity(), seed=1)
    free = net.clamp({"x": [[0.3, -0.2, 0.5, 1.0, -1.0]]})
    fixed, target = ctebm.settle(free), torch.tensor([[0.5, -0.5, 1.0, 0.0]], dtype=F64)
    energy = ctebm.settle(free.clamp({"y": target}), tol=1e-13).energy
    S = torch.eye(4, dtype=F64)  # sum over layers of the squared paths to the output
    path = torch.eye(4, dtype=F64)
    for W in reversed(net.weights[1:]):
        path = W @ path
        S = S + path.mT @ path
    e = fixed.state[..., free.layers["y"]] - target
    exact = (e @ torch.linalg.inv(S) * e).sum(-1) / 2
    torch.testing.assert_close(energy, exact, rtol=2e-14, atol=0)
    torch.testing.assert_close(rescaled_loss(free, fixed, target), exact, rtol=2e-14, atol=0)


def test_it_holds_for_eq_6_between_the_kinks_too():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid(), gain=0.3)
    free = net.clamp({"x": [[0.1, -0.2, 0.3]]})
    fixed, target = ctebm.settle(free, tol=1e-13), torch.tensor([[0.05, -0.05]], dtype=F64)
    clamped = ctebm.settle(free.clamp({"y": target}), tol=1e-13)
    raised = clamped.energy - fixed.energy
    torch.testing.assert_close(rescaled_loss(free, fixed, target), raised, rtol=1e-9, atol=1e-14)


def test_no_strength_costs_nothing_and_too_negative_a_one_has_no_equilibrium():
    free, fixed, target = known()
    assert rescaled_loss(free, fixed, target, 0.0).tolist() == [0]
    assert math.isnan(float(rescaled_loss(free, fixed, target, -0.162)))


def test_one_state_has_a_loss_for_each_target_and_no_target_none():
    free, fixed, target = known()
    three = np.concatenate([target, 0 * target, -target])
    each = [float(rescaled_loss(free, fixed, row[None], 0.1)) for row in three]
    assert rescaled_loss(free, fixed, three, 0.1).tolist() == pytest.approx(each, rel=1e-12)
    assert rescaled_loss(free, fixed, target[:0]).shape == (0,)
    with pytest.raises(ValueError, match="expected a finite beta"):
        rescaled_loss(free, fixed, target, fixed.to_dataset())  # pyright: ignore[reportArgumentType]


def test_an_unstable_equilibrium_has_no_response():
    pair = ctebm.DenseNetwork([[0, 8.0], [8.0, 0]], [0, 0], ctebm.Tanh(),
                              layers={"h": slice(0, 1), "y": slice(1, 2)}).centred()  # fmt: skip
    assert torch.isnan(output_response(pair, [0.0, 0.0])).all()
    assert math.isnan(float(nudge_limit(pair, [0.0, 0.0])))


def test_a_motion_without_an_energy_is_refused():
    ring = ctebm.AsymmetricNetwork([[0, 1], [-1, 0]], [0, 0], ctebm.Tanh())
    with pytest.raises(ValueError, match="with an energy"):
        nudge_limit(ring, [0.0, 0.0])
