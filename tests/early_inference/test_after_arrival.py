"""One step after the first arrival: leaks and displacements against the motion itself."""

import cases
import numpy as np
import pytest
import torch

import ctebm
from ctebm.early_inference.after_arrival import (
    displacement_after_arrival,
    leak_of_layers,
    own_curvature,
)
from ctebm.early_inference.drive import Clamp, Nudge, Replace

F64 = torch.float64
DRIVES = {
    "replace": (Replace(), {}),
    "clamp": (Clamp(), {}),
    "nudge": (Nudge(1e-4), {"beta": 1e-4}),
}


def linear():
    net = ctebm.PredictiveNetwork.random([4, 5, 3, 4, 2], ctebm.Identity(), seed=2, gain=1.2)
    draw = torch.Generator().manual_seed(3)
    return net, *(torch.randn(2, n, generator=draw, dtype=F64) for n in (4, 2))


@pytest.mark.parametrize("name", DRIVES)
@pytest.mark.parametrize("eps", [0.3, 0.05])
def test_a_quadratic_energy_moves_as_predicted(name, eps):
    net, x, target = linear()
    drive, options = DRIVES[name]
    record = ctebm.correspondence(net, x, target, eps=eps, n_steps=7, drive=name, **options)
    free = record.fixed.network
    found = displacement_after_arrival(free, record.fixed, target, eps, drive)
    rtol = 1e-3 if name == "nudge" else 1e-11  # a nudge of finite strength
    for k, where in enumerate(reversed(free.layers.values())):
        n = k + 2 - drive.lead
        torch.testing.assert_close(found[:, where], record.displacement[:, 0, n, where],
                                   rtol=rtol, atol=1e-12)  # fmt: skip


def test_a_curved_energy_differs_at_second_order():
    net, x, target = linear()
    net = ctebm.PredictiveNetwork(net.weights, net.biases, ctebm.SignedTanh())
    errors = []
    for eps in (0.02, 0.01):
        record = ctebm.correspondence(net, x, target, eps=eps, n_steps=7)
        free = record.fixed.network
        found = displacement_after_arrival(free, record.fixed, target, eps)
        where, n = free.layers["h3"], 5
        moved = record.displacement[:, 0, n, where]
        errors.append(float((found[:, where] - moved).norm() / moved.norm()))
    assert errors[0] < 0.01 and errors[0] / errors[1] > 3


def test_leaks_are_quotients_of_the_diagonal_blocks():
    net, x, target = linear()
    free = net.clamp({"x": x})
    s = ctebm.settle(free).state
    H, g = free.hessian(s), ctebm.chain_gradient(free, s, target)
    leak = leak_of_layers(free, s, target)
    for i, w in enumerate(free.layers.values()):
        expected = torch.einsum("bi,bij,bj->b", g[:, w], H[:, w, w], g[:, w]) / g[
            :, w
        ].square().sum(-1)
        torch.testing.assert_close(leak[:, i], expected, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(
            own_curvature(free, s, g)[:, w], torch.einsum("bij,bj->bi", H[:, w, w], g[:, w])
        )


def test_between_the_kinks_every_leak_is_1():
    net, fixed, target = cases.settled(ctebm.HardSigmoid(), gain=0.2)
    leak = leak_of_layers(net, fixed, target)
    torch.testing.assert_close(leak[torch.isfinite(leak)], torch.ones(()).double().expand(
        int(torch.isfinite(leak).sum())))  # fmt: skip


def test_the_record_has_them_as_columns():
    net, x, target = linear()
    data = ctebm.correspondence(net, x, target, eps=[0.2, 0.1], n_steps=6).to_dataset()
    assert data.leak.dims == ("sample", "layer") and data.leak.sel(
        layer="y"
    ).values == pytest.approx(1)
    law = data.leaky_coefficient.sel(layer="h1")
    # exact one step after the arrival, where the binomial law is not
    np.testing.assert_allclose(law[:, :, 3], data.coefficient.sel(layer="h1")[:, :, 3], rtol=1e-10)
    binomial = data.law_coefficient.sel(layer="h1")[:, 3]
    assert (np.abs(law[:, :, 3] - binomial) > 1e-3).all()
    assert data.after_arrival.dims == ("sample", "eps", "unit")
    stepped = ctebm.correspondence(net, x, target, eps=0.2, n_steps=6, method="rk4").to_dataset()
    assert "leaky_coefficient" not in stepped
