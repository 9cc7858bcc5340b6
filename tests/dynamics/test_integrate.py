"""Threads and gradients of a run."""

from __future__ import annotations

import pytest
import torch
from cases import ACTIVATIONS
from run_cases import F64, layered, pair
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import ctebm
import ctebm.dynamics.request
from ctebm.dynamics.methods import METHODS


def test_threads_are_set_recorded_and_given_back():
    before = torch.get_num_threads()
    run = ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_steps=5, eps=0.1, threads=3)
    assert run.threads == 3
    assert torch.get_num_threads() == before
    assert ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_steps=5, eps=0.1).threads == 1


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
    stated = ctebm.dynamics.request._GRAPH_STATES * METHODS[method].stages
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


def test_the_noise_of_a_row_is_that_of_the_row_alone_and_its_states_are_to_rounding():
    noisy = ctebm.Dynamics(pair(), sigma=0.1)
    start = torch.linspace(-0.4, 0.4, 128, dtype=F64).reshape(64, 2)

    def run(dynamics: ctebm.Dynamics, rows: int) -> Tensor:
        return ctebm.simulate(dynamics, start[:rows], n_steps=50, eps=0.1, seed=5).state[:, 0]

    class Still(ctebm.VectorField):
        def force(self, s: Tensor) -> Tensor:
            return torch.zeros_like(s)

    noise = ctebm.Dynamics(Still(2), sigma=0.1)
    assert torch.equal(run(noise, 64), run(noise, 1))
    assert (run(noisy, 64) - run(noisy, 1)).abs().max() < 1e-15


@pytest.mark.parametrize("options", [{}, {"sigma": 0.1}, {"stream": "philox", "sigma": 0.1}])
def test_no_samples_have_a_run_of_none(options):
    sigma = options.pop("sigma", 0.0)
    network = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.HardSigmoid()).clamp(
        {"x": torch.zeros(0, 3)}
    )
    run = ctebm.simulate(
        ctebm.Dynamics(network, sigma), torch.zeros(6), n_steps=3, eps=0.1, **options
    )
    assert run.state.shape == (4, 0, 6) and run.message == []
    assert run.to_dataset().sizes["sample"] == 0


def test_an_adaptive_method_refuses_what_fixed_steps_take_and_nothing_else():
    smooth = ctebm.Dynamics(layered(1))
    for options in ({"eps": 0.1}, {"save_every": 5}, {"samples": [0]}, {"first_step": 3}):
        with pytest.raises(ValueError, match=f"got {next(iter(options))}; leave it out"):
            ctebm.simulate(smooth, torch.zeros(14), times=[0, 1], method="dopri5", **options)
    run = ctebm.simulate(smooth, torch.zeros(14), times=[0, 1], method="dopri5", save_every=1)
    assert run.time.tolist() == [0, 1]


def test_a_step_that_is_too_large_is_warned_of_where_it_was_asked_for():
    dynamics = ctebm.Dynamics(pair())
    with pytest.warns(UserWarning, match="oscillate instead of settling") as caught:
        ctebm.simulate(dynamics, torch.zeros(2), n_steps=1, eps=3.0)
    assert caught[0].filename == __file__


def test_samples_that_alternate_are_warned_of_with_their_own_step():
    net = ctebm.DenseNetwork([[0.0, -4.0], [-4.0, 0.0]], [0.0, 0.0], ctebm.Tanh()).centred()
    start, steps = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), torch.tensor([1.0, 0.1, 1.5])
    with pytest.warns(UserWarning, match=r"eps = 1 is too large.* 1 of 3 samples") as caught:
        ctebm.simulate(net, start, n_steps=100, eps=steps)
    assert caught[-1].filename == __file__


def test_a_run_that_chooses_its_steps_has_a_seed_if_there_is_noise():
    options = {"times": [0, 0.01], "rtol": 0.1, "atol": 0.1}
    start = torch.zeros(1, 14)
    assert ctebm.simulate(layered(1), start, method="dopri5", **options).seed is None
    noisy = ctebm.Dynamics(layered(1), 0.1)
    run = ctebm.simulate(noisy, start, method="adaptive_srk", **options)
    assert run.seed is not None
    again = ctebm.simulate(noisy, start, method="adaptive_srk", seed=run.seed, **options)
    assert torch.equal(again.state, run.state)
