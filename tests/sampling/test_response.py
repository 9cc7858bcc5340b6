"""Predictions of linear theory against repeated measurements."""

import matplotlib.pyplot as plt
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


def test_it_is_told_in_words(measured):
    found, _ = measured
    off = float((found.displacement - found.exact).abs().max())
    told = (
        f"after 20 steps of 0.1, from 200 chains of time 200: off the linear response by {off:.2g}"
    )
    assert told in repr(found)
    axes = found.plot()
    assert len(axes.lines) == 3 and found.plot(ax=axes) is axes
    plt.close("all")


def test_units_that_fluctuate_over_a_kink_are_told():
    pair = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [-0.25, 0.1], HARD)
    rest = ctebm.settle(pair, tol=1e-13)
    options = {"eps": 0.1, "n_steps": 3, "chains": 8, "time": 20.0, "seed": 0}
    loud = fluctuation_response(pair, rest, [0.1, 0.0], sigma=0.9, **options)
    assert "fluctuated over a kink" in " ".join(loud.message)
    quiet = fluctuation_response(pair, rest, [0.1, 0.0], sigma=1e-3, **options)
    assert "kink" not in " ".join(quiet.message)
