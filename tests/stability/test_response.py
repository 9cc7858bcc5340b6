"""Responses and fluctuations, with an energy and without, against equations and simulations."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from analytic import HARD, TANH, pair, random_dense

from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    Dynamics,
    Logistic,
    SparseNetwork,
    linearize,
    settle,
    simulate,
)

BOTH_KINDS = [
    pytest.param(pair(0.5, HARD), id="affine pair"),
    pytest.param(random_dense(6, 1, Logistic(), 0.6), id="logistic"),
    pytest.param(AsymmetricNetwork([[0, 0.8], [-0.2, 0]], [0.1, 0], TANH).centred(), id="rotor"),
    pytest.param(
        AsymmetricNetwork([[0, 0.9, 0.1], [-0.4, 0, 0.2], [0.3, 0.1, 0]], [-0.6, -0.1, -0.4], HARD),
        id="asymmetric, hard",
    ),
]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def at_rest(network, start=None):
    state = settle(network, start, tol=1e-13).raise_for_status().state
    return linearize(network, state)


def test_noise_digits():
    linear = at_rest(pair(0.5, HARD))
    for covariance, variance, shared in [
        (linear.covariance(0.1), 6.66667e-3, 3.33333e-3),
        (linear.covariance(0.1, eps=0.1), 6.930007e-3, 3.326403e-3),
        (linear.covariance(0.1, eps=0.1, synaptic=True), 1.732502e-4, 8.316008e-5),
    ]:
        assert covariance.tolist() == [
            pytest.approx([variance, shared], rel=2e-6),
            pytest.approx([shared, variance], rel=2e-6),
        ]


@pytest.mark.parametrize("network", BOTH_KINDS)
def test_covariance_solves_lyapunov(network):
    linear, sigma, eps = at_rest(network), 0.3, 0.2
    J, one = network.jacobian(linear.state), torch.eye(network.n_units, dtype=torch.float64)
    S = linear.covariance(sigma)
    assert torch.allclose(J @ S + S @ J.mT, -(sigma**2) * one, atol=1e-13)
    M, S = one + eps * J, linear.covariance(sigma, eps)
    assert torch.allclose(M @ S @ M.mT + eps * sigma**2 * one, S, atol=1e-13)
    S, G = linear.covariance(sigma, eps, synaptic=True), eps * (one + J)
    assert torch.allclose(M @ S @ M.mT + sigma**2 * G @ G.mT, S, atol=1e-13)


@pytest.mark.slow
def test_covariance_is_that_of_the_simulation():
    linear, n_samples = at_rest(pair(0.5, HARD)), 20_000
    run = simulate(
        Dynamics(pair(0.5, HARD), sigma=0.01),
        linear.state.expand(n_samples, 2),
        n_steps=300, eps=0.2, save_every=300, seed=5,
    )  # fmt: skip
    measured = torch.cov(run.state[-1].mT)
    expected = linear.covariance(0.01, eps=0.2)
    # 5 standard errors of a variance from this many normal samples
    assert (measured / expected - 1).abs().max() < 5 * math.sqrt(2 / n_samples) * 2


@pytest.mark.parametrize("network", [*BOTH_KINDS, pair(2.0, HARD)])
def test_euler_response_is_the_simulated_one(network):
    linear = at_rest(network, torch.full((network.n_units,), 0.2))
    push, eps, n = 1e-6 * torch.ones(network.n_units, dtype=torch.float64), 0.3, 7
    free = ~linear.pinned
    J = network.jacobian(linear.state) * free * free.unsqueeze(-1)
    d = torch.zeros_like(push)
    for _ in range(n):
        d = d + eps * (push * free + J @ d)
    assert torch.allclose(linear.response(push, eps, n), d, atol=1e-18, rtol=1e-10)


@pytest.mark.parametrize("network", BOTH_KINDS)
def test_continuous_response_is_the_limit_of_eulers(network):
    linear = at_rest(network)
    push = torch.arange(1.0, network.n_units + 1, dtype=torch.float64)
    exact = linear.response(push, time=2.0)
    errors = [float((linear.response(push, 2.0 / n, n) - exact).norm()) for n in (1000, 2000, 4000)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.01)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.01)
    late = linear.response(push, time=200 * float(linear.return_time))
    assert torch.allclose(late, linear.response(push))


def test_response_is_the_shift_of_the_equilibrium():
    network = random_dense(8, 3, TANH, 0.8)
    linear = at_rest(network)
    db = 1e-5 * torch.linspace(-1, 1, 8, dtype=torch.float64)
    shifted = [
        settle(DenseNetwork(network.weight, network.bias + k * db, TANH), tol=1e-13).state
        for k in (1, -1)
    ]
    force = network.activation.derivative(linear.state) * db
    measured = (shifted[0] - shifted[1]) / 2
    assert torch.allclose(measured, linear.response(force), atol=1e-13)


@pytest.mark.parametrize("network", BOTH_KINDS)
def test_frequency_response_and_power_spectrum(network):
    linear, n = at_rest(network), network.n_units
    u, f = torch.ones(n, dtype=torch.float64), 0.3
    J = network.jacobian(linear.state).to(torch.complex128)
    one = torch.eye(n, dtype=torch.complex128)
    expected = torch.linalg.solve(2j * math.pi * f * one - J, u.to(torch.complex128))
    assert torch.allclose(linear.frequency_response(u, f), expected)
    # the variance is the integral over all frequencies, here by Gauss' rule in arctan(omega)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    omega = np.tan(math.pi / 2 * nodes)
    weights = torch.as_tensor(weights * math.pi / 2 * (1 + omega**2) / (2 * math.pi))
    total = weights @ linear.power_spectrum(0.2, omega / (2 * math.pi))
    torch.testing.assert_close(total, linear.covariance(0.2).diagonal(), rtol=1e-9, atol=0)


def test_a_one_sided_estimate_is_twice_the_spectrum():
    """Welch's estimate from a long run, each of 8 bands within 4 standard errors (1 in 2,000)."""
    linear, eps, every = at_rest(pair(0.5, TANH)), 0.02, 5
    noisy = Dynamics(linear.network, sigma=0.01)
    rows = 200
    run = simulate(
        noisy, linear.state.expand(rows, 2), n_steps=20_000, eps=eps, save_every=every, seed=1
    )
    moved = (run.state[400:, :, 0] - linear.state[0]).numpy().T  # after 40 time constants
    f, estimate = scipy.signal.welch(moved, 1 / (every * eps), nperseg=512)
    spread = estimate.std(0) / rows**0.5
    bands = np.arange(2, 18, 2)  # far below Nyquist's frequency: Euler's step and aliases are small
    expected = 2 * linear.power_spectrum(0.01, f[bands])[:, 0].numpy()
    assert (abs(estimate.mean(0)[bands] - expected) < 4 * spread[bands]).all()


def test_refusals():
    saddle = linearize(pair(8.0, TANH), torch.zeros(2))
    for ask in (
        lambda: saddle.covariance(0.1),
        lambda: saddle.power_spectrum(0.1, [0.1]),
        lambda: saddle.response(torch.ones(2)),
    ):
        with pytest.raises(ValueError, match="stable"):
            ask()
    stable = at_rest(pair(0.5, HARD))
    with pytest.raises(ValueError, match="eps_max"):
        stable.covariance(0.1, eps=1.34)
    with pytest.raises(ValueError, match="give eps"):
        stable.covariance(0.1, synaptic=True)
    with pytest.raises(ValueError, match="sigma"):
        stable.covariance(-1.0)
    for numbers in (
        {"time": math.nan},
        {"eps": 0.1, "n_steps": math.inf},
        {"eps": "a", "n_steps": 1},
    ):
        with pytest.raises(ValueError, match="expected"):
            stable.response(torch.ones(2), **numbers)
    for frequency in (math.nan, [0.1, math.inf], "low"):
        with pytest.raises(ValueError, match="frequency"):
            stable.power_spectrum(0.1, frequency)
    with pytest.raises(ValueError, match="finite states"):
        stable.frequency_response([1.0, math.nan], 0.1)
    with pytest.raises(ValueError, match="n_steps"):
        stable.response(torch.ones(2), eps=0.1)


def test_what_needs_all_eigenpairs_says_how_many_bytes_they_take():
    ring = SparseNetwork.ring(7, 0.1, TANH)
    near = linearize(ring, torch.zeros(2, 7), dense=False)
    with pytest.raises(
        ValueError, match="a power spectrum of 7 units would take 392 bytes and all"
    ):
        near.power_spectrum(0.1, [0.5])
