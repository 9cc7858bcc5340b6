"""Fluctuations against responses: exact from covariances, and measured within their errors."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair

import ctebm
from ctebm import AsymmetricNetwork, LayeredNetwork, fluctuation_response, linearize, settle
from ctebm.sampling import fluctuation
from ctebm.sampling.fluctuation import response_of_covariances


def layered():
    net = LayeredNetwork.random([6, 5, 4, 3], HARD, gain=0.4, seed=2).centred()
    free = net.clamp({"x": torch.linspace(-0.2, 0.2, 6, dtype=torch.float64)})
    rest = settle(free, tol=1e-13)
    assert not bool(rest.pinned.any())
    u = torch.zeros(free.n_units, dtype=torch.float64)
    u[free.layer("y")] = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    return free, rest, u


@pytest.mark.parametrize("eps", [1.0, 0.5, 0.1, 0.01])
def test_the_identity_holds_at_every_step_and_depth(eps):
    net, rest, u = layered()
    linear = linearize(net, rest)
    sigma = 0.3
    C = linear.covariance(sigma, eps=eps)
    M = torch.eye(len(u), dtype=torch.float64) + eps * linear.jacobian
    for n in (1, 2, 3, 4, 7, 20):
        lags = [torch.linalg.matrix_power(M, k) @ C for k in (0, 1, n, n + 1)]
        found = response_of_covariances(lags, sigma, u)
        exact = linear.response(u, eps=eps, n_steps=n)
        for name in ("y", "h1", "h2"):
            where = net.layer(name)
            size = max(float(exact.abs().max()), 1e-300)
            assert torch.allclose(found[where], exact[where], rtol=0, atol=1e-12 * size), (n, name)


def test_the_first_arrival_is_the_gradient_and_the_textbook_misses_it():
    """At depth 1 after two steps the textbook's 2 [C(0) - C(n)]/sigma^2 is exactly 0 (N7)."""
    net, rest, u = layered()
    eps, sigma, linear = 0.1, 0.3, linearize(net, rest)
    C = linear.covariance(sigma, eps=eps)
    M = torch.eye(len(u), dtype=torch.float64) + eps * linear.jacobian
    lags = [torch.linalg.matrix_power(M, k) @ C for k in (0, 1, 2, 3)]
    h1 = net.layer("h1")
    target = rest.state[net.layer("y")] + u[net.layer("y")]
    gradient = ctebm.chain_gradient(net, rest.state, target)[h1]
    found = response_of_covariances(lags, sigma, u)[h1]
    assert torch.allclose(found, -(eps**2) * gradient, rtol=1e-9)
    textbook = 2 / sigma**2 * (lags[0] - lags[2]) @ u
    assert float(textbook[h1].abs().max()) < 1e-12 * float(textbook.abs().max())


def test_measured_responses_are_within_their_errors():
    net, rest, u = layered()
    found = fluctuation_response(
        net, rest, u, eps=0.2, n_steps=10, sigma=0.01, chains=100, time=400.0, seed=0
    )
    z = (found.displacement - found.exact) / found.error
    assert found.message == [""] and float(z.abs().max()) < 4
    assert 0.7 < float((found.error / found.predicted_error).mean()) < 1.4


def test_the_error_does_not_depend_on_sigma():
    net, rest, u = layered()
    options = {"eps": 0.2, "n_steps": 5, "chains": 8, "time": 40.0, "seed": 1}
    few, many = (fluctuation_response(net, rest, u, sigma=s, **options) for s in (1e-3, 1e-2))
    assert torch.allclose(few.displacement, many.displacement, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_steps", [1, 2])
def test_the_products_are_those_of_a_saved_run(n_steps):
    net, rest, u = layered()
    eps, sigma, watched = 0.5, 0.01, 20
    found = fluctuation_response(
        net, rest, u, eps=eps, n_steps=n_steps, sigma=sigma, chains=3, time=watched * eps, seed=2
    )
    burn_in = math.ceil(8 * float(linearize(net, rest).return_time) / eps)
    run = ctebm.simulate(
        ctebm.Dynamics(net, sigma), rest.state.expand(3, -1), eps=eps, seed=2,
        n_steps=burn_in + watched + n_steps + 1,
    )  # fmt: skip
    delta = (run.state - rest.state)[burn_in + 1 :]
    x, n = delta @ u, n_steps
    slow = [
        delta[t] * (x[t] + x[t - 1] - x[t - n] - x[t - n - 1]).unsqueeze(-1)
        for t in range(n + 1, len(delta))
    ]
    mean = torch.stack(slow).mean((0, 1)) / sigma**2
    assert torch.allclose(found.displacement, mean, rtol=1e-10, atol=1e-12)


def test_a_unit_that_meets_a_kink_is_told():
    found = fluctuation_response(
        pair(0.5, HARD), [0.0, 0.0], [1.0, 0.0], eps=0.2, n_steps=3, sigma=1.0, chains=4, time=50,
        seed=0,
    )  # fmt: skip
    assert int(found.status) == 1 and "over a kink" in found.message[0]
    with pytest.raises(RuntimeError, match="smaller sigma"):
        found.raise_for_status()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"network": pair(2.0, HARD), "state": [0.5, 0.5]}, "pinned"),
        ({"network": pair(8.0, TANH)}, "stable"),
        ({"state": [0.3, 0.1]}, "equilibrium"),
        ({"network": AsymmetricNetwork([[0, 1], [0, 0]], [0, 0], HARD).centred()}, "energy"),
        ({"sigma": 0.0}, "sigma"),
        ({"eps": 1.9}, "eps"),
        ({"time": 0.01}, "time"),
        ({"chains": 0}, "chains"),
        ({"n_steps": None}, "n_steps or lag"),
        ({"lag": 0.25}, "multiple of eps"),
        ({"lag": 1.0}, "give one"),
        ({"force": [1.0, np.nan]}, "finite"),
        ({"state": [[0.0, 0.0]]}, "one by one"),
    ],
)
@pytest.mark.filterwarnings("ignore:not an equilibrium")
def test_what_has_no_answer_is_refused(change, words):
    given = {
        "network": pair(0.5, HARD), "state": [0.0, 0.0], "force": [1.0, 0.0], "eps": 0.2,
        "n_steps": 3, "sigma": 0.01, "chains": 2, "time": 5.0,
    } | change  # fmt: skip
    at = [given.pop(name) for name in ("network", "state", "force")]
    with pytest.raises((ValueError, RuntimeError), match=words):
        fluctuation_response(*at, **given)


def test_a_lag_of_one_step_is_one_step():
    options = {"eps": 0.2, "sigma": 0.01, "chains": 2, "time": 5.0, "seed": 0}
    net = pair(0.5, HARD)
    one, same = (
        fluctuation_response(net, [0.0, 0.0], [1.0, 0.0], **options, **steps)
        for steps in ({"n_steps": 1}, {"lag": 0.2})
    )
    assert torch.equal(one.displacement, same.displacement)


def test_memory_is_asked_for_states_of_every_chain_and_step(monkeypatch):
    asked = []
    monkeypatch.setattr(fluctuation, "check_memory", lambda *about: asked.append(about) or 1 / 0)
    net, rest, u = layered()
    with pytest.raises(ZeroDivisionError):
        fluctuation_response(net, rest, u, eps=0.1, n_steps=7, sigma=0.1, chains=11, time=30.0)
    what, n_bytes, *_ = asked[0]
    assert what == "11 chains over 7 steps"
    assert n_bytes == fluctuation._STATES * 11 * 7 * 12 * 8
