"""The motion followed in time: against fine simulations, past saddles, and where it never ends."""

import itertools
import math

import numpy as np
import pytest
import torch
import zoo
from analytic import HARD, TANH, pair, pitchfork_state, random_dense

from ctebm import Network, VectorField, settle, simulate
from ctebm.equilibria import relaxation
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.relaxation import _Motion, relax
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.steps import STAGES


class Decay(VectorField):
    """``s' = -s``."""

    def force(self, s):
        return -s


class Growth(VectorField):
    """``s' = s``."""

    def force(self, s):
        return s.clone()


def followed(network, starts, tol=1e-10, max_iterations=2000):
    s = torch.as_tensor(starts, dtype=torch.float64)
    return relax(Rows.repeated(network, len(s)), s, tol, max_iterations)


def test_time_is_the_time_of_the_motion():
    found = followed(Decay(1), [[1.0], [2.0]], max_iterations=8)
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64) * (-found.time).exp()
    assert (found.time > 0.1).all()
    assert torch.allclose(found.state[:, 0], exact, atol=1e-5)


def test_it_leaves_a_saddle_that_it_passes():
    up = pitchfork_state(8.0)
    # along the stable direction of the state 0, off it by 1e-6
    found = followed(pair(8.0, TANH), [[0.5, -0.5 + 1e-6], [0.5, -0.5 - 1e-6]])
    expected = torch.tensor([[up, up], [-up, -up]], dtype=torch.float64)
    assert torch.allclose(found.state, expected, atol=1e-10)
    assert found.stable.all()


def test_on_its_stable_set_it_ends_at_the_saddle_and_does_not_call_it_stable():
    found = followed(pair(8.0, TANH), [[0.5, -0.5]])
    assert found.state.abs().max() < 1e-9
    assert not found.stable.any()


def test_a_cycle_has_no_end():
    for network in (zoo.rotor(), zoo.hard_asymmetric(0)):
        start = torch.full((1, network.n_units), 0.1)
        found = followed(network, start, max_iterations=200)
        assert found.steps.tolist() == [200]
        assert residual(network, found.state) > 1e-3


def test_growth_ends_it():
    found = followed(Growth(1), [[1.0]])
    assert found.state.abs().max() > 1e12
    assert found.time.item() == pytest.approx(math.log(found.state.item()), rel=1e-3)


def test_rows_are_independent():
    network = zoo.cyclic()
    start = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3).roll(1, 0)
    together = followed(network, start)
    for i in range(4):
        alone = followed(network, start[i : i + 1])
        assert torch.allclose(alone.state[0], together.state[i], atol=1e-12)
        assert alone.steps[0] == together.steps[i]


def test_units_slide_on_kinks():
    found = followed(zoo.inhibition(3, -5.0), [[0.4, 0.35, -0.1], [0.1, -0.3, 0.2]])
    assert found.state.tolist() == [[0.5, 0.0, -0.5], [0.0, -0.5, 0.5]]
    assert residual(pair(2.0, HARD), followed(pair(2.0, HARD), [[0.1, 0.2]]).state) == 0


@pytest.mark.parametrize(
    "name",
    ["inhibition-5-2", "inhibition-3-2-logistic", "inhibited-layer", "clone-layers", "hebbian",
     "excitation-inhibition", "cyclic", "hard-asymmetric-5", "hopfield-layers"],
)  # fmt: skip
def test_it_ends_where_a_fine_simulation_ends(name):
    member = zoo.zoo()[name]
    network, starts = member.network, member.starts(10, seed=1)
    found = followed(network, starts)
    stiff = torch.linalg.eigvals(network.jacobian(found.state)).abs().amax()
    eps = 0.1 / max(float(stiff), 1.0)
    run = simulate(network, starts, n_steps=4000, eps=eps, steady=1e-4, save_every=4000)
    apart = (run.state[-1] - found.state).abs().amax(-1)
    assert found.stable.all()
    assert (apart < 0.02).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.zoo())
def test_forty_starts_in_each_of_the_zoo_end_where_fine_steps_end(name):
    """1,160 starts. Where the force falls slower than an exponential, longer steps go on."""
    member = zoo.zoo()[name]
    network, starts = member.network, member.starts(40, seed=2)
    found = settle(network, starts, path="flow").raise_for_status()
    J = network.jacobian(torch.cat([starts, found.state]))
    fastest = max(1.0, float(torch.linalg.eigvals(J).abs().max()))
    n = 10**5
    run = simulate(
        network, starts, n_steps=n, eps=0.02 / fastest, steady=1e-7, save_every=n
    )  # fmt: skip
    end = run.state[-1]
    if residual(network, end).max() > 1e-6:
        n *= 4
        run = simulate(network, end, n_steps=n, eps=0.5 / fastest, steady=1e-7, save_every=n)
        end = run.state[-1]
    assert (end - found.state).abs().max() < 5e-3


@pytest.mark.slow
def test_a_bump_that_drifts_ends_in_the_basin_where_it_moves():
    """A bump between two units is held by 1e-6 and drifts for 1e5 time constants.

    Mirrored at a unit the ring is itself: bumps that stand on one are saddles, and none passes
    one: the end is between the units where the bump was.
    """
    n, network = 16, zoo.cosine_ring(16)
    starts = zoo.zoo()["cosine-ring"].starts(20)
    found = followed(network, starts, max_iterations=500)
    wave = torch.exp(-2j * math.pi * torch.arange(n) / n).to(torch.complex128)

    def place(s):
        return torch.angle(s.to(wave) @ wave) * n / (2 * math.pi) % n

    fine = simulate(network, starts, n_steps=5000, eps=0.02, save_every=5000).state[-1]
    assert found.stable.all() and (found.time > 1e5).all()
    assert torch.equal(place(found.state).floor(), place(fine).floor())
    ends = place(found.state) % 1
    assert torch.allclose(ends, torch.full_like(ends, 0.5), atol=1e-5)
    # the nearest to its end, to that end
    start = (place(fine) % 1 - 0.5).abs() < 0.05
    assert start.any()
    options = {"n_steps": 10**6, "eps": 1.0, "steady": 1e-7, "save_every": 10**6}
    end = simulate(network, fine[start], **options).state[-1]
    assert (end - found.state[start]).abs().max() < 3e-3 < 5e-3 < (end - fine[start]).abs().max()


def test_equal_units_end_at_their_saddle_instead_of_jumping_beside_it():
    """A curvature of 7: longer and longer steps, at the limit of the method, never ended."""
    found = followed(zoo.inhibition(2, -6.0), [[0.4, 0.4], [0.1, 0.1]], max_iterations=200)
    assert found.state.abs().max() < 1e-9
    assert not found.stable.any()


class SlowDecay(VectorField):
    """``s' = -s / 4``."""

    def force(self, s):
        return -s / 4


def test_no_step_is_longer_than_the_fastest_mode_allows():
    """Also where that is slower than the leak: 2.9 of its own time constants."""
    times = [followed(SlowDecay(1), [[1.0]], 1e-300, n).time.item() for n in range(20, 40)]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 2.9 * 4 * 1.001


def slow_steps(net, s, n):
    """Dormand and Prince's pair for one row, in plain steps: state, time and next step."""
    low, high = net.box or (-math.inf, math.inf)

    def clip(u):
        return u.clamp(low, high)

    def size(u):
        return float(u.abs().max())

    fourth = [5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40]
    h, t, f, refused = 0.03, 0.0, net.force(s), 0
    for _ in range(n):
        left = f if net.box is None else clip(s + f) - s
        k, stages = [f], [s]
        for weights in STAGES:
            stages.append(clip(s + h * sum(w * f for w, f in zip(weights, k, strict=True))))
            k.append(net.force(stages[-1]))
        *_, before, end = stages
        lower = clip(s + h * sum(w * f for w, f in zip(fourth, k, strict=True)))
        scale = max(size(s), 1.0)
        allowed = max(min(1e-5 * scale, 0.1 * size(left)), 2.0**-52 * scale)
        error = size(end - lower) / allowed
        bent, moved = size(k[-1] - k[-2]), size(end - before)
        tried = h
        h = min(
            h * min(max(0.9 * max(error, 1e-300) ** (-1 / 5), 0.2), 4.0),
            2.9 * moved / bent if bent else math.inf,
        )
        if error <= 1:
            s, f, t = end, k[-1], t + tried
        else:
            refused += 1
    return s, t, h, refused


@pytest.mark.parametrize("activation", [HARD, TANH], ids=repr)
@pytest.mark.parametrize("gain", [0.3, 4.0, 40.0])
def test_steps_are_those_of_the_pair_in_plain_numbers(activation, gain):
    network = random_dense(5, 0, activation, gain=gain)
    top = 2.0 if network.box is None else 0.45
    starts = torch.linspace(-0.49, top, 20, dtype=torch.float64).reshape(4, 5)
    motion, refused = _Motion(Rows.repeated(network, 4), starts), 0
    for n in range(1, 13):
        motion.step()
        if n in (1, 2, 5, 12):
            slow = [slow_steps(network, s, n) for s in starts]
            torch.testing.assert_close(motion.s, torch.stack([one[0] for one in slow]))
            assert motion.time.tolist() == pytest.approx([one[1] for one in slow], rel=1e-6)
            assert motion.h.tolist() == pytest.approx([one[2] for one in slow], rel=1e-4)
            torch.testing.assert_close(torch.tensor(motion.size), residual(network, motion.s))
            torch.testing.assert_close(motion.f, network.force(motion.s))
            refused += sum(one[3] for one in slow)
    assert refused > 0 or gain < 1


def test_newtons_method_is_tried_near_rest_and_again_nearer_or_later(monkeypatch):
    """Below a thousandth of the state; then at a tenth of that, or after twice the time."""
    motion, tried = _Motion(Rows.repeated(Decay(2), 1), torch.ones(1, 2).double()), []
    monkeypatch.setattr(motion, "_polish", lambda at, tol: tried.append(motion.size.item()))

    def at(size, time):
        motion.size, motion.time = np.array([size]), np.array([time])
        before = len(tried)
        motion.polish(1e-10)
        return len(tried) > before

    assert not at(2e-3, 1.0) and not at(1.001e-3, 1.5)
    assert at(1e-3, 2.0)
    assert not at(1.01e-4, 3.0) and at(1e-4, 3.5)
    assert not at(9e-5, 6.9) and at(9e-5, 7.0)
    assert not at(5e-2, 20.0) and at(9e-4, 10.0)  # away again, and back
    assert motion.try_below.item() == pytest.approx(9e-5) and motion.try_after.item() == 20.0
    motion.s, motion.scale = 50 * motion.s, 50 * motion.scale
    assert not at(0.051, 10.0) and at(0.05, 10.0)


def test_newtons_method_goes_in_portions_and_not_beyond_the_largest(monkeypatch):
    motion, tried = _Motion(Rows.repeated(Decay(2), 5), 1e-5 * torch.ones(5, 2).double()), []
    monkeypatch.setattr(motion, "_polish", lambda at, tol: tried.append(at.tolist()))
    monkeypatch.setattr(relaxation, "PORTION", 8)
    monkeypatch.setattr(relaxation, "LARGEST", 2)
    motion.size[3] = 1.0
    motion.polish(1e-10)
    assert tried == [[0, 1], [2, 4]]
    monkeypatch.setattr(relaxation, "LARGEST", 1)
    motion = _Motion(Rows.repeated(Decay(2), 5), 1e-5 * torch.ones(5, 2).double())
    monkeypatch.setattr(motion, "_polish", lambda at, tol: tried.append(at.tolist()))
    motion.polish(1e-10)
    assert len(tried) == 2


def test_newtons_end_is_taken_if_it_is_near_stable_and_within_the_tolerance(monkeypatch):
    net = pair(8.0, TANH)
    up = pitchfork_state(8.0)
    starts = torch.tensor([[up, up], [0.0, 0.0], [0.0, 0.0], [up, up]], dtype=torch.float64)
    ends = torch.tensor([[up, up], [0.0, 0.0], [up, up], [up, up]], dtype=torch.float64)
    ends[3] += 1e-3
    motion = _Motion(Rows.repeated(net, 4), starts + 1e-5)
    before = motion.s.clone()
    monkeypatch.setattr(relaxation, "_newton", lambda rows, s, tol: ends)
    motion._polish(torch.arange(4), 1e-10)
    assert motion.stable.tolist() == [True, False, False, False]
    assert torch.equal(motion.s[0], ends[0]) and torch.equal(motion.s[1:], before[1:])
    assert float(motion.size[0]) <= 1e-10 < float(motion.size[1:].min())


def test_what_is_small_or_far_away_moves_no_more():
    start = torch.tensor([[1.0], [2.0], [0.5], [3.0]]).double()
    motion = _Motion(Rows.repeated(Decay(1), 4), start)
    assert motion.far.tolist() == [1e12, 2e12, 1e12, 3e12]
    motion.size = np.array([1e-9, 2e-9, 2e-9, 2e-9])
    motion.far[2] = 0.5
    assert motion.going(1e-9).tolist() == [False, True, False, True]


class Drift(Network):
    """A fast mode beside one along which the energy falls with the sixth power of the state."""

    def energy(self, s):
        return 500 * s[..., 0].square() + s[..., 1].pow(6) / 6


def test_a_slow_motion_goes_on_by_implicit_steps(monkeypatch):
    """Explicit steps of 0.003 would take a time of 10^4 in three million."""
    start, exact = torch.tensor([[0.5, 1.0], [0.1, -0.8]]).double(), []
    monkeypatch.setattr(relaxation, "NEAR", 0.0)  # without Newton's method
    for tol in (1e-8, 1e-10):
        found = followed(Drift(2), start, tol)
        assert (residual(Drift(2), found.state) <= tol).all() and (found.steps < 400).all()
        # s' = -s^5: s^-4 grows by 4 t
        exact = (start[:, 1] ** -4 + 4 * found.time) ** -0.25 * start[:, 1].sign()
        torch.testing.assert_close(found.state[:, 1], exact, rtol=0.02, atol=0)
    monkeypatch.setattr(relaxation, "IMPLICIT_UNITS", 1)
    assert (followed(Drift(2), start, 1e-8, 500).steps == 500).all()


def test_a_bump_between_two_units_reaches_its_place():
    """It drifts for thousands of time constants; then it stands as it stands between any two."""
    member = zoo.zoo()["cosine-ring"]
    found = followed(member.network, member.starts(20))
    assert (residual(member.network, found.state) <= 1e-10).all() and (found.steps < 500).all()
    E = member.network.energy(found.state[found.stable])
    torch.testing.assert_close(E, E.min().expand_as(E), rtol=0, atol=1e-9)


class Stiff(VectorField):
    """A slow unit beside a fast one."""

    def force(self, s):
        rates = torch.tensor([1.0, 1e4], dtype=s.dtype)
        return rates * (torch.tanh(s.flip(-1)) / 2 - s)


def test_slow_rows_go_in_portions_that_bound_the_memory(monkeypatch):
    starts = torch.linspace(0.2, 1, 10, dtype=torch.float64).reshape(5, 2)
    whole, sizes = followed(Stiff(2), starts), []

    class Noted(relaxation._SlowMotion):
        def __init__(self, rows, s):
            sizes.append(len(s))
            super().__init__(rows, s)

    monkeypatch.setattr(relaxation, "_SlowMotion", Noted)
    monkeypatch.setattr(relaxation, "PORTION", 8)
    found = followed(Stiff(2), starts)
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(found.state, whole.state, rtol=0, atol=1e-9)
    assert found.stable.all() and torch.equal(found.steps, whole.steps)
