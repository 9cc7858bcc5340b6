"""Alternating updates with momentum: where they lead, and that they are few."""

import pytest
import torch

import ctebm
from ctebm.equilibria.accelerated import LOOK, accelerated
from ctebm.equilibria.kkt import project, residual
from ctebm.networks.condensed import Condensed

F64 = torch.float64


def half(gain, n=6):
    x = torch.linspace(-0.5, 0.5, 30 * n, dtype=F64).reshape(n, 30)
    network = ctebm.LayeredNetwork.random([30, 40, 40, 5], ctebm.HardSigmoid(), gain=gain, seed=2)
    return Condensed(network.clamp({"x": x}))


def plain(network, o, tol):
    """Return how many updates without momentum it takes each row to come near."""
    steps = torch.zeros(len(o), dtype=torch.long)
    for k in range(1, 10_000):
        after = project(network, o + network.force(o))
        near = (after - o).abs().amax(-1) <= tol
        steps[near & (steps == 0)] = k
        o = after
        if bool((steps > 0).all()):
            return steps
    raise AssertionError("no end")


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_rows_come_near_equilibria_each_in_its_own_time(gain):
    network = half(gain)
    o = torch.zeros(6, network.n_units, dtype=F64)
    near, steps = accelerated(network, o, 1e-8, 2000)
    assert bool((residual(network, near) <= 1e-7).all()) and bool((near.abs() <= 0.5).all())
    assert bool((network.energy(near) <= network.energy(o)).all())
    assert steps.min() < steps.max() < 2000 and not (steps % LOOK).any()
    for i, row in enumerate(near):  # as alone
        alone = network.samples(network.batch, torch.tensor([i]))
        end, taken = accelerated(alone, o[:1], 1e-8, 2000)
        assert int(taken) == int(steps[i])
        torch.testing.assert_close(end[0], row, rtol=0, atol=1e-9)


def test_momentum_takes_less_than_half_the_updates():
    network = half(0.6)
    o = torch.zeros(6, network.n_units, dtype=F64)
    steps = accelerated(network, o, 1e-8, 2000)[1]
    assert int(steps.sum()) < int(plain(network, o, 1e-8).sum()) / 2


@pytest.mark.parametrize("most", [1, 3, LOOK, LOOK + 1])
def test_steps_are_bounded(most):
    network = half(1.0)
    o = torch.zeros(6, network.n_units, dtype=F64)
    end, steps = accelerated(network, o, 1e-12, most)
    assert steps.tolist() == [most] * 6
    if most == 1:
        assert torch.equal(end, project(network, o + network.force(o)))


def test_no_steps_lead_nowhere():
    network = half(1.0)
    o = torch.zeros(6, network.n_units, dtype=F64)
    end, steps = accelerated(network, o, 1e-12, 0)
    assert torch.equal(end, o) and not steps.any()


def test_the_first_steps_are_those_of_the_formula():
    """The momentum is j / (j + 3), and starts anew where it leads upwards."""
    network = half(1.0, n=1)
    y = before = o = torch.zeros(1, network.n_units, dtype=F64)
    j, restarts = 0, 0
    for k in range(1, 40):
        o = project(network, y + network.force(y))
        up = float(((o - y) * (o - before)).sum()) < 0
        j, restarts = (0, restarts + 1) if up else (j + 1, restarts)
        torch.testing.assert_close(accelerated(network, torch.zeros_like(o), 0.0, k)[0], o)
        before, y = o, project(network, o + j / (j + 3) * (o - before))
    assert restarts > 0
