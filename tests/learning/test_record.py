"""What a training came to: its dataset, and how it predicts."""

import numpy as np
import pytest
import torch
from learning_cases import PLAN, samples, small_network

import ctebm


@pytest.fixture(scope="module")
def found():
    return ctebm.train(small_network(), *samples(), PLAN, held_out=samples(seed=1))


def test_history_is_labelled_and_weights_load_again(found, tmp_path):
    dataset = found.to_dataset()
    assert dataset.alignment.dims == ("epoch", "reference", "connection")
    assert dict(dataset.sizes)["epoch"] == PLAN.epochs
    assert all({"units", "long_name"} <= set(v.attrs) for v in dataset.variables.values())
    # the early rule at first arrival is the chain gradient, unless a unit meets a kink
    assert float(dataset.alignment.sel(reference="chain").min()) > 0.99
    ctebm.save(dataset, tmp_path / "trained.nc")
    loaded = ctebm.load_network(tmp_path / "trained.nc")
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.weights, found.network.weights, strict=True)
    )
    assert torch.equal(loaded.bias, found.network.bias)
    assert loaded.activation == found.network.activation


def test_predicts_as_the_held_out_error_says(found):
    rates, label = samples(seed=1)
    wrong = (found.predict(rates).numpy() != label).mean()
    assert 100 * wrong == pytest.approx(found.history["test_error"][-1])


def test_predicts_as_the_network_clamped_at_the_states_of_the_rates(found):
    rates, _ = samples(seed=1)
    clamped = found.network.clamp({"x": found.network.activation.inverse(torch.as_tensor(rates))})
    y = ctebm.settle(clamped).state[:, clamped.layers["y"]]
    assert torch.equal(found.predict(rates), y.argmax(-1))


def test_predicts_with_separate_weights():
    plan = ctebm.Plan(epochs=4, batch=16, rate=0.01, tied=False)
    found = ctebm.train(small_network(), *samples(), plan)
    rates, label = samples(seed=1)
    assert (found.predict(rates).numpy() != label).mean() < 0.02


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        (np.full((4, 12), 2.0), "takes rates in"),
        (np.zeros((4, 5)), "one unit a pixel"),
        (np.zeros(12), "one unit a pixel"),
        (np.zeros((0, 12)), "empty data set"),
    ],
)
def test_refuses_what_are_no_rates(found, rates, sentence):
    with pytest.raises(ValueError, match=sentence):
        found.predict(rates)


def test_two_records_are_two(found):
    assert found == found and found != ctebm.Training(**vars(found))
