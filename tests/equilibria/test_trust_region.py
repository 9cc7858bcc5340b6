"""Descent in a trust region: where it ends."""

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, quadratic, random_dense

from ctebm import LayeredNetwork, settle
from ctebm.equilibria import trust_region
from ctebm.equilibria.kkt import pinned_units, residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.trust_region import descend, energy_rounding


def test_a_quadratic_well_takes_one_newton_step():
    network = quadratic([0.5, 1.0, 2.0, 4.0])
    start = torch.zeros(1, 4, dtype=torch.float64)
    s, steps, *_ = descend(Rows.repeated(network, 1), start, 1e-12, 50)
    assert torch.allclose(s[0], torch.linalg.solve(network.A, network.b), atol=1e-11)
    assert steps.item() <= 6


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
@pytest.mark.parametrize("gain", [2.0, 6.0])
def test_every_row_ends_below_its_start_and_stable(activation, gain):
    network = random_dense(30, 0, activation, gain=gain)
    start = torch.as_tensor(np.random.default_rng(1).standard_normal((20, 30)))
    if network.box is not None:
        start = network.box.project(start)
    s, steps, *_ = descend(Rows.repeated(network, 20), start, 1e-10, 500)
    assert residual(network, s).max() <= 1e-10
    assert (network.energy(s) <= network.energy(start)).all()
    assert steps.max() < 500
    for u in s:
        free = ~pinned_units(network, u)
        assert (torch.linalg.eigvalsh(network.hessian(u)[free][:, free]) > 0).all()


def test_rows_are_independent():
    network = random_dense(10, 0, HARD, gain=4.0)
    start = torch.as_tensor(np.random.default_rng(1).uniform(-0.5, 0.5, (6, 10)))
    together, *_ = descend(Rows.repeated(network, 6), start, 1e-12, 500)
    for row, first in zip(together, start, strict=True):
        alone, *_ = descend(Rows.repeated(network, 1), first.unsqueeze(0), 1e-12, 500)
        assert torch.allclose(alone[0], row, atol=1e-11)


def test_the_bound_on_the_steps_holds():
    start = torch.tensor([[0.01, 0.02]], dtype=torch.float64)
    s, steps, *_ = descend(Rows.repeated(pair(8.0, TANH), 1), start, 1e-12, 2)
    assert steps.item() == 2
    assert residual(pair(8.0, TANH), s).item() > 1e-12


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def test_an_energy_is_known_within_four_roundings_of_its_terms():
    whole = LayeredNetwork.random([2, 3, 2], TANH, gain=2.0, seed=0)
    net = whole.clamp({"x": [0.3, -0.8]})
    s = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 5)))
    W, eps = net.dense_weight(), 2.0**-52
    for u, found in zip(s, energy_rounding(net, s, net.energy(s)), strict=True):
        r, E = TANH(u), float(net.energy(u))
        terms = sum(float(x) ** 2 for x in u) + abs(E) + 1 + abs(float(net.constant))
        terms += sum(abs(float(b * q)) for b, q in zip(net.bias, r, strict=True))
        terms += abs(sum(float(W[i, j] * r[i] * r[j]) for i in range(5) for j in range(5)) / 2)
        assert abs(float(net.constant)) > 0.1
        assert float(found) == pytest.approx(4 * eps * terms, rel=1e-9)
    well = quadratic([1.0, 2.0])
    E = f64([-3.0])
    assert float(energy_rounding(well, f64([[2.0, 1.0]]), E)) == 4 * eps * (5 + 3 + 1)


def test_the_first_radius_is_the_force_and_not_tiny():
    well = quadratic([1.0, 2.0])
    rest = torch.linalg.solve(well.A, well.b)
    d = trust_region._Descent(Rows.repeated(well, 2), torch.stack([rest, rest + 2.0]))
    assert d.radius.tolist() == pytest.approx([1e-3, float(d.f[1].norm())], rel=1e-12)
    assert d.far.tolist() == pytest.approx([1e12 * (1 + float(s.norm())) for s in d.s], rel=1e-12)
    assert d.h.tolist() == [1, 1] and d.flat_steps.tolist() == [0, 0]


def test_the_projected_gradient_steps_by_what_succeeds():
    """Against one row at a time: Armijo's condition, longer steps while it holds."""
    network = random_dense(6, 0, HARD, gain=12.0)
    starts = torch.as_tensor(np.random.default_rng(1).uniform(-0.5, 0.5, (9, 6)))
    descent = trust_region._Descent(Rows.repeated(network, 9), starts)
    slow, steps = [*starts], [1.0] * 9
    fell = 0
    for _ in range(8):
        descent.relax()
        for i, s in enumerate(slow):
            trial = (s + steps[i] * network.force(s)).clamp(-0.5, 0.5)
            enough = 0.1 * float((trial - s).square().sum()) / steps[i]
            if float(network.energy(trial)) <= float(network.energy(s)) - enough:
                slow[i], steps[i] = trial, min(1.5 * steps[i], 1.0)
                fell += 1
            else:
                steps[i] /= 2
        torch.testing.assert_close(descent.s, torch.stack(slow), rtol=0, atol=1e-13)
        assert descent.h.tolist() == pytest.approx(steps)
        torch.testing.assert_close(descent.E, network.energy(descent.s))
        torch.testing.assert_close(descent.f, network.force(descent.s))
    assert 20 < fell < 70


def test_the_radius_follows_what_the_model_predicted():
    cases = [  # better, ratio, length, tried, radius after it was 1
        (True, 0.76, 0.5, 0.5, 1.5), (True, 0.76, 0.2, 0.2, 1.0), (True, 0.75, 0.5, 0.5, 1.0),
        (True, 0.25, 0.5, 0.5, 1.0), (True, 0.24, 0.5, 0.8, 0.2), (False, 0.9, 0.5, 0.8, 0.2),
        (True, 0.5, 0.9, 0.9, 1.0),
    ]  # fmt: skip
    descent = trust_region._Descent(Rows.repeated(quadratic([1.0]), 7), torch.zeros(7, 1).double())
    descent.radius = torch.ones(7).double()
    better, *numbers, expected = zip(*cases, strict=True)
    descent._resize(torch.tensor(better), *map(f64, numbers))
    assert descent.radius.tolist() == pytest.approx(expected)


def test_the_radius_triples_as_long_as_the_energy_is_quadratic():
    """From 0 with force 1 the steps are 1, 3, 9, ... until the minimum is in reach."""
    well = quadratic([0.01])
    start = torch.linalg.solve(well.A, well.b) + 100
    ends = [descend(Rows.repeated(well, 1), start.unsqueeze(0), 1e-9, n) for n in range(1, 8)]
    moved = [float((start - s).abs()) for s, *_ in ends]
    assert moved == pytest.approx([1, 4, 13, 40, 100, 100, 100], abs=1e-7)
    assert [int(steps) for _, steps, *_ in ends] == [1, 2, 3, 4, 5, 5, 5]


def test_newtons_steps_are_solved_as_far_as_they_are_worth():
    def accuracy(activation, sizes, known):
        net = pair(2.0, activation)
        d = trust_region._Descent(Rows.repeated(net, len(sizes)), f64([[0.0, 0.0]] * len(sizes)))
        d.pins_known = torch.tensor(known)
        g = torch.stack([f64(sizes), torch.zeros(len(sizes)).double()], -1)
        return d._accuracy(g, 1e-6).tolist()

    smooth = accuracy(TANH, [2.0, 1e-3, 1e-9, 1e-20], [False] * 4)
    assert smooth == pytest.approx([0.2, 1e-6, 4 * 2.0**-52, 0.5e-20], rel=1e-12)
    kinks = accuracy(HARD, [2.0, 2.0, 1e-3], [False, True, True])
    assert kinks == pytest.approx([0.2, 1e-8, 1e-11], rel=1e-12)


def test_a_projected_step_is_cut_to_thirds_until_it_falls():
    network = random_dense(6, 0, HARD, gain=12.0)
    rng = np.random.default_rng(2)
    starts = torch.as_tensor(rng.uniform(-0.4, 0.4, (40, 6)))
    d = torch.as_tensor(rng.normal(size=(40, 6)) * np.linspace(0.05, 2, 40)[:, None])
    descent = trust_region._Descent(Rows.repeated(network, 40), starts)
    s, E, f = descent._along(d, descent.E)
    cuts = []
    for i, start in enumerate(starts):
        best, t, n = (start + d[i]).clamp(-0.5, 0.5), 1.0, 0
        while n < 4 and not float(network.energy(best)) <= float(descent.E[i]):
            t, n = t / 3, n + 1
            shorter = (start + t * d[i]).clamp(-0.5, 0.5)
            best = shorter if network.energy(shorter) < network.energy(best) else best
        cuts.append(n)
        torch.testing.assert_close(s[i], best, rtol=0, atol=1e-14)
    assert {0, 4} < {*cuts}
    torch.testing.assert_close(E, network.energy(s))
    torch.testing.assert_close(f, network.force(s))
    smooth = trust_region._Descent(Rows.repeated(pair(9.0, TANH), 40), starts[:, :2])
    assert torch.equal(smooth._along(d[:, :2], smooth.E)[0], starts[:, :2] + d[:, :2])


def test_what_is_settled_stuck_or_far_away_goes_no_further():
    well = quadratic([1.0, 2.0])
    rest = torch.linalg.solve(well.A, well.b)
    s = torch.stack([rest, rest + 1, rest + 1, rest + 1])
    d = trust_region._Descent(Rows.repeated(well, 4), s)
    size = float((rest + 1).norm())
    d.radius[2], d.radius[3] = 1e-14 * (1 + size), 1.01e-14 * (1 + size)
    assert d.going(1e-9).tolist() == [False, True, False, True]
    d.far[1] = size / 2
    assert d.going(1e-9).tolist() == [False, False, False, True]
    tol = float(residual(well, s[3:]))
    assert d.going(tol).tolist() == [False] * 4 and d.going(0.999 * tol).tolist()[3]
    d.keep(torch.tensor([False, True, False, True]))
    assert d.far.tolist()[0] == size / 2 and len(d.s) == len(d.h) == len(d.pins_known) == 2
    assert torch.equal(d.E, well.energy(d.s)) and torch.equal(d.f, well.force(d.s))


def test_steps_along_which_the_energy_is_flat_are_counted_and_end():
    """At the bottom no step lowers the energy by more than its rounding."""
    network = random_dense(6, 0, TANH, gain=3.0)
    rest = settle(network, torch.full((6,), 0.3)).state.unsqueeze(0)
    descent = trust_region._Descent(Rows.repeated(network, 1), rest)
    for n in range(1, 4):
        descent.step(1e-30)
        assert descent.flat_steps.tolist() == [n]
    away = trust_region._Descent(Rows.repeated(network, 1), rest + 0.1)
    away.flat_steps += 5
    away.step(1e-30)
    assert away.flat_steps.tolist() == [0]
    few = descend(Rows.repeated(network, 1), rest, 1e-30, 50, patience=2.0)[1]
    assert int(few) == 2


def test_a_step_is_taken_only_where_it_lowers_energy_or_residual():
    """And the units at kinks are known once a step has not changed them."""
    network = random_dense(8, 0, HARD, gain=4.0)
    start = torch.as_tensor(np.random.default_rng(3).uniform(-0.5, 0.5, (30, 8)))
    descent = trust_region._Descent(Rows.repeated(network, 30), start)
    for _ in range(6):
        s, E, f = descent.s, descent.E, descent.f
        before = pinned_units(network, s, f)
        descent.step(1e-12)
        moved = (descent.s != s).any(-1)
        r = [network.box.residual(*at).norm(dim=-1) for at in ((s, f), (descent.s, descent.f))]
        slack = energy_rounding(network, s, E)
        fell = slack < E - descent.E
        assert (fell | (r[1] < r[0]))[moved].all()
        same = (pinned_units(network, descent.s, descent.f) == before).all(-1)
        assert torch.equal(descent.pins_known & moved, same & moved)
    assert descent.pins_known.any()
