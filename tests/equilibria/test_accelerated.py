"""Alternating updates with momentum: where they lead, and that they are few."""

import sys

import pytest
import torch

import ctebm
from ctebm.equilibria.accelerated import LOOK, accelerated
from ctebm.equilibria.kkt import project, residual
from ctebm.networks.condensed import Condensed

F64 = torch.float64
DEEP, FIRST, AMONG = (30, 60, 60, 60, 60, 60, 5), 4, 6
MODULE = sys.modules[accelerated.__module__]


@pytest.fixture
def each_alone(monkeypatch):
    """Take the steps of large networks, and note how many units each set of them has."""
    sizes, of = [], MODULE.WorkingSet.of

    def noted(*given):
        sizes.append(len((found := of(*given)).where))
        return found

    for name, value in (("MANY_WEIGHTS", 0), ("FIRST", FIRST), ("AMONG", AMONG), ("FEW", 1)):
        monkeypatch.setattr(MODULE, name, value)
    monkeypatch.setattr(MODULE.WorkingSet, "of", noted)
    return sizes


def half(gain, n=6, sizes=(30, 40, 40, 5)):
    x = torch.linspace(-0.5, 0.5, 30 * n, dtype=F64).reshape(n, 30)
    network = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(), gain=gain, seed=2)
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


class TestAmongTheUnitsThatMove:
    @pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
    def test_rows_come_near_equilibria_as_alone_to_the_bit(self, gain, each_alone):
        network = half(gain, sizes=DEEP)
        o = torch.zeros(6, network.n_units, dtype=F64)
        near, steps = accelerated(network, o, 1e-8, 4000)
        assert bool((residual(network, near) <= 1e-7).all()) and bool((near.abs() <= 0.5).all())
        assert bool((network.energy(near) <= network.energy(o)).all())
        assert steps.min() < steps.max() < 4000
        assert len(each_alone) >= 6
        for i, row in enumerate(near):
            some = network.samples(network.batch, torch.tensor([i]))
            end, taken = accelerated(some, o[:1], 1e-8, 4000)
            assert int(taken) == int(steps[i]) and torch.equal(end[0], row)

    def test_few_units_move_where_couplings_are_strong(self, each_alone):
        network = half(3.0, sizes=DEEP)
        near, _ = accelerated(network, torch.zeros(6, network.n_units, dtype=F64), 1e-8, 4000)
        assert bool((residual(network, near) <= 1e-7).all())
        assert max(each_alone) < network.n_units / 2

    @pytest.mark.parametrize("most", [1, FIRST, FIRST + 1, FIRST + 2, FIRST + AMONG + 1, 100])
    def test_steps_are_those_of_all_units_where_none_is_held(self, most, each_alone, monkeypatch):
        network = half(1.0)
        o = torch.zeros(6, network.n_units, dtype=F64)
        monkeypatch.setattr(MODULE, "REACH", 10.0)
        end, steps = accelerated(network, o, 0.0, most)
        assert steps.tolist() == [most] * 6 and set(each_alone) <= {network.n_units}
        monkeypatch.setattr(MODULE, "MANY_WEIGHTS", 10**9)
        torch.testing.assert_close(end, accelerated(network, o, 0.0, most)[0], rtol=0, atol=1e-9)

    def test_no_steps_and_no_rows_lead_nowhere(self, each_alone):
        network = half(1.0)
        o = torch.zeros(6, network.n_units, dtype=F64)
        end, steps = accelerated(network, o, 1e-12, 0)
        assert torch.equal(end, o) and not steps.any()
        none = network.samples(network.batch, torch.zeros(0, dtype=torch.long))
        end, steps = accelerated(none, o[:0], 1e-12, 10)
        assert end.shape == (0, network.n_units) and steps.shape == (0,)

    def test_a_set_is_kept_until_one_of_the_others_comes_near_its_kink(
        self, each_alone, monkeypatch
    ):
        network = half(2.0, sizes=DEEP)
        o = torch.zeros(6, network.n_units, dtype=F64)
        steps = accelerated(network, o, 1e-8, 4000)[1]
        kept, looks = len(each_alone), int(((steps - FIRST) // (AMONG + 1) + 1).sum())
        assert 6 < kept < looks
        each_alone.clear()
        monkeypatch.setattr(MODULE, "STILL", MODULE.REACH)
        accelerated(network, o, 1e-8, 4000)
        assert len(each_alone) > kept

    def test_rows_of_which_many_units_move_go_on_together_and_end_as_alone(
        self, each_alone, monkeypatch
    ):
        network, apart = half(1.0, sizes=DEEP), MODULE._go_on_together
        o, together = torch.zeros(6, network.n_units, dtype=F64), []
        monkeypatch.setattr(MODULE, "FEW", 0.2)
        monkeypatch.setattr(
            MODULE,
            "_go_on_together",
            lambda *given: (together.append(len(given[2])), apart(*given)),
        )
        near, steps = accelerated(network, o, 1e-8, 4000)
        assert each_alone and together and max(together) <= 6
        assert bool((residual(network, near) <= 1e-7).all())
        for i, row in enumerate(near):
            some = network.samples(network.batch, torch.tensor([i]))
            end, taken = accelerated(some, o[:1], 1e-8, 4000)
            assert int(taken) == int(steps[i]) and torch.equal(end[0], row)

    def test_steps_together_are_those_of_the_formula(self, each_alone, monkeypatch):
        network = half(1.0, sizes=DEEP)
        o = torch.zeros(6, network.n_units, dtype=F64)
        monkeypatch.setattr(MODULE, "FEW", -1.0)
        end, steps = accelerated(network, o, 0.0, 100)
        assert not each_alone and steps.tolist() == [100] * 6
        monkeypatch.setattr(MODULE, "MANY_WEIGHTS", 10**9)
        torch.testing.assert_close(end, accelerated(network, o, 0.0, 100)[0], rtol=0, atol=1e-9)

    def test_many_rows_go_on_some_at_a_time_that_fit_the_memory(self, each_alone, monkeypatch):
        network = half(2.0, n=20, sizes=DEEP)
        o, rows, some = torch.zeros(20, network.n_units, dtype=F64), [], MODULE._some_alone
        expected = accelerated(network, o, 1e-8, 4000)
        monkeypatch.setattr(MODULE, "BYTES", 9 * MODULE.FEW * network.n_weights * 8 + 1)
        monkeypatch.setattr(
            MODULE, "_some_alone", lambda *given: (rows.append(len(given[1])), some(*given))[1]
        )
        end, steps = accelerated(network, o, 1e-8, 4000)
        assert rows == [9, 9, 2]
        torch.testing.assert_close(end, expected[0], rtol=0, atol=1e-7)
        assert bool((residual(network, end) <= 1e-7).all()) and steps.max() < 4000
