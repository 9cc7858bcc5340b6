"""First passages against exact times: of Brownian motion, of diffusion generators, of rates."""

import importlib
import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH, pair, pitchfork_state
from scipy import sparse
from scipy.sparse.linalg import spsolve

import ctebm
from ctebm import DenseNetwork, Dynamics, first_passage


def exact_time(network, D, start, inside, reach=2.0, n=161):
    """Mean first passage time of two units, by the generator on a grid (detailed balance)."""
    x = torch.linspace(-reach, reach, n, dtype=torch.float64)
    s = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1)
    E, h = network.energy(s).numpy(), float(x[1] - x[0])
    number = np.arange(n * n).reshape(n, n)
    i = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    j = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    rise = (E.ravel()[j] - E.ravel()[i]) / (2 * D)
    up, down = D / h**2 * np.exp(-rise), D / h**2 * np.exp(rise)
    rates = sparse.coo_matrix(
        (np.r_[up, down, -up, -down], (np.r_[i, j, i, j], np.r_[j, i, i, j]))
    ).tocsr()
    keep = np.flatnonzero(inside(s).numpy().ravel())
    time = spsolve(rates[keep][:, keep].tocsc(), -np.ones(len(keep)))
    nearest = int((s.reshape(-1, 2)[keep] - torch.as_tensor(start)).norm(dim=-1).argmin())
    return float(time[nearest])


def ridge(s):
    return s.sum(-1) / math.sqrt(2)


@pytest.fixture(scope="module")
def over_the_ridge():
    D = 0.244377350 / 4
    well = torch.full((300, 2), pitchfork_state(8.0), dtype=torch.float64)
    motion = Dynamics(pair(8.0, TANH), sigma=math.sqrt(2 * D))
    return first_passage(motion, well, ridge, eps=0.05, n_steps=40000, seed=2)


def test_escape_of_the_smooth_pair(over_the_ridge):
    """Barrier/D = 4: 181.33 to the ridge, by an independent generator; 300 exits know it to 6 %."""
    low, high = over_the_ridge.mean_interval
    assert low < 181.33 < high and high / low < 1.3
    assert int(over_the_ridge.censored.sum()) == 0


def test_the_generator_agrees_with_the_independent_one():
    D, at = 0.244377350 / 4, pitchfork_state(8.0)
    assert exact_time(pair(8.0, TANH), D, [at, at], lambda s: ridge(s) > 0) == pytest.approx(
        181.33, rel=0.01
    )


@pytest.mark.slow
def test_escape_to_a_ball_around_the_other_well():
    D, at = 0.244377350 / 4, pitchfork_state(8.0)
    motion = Dynamics(pair(8.0, TANH), sigma=math.sqrt(2 * D))
    found = first_passage(
        motion, torch.full((600, 2), at), lambda s: (s + at).norm(dim=-1) - 0.3, eps=0.05,
        n_steps=60000, seed=2,
    )  # fmt: skip
    low, high = found.mean_interval
    assert low < 364.50 < high


def test_escape_of_the_pinned_pair():
    D = 0.25 / 3
    exact = exact_time(pair(2.0, HARD), D, [0.5, 0.5], lambda s: ridge(s) > 1e-9)
    motion = Dynamics(pair(2.0, HARD), sigma=math.sqrt(2 * D))
    found = first_passage(motion, torch.full((300, 2), 0.5), ridge, eps=0.01, n_steps=20000, seed=1)
    assert found.mean_interval[0] < exact < found.mean_interval[1]


def test_a_brownian_bridge_sees_what_step_ends_miss():
    """A unit around 0 leaves |s| < 1 late if looked at each step, on time with distances."""
    unit, sigma = DenseNetwork([[0.0]], [0.0], TANH), 1.5
    motion, start = Dynamics(unit, sigma=sigma), torch.zeros(2000, 1, dtype=torch.float64)

    def mean(inside, eps):
        return first_passage(motion, start, inside, eps=eps, n_steps=4000, seed=0).mean

    fine = mean(lambda s: 1 - s[..., 0].abs(), 0.005)
    bridged = mean(lambda s: 1 - s[..., 0].abs(), 0.04)
    blind = mean(lambda s: s[..., 0].abs() < 1, 0.04)
    assert bridged == pytest.approx(fine, rel=0.06) and blind > 1.15 * fine


def test_a_chain_does_not_depend_on_its_batch_nor_on_who_has_left():
    motion, start = Dynamics(pair(3.0, TANH), sigma=0.5), torch.zeros(40, 2, dtype=torch.float64)
    options = {"eps": 0.1, "n_steps": 3000, "seed": 3}
    many = first_passage(motion, start, lambda s: 1.0 - s[..., 0], **options)
    few = first_passage(motion, start[:7], lambda s: 1.0 - s[..., 0], **options)
    assert torch.equal(many.time[:7], few.time) and torch.equal(many.state[:7], few.state)


def test_times_are_those_of_a_saved_run():
    motion, start = Dynamics(pair(3.0, TANH), sigma=0.5), torch.zeros(10, 2, dtype=torch.float64)
    found = first_passage(motion, start, lambda s: s[..., 0] < 0.8, eps=0.1, n_steps=1500, seed=3)
    run = ctebm.simulate(motion, start, n_steps=1500, eps=0.1, seed=3)
    out = run.state[..., 0] >= 0.8
    first = torch.where(out.any(0), out.int().argmax(0), 1500)
    assert torch.allclose(found.time, 0.1 * first.double())
    assert found.censored.tolist() == (~out.any(0)).tolist()
    rows = torch.arange(10)
    assert torch.equal(found.state, run.state[first, rows])


def test_censored_chains_count_with_their_time():
    """Exits at a constant rate, cut off at half their mean: the mean of the finished is wrong."""
    D = 0.244377350 / 3
    well = torch.full((400, 2), pitchfork_state(8.0), dtype=torch.float64)
    motion = Dynamics(pair(8.0, TANH), sigma=math.sqrt(2 * D))
    whole = first_passage(motion, well, ridge, eps=0.05, n_steps=20000, seed=4)
    cut = first_passage(motion, well, ridge, eps=0.05, n_steps=int(whole.mean / 2 / 0.05), seed=4)
    finished = float(cut.time[~cut.censored].mean())
    assert "still inside" in cut.message[0] and finished < 0.5 * whole.mean
    assert cut.mean_interval[0] < whole.mean < cut.mean_interval[1]


def test_a_map_that_jumps_is_at_no_border_between_its_steps():
    """With synaptic noise a distance says what truth values say; no bridge, and no word of one."""
    well = torch.full((60, 2), pitchfork_state(8.0), dtype=torch.float64)
    motion = Dynamics(pair(8.0, TANH), sigma=1.2, noise="synaptic")
    given = {"eps": 0.2, "n_steps": 4000, "seed": 3}
    seen = first_passage(motion, well, lambda s: s.sum(-1) > 0, **given)
    told = first_passage(motion, well, ridge, **given)
    assert torch.equal(seen.time, told.time) and not told.bridged and seen.message == told.message
    assert int((told.status == 0).sum()) > 10 and "further away" not in seen.message[0]


def test_steps_above_the_limit_are_told():
    unit = DenseNetwork([[0.0]], [0.0], HARD)
    found = first_passage(
        Dynamics(unit, sigma=0.1), torch.zeros(5, 1), lambda s: 1 - s[..., 0], eps=2.0, n_steps=50
    )
    assert "the largest stable step" in found.message[0]


def test_nobody_leaves():
    unit = DenseNetwork([[0.0]], [0.0], TANH)
    found = first_passage(
        Dynamics(unit, sigma=0.01), torch.zeros(5, 1), lambda s: 1 - s[..., 0], eps=0.1, n_steps=50
    )
    assert found.mean == math.inf and found.mean_interval[1] == math.inf
    assert found.mean_interval[0] == pytest.approx(5 * 5 / -math.log(0.025), rel=1e-9)
    with pytest.raises(RuntimeError, match="no chain left"):
        found.raise_for_status()


def test_starts_outside_and_lost_chains_are_named():
    unit = DenseNetwork([[0.0]], [0.0], HARD)
    start = torch.tensor([[0.0], [3.0], [0.0]], dtype=torch.float64)
    found = first_passage(
        Dynamics(unit, sigma=torch.tensor([0.5, 0.5, 1e-3])), start, lambda s: 1 - s[..., 0],
        eps=0.1, n_steps=3000, seed=0,
    )  # fmt: skip
    assert (
        found.status.tolist() == [0, 3, 2] and "1 chains did not start inside" in found.message[0]
    )
    lost = first_passage(
        Dynamics(unit, sigma=0.1), torch.zeros(2, 1), lambda s: s[..., 0] > -math.inf, eps=2.5,
        n_steps=3000, seed=0,
    )  # fmt: skip
    assert lost.status.tolist() == [1, 1] and "left the finite numbers" in lost.message[0]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sigma": 0.0}, "without noise"),
        ({"inside": lambda s: s}, "one truth value"),
        ({"inside": lambda s: 3}, "int"),
        ({"inside": lambda s: s[..., 0] > 5}, "got none"),
        ({"eps": math.nan}, "eps"),
        ({"n_steps": 0}, "n_steps"),
        ({"start": torch.zeros(2, 2, 2)}, "sample by sample"),
        ({"method": "dopri5"}, "'euler', 'heun' or 'srk'"),
        ({"method": "mala"}, "'euler', 'heun' or 'srk'"),
        ({"method": "adaptive_srk"}, "'euler', 'heun' or 'srk'"),
        ({"inside": lambda s: (s[..., 0] - 1).sqrt()}, "got nan at a finite state"),
    ],
)
def test_what_has_no_meaning_is_refused(change, words):
    given = {
        "sigma": 0.1, "start": torch.zeros(3, 2), "inside": lambda s: s[..., 0] < 1, "eps": 0.1,
        "n_steps": 10,
    } | change  # fmt: skip
    motion = Dynamics(pair(1.0, TANH), sigma=given.pop("sigma"))
    with pytest.raises(ValueError, match=words):
        first_passage(motion, given.pop("start"), given.pop("inside"), **given)


def test_a_long_run_is_watched_in_parts_that_add_up(monkeypatch):
    """25 steps in parts of 10, and as many as are left."""
    passages, parts = importlib.import_module("ctebm.sampling.first_passage"), []
    go = passages.recorded_run

    def noted(dynamics, s, eps, n_steps, burn_in, every, method, source, exits, first):
        parts.append((first, n_steps))
        return go(dynamics, s, eps, n_steps, burn_in, every, method, source, exits, first)

    monkeypatch.setattr(passages, "SUBSTREAM", 10)
    monkeypatch.setattr(passages, "recorded_run", noted)
    unit = DenseNetwork([[0.0]], [0.0], TANH)
    found = first_passage(
        Dynamics(unit, sigma=0.01), torch.zeros(5, 1), lambda s: 1 - s[..., 0], eps=0.1, n_steps=25
    )
    assert parts == [(0, 10), (10, 10), (20, 5)]
    torch.testing.assert_close(found.time, torch.full_like(found.time, 2.5))
