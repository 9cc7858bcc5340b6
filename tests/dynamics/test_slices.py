"""A large batch is moved some samples at a time, each slice as it moves alone."""

import pytest
import torch
from cases import ACTIVATIONS, every_motion, every_network, layered, states

import ctebm
from ctebm.dynamics import slices

MOTIONS = every_network() | every_motion()
DTYPES = [torch.float64, torch.float32]
EPS = torch.tensor([[0.1, 0.03, 0.2], [0.05, 0.1, 0.02]], dtype=torch.float64)


@pytest.fixture
def two_rows(monkeypatch):
    """Slices of two samples whatever their size."""

    def sliced(start):
        return list(torch.arange(start.numel() // start.shape[-1]).split(2))

    monkeypatch.setattr(slices, "slices_of", sliced)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("name", MOTIONS)
def test_a_slice_moves_as_it_does_alone(two_rows, name, sigma, dtype):
    motion = MOTIONS[name].to(dtype)
    start = states(motion, batch=(2, 3), spread=0.3).to(dtype)
    options = {"n_steps": 9, "save_every": 4} | ({"seed": 4} if sigma else {})
    together = ctebm.simulate(ctebm.Dynamics(motion, sigma), start, eps=EPS, **options)
    rounding = 16 * torch.finfo(dtype).eps  # sums of products depend on where a row lies
    flat, eps = start.flatten(0, 1), EPS.flatten()
    for k in range(0, 6, 2):
        rows = torch.arange(k, k + 2)
        few = ctebm.Dynamics(motion, sigma).samples(start.shape[:-1], rows)
        alone = ctebm.simulate(few, flat[rows], eps=eps[rows], samples=rows.tolist(), **options)
        torch.testing.assert_close(
            together.state.flatten(1, 2)[:, rows], alone.state, rtol=rounding, atol=rounding
        )
    assert torch.equal(together.state[0], start)


def test_inputs_targets_and_noise_of_a_sample_stay_with_it(two_rows):
    whole = layered(ACTIVATIONS["tanh"])
    x = torch.linspace(-1, 1, 5 * whole.layers["x"].stop, dtype=torch.float64).reshape(5, -1)
    net = whole.clamp({"x": x})
    y = net.layer("y")
    target = torch.linspace(0, 1, 5 * (y.stop - y.start), dtype=torch.float64).reshape(5, -1)
    sigma = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.3], dtype=torch.float64)
    motion = ctebm.Dynamics(
        net, sigma, nudge={"y": target}, beta=torch.arange(5.0, dtype=torch.float64) / 5
    )
    start = states(net, batch=(5,), spread=0.3)
    run = ctebm.simulate(motion, start, n_steps=20, eps=0.1, seed=3)
    for k in range(5):
        one = ctebm.Dynamics(whole.clamp({"x": x[k]}), sigma[k], nudge={"y": target[k]}, beta=k / 5)
        alone = ctebm.simulate(one, start[k : k + 1], n_steps=20, eps=0.1, seed=3, samples=[k])
        torch.testing.assert_close(run.state[:, k], alone.state[:, 0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("batch", "n_units", "sizes"),
    [
        ((1024,), 522, [205] * 4 + [204]),  # 251 samples are a MiB
        ((2, 256), 522, [171, 171, 170]),
        ((501,), 522, [501]),  # fewer than two slices
        ((512,), 724, [171, 171, 170]),  # 181 samples, a quarter of the units
        ((512,), 725, [512]),  # weights are read too often
        ((0,), 3, [0]),
        ((5,), 0, [0]),
    ],
)
def test_slices_are_as_large_as_the_cache(batch, n_units, sizes):
    start = torch.zeros(*batch, n_units, dtype=torch.float64)
    found = slices.slices_of(start)
    assert [len(rows) for rows in found] == sizes
    assert torch.cat(found).tolist() == list(range(sum(sizes)))


def test_what_holds_a_row_for_each_sample_is_moved_at_once(two_rows):
    """A force or a cost of one's own need not say that it does, as `batch` and `samples` do."""

    class Pulled(ctebm.VectorField):
        def force(self, s):
            return goals - s

    goals = torch.arange(12, dtype=torch.float64).reshape(6, 2)
    start = torch.zeros(6, 2, dtype=torch.float64)
    run = ctebm.simulate(Pulled(2), start, n_steps=2, eps=0.5)
    assert torch.equal(run.state[-1], 0.75 * goals)

    def cost(y, target):
        return goals[:, 0] * (y - target).square().sum(-1) / 2

    net = ctebm.DenseNetwork(torch.zeros(2, 2), [0.0, 0.0], ctebm.Tanh())
    nudged = ctebm.Dynamics(net, nudge=[1.0, 1.0], beta=1.0, cost=cost)
    run = ctebm.simulate(nudged, start, n_steps=1, eps=0.5)
    assert torch.equal(run.state[-1], goals[:, :1].expand(6, 2) / 2)
