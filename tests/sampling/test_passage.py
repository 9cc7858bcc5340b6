"""The record of first passages: what it says of itself, and as a dataset."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from analytic import TANH, pair

from ctebm import Dynamics, Network, first_passage
from ctebm.sampling import passage


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


def told(start, inside, sigma=0.5, eps=0.1, n_steps=3, **how):
    motion = Dynamics(pair(1.0, TANH), sigma=sigma)
    return first_passage(motion, torch.tensor(start).double(), inside, eps=eps, n_steps=n_steps,
                         seed=0, **how).message[0]  # fmt: skip


def test_an_inside_that_is_looked_at_after_steps_lies_further_away():
    """By .5826 sigma sqrt(eps) (Broadie, Glasserman & Kou 1997), of the largest sigma."""
    words = "as if its border were 0.18 further away"
    assert words in told([[0.0, 0.0]], lambda s: s[..., 0] < 9.0, sigma=0.977, eps=0.1)
    several = torch.tensor([0.1, 0.977])
    assert words in told([[0.0, 0.0]] * 2, lambda s: s[..., 0] < 9.0, sigma=several, eps=0.1)
    bridged = told([[0.0, 0.0]], lambda s: 9.0 - s[..., 0])
    assert "further away" not in bridged and bridged.startswith("no chain left")


def test_chains_are_counted_in_words():
    found = told([[0.0, 0.0], [9.0, 0.0], [9.0, 0.0]], lambda s: 5.0 - s[..., 0])
    assert found == (
        "2 chains did not start inside and are in no mean. no chain left: only a lower bound of "
        "the mean is known; take more steps."
    )
    found = told([[0.0, 0.0]] * 3 + [[4.9, 0.0]], lambda s: 5.0 - s[..., 0], sigma=1.0, n_steps=9)
    assert "were still inside at the end" in found or "no chain left" in found


def test_an_interval_is_that_of_a_constant_rate():
    """Of n exits in a total time: chi-squared with 2 n and 2 n + 2 degrees (Epstein & Sobel)."""
    from scipy.stats import gamma

    for n, total in ((1, 3.0), (7, 20.0)):
        low, high = passage._interval(total, n)
        assert gamma.cdf(total / high, n) == pytest.approx(0.025)
        assert gamma.sf(total / low, n + 1) == pytest.approx(0.025)
    assert passage._interval(5.0, 0)[1] == math.inf
    assert passage._interval(5.0, 0)[0] == pytest.approx(5.0 / -math.log(0.025))


@pytest.mark.parametrize("bridged", [True, False])
def test_times_are_counted_from_exits(bridged):
    """Left at step 4, inside at the end, lost, never begun, left at step 1."""
    from types import SimpleNamespace

    exits = SimpleNamespace(
        step=torch.tensor([4, -1, -1, -1, 1]), begun=torch.tensor([1, 1, 1, 0, 1]).bool(),
        lost=torch.tensor([0, 0, 1, 0, 0]).bool(), steps=[0, 10], bridged=bridged,
        state=torch.zeros(5, 2),
    )  # fmt: skip
    found = passage.passage_of(
        exits, dynamics=Dynamics(pair(1.0, TANH), sigma=1.0), eps=0.1, n_steps=10, method="euler",
        stream="numpy", seed=0, threads=1, eps_limit=None,
    )  # fmt: skip
    half = 0.05 * bridged
    assert found.status.tolist() == [0, 2, 1, 3, 0]
    times = [0.4 - half, 1.0, 1.0, 1.0, 0.1 - half]
    assert found.time.tolist() == pytest.approx(times)
    assert found.censored.tolist() == [False, True, False, False, False]
    assert found.mean == pytest.approx((times[0] + times[1] + times[4]) / 2)
    assert "1 chains left the finite numbers" in found.message[0]
    assert "1 of 5 chains were still inside" in found.message[0]
