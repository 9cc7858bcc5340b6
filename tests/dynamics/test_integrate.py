"""Rows, phases, saves, failures and gradients of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS
from run_cases import F64, Upwards, layered, pair
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import ctebm
import ctebm.dynamics.integrate
from ctebm.dynamics.methods import METHODS


@pytest.mark.parametrize("dtype", [F64, torch.float32], ids=str)
def test_a_row_does_not_depend_on_its_batch(dtype):
    net = layered(1, dtype=dtype)
    alone = ctebm.simulate(
        ctebm.Dynamics(net, 0.2), torch.zeros(1, 14), n_steps=60, eps=0.1, seed=3
    )
    # products of matrices of other sizes round differently
    tolerance = {"rtol": 0, "atol": 2e3 * torch.finfo(dtype).eps}
    for batch in (64, 1024):
        run = ctebm.simulate(
            ctebm.Dynamics(net, 0.2), torch.zeros(batch, 14), n_steps=60, eps=0.1, seed=3
        )
        torch.testing.assert_close(run.state[:, :1], alone.state, **tolerance)
        assert (run.state[-1, 1:] - run.state[-1, :1]).abs().min(0).values.max() > 0


def test_a_tile_has_the_noise_it_has_in_the_whole():
    rows = [5, 2, 60]
    sigma = torch.linspace(0.1, 0.5, 64, dtype=F64)
    eps = torch.linspace(0.01, 0.2, 64, dtype=F64)
    start = torch.zeros(64, 2)
    whole = ctebm.simulate(ctebm.Dynamics(pair(), sigma), start, n_steps=50, eps=eps, seed=8)
    tile = ctebm.simulate(
        ctebm.Dynamics(pair(), sigma[rows]), start[rows], n_steps=50, eps=eps[rows], seed=8,
        samples=rows,
    )  # fmt: skip
    torch.testing.assert_close(tile.state, whole.state[:, rows], rtol=0, atol=1e-13)
    assert tile.samples == (5, 2, 60)


def test_each_row_has_its_own_eps_sigma_beta_and_target():
    net = layered(1, ctebm.Logistic())
    eps = torch.tensor([0.05, 0.1, 0.2], dtype=F64)
    sigma, beta = torch.tensor([0.0, 0.1, 0.3]), torch.tensor([1.0, 0.5, 0.0])
    y = torch.rand(3, 3, dtype=F64)
    batch = ctebm.simulate(
        ctebm.Dynamics(net, sigma, nudge=y, beta=beta), torch.zeros(3, 14), n_steps=40, eps=eps,
        seed=4,
    )  # fmt: skip
    assert batch.time.shape == (41, 3)
    torch.testing.assert_close(batch.time[-1], 40 * eps)
    for i in range(3):
        one = ctebm.simulate(
            ctebm.Dynamics(net, float(sigma[i]), nudge=y[i : i + 1], beta=float(beta[i])),
            torch.zeros(1, 14), n_steps=40, eps=float(eps[i]), seed=4, samples=[i],
        )  # fmt: skip
        torch.testing.assert_close(batch.state[:, i], one.state[:, 0], rtol=0, atol=1e-12)


def test_a_batch_of_more_dimensions_is_its_flat_batch():
    start = torch.rand(2, 3, 2, dtype=F64)
    dynamics = ctebm.Dynamics(pair(), 0.2)
    for method in ("euler", "heun", "srk"):
        grid = ctebm.simulate(dynamics, start, n_steps=9, eps=0.1, seed=1, method=method)
        flat = ctebm.simulate(
            dynamics, start.reshape(6, 2), n_steps=9, eps=0.1, seed=1, method=method
        )
        torch.testing.assert_close(grid.state.reshape(-1, 6, 2), flat.state)


def test_a_row_that_runs_away_is_named_and_the_others_go_on():
    start = torch.tensor([[0.1, 0.1], [0.2, 3.0], [0.1, 0.0]], dtype=F64)
    dynamics = ctebm.Dynamics(Upwards(2), 0.01)
    run = ctebm.simulate(dynamics, start, n_steps=15, eps=0.5, seed=1)
    calm = ctebm.simulate(dynamics, start[[0, 2]], n_steps=15, eps=0.5, seed=1, samples=[0, 2])
    assert torch.equal(run.state[:, [0, 2]], calm.state)
    assert run.status.tolist() == [0, 1, 0]
    step = int(run.failed_step[1])
    assert run.failed_step.tolist() == [-1, step, -1]
    assert torch.isfinite(run.state[:step]).all()
    assert not torch.isfinite(run.state[step:, 1]).all(-1).any()
    unit = int((~torch.isfinite(run.state[step, 1])).int().argmax())
    assert run.message[0] == run.message[2] == ""
    assert run.message[1].startswith(
        f"sample 1 left the finite numbers at step {step} in unit {unit}"
    )
    with pytest.raises(FloatingPointError, match="sample 1"):
        run.raise_for_status()
    last = ctebm.simulate(dynamics, start, n_steps=15, eps=0.5, seed=1, save_every=15)
    assert last.message == run.message


def test_a_run_with_nobody_left_ends():
    run = ctebm.simulate(
        ctebm.Dynamics(Upwards(2)), [[3.0, 1.0]], n_steps=10**7, eps=0.5, save_every=10**6
    )
    assert run.status.tolist() == [1]
    assert run.step[-1] < 10**5


def test_a_stiff_row_does_not_touch_the_others():
    net = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [[0.0, 0.0], [900.0, -900.0]], ctebm.Tanh())
    run = ctebm.simulate(ctebm.Dynamics(net, 0.1), torch.zeros(2, 2), n_steps=99, eps=0.1, seed=1)
    soft = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [0.0, 0.0], ctebm.Tanh())
    alone = ctebm.simulate(
        ctebm.Dynamics(soft, 0.1), torch.zeros(1, 2), n_steps=99, eps=0.1, seed=1
    )
    torch.testing.assert_close(run.state[:, :1], alone.state, rtol=0, atol=1e-13)


def test_phases_are_runs_one_after_another():
    net, y = layered(), torch.rand(4, 3, dtype=F64)
    phases = [
        ctebm.Phase("settle", ctebm.Dynamics(net, 0.1), 30),
        ctebm.Phase("drive", ctebm.Dynamics(net, 0.3, drive=y), 20),
        ctebm.Phase("release", ctebm.Dynamics(net), 10),
    ]
    run = ctebm.simulate(phases, torch.zeros(14), eps=0.1, seed=1, save_every=7)
    assert run.step.tolist() == [0, 7, 14, 21, 28, 30, 35, 42, 49, 50, 56, 60]
    names = [run.phases[i] for i in run.phase]
    assert names == ["settle"] * 6 + ["drive"] * 4 + ["release"] * 2
    s, first = torch.zeros(14), 0
    for phase in phases:
        part = ctebm.simulate(
            phase.dynamics, s, n_steps=phase.n_steps, eps=0.1, seed=1, first_step=first,
            save_every=phase.n_steps,
        )  # fmt: skip
        s, first = part.state[-1], first + phase.n_steps
        assert torch.equal(run.state[run.step.tolist().index(first)], s)
    assert run.to_dataset()["phase"].values.tolist() == names
    with pytest.raises(ValueError, match="different names"):
        ctebm.simulate([phases[0], phases[0]], torch.zeros(14), eps=0.1)
    with pytest.raises(ValueError, match="no n_steps"):
        ctebm.simulate(phases, torch.zeros(14), eps=0.1, n_steps=10)


def test_observables_instead_of_states():
    net = layered()
    dynamics = ctebm.Dynamics(net, 0.1)
    options = {"n_steps": 40, "eps": 0.1, "seed": 1, "save_every": 4}
    states = ctebm.simulate(dynamics, torch.zeros(14), **options)
    observe = {"energy": net.energy, "output": lambda s: s[..., net.layers["y"]]}
    run = ctebm.simulate(dynamics, torch.zeros(14), observe=observe, **options)
    assert torch.equal(run.observed["energy"], torch.stack([net.energy(s) for s in states.state]))
    assert torch.equal(run.observed["output"], states.state[..., net.layers["y"]])
    assert torch.equal(run.state, states.state[-1:])
    dataset = run.to_dataset()
    assert dataset["energy"].dims == ("step", "sample")
    assert dataset["output"].shape == (11, 4, 3)
    assert "state" not in dataset


def test_a_run_ends_where_the_force_is_small():
    dynamics = ctebm.Dynamics(layered())
    run = ctebm.simulate(
        dynamics, torch.zeros(14), n_steps=10**6, eps=0.2, steady=1e-9, save_every=10**6
    )
    assert run.step[-1] < 1000
    assert run.status.tolist() == [0] * 4
    assert dynamics.f(0, run.state[-1]).abs().max() <= 1e-9
    short = ctebm.simulate(dynamics, torch.zeros(14), n_steps=3, eps=0.2, steady=1e-9)
    assert short.status.tolist() == [2] * 4
    assert "take more steps" in short.message[0]
    pinned = ctebm.simulate(
        ctebm.Dynamics(pair(w=2.0)), [0.1, 0.2], n_steps=10**6, eps=0.1, steady=1e-12,
        save_every=10**6,
    )  # fmt: skip
    assert pinned.state[-1].tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="no noise"):
        ctebm.simulate(ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=9, eps=0.1, steady=1e-9)


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_gradients_agree_with_finite_differences(method, sigma):
    weight = torch.rand(3, 3, dtype=F64)
    start = torch.rand(2, 3, dtype=F64)

    def last(w: Tensor, b: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        W = (w + w.T) * (1 - torch.eye(3))
        net = ctebm.DenseNetwork(W, b, ctebm.Tanh())
        dynamics = ctebm.Dynamics(net, noise)
        return ctebm.simulate(
            dynamics, s, n_steps=7, eps=0.2, seed=1, method=method, differentiable=True,
            save_every=3,
        ).state[1:]  # fmt: skip

    inputs = [weight, torch.rand(3, dtype=F64), start]
    inputs = [x.requires_grad_() for x in inputs]
    noise = torch.tensor(sigma, dtype=F64, requires_grad=sigma > 0)
    assert torch.autograd.gradcheck(last, (*inputs, noise))


def bytes_kept(result: Tensor) -> int:
    """Return the memory that the graph of a result holds for its gradient."""
    storages, nodes, known = {}, [result.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in known:
            continue
        known.add(node)
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        for tensor in (x for x in saved if isinstance(x, Tensor)):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage
        nodes += [after for after, _ in node.next_functions]
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("rho", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize(
    ("method", "sigma"), [("euler", 0), ("rk4", 0), ("euler", 0.1), ("heun", 0.1), ("srk", 0.1)]
)
def test_a_graph_holds_about_the_memory_that_is_stated(rho, method, sigma):
    net = ctebm.LayeredNetwork.random([100, 80, 20], rho, seed=1)
    net = ctebm.LayeredNetwork([W.requires_grad_() for W in net.weights], net.biases, rho)
    start = torch.zeros(32, 200, dtype=F64)
    few, more = (
        bytes_kept(
            ctebm.simulate(
                ctebm.Dynamics(net, sigma), start, n_steps=n, eps=0.05, method=method, seed=1,
                differentiable=True, save_every=n,
            ).state
        )
        for n in (1, 3)
    )  # fmt: skip
    states = (more - few) / 2 / (start.numel() * start.element_size())
    stated = ctebm.dynamics.integrate._GRAPH_STATES * METHODS[method].stages
    assert stated / 2.1 < states < 1.5 * stated


@pytest.mark.parametrize("method", ["euler", "srk"])
def test_parts_that_are_recomputed_have_the_gradient_of_the_whole(method):
    def last(start: Tensor, b: Tensor, first: int, n_steps: int) -> Tensor:
        net = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], b, ctebm.Tanh())
        return ctebm.simulate(
            ctebm.Dynamics(net, 0.2), start, n_steps=n_steps, first_step=first, eps=0.1, seed=4,
            method=method, differentiable=True, save_every=n_steps,
        ).state[-1]  # fmt: skip

    start, b = torch.rand(3, 2, dtype=F64), torch.rand(2, dtype=F64, requires_grad=True)
    whole = last(start, b, 0, 12)
    s = start
    for first in (0, 4, 8):
        s = checkpoint(last, s, b, first, 4, use_reentrant=False)
    assert torch.equal(s, whole)
    expected, found = (torch.autograd.grad(x.square().sum(), b)[0] for x in (whole, s))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_no_graph_is_kept_unasked():
    start = torch.rand(2, dtype=F64, requires_grad=True)
    run = ctebm.simulate(ctebm.Dynamics(pair()), start, n_steps=5, eps=0.1)
    assert not run.state.requires_grad


def test_layered_weights_have_gradients_run_after_run():
    net = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh(), seed=1)
    weights = [W.requires_grad_() for W in net.weights]
    net = ctebm.LayeredNetwork(weights, net.biases, ctebm.Tanh())
    found = []
    for _ in range(2):
        run = ctebm.simulate(
            ctebm.Dynamics(net), torch.ones(9) / 3, n_steps=5, eps=0.1, differentiable=True
        )
        found.append(torch.autograd.grad(run.state[-1].sum(), weights))
    assert all(torch.equal(a, b) and bool(a.any()) for a, b in zip(*found, strict=True))


def test_a_callback_sees_every_save_and_can_end_the_run(capsys):
    seen = []

    def callback(step: int, s: Tensor) -> bool:
        seen.append((step, s.clone()))
        return step >= 12

    run = ctebm.simulate(
        ctebm.Dynamics(pair(), 0.1), torch.zeros(2), n_steps=40, eps=0.1, save_every=4, seed=1,
        callback=callback, progress=True,
    )  # fmt: skip
    assert [step for step, _ in seen] == [4, 8, 12]
    assert run.step.tolist() == [0, 4, 8, 12]
    for (_, s), kept in zip(seen, run.state[1:], strict=True):
        assert torch.equal(s, kept)
    assert "step" in capsys.readouterr().err


def test_threads_are_set_recorded_and_given_back():
    before = torch.get_num_threads()
    run = ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_steps=5, eps=0.1, threads=3)
    assert run.threads == 3
    assert torch.get_num_threads() == before
    assert ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_steps=5, eps=0.1).threads == 1


def test_a_run_is_saved_with_its_labels(tmp_path):
    eps = torch.tensor([0.1, 0.2, 0.1, 0.3], dtype=F64)
    run = ctebm.simulate(
        ctebm.Dynamics(layered(), 0.1), torch.zeros(14), n_steps=6, eps=eps, samples=[3, 4, 5, 9]
    )
    ctebm.save(run.to_dataset(), tmp_path / "run.nc")
    with ctebm.open(tmp_path / "run.nc") as dataset:
        assert dataset["state"].dims == ("step", "sample", "unit")
        assert int(dataset.attrs["seed"]) == run.seed
        np.testing.assert_array_equal(dataset["state"].values, run.state.numpy())
        np.testing.assert_array_equal(dataset["eps"].values, eps.numpy())
        np.testing.assert_array_equal(dataset["sample_number"].values, [3, 4, 5, 9])
        assert dataset["layer_of_unit"].values.tolist() == ["h2"] * 6 + ["h1"] * 5 + ["y"] * 3
        assert all({"long_name", "units"} <= set(v.attrs) for v in dataset.variables.values())


@pytest.mark.slow
def test_a_long_run_needs_no_more_memory_than_a_short_one():
    import resource

    dynamics = ctebm.Dynamics(layered(1), 0.1)

    def run(n: int) -> None:
        ctebm.simulate(dynamics, torch.zeros(1, 14), n_steps=n, eps=0.01, save_every=n)

    run(5_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(100_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["euler", "heun", "srk"])
def test_a_run_on_the_device_is_the_run_on_the_host(method):
    net = layered()
    options = {"n_steps": 50, "eps": 0.1, "seed": 1, "method": method}
    host = ctebm.simulate(ctebm.Dynamics(net, 0.1), torch.zeros(14), **options)
    there = ctebm.simulate(ctebm.Dynamics(net.to(device="cuda"), 0.1), torch.zeros(14), **options)
    assert there.state.is_cuda
    torch.testing.assert_close(there.state.cpu(), host.state, rtol=0, atol=1e-10)
    there.to_dataset()
