"""A contract over every record: what its dataset holds, its words, its samples."""

import pickle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from learning_cases import PLAN, samples, small_network

import ctebm

F64 = torch.float64
NET = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid(), gain=0.4, seed=3)
X = torch.linspace(-0.4, 0.4, 15, dtype=F64).reshape(5, 3)
TARGET = torch.linspace(-0.3, 0.3, 10, dtype=F64).reshape(5, 2)
SIGMA, SEED = 0.05, 11


def family(gain):
    return ctebm.LayeredNetwork([gain * W for W in NET.weights], NET.biases, NET.activation).clamp(
        {"x": X[0]}
    )


def driven_run(**options):
    free = NET.clamp({"x": X})
    moving = ctebm.Dynamics(free, sigma=SIGMA, drive=TARGET)
    return ctebm.simulate(moving, ctebm.settle(free), n_steps=4, eps=0.1, seed=SEED, **options)


def every_record() -> dict:
    free = NET.clamp({"x": X})
    rest = ctebm.settle(free)
    nudged = ctebm.Dynamics(free, nudge=TARGET, beta=0.1)
    phases = [ctebm.Phase("settle", free, 2), ctebm.Phase("nudge", nudged, 3)]
    small = ctebm.DenseNetwork([[0, 2], [2, 0]], [-1, -1], ctebm.HardSigmoid())
    return {
        "settle": rest,
        "find_fixed_points": ctebm.find_fixed_points(small, n_starts=10),
        "linearize": ctebm.linearize(free, rest),
        "linearize without an energy": ctebm.linearize(
            ctebm.FeedbackNetwork.at_angle(NET, 20.0).clamp({"x": X}).centred(), torch.zeros(5, 6)
        ),
        "simulate": driven_run(),
        "simulate with phases": ctebm.simulate(phases, rest, eps=0.1),
        "simulate adaptively": ctebm.simulate(
            ctebm.SparseNetwork.ring(3, 0.4, ctebm.Tanh()), torch.ones(3), times=[0, 1],
            method="dopri5",
        ),
        "continue_branch": ctebm.continue_branch(family, torch.zeros(6), (0.5, 1.0), step=0.1),
        "correspondence": ctebm.correspondence(
            NET, X, TARGET, eps=[0.2, 0.1], n_steps=3, sigma=SIGMA, replicates=3, seed=SEED
        ),
        "train": ctebm.train(small_network(), *samples(), PLAN, held_out=samples(seed=1)),
        "sample": ctebm.sample(
            ctebm.Dynamics(free, sigma=SIGMA), rest.state.expand(4, 5, 6), n_steps=40, eps=0.1,
            burn_in=5, seed=SEED, observe={"norm": lambda s: s.norm(dim=-1)},
        ),
        "fluctuation_response": ctebm.fluctuation_response(
            NET.clamp({"x": X[0]}), rest.state[0], torch.ones(6), eps=0.1, n_steps=3, sigma=0.01,
            chains=4, time=10.0, seed=SEED,
        ),
        "first_passage": ctebm.first_passage(
            ctebm.Dynamics(small, sigma=1.0), torch.zeros(9, 2), lambda s: 0.5 - s[..., 0],
            eps=0.1, n_steps=50, seed=SEED,
        ),
        "minimum_energy_path": ctebm.minimum_energy_path(small, [-0.5, -0.5], [0.5, 0.5]),
    }  # fmt: skip


RECORDS = every_record()
SAMPLED = {name: record for name, record in RECORDS.items() if hasattr(record, "__len__")}


def of_every(records):
    return pytest.mark.parametrize("record", records.values(), ids=records.keys())


def test_every_record_is_here():
    public = [getattr(ctebm, name) for name in ctebm.__all__]
    written = {thing for thing in public if hasattr(thing, "to_dataset")}
    assert written == {type(record) for record in RECORDS.values()}


@of_every(RECORDS)
def test_a_dataset_says_what_it_came_from_and_keeps_it_in_a_file(record, tmp_path):
    dataset = record.to_dataset()
    assert {"title", "network", "activation", "not_recorded", "ctebm_version", "torch_version",
            "python_version", "created", "device", "dtype"} <= set(dataset.attrs)  # fmt: skip
    for name, values in dataset.variables.items():
        assert values.attrs["long_name"] and values.attrs["units"], name
    for name in ("a.nc", "a.zarr"):
        ctebm.save(record, tmp_path / name)  # as a record, which is its dataset
        with ctebm.open(tmp_path / name) as back:
            assert set(back.variables) == set(dataset.variables)
            assert {**back.attrs, "created": 0} == {**dataset.attrs, "created": 0}


@of_every(RECORDS)
def test_its_network_is_in_it_to_the_bit(record):
    dataset = record.to_dataset()
    if dataset.network == "LayeredNetwork" and "parameter" not in dataset:
        again = ctebm.load_network(dataset)
        whole = record.network.origin[0]
        assert all(torch.equal(a, b) for a, b in zip(again.weights, whole.weights, strict=True))
        assert torch.equal(again.bias, whole.bias) and again.activation == whole.activation
    held = record.network.origin[1]
    if held:
        np.testing.assert_array_equal(dataset.input, held["x"])
    arrays = [
        v.values.tobytes() for v in dataset.data_vars.values() if v.nbytes > 64 and v.ndim > 1
    ]
    names = [n for n in dataset.data_vars if str(n).startswith("weight")]
    assert len(names) == len({*names}) and all(
        arrays.count(dataset[n].values.tobytes()) <= 1 for n in names if dataset[n].ndim == 2
    )  # big weights are stored once


def test_equilibria_are_found_again_from_their_file_alone():
    data = RECORDS["settle"].to_dataset()
    net = ctebm.load_network(data).clamp({"x": data.input.values})
    again = ctebm.settle(
        net,
        tol=float(data.tol),
        max_iterations=int(data.max_iterations),
        path=str(data.path.values),
    )
    np.testing.assert_array_equal(again.state, data.state)
    assert data.state.dims == ("fixed_point", "unit")
    found = RECORDS["find_fixed_points"].to_dataset()
    assert (int(found.n_starts), str(found.seed.values)) == (10, "0")


def test_a_noisy_run_is_run_again_from_its_file_alone(tmp_path):
    ctebm.save(RECORDS["simulate"], tmp_path / "run.nc")
    with ctebm.open(tmp_path / "run.nc") as data:
        net = ctebm.load_network(data).clamp({"x": data.input.values})
        drive = {"y": data.drive_y.values}
        moving = ctebm.Dynamics(
            net, sigma=float(data.sigma), drive=drive, noise=str(data.noise.values)
        )
        again = ctebm.simulate(
            moving, data.state.values[0], n_steps=int(data.step[-1]), eps=float(data.eps),
            method=str(data.method.values), seed=int(data.seed),
        )  # fmt: skip
        np.testing.assert_array_equal(again.state, data.state)


def test_what_differs_between_phases_is_told_for_each():
    data = RECORDS["simulate with phases"].to_dataset()
    assert data.part.values.tolist() == ["settle", "nudge"]
    assert data.beta.values.tolist() == [0.0, 0.1] and data.sigma.values.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(data.nudge_nudge_y, TARGET)
    other = NET.clamp({"x": X / 2})
    run = ctebm.simulate(
        [ctebm.Phase("a", other, 1), ctebm.Phase("b", NET.clamp({"x": X}), 1)],
        torch.zeros(6),
        eps=0.1,
    )
    data = run.to_dataset()
    np.testing.assert_array_equal(data.a_input, X / 2)
    np.testing.assert_array_equal(data.input, X)
    assert "a_weight_0" not in data  # stored once


def test_a_correspondence_has_inputs_targets_and_settings():
    data = RECORDS["correspondence"].to_dataset()
    np.testing.assert_array_equal(data.input, X)
    np.testing.assert_array_equal(data.target, TARGET)
    assert (data.method, data.drive, data.noise) == ("euler", "replace", "langevin")
    assert (data.sigma, data.replicates, int(data.seed)) == (SIGMA, 3, SEED)


def test_parameters_that_change_along_a_branch_are_there_at_every_point():
    branch = RECORDS["continue_branch"]
    data = branch.to_dataset()
    np.testing.assert_allclose(data.weight_0[-1], data.parameter[-1].item() * NET.weights[0])
    assert data.weight_0.dims == ("point", "unit_input", "unit_h1") and data.bias_0.ndim == 1
    assert (data.parameter_first, data.parameter_last) == (0.5, 1.0)


def test_a_training_has_its_start_and_knows_its_data():
    data = RECORDS["train"].to_dataset()
    np.testing.assert_array_equal(data.start_weight_0, small_network().weights[0])
    assert len(data.data_digest) == 16 and float(data.learning_rate) == PLAN.rate


# Words and samples


@of_every(RECORDS)
def test_it_is_told_in_a_few_lines(record):
    lines = repr(record).splitlines()
    assert len(lines) <= 6 and lines[0].startswith(f"{type(record).__name__} of ")
    assert "tensor(" not in repr(record)
    assert "xarray.Dataset" in record._repr_html_()


@of_every(RECORDS)
def test_it_pickles(record):
    again = pickle.loads(pickle.dumps(record))
    dropped = {"created"}
    one, other = (r.to_dataset() for r in (record, again))
    xr.testing.assert_equal(one, other)
    assert {k: v for k, v in one.attrs.items() if k not in dropped} == {
        k: v for k, v in other.attrs.items() if k not in dropped
    }


@of_every(SAMPLED)
def test_a_sample_alone_is_the_row_of_all(record):
    whole = record.to_dataset()
    row = "fixed_point" if "fixed_point" in whole.sizes else "sample"
    assert len(record) == whole.sizes[row] == len(list(record))
    for i, one in enumerate(record):
        alone = one.to_dataset()
        assert one.message == [record.message[i]] and len(one) == 1
        for name, values in whole.data_vars.items():
            expected = values.isel({row: i}) if row in values.dims else values
            if name == "message" and not isinstance(record, ctebm.Trajectory):
                continue  # computed anew by some, for sample 0
            np.testing.assert_allclose(
                np.squeeze(alone[name].values), np.squeeze(expected.values), rtol=1e-9, atol=1e-12
            ) if expected.dtype.kind == "f" else np.testing.assert_array_equal(
                np.squeeze(alone[name].values), np.squeeze(expected.values)
            )
    some = record[[0]]
    assert len(some) == 1 and some[0].message == [record.message[0]]


@of_every({name: record for name, record in RECORDS.items() if hasattr(record, "plot")})
def test_it_is_drawn_into_a_window_or_given_axes_alike(record):
    axes = np.atleast_1d(record.plot())
    figure = axes.flat[0].figure
    assert plt.get_fignums() == [figure.number] and [*axes.flat] == figure.axes
    _, others = plt.subplots(*np.atleast_2d(axes).shape, squeeze=False)
    given = others if others.size > 1 else others[0, 0]
    assert record.plot(given) is given
    for own, other in zip(axes.flat, others.flat, strict=True):
        assert len(own.lines) == len(other.lines) > 0
    plt.close("all")


def test_what_has_a_figure_is_known():
    drawn = {type(record).__name__ for record in RECORDS.values() if hasattr(record, "plot")}
    assert drawn == {"Trajectory", "Branch", "Correspondence", "Training", "Passage",
                     "FluctuationResponse", "EnergyPath"}  # fmt: skip


# Stacks


def stacked(paths: list[Path], name: str) -> xr.Dataset:
    return xr.open_mfdataset(
        paths, combine="nested", concat_dim=name, engine="h5netcdf", data_vars="all"
    )


def test_runs_of_a_sweep_stack_along_what_was_varied(tmp_path):
    free = NET.clamp({"x": X})
    paths = []
    for sigma in (0.0, 0.1):
        run = ctebm.simulate(ctebm.Dynamics(free, sigma), torch.zeros(6), n_steps=3, eps=0.1)
        paths.append(tmp_path / f"{sigma}.nc")
        ctebm.save(run, paths[-1])
    with stacked(paths, "sigma") as both:
        assert both.sigma.values.tolist() == [0.0, 0.1]
        assert both.state.sel(sigma=0.1, time=0.2).shape == (5, 6)
        assert both.seed.dims == ("sigma",) and both.seed[0] == ""


def test_equilibria_and_correspondences_stack_too():
    points = [ctebm.settle(NET.clamp({"x": X}), tol=tol).to_dataset() for tol in (1e-6, 1e-9)]
    both = xr.concat(points, "tol", data_vars="all")
    assert both.state.sel(tol=1e-9).shape == (5, 6)
    runs = [
        ctebm.correspondence(NET, X, TARGET, eps=0.1, n_steps=2, drive="nudge", beta=beta)
        for beta in (0.1, 0.2)
    ]
    both = xr.concat([run.to_dataset() for run in runs], "beta", data_vars="all")
    assert both.coefficient.sel(beta=0.2, layer="y").dims == ("sample", "eps", "save")


def test_layers_are_picked_and_grouped_by_name():
    data = RECORDS["simulate"].to_dataset()
    assert data.state.sel(layer="y").sizes["unit"] == 2
    mean = data.state.groupby("layer").mean()
    np.testing.assert_allclose(mean.sel(layer="h1"), data.state[..., :4].mean("unit"))
