"""Predictions of linear theory against repeated measurements."""

import numpy as np
import pytest
import torch
from analytic import HARD

import ctebm
from ctebm import fluctuation_response
from ctebm.sampling.errors import error_rate


@pytest.fixture(scope="module")
def measured():
    net = ctebm.LayeredNetwork.random([5, 4, 3], HARD, gain=0.4, seed=1).centred()
    free = net.clamp({"x": torch.zeros(5, dtype=torch.float64)})
    rest = ctebm.settle(free, tol=1e-13)
    u = torch.zeros(7, dtype=torch.float64)
    u[free.layer("y")] = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)
    found = fluctuation_response(
        free, rest, u, eps=0.1, lag=2.0, sigma=0.01, chains=200, time=200.0, seed=0
    )
    gradient = ctebm.chain_gradient(free, rest.state, rest.state[free.layer("y")] + u[4:])
    return found, gradient


def test_agreement_with_the_chain_gradient(measured):
    found, gradient = measured
    told = found.agreement(gradient)
    assert list(told.layer.values) == ["h1", "y"]
    for quantity in ("cosine", "coefficient"):
        z = (told[quantity] - told[f"predicted_{quantity}"]) / told[f"{quantity}_error"]
        assert (abs(z) < 4).all()
    assert (told.cosine > 0.9).all()


def test_the_time_needed_is_the_time_at_which_the_prediction_has_the_cosine(measured):
    found, gradient = measured
    needed = found.time_needed(0.9, gradient)
    assert needed["y"] < needed["h1"]
    for name, time in needed.items():
        where = found.linearization.network.layer(name)
        rate = error_rate(found.linearization, found.force, found.eps, found.n_steps)[where]
        exact, g = found.exact[where], gradient[where]
        cosine = -(exact @ g) / g.norm() / (exact.norm() ** 2 + rate.sum() / time).sqrt()
        assert float(cosine) == pytest.approx(0.9, rel=1e-9)


def test_a_cosine_that_the_response_does_not_have_takes_for_ever(measured):
    found, gradient = measured
    other = gradient.clone()
    other[:4] = torch.tensor([1.0, -1.0, 1.0, 1.0]) * other[:4].abs()
    assert found.time_needed(0.9999, other)["h1"] == np.inf
    with pytest.raises(ValueError, match="cosine"):
        found.time_needed(1.0, gradient)


def test_dataset(measured):
    dataset = measured[0].to_dataset()
    assert dataset.exact.sizes == {"unit": 7} and int(dataset.n_steps) == 20
    assert (str(dataset.seed.values), int(dataset.chains), float(dataset.time)) == ("0", 200, 200.0)
    assert dataset.sel(layer="y").sizes["unit"] == 3
