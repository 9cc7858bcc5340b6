"""One update after another: the energy never rises, and saturated units find their state."""

import dataclasses
import math

import pytest
import torch
from learning_cases import ACTIVATIONS, states

import ctebm
from ctebm.equilibria import sweeps
from ctebm.equilibria.alternating import settle_alternating
from ctebm.equilibria.kkt import residual


@pytest.mark.parametrize("activation", [*ACTIVATIONS, ctebm.SmoothHardSigmoid()], ids=repr)
@pytest.mark.parametrize("gain", [0.3, 1.0, 2.0])
def test_the_energy_never_rises(activation, gain):
    network, x, _ = states((9, 8, 8, 7, 5), activation, gain)
    clamped = network.clamp({"x": x})
    s, heights = None, []
    for _ in range(24):
        s = settle_alternating(clamped.blocks, s, tol=1e-30, max_sweeps=1).states
        heights.append(clamped.energy(torch.cat(s, -1)))
    heights = torch.stack(heights)
    assert float(heights.diff(dim=0).max()) <= 1e-12
    assert float((heights[0] - heights[-1]).max()) > 1e-9


@pytest.mark.parametrize("activation", [ctebm.Logistic(), ctebm.Tanh(), ctebm.SmoothHardSigmoid()])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_saturated_smooth_units_converge(activation, beta):
    """Currents of many times the width of the rate, where s <- R(s) jumps to and fro."""
    network, x, target = states((9, 8, 7, 5), activation, gain=0.3)
    biases = [b + 6 * (-1) ** torch.arange(len(b)) for b in network.biases]
    clamped = ctebm.LayeredNetwork(network.weights, biases, activation).clamp({"x": x})
    found = settle_alternating(clamped.blocks, tol=1e-12, max_sweeps=60)
    assert float(found.residual.max()) <= 1e-12
    assert float(residual(clamped, torch.cat(found.states, -1)).max()) <= 2e-12
    nudged = settle_alternating(
        clamped.blocks, found.states, tol=1e-12, max_sweeps=60, nudge=(target, beta)
    )
    force = ctebm.Dynamics(clamped, nudge=target, beta=beta)
    assert float(force.f(0, torch.cat(nudged.states, -1)).abs().max()) <= 1e-11


def slow_solution(R, slope, s):
    """Newton's method in brackets for one number, in plain steps; how often R was asked."""
    pressure = R(s)
    low, high = min(s, pressure), max(s, pressure)
    enough = max(8 * EPS * max(abs(pressure), 1), 1e-3 * abs(pressure - s))
    asked = 0
    while asked < 12:
        asked += 1
        f = pressure - s
        if f > 0:
            low = s
        if f < 0:
            high = s
        newton = s + f / max(1 - slope(s), 0.1)
        if f != 0:
            s = newton if low < newton < high else (low + high) / 2
        pressure = R(s)
        if abs(pressure - s) <= enough:
            break
    return s, asked


EPS = 2.0**-52


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("I", [-3.0, -0.4, 0.0, 0.2, 1.5, 6.0, 40.0])
@pytest.mark.parametrize("start", [-3.0, -0.1, 0.0, 0.5, 2.0])
def test_a_unit_by_itself_is_solved_by_newtons_method_in_brackets(I, start):
    def R(s):
        return I * (1 - math.tanh(s) ** 2)

    def slope(s):
        return -2 * I * math.tanh(s) * (1 - math.tanh(s) ** 2)

    asked = []

    def pressure(s):
        asked.append(1)
        return I * (1 - s.tanh() ** 2)

    s = torch.tensor([[start]], dtype=torch.float64)
    found = sweeps._solve_units(
        pressure, lambda s: -2 * I * s.tanh() * (1 - s.tanh() ** 2), s
    )  # fmt: skip
    expected, n = slow_solution(R, slope, start)
    assert float(found) == pytest.approx(expected, abs=1e-11)
    assert len(asked) == n + 1


def test_units_go_on_until_the_last_is_solved():
    I = torch.tensor([[0.0, 0.3, 40.0]], dtype=torch.float64)
    s = sweeps._solve_units(
        lambda s: I * (1 - s.tanh() ** 2), lambda s: -2 * I * s.tanh() * (1 - s.tanh() ** 2),
        torch.zeros(1, 3, dtype=torch.float64),
    )  # fmt: skip
    left = (I * (1 - s.tanh() ** 2) - s).abs()
    assert s[0, 0] == 0 and bool((left <= 1e-3 * I).all())


def test_over_relaxation_is_youngs():
    """At the factor w a mode of mu contracts by the root of (c + w - 1)^2 = c w^2 mu^2."""
    for mu, omega in [(0.5, 1.0), (0.8, 1.0), (0.8, 1.1), (0.6, 1.05)]:
        middle = omega**2 * mu**2 / 2 - omega + 1
        contraction = middle + math.sqrt(middle**2 - (omega - 1) ** 2)
        found = sweeps._over_relaxation(f64([omega]), f64([contraction]))
        assert float(found) == pytest.approx(2 / (1 + math.sqrt(1 - mu**2)), rel=1e-12)


def test_factors_are_never_lowered_nor_beyond_the_largest():
    omega = f64([1.0, 1.0, 1.0, 1.3, 1.0])
    contraction = f64([0.99, 7.0, 0.0, 1e-9, 0.36])
    least = 2 / (1 + math.sqrt(1 - 1e-3))
    found = sweeps._over_relaxation(omega, contraction)
    mu = (1e-3 + 0.3) ** 2 / (1e-3 * 1.3**2)  # beyond 1: the contraction was another mode's
    assert mu > 1
    expected = [1.5, 1.5, least, 1.5, 2 / 1.8]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    kept = sweeps._over_relaxation(f64([1.4]), f64([0.4]))
    assert float(kept) == pytest.approx(1.4, rel=1e-15)


@pytest.mark.parametrize("beta", [None, 0.7])
def test_newtons_slope_is_that_of_the_pressure_with_its_nudge(beta, monkeypatch):
    network, x, target = states((9, 8, 5), ctebm.Tanh(), gain=3.0)
    blocks = network.clamp({"x": x}).blocks
    going = sweeps.Sweeps(
        blocks, [2 * x[:, :8], 2 * x[:, :5]], beta and (target, beta), 1e-9
    )  # fmt: skip
    slopes, h = [], 1e-6

    def compared(pressure, slope, s):
        by_differences = (pressure(s + h) - pressure(s - h)) / (2 * h)
        slopes.append((slope(s), by_differences))
        return s

    monkeypatch.setattr(sweeps, "_solve_units", compared)
    for i in (0, 1):
        going._update(i)
    for found, expected in slopes:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert len(slopes) == 2 and min(slope.abs().max() for slope, _ in slopes) > 0.05


def small_sweeps(nudge=None, tol=1e-9):
    network, x, target = states((9, 8, 7, 5), ctebm.HardSigmoid(), gain=0.8)
    blocks = network.clamp({"x": x}).blocks
    draw = torch.Generator().manual_seed(0)
    start = [0.3 * torch.rand(7, n, generator=draw, dtype=torch.float64) for n in (8, 7, 5)]
    return sweeps.Sweeps(blocks, start, nudge and (target, nudge), tol), target


def minimum(going, i, target=None, beta=0.0):
    """Return where layer i would lie, from plain products."""
    b, W, s = going.layers.biases, going.layers.weights, going.s
    I = b[i] + 0.0
    if i > 0:
        I = I + (s[i - 1] + 0.5) @ W[i - 1]
    if i < 2:
        I = I + (s[i + 1] + 0.5) @ W[i].mT
    if i == 2 and target is not None:
        I = (I + beta * target) / (1 + beta)
    return I.clamp(-0.5, 0.5)


@pytest.mark.parametrize("beta", [None, 0.5])
@pytest.mark.parametrize("factor", [None, 1.3])
def test_an_update_is_the_minimum_over_every_other_layer(factor, beta):
    going, target = small_sweeps(beta)
    target = None if beta is None else target
    omega = 1.0 if factor is None else factor
    if factor is not None:
        going.omega = torch.full((7, 1), factor, dtype=torch.float64)
    for _ in range(3):
        before, left = going.s.copy(), going.left
        goals = [minimum(going, i, target, beta or 0.0) for i in (2, 0)]
        residual = going.update_even()
        moves = torch.cat([goals[0] - before[2], goals[1] - before[0]], -1)
        torch.testing.assert_close(going.moves, moves, rtol=0, atol=1e-14)
        whole = torch.maximum(moves.abs().amax(-1), left.abs().amax(-1))
        torch.testing.assert_close(residual, whole, rtol=0, atol=1e-14)
        assert torch.equal(going.s[1], before[1])
        for i, goal in zip((2, 0), goals, strict=True):
            new = (before[i] + omega * (goal - before[i])).clamp(-0.5, 0.5)
            torch.testing.assert_close(going.s[i], new, rtol=0, atol=1e-14)
        before, goal, last = going.s.copy(), minimum(going, 1), going.moves
        going.update_odd()
        new = (before[1] + omega * (goal - before[1])).clamp(-0.5, 0.5)
        torch.testing.assert_close(going.s[1], new, rtol=0, atol=1e-14)
        torch.testing.assert_close(going.left, goal - new, rtol=0, atol=1e-14)
        assert torch.equal(going.s[0], before[0]) and torch.equal(going.s[2], before[2])
    going.update_even()
    assert torch.equal(going.moves_before, last)


def test_the_factor_follows_the_lengths_of_the_last_two_moves():
    going, _ = small_sweeps()
    for _ in range(3):
        going.update_even()
        going.update_odd()
    going.moves[2], going.moves_before[2] = 0.0, 0.0
    going.over_relax()
    for i in range(7):
        now, before = (float(m[i].square().sum().sqrt()) for m in (going.moves, going.moves_before))
        c = min(max(now / max(before, 1e-30), 1e-3), 1.0)
        omega = min(2 / (1 + math.sqrt(1 - min(c, 1.0))), 1.5)
        assert float(going.omega[i]) == pytest.approx(omega, rel=1e-12)
    first = going.omega.clone()
    going.over_relax()
    assert bool((going.omega >= first).all())


def test_smooth_layers_are_not_over_relaxed():
    network, x, _ = states((9, 7, 5), ctebm.Tanh())
    blocks = network.clamp({"x": x}).blocks
    going = sweeps.Sweeps(blocks, [torch.zeros(7, n).double() for n in (7, 5)], None, 1e-9)
    going.update_even()
    going.over_relax()
    assert going.omega is None


def test_samples_that_are_kept_go_on_as_they_were():
    going, target = small_sweeps(0.5)
    whole, _ = small_sweeps(0.5)
    for one in (going, whole):
        for _ in range(2):
            one.update_even()
            one.update_odd()
        one.over_relax()
    chosen = torch.tensor([True, False, True, True, False, False, True])
    places, found = going.reached(going.s, going.left.abs().amax(-1), 4, ~chosen)
    assert places.tolist() == [1, 4, 5] and found.sweeps.tolist() == [4, 4, 4]
    for mine, theirs in zip(found.states, whole.s, strict=True):
        assert torch.equal(mine, theirs[~chosen])
    for mine, theirs in zip(found.currents, whole.I, strict=True):
        assert torch.equal(mine, theirs[~chosen])
    assert torch.equal(found.residual, whole.left.abs().amax(-1)[~chosen]) and found.tol == 1e-9
    going.keep(chosen)
    assert going.rows.tolist() == [0, 2, 3, 6]
    assert torch.equal(going.nudge[0], target[chosen]) and going.nudge[1] == 0.5
    assert torch.equal(going.omega, whole.omega[chosen])
    for _ in range(2):
        torch.testing.assert_close(going.update_even(), whole.update_even()[chosen])
        torch.testing.assert_close(going.moves_before, whole.moves_before[chosen])
        for one in (going, whole):
            one.update_odd()
        torch.testing.assert_close(going.left, whole.left[chosen])
        for mine, theirs in zip(going.s, whole.s, strict=True):
            torch.testing.assert_close(mine, theirs[chosen], rtol=0, atol=1e-14)


def test_a_sample_has_converged_with_the_tolerance_and_not_with_nan():
    found = sweeps.Equilibrium(
        [], [], torch.tensor([1e-3, 0.0012345, math.nan]), torch.tensor([7, 8, 9]), 1e-3
    )
    found = dataclasses.replace(found, tol=float(found.residual[0]))
    assert found.status.tolist() == [0, 1, 1]
    assert found.message[0] == ""
    assert found.message[1].startswith("sample 1 has residual 0.00123 > 0.001 after 8 sweeps;")
    assert found.message[2].startswith("sample 2 has residual nan > 0.001 after 9 sweeps;")
    with pytest.raises(RuntimeError, match="sample 1 has"):
        found.raise_for_status()


def test_what_is_left_of_the_odd_layers_is_a_part_of_the_residual():
    going, _ = small_sweeps()
    for _ in range(60):
        going.update_even()
        going.update_odd()
    assert float(going.left.abs().max()) == 0
    going.left = torch.zeros(7, 7, dtype=torch.float64)
    going.left[3, 2], going.left[5, 1] = -0.25, 1.0
    residual = going.update_even()
    assert float(residual[3]) == 0.25 and float(residual[5]) == 1.0
    assert float(residual[[0, 1, 2, 4, 6]].max()) < 1e-3
