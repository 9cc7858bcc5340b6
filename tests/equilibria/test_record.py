"""What a record of equilibria holds, and how it is kept."""

import copy
import dataclasses
import pickle

import pytest
import torch
from analytic import HARD, TANH, pair, random_dense

import ctebm
from ctebm import (
    Custom,
    FixedPoints,
    HopfieldNetwork,
    LayeredNetwork,
    find_fixed_points,
    settle,
)


def half_converged():
    """Two samples, of which the second starts too far away for one step."""
    network = pair(8.0, TANH)
    return settle(network, torch.tensor([[0.0, 0.0], [0.3, -0.4]]), max_iterations=1)


def test_the_outcome_of_each_sample():
    points = half_converged()
    assert points.status.dtype == torch.int8
    assert points.status.tolist() == [0, 1]
    assert points.converged.tolist() == [True, False]
    assert points.message[0] == ""
    assert points.message[1].startswith("sample 1 has residual")
    assert points.stability == ["saddle", "unconverged"]
    assert points.index.tolist() == [1, -1]
    with pytest.raises(RuntimeError, match="sample 1"):
        points.raise_for_status()
    good = settle(pair(8.0, TANH), [0.1, 0.1])
    assert good.raise_for_status() is good
    assert points.hits.tolist() == [1, 1] and good.hits.item() == 1  # each from its own start


def test_it_is_frozen_and_compared_by_identity():
    points = settle(pair(8.0, TANH), [0.1, 0.1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        points.tol = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    assert points == points
    assert points != settle(pair(8.0, TANH), [0.1, 0.1])
    assert len({points, points}) == 1


@pytest.mark.parametrize("known", [False, True], ids=["stability not asked", "stability asked"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["copy", "pickle"]
)
def test_it_is_copied_and_pickled(copied, known):
    points = find_fixed_points(pair(8.0, TANH), 20)
    if known:
        assert points.index_sum == 1
    other = copied(points)
    for field in dataclasses.fields(FixedPoints):
        value = getattr(points, field.name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(other, field.name), value)
    assert other.stability == points.stability
    assert other.message == points.message


def test_every_field_is_described():
    text = FixedPoints.__doc__ or ""
    for field in dataclasses.fields(FixedPoints):
        assert f"    {field.name} : " in text


def test_dataset_is_labelled(tmp_path):
    network = LayeredNetwork.random([3, 4, 2], HARD, seed=0).clamp({"x": torch.rand(2, 5, 3)})
    points = settle(network)
    dataset = points.to_dataset()
    assert dataset.state.dims == ("fixed_point", "unit")
    assert (dataset.sizes["fixed_point"], dataset.sizes["unit"]) == (10, 6)
    assert dataset.sel(layer="y").sizes["unit"] == 2
    assert dataset.status.values.tolist() == [0] * 10
    for name in dataset.variables:
        assert {"long_name", "units"} <= set(dataset[name].attrs)
    ctebm.save(dataset, tmp_path / "points.nc")
    with ctebm.open(tmp_path / "points.nc") as again:
        assert again.identical(dataset.load()) or again.equals(dataset)


def test_dataset_says_what_failed():
    dataset = half_converged().to_dataset()
    assert dataset.status.values.tolist() == [0, 1]
    assert str(dataset.message.values[1]).startswith("sample 1 has residual")
    assert dataset.energy.dims == dataset.hits.dims == ("fixed_point",)


def test_the_1984_energy_is_known_where_its_integral_is():
    network = HopfieldNetwork(random_dense(5, 0, TANH))
    points = settle(network)
    assert torch.equal(points.energy, network.energy(points.state))
    unknown = HopfieldNetwork(random_dense(5, 0, Custom(torch.tanh)))
    assert settle(unknown).raise_for_status().energy.isnan()


def test_isolated_without_a_search_is_not_degenerate():
    points = settle(pair(1.0, HARD), [[0.2, 0.2], [0.1, -0.2]])
    assert points.continuum is None
    assert points.isolated.tolist() == [False, False]
    assert settle(pair(0.5, HARD)).isolated.item()


def test_index_sum_of_saddle_and_minima():
    assert find_fixed_points(pair(8.0, TANH), 20).index_sum == 1
    assert settle(pair(8.0, TANH), [[0.1, 0.1], [-0.1, -0.1]]).index_sum == 2
    assert settle(pair(4.0, TANH)).index_sum is None


def test_a_sample_takes_its_row_of_everything():
    points = half_converged()
    for i, one in enumerate(points):
        for name in ("state", "energy", "residual", "status", "pinned", "margin", "iterations"):
            assert torch.equal(getattr(one, name), getattr(points, name)[i]), name
        assert one.message == [points.message[i]] and one.hits == points.hits[i]
        assert one.continuum is None
    assert "residual" in points._repr_html_() and "stability" not in points._repr_html_()
