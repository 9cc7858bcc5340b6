"""The record of a run, with its labels."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from run_cases import F64, layered, pair

import ctebm


def test_a_run_is_saved_with_its_labels(tmp_path):
    eps = torch.tensor([0.1, 0.2, 0.1, 0.3], dtype=F64)
    run = ctebm.simulate(
        ctebm.Dynamics(layered(), 0.1), torch.zeros(14), n_steps=6, eps=eps, samples=[3, 4, 5, 9]
    )
    ctebm.save(run.to_dataset(), tmp_path / "run.nc")
    with ctebm.open(tmp_path / "run.nc") as dataset:
        assert dataset["state"].dims == ("step", "sample", "unit")
        assert dataset["time"].dims == ("step", "sample")
        np.testing.assert_array_equal(dataset["time"].values, run.time.numpy())
        np.testing.assert_array_equal(dataset["step"].values, range(7))
        assert int(dataset.seed) == run.seed
        np.testing.assert_array_equal(dataset["state"].values, run.state.numpy())
        np.testing.assert_array_equal(dataset["eps"].values, eps.numpy())
        np.testing.assert_array_equal(dataset["sample"].values, [3, 4, 5, 9])
        assert torch.equal(torch.as_tensor(dataset.state.sel(sample=9).values), run.state[:, 3])
        assert dataset["layer"].values.tolist() == ["h2"] * 6 + ["h1"] * 5 + ["y"] * 3
        np.testing.assert_array_equal(dataset.state.sel(layer="h1"), run.state[..., 6:11])
        assert "phase" not in dataset
        assert all({"long_name", "units"} <= set(v.attrs) for v in dataset.variables.values())


def test_a_run_of_one_eps_is_indexed_by_its_time():
    run = ctebm.simulate(layered(), torch.zeros(14), n_steps=40, eps=0.1, save_every=5)
    dataset = run.to_dataset()
    assert dataset.state.dims == ("time", "sample", "unit")
    np.testing.assert_array_equal(dataset.state.sel(time=2.1, method="nearest"), run.state[4])
    assert dataset.step.values.tolist() == list(range(0, 41, 5))
    assert float(dataset.eps) == 0.1
    middle = dataset.state.sel(time=slice(0.9, 2.1), layer="y")
    np.testing.assert_array_equal(middle, run.state[2:5, :, 11:])


def test_an_adaptive_run_has_times_and_no_steps():
    run = ctebm.simulate(layered(), torch.zeros(14), times=[0, 0.5, 2], method="dopri5", rtol=1e-3)
    dataset = run.to_dataset()
    assert dataset.time.values.tolist() == [0, 0.5, 2]
    assert "step" not in dataset and "eps" not in dataset


def test_one_eps_for_a_grid_of_samples_is_told_for_each():
    start, eps = torch.zeros(3, 4, 2), torch.tensor([0.1, 0.2, 0.3, 0.4])
    run = ctebm.simulate(pair(), start, n_steps=2, eps=eps)
    assert run.eps.shape == (3, 4)
    assert run.time.shape == (3, 3, 4)
    dataset = run.to_dataset()
    np.testing.assert_allclose(dataset.eps, [0.1, 0.2, 0.3, 0.4] * 3, rtol=1e-7)
    np.testing.assert_allclose(dataset.time[-1], 2 * dataset.eps)


def test_records_are_compared_by_identity():
    runs = [ctebm.simulate(pair(), torch.zeros(2), n_steps=2, eps=0.1) for _ in range(2)]
    assert runs[0] == runs[0] and runs[0] != runs[1]
    assert runs[0].raise_for_status() is runs[0]


def test_noise_and_its_strength_are_told_once_or_for_each_phase():
    each = torch.tensor([0.1, 0.2, 0.3], dtype=F64)
    quiet, noisy = ctebm.Dynamics(pair(), 0.05), ctebm.Dynamics(pair(), each)
    start = torch.zeros(3, 2)
    alone = ctebm.simulate(quiet, start, n_steps=2, eps=0.1, seed=1).to_dataset()
    assert alone.sigma.dims == alone.noise.dims == alone.beta.dims == ()
    assert (float(alone.sigma), str(alone.noise.values)) == (0.05, "langevin")
    own = ctebm.simulate(noisy, start, n_steps=2, eps=0.1, seed=1).to_dataset()
    np.testing.assert_array_equal(own.sigma, each)
    phases = [ctebm.Phase("first", quiet, 2), ctebm.Phase("then", noisy, 2)]
    both = ctebm.simulate(phases, start, eps=0.1, seed=1).to_dataset()
    assert both.sigma.dims == ("part", "sample") and both.noise.dims == ("part",)
    np.testing.assert_array_equal(both.sigma, [[0.05] * 3, each])
    assert both.noise.values.tolist() == ["langevin"] * 2


@pytest.mark.parametrize("eps", [0.1, torch.tensor([0.1, 0.2, 0.1, 0.3], dtype=F64)], ids=str)
@pytest.mark.parametrize("which", [2, [3, 1]], ids=str)
def test_a_sample_takes_its_part_of_everything(eps, which):
    dynamics = ctebm.Dynamics(layered(), torch.tensor([0.1, 0.0, 0.2, 0.3]))
    observe = {"mean": lambda s: s.mean(-1), "two": lambda s: s[..., :2]}
    options = {"n_steps": 4, "eps": eps, "seed": 1, "samples": [3, 4, 5, 9]}
    for seen in (None, observe):
        run = ctebm.simulate(dynamics, torch.zeros(14), observe=seen, **options)
        some = run[which]
        assert torch.equal(some.state, run.state[:, which])
        assert some.observed.keys() == run.observed.keys()
        for name, values in run.observed.items():
            assert torch.equal(some.observed[name], values[:, which])
        assert torch.equal(some.dynamics[0].sigma, dynamics.sigma[which])
        assert torch.equal(some.status, run.status[which])
        numbers = [which] if isinstance(which, int) else which
        assert some.samples == tuple(run.samples[i] for i in numbers) and some.seed == run.seed
        assert some.message == [run.message[i] for i in numbers]
        each = torch.as_tensor(eps).ndim > 0
        assert torch.equal(some.time, run.time[:, which] if each else run.time)
        assert torch.equal(some.eps, run.eps[which] if each else run.eps)
        dataset = run.to_dataset()
        assert ("last_state" in dataset) == (seen is not None) == ("state" not in dataset)
    np.testing.assert_array_equal(dataset.last_state, run.state[-1])
    np.testing.assert_array_equal(dataset.two, run.observed["two"])
    assert dataset.two.dims[1:] == ("sample", "two_axis0") and dataset["mean"].ndim == 2


def test_a_plot_returns_the_axes_it_drew_into():
    run = ctebm.simulate(layered(), torch.zeros(14), n_steps=3, eps=0.1)
    axes = run.plot(sample=1)
    assert [len(ax.lines) for ax in axes] == [6, 5, 3]
    np.testing.assert_array_equal(axes[2].lines[0].get_ydata(), run.state[:, 1, 11])
    assert run.plot(ax=axes, sample=2) is axes and len(axes[0].lines) == 12
    plt.close("all")


def test_outcomes_are_numbered_with_their_meanings():
    run = ctebm.simulate(pair(), torch.zeros(2), n_steps=2, eps=0.1)
    attrs = run.to_dataset().status.attrs
    assert list(attrs["flag_values"]) == [0, 1, 2, 3]
    assert [word.split("_")[0] for word in attrs["flag_meanings"].split()] == [
        "finite", "left", "not", "ended"
    ]  # fmt: skip
