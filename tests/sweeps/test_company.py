"""Points that share a call: the same bits as alone, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import ctebm
from ctebm.sweeps.company import ROWS, call_together, company, groups, shared
from ctebm.sweeps.points import Points

NETWORK = ctebm.LayeredNetwork.random([6, 5, 4, 3], ctebm.HardSigmoid(), gain=0.7, seed=0).clamp(
    {"x": [0.3, -0.2, 0.5, 0.1, 0.4, -0.3]}
)
GRID = {"eps": [0.5, 0.2, 0.05], "gain": [1.0, 2.0], "sigma": [0.0, 0.1], "replicate": range(7)}
MAY = ["eps", "sigma", "replicate"]


def moved(eps, gain, sigma, replicate):
    """Return where a noisy network is after some steps, one row a point."""
    noisy = ctebm.Dynamics(NETWORK, sigma=gain * torch.as_tensor(sigma))
    start = torch.zeros(len(replicate), NETWORK.n_units, dtype=torch.float64)
    run = ctebm.simulate(
        noisy, start, n_steps=9, eps=torch.as_tensor(eps), seed=3, samples=replicate, save_every=9
    )
    return xr.Dataset({"state": (("sample", "unit"), run.state[-1])})


def bits(found):
    axes = [*GRID, *[d for d in found.state.dims if d not in GRID]]
    return found.state.transpose(*axes).values.tobytes()


def test_bits_do_not_depend_on_who_shares_a_call(tmp_path):
    with ctebm.sweep(moved, GRID, together=MAY, tile_points=1, out=tmp_path / "x.zarr") as alone:
        truth = bits(alone)
        assert len(list((tmp_path / "x.zarr/status/c").rglob("*/*/*/*"))) == 84
    for tile_points in (5, 7, 84):
        found = ctebm.sweep(moved, GRID, together=MAY, tile_points=tile_points)
        assert bits(found) == truth
    other = {name: GRID[name] for name in ("replicate", "gain", "sigma", "eps")}
    assert bits(ctebm.sweep(moved, other, together=MAY)) == truth
    out = tmp_path / "parts.zarr"
    for part in ((1, 2), (0, 2)):
        ctebm.sweep(moved, GRID, together=MAY, tile_points=10, out=out, part=part).close()
    with ctebm.open(out) as found:
        assert bool((found.status == 1).all()) and bits(found) == truth
    rows = [p | {} for p in Points.grid(GRID)]
    table = ctebm.sweep(moved, points=rows[::-1], together=MAY, tile_points=9)
    assert table.state.values[::-1].tobytes() == truth


def test_a_row_is_what_the_function_gives_at_that_point_alone():
    found = ctebm.sweep(moved, GRID, together=MAY)
    at = {"eps": 0.2, "sigma": 0.1, "replicate": 4}
    rows = {name: np.full(ROWS, value) for name, value in at.items()}
    one = moved(gain=2.0, **rows).state.values[0]
    assert found.state.sel(gain=2.0, **at).values.tobytes() == one.tobytes()


def test_calls_are_as_few_as_can_be(tmp_path):
    def function(a, b):
        with open(tmp_path / "calls", "a") as file:
            file.write(f"{a} {len(b)}\n")
        return {"n": a + b}

    found = ctebm.sweep(function, {"b": range(40), "a": [1, 2]}, together=["b"], tile_points=40)
    np.testing.assert_array_equal(found.n.values, np.add.outer(np.arange(40), [1, 2]))
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[:2] == ["1 16", "1 48"]  # a plan holds a point alone against its company
    assert calls[-2:] == ["1 48", "2 48"]


def test_records_and_words_and_constants():
    def function(a):
        return xr.Dataset(
            {"twice": ("sample", 2 * a), "word": ("sample", [f"n{i}" for i in a]), "c": 5.0},
            {"sample": np.arange(len(a))},
        )

    found = ctebm.sweep(function, {"a": range(5)}, together=["a"])
    assert found.twice.values.tolist() == [0, 2, 4, 6, 8] and (found.c == 5).all()
    assert found.word.values.tolist() == ["n0", "n1", "n2", "n3", "n4"]

    def settled(b):
        biases = torch.stack([torch.as_tensor(b, dtype=torch.float64)] * 2, -1)
        pair = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], biases, ctebm.Tanh())
        return ctebm.simulate(pair, torch.zeros(len(b), 2, dtype=torch.float64), n_steps=3, eps=0.1)

    assert ctebm.sweep(settled, {"b": [0.0, 0.1]}, together=["b"]).state.sizes["b"] == 2


def test_rows_that_depend_on_each_other_are_refused():
    def shared_step(a):
        start = torch.as_tensor(a)[:, None] * torch.ones(2, dtype=torch.float64)
        pair = ctebm.DenseNetwork([[0, 2.0], [2.0, 0]], [0.1, 0.0], ctebm.Tanh())
        run = ctebm.simulate(pair, start, times=[0.0, 5.0], method="dopri5", rtol=1e-3, atol=1e-6)
        return xr.Dataset({"state": (("sample", "unit"), run.state[-1])})

    words = r"'state': with others in the call it has other last bits than alone; leave together"
    with pytest.raises(ValueError, match=words):
        ctebm.sweep(shared_step, {"a": [0.1, 3.0]}, together=["a"])
    with pytest.raises(ValueError, match="'n': with others in the call"):
        ctebm.sweep(lambda a: {"n": a - a.mean()}, {"a": [1.0, 2.0]}, together=["a"])


def test_a_point_that_fails_fails_alone():
    def function(a):
        if (a == 3).any():
            raise ValueError("three")
        return {"n": 2.0 * a}

    with pytest.warns(UserWarning, match="1 of 6 points failed; the first says: ValueError: three"):
        found = ctebm.sweep(function, {"a": range(6)}, together=["a"])
    assert found.status.values.tolist() == [1, 1, 1, 2, 1, 1]
    np.testing.assert_array_equal(found.n.values, [0, 2, 4, np.nan, 8, 10])


@pytest.mark.parametrize(
    ("together", "function", "sentence"),
    [
        ("a", abs, "together is a list of names"),
        (3, abs, "together is a list of names"),
        (np.array("a"), abs, "together is a list of names"),
        (["b"], abs, "'b', which is none of a"),
        (["a"], lambda a: {"n": 1.0}, r"'n' has the sizes \(\), expected \(16,\)"),
        (["a"], lambda a: {"n": a[:3]}, r"'n' has the sizes \(3,\)"),
        (["a"], lambda a: xr.Dataset({"n": 1}), "no entries along 'sample', expected 16"),
        (["a"], lambda a: 3, "the function returned int"),
    ],
)
def test_mistakes_are_one_sentence(together, function, sentence):
    with pytest.raises(ValueError, match=sentence):
        ctebm.sweep(function, {"a": [1, 2]}, together=together)


def test_another_choice_is_another_sweep(tmp_path):
    out = tmp_path / "x.zarr"
    grid = {"a": [1, 2], "b": [1, 2]}

    def function(a, b):
        return {"n": a + b}

    ctebm.sweep(function, grid, out=out, together=["a", "b"]).close()
    ctebm.sweep(function, grid, out=out, together=["b", "a"]).close()
    with pytest.raises(ValueError, match="together is b here and a, b there"):
        ctebm.sweep(function, grid, out=out, together=["b"])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_groups_hold_every_point_once_and_share_the_rest(lengths, data):
    points = Points.grid({name: range(n) for name, n in zip("abc", lengths, strict=False)})
    together = data.draw(st.sets(st.sampled_from(points.names)))
    numbers = data.draw(st.lists(st.integers(0, len(points) - 1), unique=True))
    found = groups(points, numbers, together)
    assert sorted(i for group in found for i in group) == sorted(numbers)
    rests = [
        {tuple((k, v) for k, v in points[i].items() if k not in together) for i in group}
        for group in found
    ]
    assert all(len(rest) == 1 for rest in rests)
    assert not together or len(set.union(set(), *rests)) == len(found)
    if numbers:
        some = company(points, numbers[0], together, 3)
        assert some[0] == numbers[0] and len(set(some)) == len(some) <= 3
        assert len(groups(points, some, together or "abc")) == 1


def test_a_row_a_point_whatever_their_number():
    for n in (1, 15, 16, 17):
        rows = call_together(lambda a: {"n": a}, [{"a": i} for i in range(n)], ["a"])
        assert [int(row["n"]) for row in rows] == list(range(n))


def test_an_axis_of_several_names_is_shared_if_all_of_them_may_differ():
    points = Points.table([{"eps": 0.1, "gain": 1.0}, {"eps": 0.2, "gain": 2.0}])
    names = [[name for name, _ in columns] for _, columns in points.axes]
    assert names == [["eps", "gain"]]
    assert shared(points, ["eps", "gain"]) == (True,)
    assert shared(points, ["eps"]) == shared(points, ["gain"]) == shared(points, []) == (False,)
    grid = Points.grid({"eps": [0.1, 0.2], "gain": [1.0, 2.0]})
    assert shared(grid, ["gain"]) == (False, True)
