"""The record of chains: what it says of itself, and as a dataset."""

import copy
import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from analytic import TANH, pair

import ctebm
from ctebm import Dynamics, sample
from ctebm.sampling import samples


@pytest.fixture(scope="module")
def found():
    return sample(
        Dynamics(pair(3.0, TANH), sigma=0.5), torch.zeros(20, 2, dtype=torch.float64), n_steps=400,
        eps=0.4, burn_in=20, seed=5, observe={"norm": lambda s: s.norm(dim=-1)},
    )  # fmt: skip


def test_effective_sample_size_is_variance_over_squared_error(found):
    variance = found.covariance.diagonal()
    assert torch.allclose(found.ess, variance / found.mean_error**2)
    assert (found.ess < 20 * found.n_draws * 1.5).all()


def test_dataset(found, tmp_path):
    dataset = found.to_dataset()
    assert dataset.covariance.sizes == {"unit": 2, "other_unit": 2}
    assert dataset.last_state.sizes == {"chain": 20, "unit": 2} and "sample" not in dataset.dims
    assert str(dataset.seed.values) == "5" and int(dataset.n_draws) == 40
    assert (float(dataset.eps), float(dataset.sigma)) == (0.4, 0.5)
    assert float(dataset.norm) == float(found.observed["norm"])
    ctebm.save(dataset, tmp_path / "chains.nc")
    with ctebm.open(tmp_path / "chains.nc") as again:
        xr.testing.assert_equal(again, dataset)


def test_it_pickles_and_copies(found):
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert torch.equal(again.mean, found.mean) and again.message == found.message


def test_a_failed_chain_is_named_and_not_left_out():
    unit = ctebm.DenseNetwork([[0.0]], [0.0], ctebm.HardSigmoid())
    eps = torch.tensor([0.1, 2.5, 0.1], dtype=torch.float64)
    found = sample(Dynamics(unit, sigma=0.1), torch.zeros(3, 1), n_steps=3000, eps=eps, burn_in=0)
    assert "1 of 3 chains left the finite numbers, chain 1" in found.message[0]
    assert torch.isnan(found.mean).all() and (found.failed_step >= 0).tolist() == [0, 1, 0]
    with pytest.raises(RuntimeError, match="chain 1"):
        found.raise_for_status()


def test_each_law_has_its_own_status():
    net = ctebm.LayeredNetwork.random([1, 2], TANH, gain=1.0, seed=0)
    sigma = torch.tensor([0.2, 0.4], dtype=torch.float64)
    motion = Dynamics(net.clamp({"x": [[0.5], [-0.5]]}), sigma=sigma)
    found = sample(motion, torch.zeros(10, 2, 2), n_steps=600, eps=0.2, burn_in=50, seed=0)
    assert found.status.tolist() == [0, 0] and len(found.message) == 2
    assert float(found.covariance[1].trace() / found.covariance[0].trace()) == pytest.approx(4, 0.2)


def test_a_law_is_picked_with_all_its_chains():
    net = ctebm.LayeredNetwork.random([1, 2], TANH, gain=1.0, seed=0)
    motion = Dynamics(net.clamp({"x": [[0.5], [-0.5]]}), sigma=0.2)
    eps = torch.rand(4, 2, dtype=torch.float64) / 10 + 0.1
    found = sample(
        motion, torch.zeros(4, 2, 2), n_steps=40, eps=eps, burn_in=5, seed=0,
        observe={"first": lambda s: s[..., 0]},
    )  # fmt: skip
    one = found[1]
    assert len(found) == 2 and one.state.shape == (4, 2) and one.eps.shape == (4,)
    assert torch.equal(one.observed["first"], found.observed["first"][1])
    assert torch.equal(one.dynamics.f(0, one.state), motion.f(0, found.state)[:, 1])
    assert one.to_dataset().eps.dims == ("chain",)
    assert found[[1, 0]].mean.shape == (2, 2)


def test_a_chain_that_is_stuck_among_others_that_move_is_told():
    """Steps a thousand times the size of the valley are all rejected."""
    eps = torch.tensor([0.5, 1e3, 0.5], dtype=torch.float64)
    found = sample(
        Dynamics(pair(3.0, TANH), sigma=0.5), torch.zeros(3, 2), n_steps=100, eps=eps, burn_in=0,
        seed=0, method="mala",
    )  # fmt: skip
    assert (found.acceptance == 0).tolist() == [False, True, False]
    assert int(found.status) == 2 and "1 of 3 chains accepted no step" in found.message[0]


def notes(n_draws=1000, status=0, rhat=(1.0, 1.0), failed=(-1, -1, -1), acceptance=(0.9, 0.9, 0.9),
          kappa=0.0, eps=0.1, eps_limit=None):  # fmt: skip
    """Return what is said of one sample."""
    one = [torch.tensor(x, dtype=torch.float64) for x in (rhat, acceptance, kappa, eps)]
    (said,) = samples._notes(
        torch.tensor(status), one[0], n_draws, torch.tensor(failed).unsqueeze(-1),
        one[1].unsqueeze(-1), one[2], one[3], eps_limit,
    )  # fmt: skip
    return said


def test_what_is_said_of_a_sample():
    assert notes() == "" and notes(kappa=samples.ACCEPTED) == ""
    assert notes(n_draws=samples.FEWEST_DRAWS) == ""
    lost = notes(status=1, failed=(-1, 0, 40), acceptance=(0.0, 0.9, 0.9))
    assert lost.startswith("2 of 3 chains left the finite numbers, chain 1 at step 0:")
    stuck = notes(acceptance=(0.0, 0.9, 0.0), status=2, rhat=(1.0, 5.0))
    assert stuck.startswith("2 of 3 chains accepted no step")
    few = notes(n_draws=samples.FEWEST_DRAWS - 1, status=2)
    assert few.startswith(f"expected {samples.FEWEST_DRAWS} draws or more of each chain, got "
                          f"{samples.FEWEST_DRAWS - 1}, too few")  # fmt: skip
    apart = notes(status=2, rhat=(1.2, float("nan"), 1.3456))
    assert apart.startswith("chains have not mixed: R-hat is 1.35 in unit 2,")
    assert notes(failed=(-1,), acceptance=(0.9,)).startswith("one chain: R-hat compares its halves")
    kinks = notes(kappa=4 * samples.ACCEPTED, eps=0.2)
    assert (
        kinks.startswith(f"kink number {4 * samples.ACCEPTED:.3g}:")
        and "take eps <= 0.05," in kinks
    )
    both = notes(eps=0.3, eps_limit=0.25, kappa=4 * samples.ACCEPTED)
    assert both.startswith(samples.overshooting(0.3, 0.25) + " kink number")


def test_each_sample_of_a_batch_has_its_own_words():
    said = samples._notes(
        torch.tensor([[0, 1]]), torch.ones(1, 2, 3), 1000, torch.tensor([[[-1, -1]], [[-1, 7]]]),
        torch.tensor([[[0.5, 0.5]], [[0.0, 0.5]]]), torch.zeros(1, 2), torch.tensor(0.1), None,
    )  # fmt: skip
    assert said[0].startswith("1 of 2 chains accepted no step")
    assert said[1].startswith("1 of 2 chains left the finite numbers, chain 1 at step 7:")


def test_chains_of_one_sample_with_laws_of_their_own_are_told():
    def said(dynamics, eps, lead, method="euler"):
        return samples._own_laws(dynamics, torch.as_tensor(eps), torch.Size(lead), method)

    one = Dynamics(pair(3.0, TANH), sigma=0.5)
    words = "chains have inputs, targets, noise or steps of their own"
    assert said(one, 0.1, (4,)) == said(one, [0.1] * 4, (4,)) == ""
    assert said(one, [0.1, 0.1, 0.2, 0.1], (4,)).startswith(words)
    assert said(one, [0.1, 0.1, 0.2, 0.1], (4,), "mala") == ""
    each = Dynamics(pair(3.0, TANH), sigma=torch.tensor([0.1, 0.2, 0.3]))
    assert said(each, 0.1, (3,)).startswith(words)
    assert said(each, 0.1, (5, 3)) == ""
    assert said(Dynamics(pair(3.0, TANH), sigma=torch.full((1, 3), 0.2)), 0.1, (5, 3)) == ""


def test_what_is_observed_keeps_its_own_axes():
    found = sample(
        Dynamics(pair(3.0, TANH), sigma=0.5), torch.zeros(6, 3, 2, dtype=torch.float64),
        n_steps=100, burn_in=9, eps=0.4, seed=5,
        observe={"outer": lambda s: s.unsqueeze(-1) * s.unsqueeze(-2), "mean": lambda s: s.sum(-1)},
    )  # fmt: skip
    dataset = found.to_dataset()
    assert dataset.outer.dims == ("sample", "outer_axis0", "outer_axis1")
    assert dataset.outer_error.dims == dataset.outer.dims and dataset.outer.shape == (3, 2, 2)
    np.testing.assert_array_equal(dataset.outer.values, found.observed["outer"])
    assert dataset.observed_mean.dims == ("sample",)  # there is a mean already
    np.testing.assert_array_equal(dataset.observed_mean_error.values, found.observed_error["mean"])
    assert dataset["mean"].dims == ("sample", "unit")
