"""What the record of a linearisation says: closed forms, with an energy and without."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, all_to_all, pair, pitchfork_state, random_dense, symmetric_spectrum

import ctebm
from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    Dynamics,
    LayeredNetwork,
    SparseNetwork,
    linearize,
    settle,
    simulate,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def at_rest(network, start=None):
    return linearize(network, settle(network, start, tol=1e-13).raise_for_status())


def rotor(a=0.3, b=0.5, activation=HARD):
    """W = [[0, a + b], [a - b, 0]]: lambda = 1 -+ sqrt(a^2 - b^2) with slope 1."""
    return AsymmetricNetwork([[0, a + b], [a - b, 0]], [0.0, 0.0], activation).centred()


@pytest.mark.parametrize("w", [0.25, 0.6, -0.5])
def test_affine_pair(w):
    network = pair(w, HARD, 0.0 if w == 0.25 else -0.1)
    linear = at_rest(network)
    expected = sorted([1 - w, 1 + w])
    assert linear.eigenvalues.tolist() == pytest.approx(expected, abs=1e-14)
    assert linear.time_constants.tolist() == pytest.approx([1 / x for x in expected])
    assert float(linear.eps_max) == pytest.approx(2 / (1 + abs(w)))
    assert float(linear.eps_monotone) == pytest.approx(1 / (1 + abs(w)))
    assert float(linear.reactivity) == pytest.approx(abs(w) - 1)
    assert float(linear.return_time) == pytest.approx(1 / (1 - abs(w)))
    assert float(linear.condition_number) == pytest.approx((1 + abs(w)) / (1 - abs(w)))
    assert torch.allclose(linear.multipliers(0.3), 1 - 0.3 * tensor(*expected))
    response = linear.response(torch.eye(2))
    assert torch.allclose(response, tensor([1, w], [w, 1]) / (1 - w**2), atol=1e-14)
    assert (linear.index, linear.stability) == (0, "stable")


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("w", [5.0, 8.0])
def test_pitchfork_spectrum(n, w):
    network, s = all_to_all(n, w, TANH), pitchfork_state(w)
    low, high = symmetric_spectrum(s, w, n)
    linear = linearize(network, torch.full((n,), s, dtype=torch.float64))
    assert linear.eigenvalues.tolist() == pytest.approx([low] + [high] * (n - 1), abs=1e-12)
    origin = linearize(network, torch.zeros(n))
    assert origin.eigenvalues.tolist() == pytest.approx(
        [1 - w / 4] + [1 + w / (4 * (n - 1))] * (n - 1), abs=1e-14
    )
    assert (origin.index, origin.stability) == (1, "saddle")
    assert origin.eps_max == 0


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.5), (0.0, 0.9), (0.4, 0.1)])
def test_rotor(a, b):
    linear, r = linearize(rotor(a, b), torch.zeros(2)), np.emath.sqrt(a**2 - b**2)
    lam = np.array([1 - r, 1 + r])
    np.testing.assert_allclose(linear.eigenvalues.numpy(), lam, atol=1e-15)
    assert linear.eigenvalues.is_complex() and not linear.time_constants.is_complex()
    np.testing.assert_allclose(linear.time_constants, 1 / lam.real)
    assert float(linear.lambda_min) == pytest.approx(lam.real.min())
    assert float(linear.lambda_max) == pytest.approx(lam.real.max())
    limit = min(2 * lam.real / np.abs(lam) ** 2)
    assert float(linear.eps_max) == pytest.approx(limit)
    assert float(linear.eps_monotone) == pytest.approx(limit / 2)
    sizes = np.abs(lam)
    assert float(linear.condition_number) == pytest.approx(sizes.max() / sizes.min())
    S, A = np.sqrt(2 + 2 * a**2), np.sqrt(2) * b
    assert float(linear.symmetry) == pytest.approx(S / (S + A))
    assert float(linear.reactivity) == pytest.approx(abs(a) - 1)
    assert float(linear.return_time) == pytest.approx(1 / lam.real.min())
    np.testing.assert_allclose(linear.multipliers(0.3), 1 - 0.3 * lam, atol=1e-15)
    torch.testing.assert_close(linear.jacobian, tensor([-1, a + b], [a - b, -1]))


def test_spirals_and_saddles():
    """Slope 1/2 at the origin: lambda = 1 -+ sqrt(a^2 - b^2) / 4."""
    spiral = linearize(rotor(0.0, 8.0, activation=TANH), torch.zeros(2))
    assert spiral.stability == "stable" and float(spiral.eps_max) == pytest.approx(2 / (1 + 4))
    growing = linearize(rotor(6.0, 2.0, activation=TANH), torch.zeros(2))
    assert growing.stability == "saddle" and growing.index == 1
    assert growing.eps_max == 0 and growing.return_time == math.inf


def test_an_asymmetric_network_with_symmetric_weights_has_the_same_record():
    W, b = random_dense(6, 0, TANH).weight, torch.linspace(-0.2, 0.2, 6)
    general, special = (at_rest(kind(W, b, TANH)) for kind in (AsymmetricNetwork, DenseNetwork))
    for name in ("state", "pinned", "margin", "lambda_max", "lambda_min", "time_constants",
                 "eps_max", "eps_monotone", "condition_number", "return_time", "reactivity",
                 "symmetry", "jacobian", "status"):  # fmt: skip
        torch.testing.assert_close(getattr(general, name), getattr(special, name))
    torch.testing.assert_close(general.eigenvalues.real, special.eigenvalues)
    assert general.eigenvalues.imag.abs().max() < 1e-15
    for name in ("index", "stability", "whole", "message"):
        assert getattr(general, name) == getattr(special, name)
    push = torch.linspace(-1, 1, 6, dtype=torch.float64)
    for how in ({}, {"time": 1.5}, {"eps": 0.2, "n_steps": 9}):
        torch.testing.assert_close(general.response(push, **how), special.response(push, **how))
    for how in ({}, {"eps": 0.3}, {"eps": 0.3, "synaptic": True}):
        torch.testing.assert_close(general.covariance(0.1, **how), special.covariance(0.1, **how))
    torch.testing.assert_close(
        general.frequency_response(push, 0.4), special.frequency_response(push, 0.4)
    )
    both = [linear.power_spectrum(0.1, [0.0, 0.3]) for linear in (general, special)]
    torch.testing.assert_close(*both)
    one, other = (linear.to_dataset() for linear in (general, special))
    assert dict(one.sizes) == dict(other.sizes) and set(one.variables) == set(other.variables)
    assert all(one[name].dims == other[name].dims for name in one.variables)


@pytest.mark.parametrize(
    ("network", "limit"),
    [(pair(0.5, HARD), 2 / 1.5), (pair(0.8, HARD), 2 / 1.8), (rotor(0.0, 0.9), 2 / 1.81)],
    ids=["pair", "strong pair", "rotor"],
)
def test_euler_limit(network, limit):
    assert float(at_rest(network).eps_max) == pytest.approx(limit)
    for factor, settles in [(0.98, True), (1.001, False), (1.05, False)]:
        said = nullcontext() if settles else pytest.warns(UserWarning, match="2/lambda_max")
        with said:
            run = simulate(Dynamics(network), [0.2, -0.1], n_steps=3000, eps=factor * limit,
                           save_every=3000, projected=False)  # fmt: skip
        assert (float(run.state[-1].abs().max()) < 1e-9) is settles


@pytest.mark.parametrize("kind", [DenseNetwork, AsymmetricNetwork])
def test_without_free_units(kind):
    network = kind([[0, 2], [2, 0]], [-1, -1], HARD)
    linear = linearize(network, [0.5, 0.5])
    assert linear.eigenvalues.shape == (0,) and linear.pinned.all()
    assert (linear.index, linear.stability, float(linear.margin)) == (0, "stable", 0.5)
    assert (linear.response(torch.ones(2)) == 0).all()
    assert (linear.covariance(0.1) == 0).all() and (linear.jacobian == 0).all()
    assert (linear.frequency_response(torch.ones(2), 0.3) == 0).all()
    assert (linear.power_spectrum(0.1, [0.3]) == 0).all()
    assert linear.eps_max == math.inf and linear.return_time == 0
    assert linear.reactivity == -math.inf and linear.symmetry == 1
    assert {"sample": 1, "unit": 2, "mode": 0}.items() <= dict(linear.to_dataset().sizes).items()
    batch = linearize(network, torch.full((3, 2), 0.5))
    assert batch.eigenvalues.shape == (3, 0) and batch.eps_max.tolist() == [math.inf] * 3
    assert (batch.response(torch.ones(2)) == 0).all()


@pytest.mark.parametrize("network", [pair(0.5, HARD), rotor()], ids=["pair", "rotor"])
def test_outcome(network):
    good = linearize(network, [[0.0, 0.0], [0.0, 0.0]])
    assert good.status.tolist() == [0, 0] and good.message == ["", ""]
    assert good.raise_for_status() is good
    with pytest.warns(UserWarning, match="not an equilibrium"):
        bad = linearize(network, [[0.0, 0.0], [0.3, 0.1]])
    assert bad.status.tolist() == [0, 1]
    assert "sample 1" in bad.message[1] and "largest force" in bad.message[1]
    with pytest.raises(RuntimeError, match="sample 1 is not an equilibrium"):
        bad.raise_for_status()
    with pytest.raises(ValueError, match="expected an equilibrium"):
        bad.covariance(0.1)


@pytest.mark.parametrize("network", [pair(0.5, HARD), rotor()], ids=["pair", "rotor"])
def test_dataset_is_labelled(network, tmp_path):
    dataset = linearize(network, torch.zeros(3, 2)).to_dataset()
    assert {"sample": 3, "unit": 2, "mode": 2}.items() <= dict(dataset.sizes).items()
    for name in dataset.variables:
        assert {"long_name", "units"} <= set(dataset[name].attrs)
    ctebm.save(dataset, tmp_path / "linear.nc")
    assert ctebm.open(tmp_path / "linear.nc").identical(dataset)


def test_dataset_knows_layers():
    net = LayeredNetwork.random([3, 4, 2], TANH, seed=0).clamp({"x": torch.zeros(5, 3)})
    assert at_rest(net).to_dataset().sel(layer="y").sizes["unit"] == 2


def test_records_are_not_compared():
    linear = linearize(rotor(), torch.zeros(2))
    assert linear == linear and linear != linearize(rotor(), torch.zeros(2))
    assert ctebm.JacobianLinearization is ctebm.Linearization


def test_a_jacobian_that_does_not_fit_is_refused(monkeypatch):
    linear = linearize(SparseNetwork.ring(1000, 0.3, HARD), torch.zeros(1000), dense=False)
    monkeypatch.setattr("ctebm.networks.memory_limits.free_memory", lambda device: 2**22)
    with pytest.raises(ValueError, match=r"Jacobian of 1,000 units takes about 0\.00745 GiB"):
        _ = linear.jacobian


def test_the_jacobians_of_all_samples_are_counted_before_they_are_made(monkeypatch):
    near, asked = linearize(pair(0.5, TANH), torch.zeros(5, 3, 2)), []
    monkeypatch.setattr(
        "ctebm.stability.record.check_memory", lambda what, n, *more: asked.append(n)
    )
    assert near.jacobian.shape == (5, 3, 2, 2)
    assert asked == [near.jacobian.numel() * 8]
