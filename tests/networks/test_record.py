"""What every record shares: samples picked by number, its words, what it came from."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from cases import layered, rows

import ctebm
from ctebm.networks.record import rows_at, with_origin


@pytest.fixture(scope="module")
def rest():
    """Six samples in a grid of two by three, of which two are not settled."""
    free = layered(ctebm.Tanh()).clamp({"x": rows(6, 5).reshape(2, 3, 5)})
    start = torch.zeros(2, 3, 9, dtype=torch.float64)
    start[0, 1] = start[1, 2] = 3.0
    few = ctebm.settle(free, start, max_iterations=2)
    assert few.status.flatten().tolist().count(1) > 0
    return few


@pytest.mark.parametrize(
    "which, numbers",
    [
        (2, [2]),
        (-1, [5]),
        (np.int64(4), [4]),
        (slice(1, None, 2), [1, 3, 5]),
        ([3, 0], [3, 0]),
        (np.array([2]), [2]),
        (torch.tensor([True, False, True, False, False, False]), [0, 2]),
        ([False] * 6, []),
    ],
    ids=str,
)
def test_samples_are_picked_by_their_number_in_the_flattened_batch(rest, which, numbers):
    some = rest[which]
    assert torch.equal(some.state.reshape(-1, 9), rest.state.reshape(6, 9)[numbers])
    assert some.message == [rest.message[i] for i in numbers] and len(some) == len(numbers)
    assert some.state.ndim == (1 if isinstance(which, int | np.integer) else 2)
    force = some.network.force(some.state).reshape(-1, 9)
    expected = rest.network.force(rest.state).reshape(6, 9)[numbers]
    torch.testing.assert_close(force, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("which", [6, -7, [0, 6], [True, False], [0.5], 1.5], ids=str)
def test_samples_that_are_not_there_are_refused(rest, which):
    with pytest.raises(IndexError, match="expected"):
        rest[which]


def test_it_is_gone_through_sample_by_sample(rest):
    assert [float(one.residual) for one in rest] == rest.residual.flatten().tolist()
    assert [len(one) for one in rest] == [1] * 6


def test_it_says_how_it_went_in_a_few_lines(rest):
    n = rest.status.flatten().tolist().count(1)
    lines = repr(rest).splitlines()
    assert lines[0] == f"FixedPoints of {rest.network!r}, state (2, 3, 9)"
    outcomes = ", ".join(
        f"{k} {words}"
        for k, words in ((6 - n, "converged"), (n, "with a residual above the tolerance"))
        if k
    )
    assert lines[1].strip() == f"6 samples: {outcomes}"
    assert lines[2].strip() == next(sentence for sentence in rest.message if sentence)
    assert len(lines) <= 6
    assert repr(rest[0]).splitlines()[1].strip().startswith("1 sample: ")


@pytest.mark.parametrize(("n", "shown", "more"), [(3, 3, []), (5, 3, ["and 2 more"])])
def test_of_many_failures_three_are_said(n, shown, more):
    free = layered(ctebm.Tanh()).clamp({"x": rows(n, 5)})
    few = ctebm.settle(free, torch.full((n, 9), 3.0), max_iterations=1)
    assert few.status.tolist() == [1] * n
    lines = [line.strip() for line in repr(few).splitlines()[2:]]
    assert lines == few.message[:shown] + more


def test_the_first_failure_is_raised(rest):
    first = next(sentence for sentence in rest.message if sentence)
    with pytest.raises(RuntimeError) as raised:
        rest.raise_for_status()
    assert str(raised.value) == first


@pytest.mark.parametrize("lead", [0, 1])
def test_rows_of_a_batch_that_stands_behind_other_dimensions(lead):
    t = torch.arange(120.0).reshape(5, 2, 3, 4)[: 1 if lead == 0 else 5]
    t = t[0] if lead == 0 else t
    flat = t.reshape(*t.shape[:lead], 6, 4)
    batch = torch.Size((2, 3))
    assert torch.equal(rows_at(t, torch.tensor(4), batch, lead), flat.select(lead, 4))
    several = torch.tensor([5, 1])
    assert torch.equal(rows_at(t, several, batch, lead), flat.index_select(lead, several))


def test_a_result_says_what_it_came_from():
    net = layered(ctebm.Logistic(gain=3.0))
    data = xr.Dataset({"found": ctebm.dataset.variable((), 1.0, "what was found")})
    settings = {"tol": 1e-9, "odd_word": "x", "eps": ctebm.dataset.variable("k", [1, 2], "steps")}
    found = with_origin(data, net, "nothing", settings, threads=3)
    assert found.title == f"nothing of {net!r}" and found.attrs["threads"] == 3
    assert {"tol", "odd_word", "eps", "activation_gain"} <= set(found.coords)
    assert found.tol.attrs["long_name"] == "bound on the residual" and found.eps.dims == ("k",)
    assert found.odd_word.attrs["long_name"] == "odd word"
    assert {"torch_version", "ctebm_version", "created", "device", "dtype"} <= set(found.attrs)
    assert "tol" not in data.coords


class Coupled(ctebm.Network):
    """A user's energy whose parameter is to be learnt."""

    def __init__(self):
        super().__init__(3, {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)})
        self.W = torch.tensor([0.3, 0.4], dtype=torch.float64, requires_grad=True)

    def energy(self, s):
        r = torch.tanh(s)
        return s.square().sum(-1) / 2 - (self.W * r[..., :-1] * r[..., 1:]).sum(-1)


def layers_to_learn():
    net = ctebm.LayeredNetwork.random([1, 2, 1], ctebm.Tanh())
    return ctebm.LayeredNetwork([W.requires_grad_() for W in net.weights], net.biases, ctebm.Tanh())


@pytest.mark.parametrize("make", [Coupled, layers_to_learn])
def test_records_hang_on_no_graph_of_the_parameters(make):
    free = make().clamp({"x": [0.2]})
    assert any(p.requires_grad for _, p in free.named_parameters())
    rest = ctebm.settle(free)
    found = [
        rest, ctebm.find_fixed_points(free, n_starts=8), ctebm.linearize(free, rest.state),
        ctebm.correspondence(free, None, [0.3], 0.1, n_steps=3),
        ctebm.simulate(free, rest.state, n_steps=2, eps=0.1),
    ]  # fmt: skip
    for record in found:
        for name in (field.name for field in dataclasses.fields(record)):
            value = getattr(record, name)
            assert not (isinstance(value, torch.Tensor) and value.requires_grad), name
        assert record.to_dataset().attrs["title"]
    assert not ctebm.chain_gradient(free, rest, [0.3]).requires_grad
    s = rest.state.clone().requires_grad_()  # whoever asks for derivatives of a gradient gets them
    assert ctebm.chain_gradient(free, s, [0.3]).requires_grad
