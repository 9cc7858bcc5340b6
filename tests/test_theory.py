"""Statements of the theory page that hold in a range only: inside it, and what is so outside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, measured, settled

import ctebm
from ctebm.study.image_settings import ImageSettings
from ctebm.study.problem import images_problem

HARD = ctebm.HardSigmoid()


def layer_slices(record):
    return list(record.fixed.network.layers.values())


@pytest.mark.parametrize("rho", [ctebm.Logistic(), ctebm.Tanh(), HARD], ids=repr)
def test_eq_23_takes_the_curvature_of_the_output(rho):
    """dy/dh_1 = (1 - rho'' I)^-1 dR_y/dh_1, by differences of outputs that have settled."""
    net = ctebm.LayeredNetwork.random((5, 4, 3), rho, gain=1.0, seed=4)
    net = ctebm.LayeredNetwork(net.weights, [b + 0.4 for b in net.biases], rho)
    h1, d = torch.linspace(-0.2, 0.3, 4, dtype=torch.float64), 1e-5

    def output(h):
        held = net.clamp({"x": torch.full((5,), 0.2), "h1": h})
        return ctebm.settle(held, tol=1e-14).raise_for_status().state

    shifts = d * torch.eye(4, dtype=torch.float64)
    slope = torch.stack([(output(h1 + e) - output(h1 - e)) / (2 * d) for e in shifts], -1)
    y = output(h1)
    W, bias = net.weights[-1], net.biases[-1]
    current = bias + rho(h1) @ W
    of_pressure = rho.derivative(y)[:, None] * W.T * rho.derivative(h1)
    h = 1e-6
    curved = (rho.derivative(y + h) - rho.derivative(y - h)) / (2 * h) * current
    torch.testing.assert_close(slope, of_pressure / (1 - curved)[:, None], rtol=1e-6, atol=1e-9)
    if rho.kinks:
        torch.testing.assert_close(slope, of_pressure, rtol=1e-9, atol=1e-10)
    else:
        assert ((slope / of_pressure - 1).abs() > 0.01).all()


def test_how_far_eq_23_is_off_for_logistic_rates():
    """The true derivative over that of the pressure, in random layers of gain 1."""
    rho, ratios, d = ctebm.Logistic(), [], 1e-6
    for seed in range(6):
        for offset in (0.0, 0.2):
            net = ctebm.LayeredNetwork.random((5, 6, 4, 3), rho, gain=1.0, seed=seed)
            net = ctebm.LayeredNetwork(net.weights, [b + offset for b in net.biases], rho)
            clamped = net.clamp({"x": torch.linspace(-0.4, 0.4, 10).reshape(2, 5)})
            s = ctebm.settle(clamped).raise_for_status().state
            h1, y = s[:, clamped.layers["h1"]], s[:, clamped.layers["y"]]
            curvature = (rho.derivative(y + d) - rho.derivative(y - d)) / (2 * d)
            current = net.biases[-1] + rho(h1) @ net.weights[-1]
            ratios.append(1 / (1 - curvature * current))
    ratio = torch.cat(ratios)
    assert 0.35 < float(ratio.min()) < 0.45 and 0.95 < float(ratio.max()) < 1
    assert float(ratio.median()) == pytest.approx(0.63, abs=0.03)


@pytest.mark.parametrize("rho, gain", [(ctebm.Logistic(), 1.0), (ctebm.Tanh(), 1.0), (HARD, 0.3)])
def test_the_direction_leaves_one_step_earlier_where_the_rate_is_curved(rho, gain):
    """P2 and P3 in the linear response: k + 3 where rho'' = 0, else k + 2, by its own formula."""
    eps = 0.1
    record = measured(rho, gain=gain, eps=[eps], n_steps=6, save_all=True)
    linear = replace(record, displacement=record.linear_response)
    net, where = record.fixed.network, layer_slices(record)[::-1]  # depth 0 first
    H, g = net.hessian(record.fixed.state), record.chain
    for k in range(1, len(where)):
        layer = record.depth.index(k)
        tangent = linear.tangent[:, 0, :, layer].abs()
        assert tangent[:, k + 1].max() < 1e-13
        leaks = torch.zeros_like(g[:, where[k]])
        for i in range(k + 1):
            leak = H[:, where[i], where[i]] if i else torch.eye(g[:, where[0]].shape[-1]).double()
            sent = (leak @ g[:, where[i]].unsqueeze(-1)).squeeze(-1)
            for j in range(i, k):  # back from layer to layer
                back = -H[:, where[j + 1], where[j]]
                sent = (back @ sent.unsqueeze(-1)).squeeze(-1)
            leaks = leaks + sent
        expected = -(eps ** (k + 1)) * ((k + 2) * g[:, where[k]] - eps * leaks)
        found = linear.displacement[:, 0, k + 2, where[k]]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)
        if rho.kinks:
            assert tangent[:, k + 2].max() < 1e-13 < 1e-6 < tangent[:, k + 3].min()
        else:
            assert tangent[:, k + 2].min() > 1e-6


def test_a_curved_rate_turns_the_direction_by_order_eps():
    turned = []
    for eps in (0.1, 0.01):
        record = measured(ctebm.Logistic(), eps=[eps], n_steps=6, save_all=True)
        linear = replace(record, displacement=record.linear_response)
        turned.append(float(linear.tangent[:, 0, 4, record.depth.index(2)].abs().median()))
    assert turned[0] == pytest.approx(1e-3, rel=0.3) and turned[1] == pytest.approx(1e-4, rel=0.3)


def test_the_m_th_nudged_step_is_back_propagation_through_m_minus_one():
    """P4 counts from 1: the first step moves the output alone, by -eps beta dC/dy."""
    net, fixed, target = settled(ACTIVATIONS["tanh"])
    eps, beta, n = 0.2, 1e-6, 4
    nudged = ctebm.Dynamics(net, nudge=target, beta=beta)
    steps = ctebm.simulate(nudged, fixed.state, n_steps=n, eps=eps).state.diff(dim=0)
    for m in range(1, n + 1):
        adjoint = ctebm.bptt_gradient(net, fixed.state, target, eps=eps, n_steps=m - 1)
        expected = -eps * beta * adjoint
        torch.testing.assert_close(steps[m - 1], expected, rtol=1e-4, atol=1e-4 * eps * beta)
    first = steps[0]
    error = fixed.state[:, net.layers["y"]] - target
    torch.testing.assert_close(
        first[:, net.layers["y"]], -eps * beta * error, rtol=1e-6, atol=1e-15
    )
    assert first[:, : net.layers["y"].start].abs().max() < 1e-15


@pytest.mark.parametrize(
    "gain, pinned, crossed", [(0.25, (0, 0), None), (0.5, (0.15, 0.23), (0.04, 0.11)),
                              (1.0, (0.73, 0.78), (0.08, 0.13))],
)  # fmt: skip
def test_how_soon_digits_meet_a_kink(gain, pinned, crossed):
    """P7: shares of pinned units and median times, which depend on eps."""
    settings = ImageSettings(n_samples=48, seed=1)
    one = images_problem(settings, (32, 32), "hard-sigmoid", gain)
    record = ctebm.correspondence(one.network, one.x, one.target, [0.2, 0.01], t_end=1.0)
    share = float(record.fixed.pinned.double().mean())
    assert pinned[0] <= share <= pinned[1]
    step = record.first_crossing.double()
    if crossed is None:
        assert (step == -1).all()
        return
    assert (step > 0).double().mean() > 0.95
    assert step[:, 0].median() == 2
    assert crossed[0] <= 0.01 * float(step[:, 1].median()) <= crossed[1]


def hard_pair():
    return ctebm.DenseNetwork([[0.0, 0.5], [0.5, 0.0]], [0.0, 0.0], HARD).centred()


def mode_variances(sigma, eps, n=4000, time=14):
    """Variances of the modes with eigenvalues 1/2 and 3/2, at two times that are far apart."""
    motion = ctebm.Dynamics(hard_pair(), sigma=sigma, noise="synaptic")
    steps = [round(time / eps), round(2 * time / eps)]
    s = ctebm.simulate(
        motion, torch.zeros(n, 2), n_steps=steps[-1], eps=eps, save_steps=steps, seed=0
    ).state[1:]
    modes = torch.stack([s.sum(-1), s[..., 0] - s[..., 1]]) / 2**0.5
    return modes.square().mean((1, 2)).numpy()


LAMBDA = np.array([0.5, 1.5])


def test_synaptic_noise_of_a_small_step_has_the_variance_of_its_modes():
    """N3: eps v (1 - lambda)^2 / (lambda (2 - eps lambda)), which vanishes with eps."""
    for eps in (0.5, 0.1):
        expected = eps * 0.05**2 * (1 - LAMBDA) ** 2 / (LAMBDA * (2 - eps * LAMBDA))
        np.testing.assert_allclose(mode_variances(0.05, eps), expected, rtol=0.06)


@pytest.mark.parametrize(
    "eps, share", [(0.2, (0.92, 1.1)), (0.05, (0.31, 0.53)), (0.0125, (0.05, 0.13))]
)
def test_synaptic_noise_that_grows_as_steps_shrink_leaves_the_linear_range(eps, share):
    """N3 with v = sigma^2/eps: the limit sigma^2 (1 - lambda)^2/(2 lambda) is never there."""
    limit = 0.1**2 * (1 - LAMBDA) ** 2 / (2 * LAMBDA)
    found = mode_variances(0.1 / eps**0.5, eps, n=2000) / limit
    np.testing.assert_allclose(found, share, rtol=0.12)


@pytest.mark.parametrize("noise", ["langevin", "synaptic"])
def test_early_variance_of_a_unit(noise):
    """N4: sigma^2 t by additive noise, eps v t sum_j (dR_i/ds_j)^2 by synaptic noise."""
    net = ctebm.LayeredNetwork.random((5, 4, 3), HARD, gain=0.8, seed=4).centred()
    net = net.clamp({"x": torch.zeros(5)})
    eps, sigma, n = 0.01, 0.02, 4
    motion = ctebm.Dynamics(net, sigma=sigma, noise=noise)
    start = torch.zeros(20_000, 7, dtype=torch.float64)
    s = ctebm.simulate(motion, start, n_steps=n, eps=eps, save_steps=[n], seed=0).state[-1]
    expected = sigma**2 * n * eps * torch.ones(7, dtype=torch.float64)
    if noise == "synaptic":
        J = torch.eye(7, dtype=torch.float64) - net.hessian(start[0])
        expected = eps * expected * J.square().sum(-1)
    torch.testing.assert_close(s.var(0), expected, rtol=0.08, atol=0)


@pytest.mark.parametrize("drive, beta", [("replace", None), ("clamp", None), ("nudge", 0.1)])
@pytest.mark.parametrize("noise", ["langevin", "synaptic"])
def test_what_cancels_in_pairs(noise, drive, beta):
    """N5: against a held twin at every step; against the undriven network up to first arrival, and
    not at all where the drive takes the noise out of the output's pressure."""
    options = {"eps": [0.1], "n_steps": 6, "save_all": True, "drive": drive, "beta": beta}
    quiet = measured(**options)
    runs = {
        baseline: measured(**options, sigma=0.01, noise=noise, baseline=baseline, seed=1)
        for baseline in ("held", "undriven")
    }
    assert all((run.first_crossing == -1).all() for run in runs.values())
    for where, n in zip(layer_slices(quiet), quiet.first_arrival, strict=True):
        size = quiet.displacement[:, 0, :, where].norm(dim=-1)
        off = {
            name: ((run.displacement - quiet.displacement)[:, 0, :, where].norm(dim=-1) / size)
            for name, run in runs.items()
        }
        assert off["held"][:, n:].max() < 1e-9
        clamped_output = drive == "clamp" and n == 0  # which has no noise at all
        if noise == "synaptic" and drive != "nudge" and not clamped_output:
            assert off["undriven"][:, n].median() > 5e-3
        else:
            assert off["undriven"][:, n].max() < 1e-9
        assert off["undriven"][:, n + 1].median() > 1e-4


@pytest.mark.parametrize("rho", [ctebm.Logistic(), ctebm.Tanh()], ids=repr)
@pytest.mark.parametrize("centred, order", [(True, 2), (False, 1)])
def test_remainder_of_the_first_arrival_in_powers_of_eps(rho, centred, order):
    """P1 with smooth rates: rho'' is 0 at the centre, and the next term is of the third order."""
    net = ctebm.LayeredNetwork.random((5, 6, 4, 3), rho, gain=0.8, seed=4).centred()
    x = torch.zeros(2, 5, dtype=torch.float64)
    if not centred:
        net = ctebm.LayeredNetwork(net.weights, [b + 0.2 for b in net.biases], rho)
    eps, target = [0.02, 0.01], torch.full((2, 3), 0.3, dtype=torch.float64)
    record = ctebm.correspondence(net, x, target, eps, n_steps=3, tol=1e-14)
    layer = record.depth.index(1)
    off = record.coefficient[:, :, 2, layer] / record.law[:, 2, layer] - 1
    error = torch.hypot(off, record.tangent[:, :, 2, layer]).norm(dim=0)
    assert float(torch.log2(error[0] / error[1])) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("precisions", [None, [0.5, 2.0, 1.5, 0.8]])
def test_the_deepest_layers_implicit_gradient_is_back_propagation(precisions):
    """Times the variance of the layer; that of other layers is not."""
    draw = torch.Generator().manual_seed(2)
    net = ctebm.PredictiveNetwork.random((4, 5, 6, 5, 3), ctebm.SignedTanh(), gain=1.2, seed=1)
    net = ctebm.PredictiveNetwork(net.weights, net.biases, ctebm.SignedTanh(), precisions)
    x, target = (torch.randn(3, n, generator=draw, dtype=torch.float64) for n in (4, 3))
    free = net.clamp({"x": x})
    rest = free.first_guess()
    leaf = rest[:, free.layers["h3"]].clone().requires_grad_()
    h = leaf
    for W, b in zip(net.weights[1:], net.biases[2:], strict=True):
        h = torch.tanh(h) @ W + b
    (bp,) = torch.autograd.grad((h - target).square().sum() / 2, leaf)
    implicit = ctebm.implicit_gradient(free, rest, target)
    variance = 1 / (1.0 if precisions is None else precisions[0])
    found = implicit[:, free.layers["h3"]]
    torch.testing.assert_close(found, variance * bp, rtol=1e-10, atol=1e-12)
    chain = ctebm.chain_gradient(free, rest, target)
    for name in ("h2", "h1"):
        where = free.layers[name]
        cosine = torch.cosine_similarity(implicit[:, where], chain[:, where])
        assert float(cosine.max()) < 0.999


def test_the_network_of_1984_sends_back_a_gradient_by_rates():
    """With the slopes one layer nearer to the output than the chain gradient has them."""
    rho = ctebm.Logistic(gain=2.0)
    layers = ctebm.LayeredNetwork.random((4, 5, 6, 3), rho, gain=1.5, seed=1)
    layers = ctebm.LayeredNetwork(layers.weights, [b + 0.2 for b in layers.biases], rho)
    net = ctebm.HopfieldNetwork(layers)
    draw = torch.Generator().manual_seed(2)
    x, target = (torch.randn(2, n, generator=draw, dtype=torch.float64) / 3 for n in (4, 3))
    free = net.clamp({"x": x})
    rest = ctebm.settle(free, tol=1e-13).state
    h2, h1, y = (rest[:, free.layers[name]] for name in ("h2", "h1", "y"))
    c, (_, W2, W1), slope = y - target, layers.weights, rho.derivative
    arriving = (slope(h1) * ((slope(y) * c) @ W1.T)) @ W2.T
    chain = slope(h2) * ((slope(h1) * (c @ W1.T)) @ W2.T)
    eps = 1e-4
    run = ctebm.simulate(ctebm.Dynamics(free, drive=target), rest, n_steps=3, eps=eps).state
    moved = (run[-1] - run[0])[:, free.layers["h2"]] / -(eps**3)
    torch.testing.assert_close(moved, arriving, rtol=1e-3, atol=1e-3 * float(arriving.abs().max()))
    assert float(torch.cosine_similarity(arriving, chain).max()) < 0.99
    pressed = ctebm.simulate(ctebm.Dynamics(free), rest + 0.1, n_steps=50, eps=0.05).state
    assert bool((free.energy(pressed).diff(dim=0) <= 1e-14).all())
