"""The record of first passages: what it says of itself, and as a dataset."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from analytic import TANH, pair

from ctebm import Dynamics, Network, first_passage


@pytest.fixture(scope="module")
def found():
    """Chains of which the first is too quiet to leave."""
    start, sigma = torch.zeros(4, 2, dtype=torch.float64), torch.tensor([1e-6, 1.0, 1.0, 1.0])
    motion = Dynamics(pair(1.0, TANH), sigma=sigma)
    return first_passage(motion, start, lambda s: 0.5 - s[..., 0], eps=0.1, n_steps=400, seed=3)


def test_it_is_told_in_words(found):
    first, outcome, why = repr(found).splitlines()
    assert first == "Passage of DenseNetwork(s: 2; Tanh()), state (4, 2)"
    assert outcome.strip().startswith("4 chains: 3 left, 1 still inside; mean time ")
    assert "1 of 4 chains were still inside" in why
    assert found.raise_for_status() is found


def test_dataset(found):
    dataset = found.to_dataset()
    assert dataset.state.dims == ("chain", "unit") and dataset.mean_interval.shape == (2,)
    assert float(dataset["mean"]) == found.mean == float(found.time.sum()) / 3
    assert dataset.sigma.dims == ("chain",) and float(dataset.sigma[0]) == pytest.approx(1e-6)
    assert (str(dataset.seed.values), float(dataset.eps), bool(dataset.bridged)) == ("3", 0.1, True)


def test_without_an_exit_there_is_no_mean():
    motion = Dynamics(pair(1.0, TANH), sigma=1e-6)
    found = first_passage(motion, torch.zeros(3, 2), lambda s: 1 - s[..., 0], eps=0.1, n_steps=5)
    assert found.mean == math.inf and found.mean_interval[1] == math.inf
    with pytest.raises(RuntimeError, match="no chain left"):
        found.raise_for_status()
    assert "mean time inf" in repr(found)


def test_chains_that_fail_or_begin_outside_are_told_and_in_no_mean():
    class Upwards(Network):
        """Runs away in finite time where it is large."""

        def energy(self, s):
            return -s.pow(4).sum(-1) / 4

    start = torch.tensor([[0.1], [0.1], [-9.0], [2.0]], dtype=torch.float64)
    found = first_passage(
        Dynamics(Upwards(1), sigma=0.3),
        start,
        lambda s: 1 - s[..., 0],
        eps=0.5,
        n_steps=400,
        seed=1,
    )
    assert "2 chains left the finite numbers and are in no mean" in found.message[0]
    assert "1 chains did not start inside and are in no mean" in found.message[0]


def test_a_plot_returns_the_axes_it_drew_into(found):
    axes = found.plot()
    assert axes.get_yscale() == "log" and found.plot(ax=axes) is axes
    plt.close("all")


@pytest.mark.parametrize(("start", "fails"), [([0.0, 2.0], "did not start inside"), ([0.0], None)])
def test_a_chain_that_did_not_begin_is_an_error(start, fails):
    """Beside one that leaves at once, as all but certainly at such an intensity."""
    start = torch.tensor(start, dtype=torch.float64).unsqueeze(-1).repeat(1, 2)
    motion = Dynamics(pair(1.0, TANH), sigma=9.0)
    found = first_passage(motion, start, lambda s: 1 - s[..., 0], eps=0.1, n_steps=500, seed=0)
    assert found.status.tolist() == [0, 3][: len(start)]
    if fails is None:
        found.raise_for_status()
    else:
        with pytest.raises(RuntimeError, match=fails):
            found.raise_for_status()
