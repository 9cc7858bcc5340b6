"""Stationary laws of steps against quadrature; values computed independently to nine digits."""

import math

import pytest
import torch
from analytic import HARD, TANH, pair

import ctebm
from ctebm import AsymmetricNetwork, DenseNetwork, Dynamics, LayeredNetwork, sample, settle

SIGMA = 0.5


class Wells(ctebm.Network):
    """A double well for each unit, in which large steps grow without end."""

    def energy(self, s):
        return ((s.square() - 1).square() / 4).sum(-1)


SECOND = {"squares": torch.square, "product": lambda s: s[..., 0] * s[..., 1],
          "fourth": lambda s: s[..., 0] ** 4}  # fmt: skip


def chains(n, n_units=2, at=0.0):
    return torch.full((n, n_units), at, dtype=torch.float64)


def holds(found, name, value, z=4.0):
    """Whether a mean is within z standard errors: 4 are exceeded once in 16,000."""
    mean, error = found.observed[name].flatten()[0], found.observed_error[name].flatten()[0]
    return abs(float(mean) - value) < z * float(error)


@pytest.mark.parametrize(
    "method, eps, variance, covariance",
    [
        ("euler", 0.4, 0.198278, 0.083634),
        ("euler", 0.2, 0.181226, 0.089607),
        ("mala", 0.4, 0.168608867, 0.092649963),
        ("mala", 0.8, 0.168608867, 0.092649963),
    ],
)
def test_pair_of_tanh_units(method, eps, variance, covariance):
    net = pair(3.0, TANH)
    found = sample(
        Dynamics(net, sigma=SIGMA), chains(400), n_steps=1200, eps=eps, burn_in=100, every=5,
        method=method, seed=3, observe=SECOND,
    )  # fmt: skip
    assert found.message == [""] and int(found.status) == 0
    assert holds(found, "squares", variance) and holds(found, "product", covariance)
    if method == "mala":
        assert holds(found, "fourth", 0.078193953)
    z = found.mean / found.mean_error
    assert (z.abs() < 4).all()
    assert float(found.observed_error["squares"][0]) < 0.01 * variance  # the test can fail


def test_one_unit_with_a_bias():
    unit = DenseNetwork([[0.0]], [1.5], TANH)
    found = sample(
        Dynamics(unit, sigma=SIGMA), chains(500, 1), n_steps=2000, eps=0.2, burn_in=100, seed=1
    )
    assert abs(float(found.mean) - 0.546032409) < 4 * float(found.mean_error)
    assert float(found.covariance) == pytest.approx(0.101775253, rel=0.01)


@pytest.mark.parametrize("eps, variance", [(0.01, 2.526e-4), (0.001, 1.8785e-4)])
def test_kinks_widen_the_law(eps, variance):
    unit = DenseNetwork([[0.0]], [1.0], HARD)
    found = sample(
        Dynamics(unit, sigma=0.1), chains(400, 1, 0.5), n_steps=2000, eps=eps, burn_in=300,
        every=2, seed=1, observe={"squares": lambda s: (s - 0.5) ** 2},
    )  # fmt: skip
    assert holds(found, "squares", variance)
    assert float(found.observed_error["squares"]) < 0.03 * variance
    assert float(found.kink_number) == pytest.approx(25 * eps, rel=1e-6)
    assert ("take eps <= 0.002" in found.message[0]) == (eps == 0.01)


def test_the_papers_map_is_not_langevin():
    net, eps = pair(3.0, TANH), 0.1
    found = sample(
        Dynamics(net, sigma=SIGMA / math.sqrt(eps), noise="synaptic"), chains(400), n_steps=1500,
        eps=eps, burn_in=200, seed=1,
    )  # fmt: skip
    assert float(found.covariance[0, 0]) == pytest.approx(0.0054, abs=1e-4)


def test_clamped_inputs_have_laws_of_their_own():
    net = LayeredNetwork.random([2, 3], TANH, gain=1.0, seed=0)
    x = torch.tensor([[0.5, -0.5], [-1.0, 1.0]], dtype=torch.float64)
    free = net.clamp({"x": x})
    found = sample(
        Dynamics(free, sigma=0.1), settle(free).state.expand(100, 2, 3), n_steps=500, eps=0.1,
        burn_in=100, seed=2,
    )  # fmt: skip
    assert found.mean.shape == (2, 3) and found.covariance.shape == (2, 3, 3)
    linear = ctebm.linearize(free, settle(free))
    assert torch.allclose(found.covariance, linear.covariance(0.1, eps=0.1), rtol=0.25, atol=3e-4)
    assert found.to_dataset().sizes["sample"] == 2


def test_moments_are_those_of_the_same_run():
    dynamics, start = Dynamics(pair(3.0, TANH), sigma=0.3), chains(5)
    found = sample(dynamics, start, n_steps=40, eps=0.1, burn_in=20, every=4, seed=6)
    run = ctebm.simulate(dynamics, start, n_steps=60, eps=0.1, seed=6, save_steps=range(24, 61, 4))
    draws = run.state[1:]
    assert found.n_draws == len(draws) == 10
    assert torch.allclose(found.mean, draws.mean((0, 1)), rtol=1e-13)
    assert torch.allclose(found.state, run.state[-1])


def test_the_start_is_no_draw():
    found = sample(Dynamics(pair(3.0, TANH), sigma=0.3), chains(3), n_steps=12, eps=0.1, burn_in=0,
                   every=4, seed=6)  # fmt: skip
    run = ctebm.simulate(
        Dynamics(pair(3.0, TANH), sigma=0.3), chains(3), n_steps=12, eps=0.1, seed=6, save_every=4
    )
    assert found.n_draws == 3
    assert torch.allclose(found.mean, run.state[1:].mean((0, 1)), rtol=1e-13)


def test_a_motion_without_an_energy_has_a_covariance():
    net = AsymmetricNetwork([[0, 0.5], [-0.5, 0]], [0, 0], HARD).centred()
    found = sample(Dynamics(net, sigma=0.05), chains(400), n_steps=600, eps=0.1, burn_in=80, seed=1)
    exact = ctebm.linearize(net, [0.0, 0.0]).covariance(0.05, eps=0.1)
    assert torch.allclose(found.covariance, exact, rtol=0.05, atol=5e-5)
    with pytest.raises(ValueError, match="method='euler'"):
        sample(Dynamics(net, sigma=0.1), chains(4), n_steps=9, eps=0.1, burn_in=0, every=1,
               method="mala")  # fmt: skip


def test_chains_that_sit_in_different_valleys_are_told():
    start = torch.tensor([0.756, -0.756], dtype=torch.float64).repeat(4).unsqueeze(-1).expand(8, 2)
    found = sample(
        Dynamics(pair(8.0, TANH), sigma=0.2), start, n_steps=400, eps=0.1, burn_in=0, seed=0
    )
    assert int(found.status) == 2 and "have not mixed" in found.message[0]
    with pytest.raises(RuntimeError, match="have not mixed"):
        found.raise_for_status()


def test_chains_that_spread_without_end_are_told():
    """A linear rate with w = 3: the energy falls without bound, the numbers stay finite."""
    linear = DenseNetwork([[0, 3.0], [3.0, 0]], [0, 0], ctebm.Custom(lambda s: s))
    found = sample(Dynamics(linear, sigma=0.5), chains(8), n_steps=1500, eps=0.1, burn_in=0, seed=1)
    assert bool(torch.isfinite(found.mean).all()) and int(found.status) == 2
    assert "have not mixed" in found.message[0]


def test_steps_without_a_stationary_law_are_told():
    unit = DenseNetwork([[0.0]], [0.0], HARD)
    found = sample(Dynamics(unit, sigma=0.1), chains(4, 1), n_steps=3000, eps=2.5, burn_in=0)
    assert int(found.status) == 1
    assert "no stationary law" in found.message[0] and "2/lambda_max" in found.message[0]


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_chains_lost_before_the_first_draw_are_told(method):
    found = sample(
        Dynamics(Wells(2), sigma=0.5), chains(4), n_steps=100, eps=2.5, burn_in=100, method=method,
        seed=0, observe={"first": lambda s: s[..., 0]},
    )  # fmt: skip
    assert int(found.status) == 1 and found.n_draws == 0 and bool((found.failed_step > 0).all())
    for x in (found.mean, found.mean_error, found.observed["first"], found.observed_error["first"]):
        assert bool(torch.isnan(x).all())
    assert "left the finite numbers" in str(found.to_dataset().message)


def test_a_step_above_the_limit_of_a_motion_without_an_energy_is_told():
    net = AsymmetricNetwork([[0, 0.5], [-0.5, 0]], [0, 0], HARD).centred()
    found = sample(Dynamics(net, sigma=0.05), chains(8), n_steps=400, eps=1.9, burn_in=0, seed=1)
    assert "the largest stable step" in found.message[0]


@pytest.mark.parametrize("method", ["euler", "mala"])
@pytest.mark.parametrize("burn_in, n_steps", [(7, 95), (10, 90), (0, 99)])
def test_draws_are_as_far_apart_as_is_asked_for(method, burn_in, n_steps):
    found = sample(Dynamics(pair(3.0, TANH), sigma=0.3), chains(3), n_steps=n_steps, eps=0.1,
                   burn_in=burn_in, every=10, seed=6, method=method)  # fmt: skip
    if method == "euler":
        steps = [n for n in range(0, 103, 10) if burn_in < n <= burn_in + n_steps]
        run = ctebm.simulate(
            Dynamics(pair(3.0, TANH), sigma=0.3), chains(3), n_steps=burn_in + n_steps, eps=0.1,
            seed=6, save_steps=[*steps, burn_in + n_steps],
        )  # fmt: skip
        assert torch.allclose(found.mean, run.state[1 : len(steps) + 1].mean((0, 1)), rtol=1e-12)
    assert found.n_draws == len(range(10, burn_in + n_steps + 1, 10)) - burn_in // 10


def test_too_few_draws_are_not_called_mixed():
    found = sample(Dynamics(pair(3.0, TANH), sigma=0.3), chains(8), n_steps=30, eps=0.1, burn_in=0,
                   seed=6)  # fmt: skip
    assert found.n_draws == 3 and int(found.status) == 2 and "4 draws or more" in found.message[0]


def test_chains_that_accept_nothing_are_told():
    found = sample(Dynamics(pair(3.0, TANH), sigma=50.0), chains(6), n_steps=80, eps=500.0,
                   burn_in=0, seed=6, method="mala")  # fmt: skip
    assert int(found.status) == 2 and "6 of 6 chains accepted no step" in found.message[0]


@pytest.mark.parametrize(
    "own", [{"sigma": [0.1, 0.2, 0.3, 0.4, 0.5]}, {"eps": [0.1, 0.1, 0.1, 0.1, 0.2]}, {"x": 5}]
)
def test_chains_with_laws_of_their_own_are_told(own):
    """A batch of inputs in the place of the chains is a mistake that shapes don't show."""
    net = LayeredNetwork.random([2, 3], TANH, gain=1.0, seed=0)
    free = net.clamp({"x": torch.rand(own.get("x", 1), 2, dtype=torch.float64)})
    free = free if "x" in own else net.clamp({"x": [0.0, 0.0]})
    given = {key: torch.tensor(x).double() for key, x in own.items() if key != "x"}
    eps = given.pop("eps", 0.1)
    dynamics = Dynamics(free, **({"sigma": 0.1} | given))
    found = sample(dynamics, chains(5, 3), n_steps=100, eps=eps, burn_in=0, seed=1)
    assert "laws apart by sample" in found.message[0]
    if "x" in own:
        found = sample(dynamics, torch.zeros(4, 5, 3).double(), n_steps=100, eps=0.1, burn_in=0)
        assert not any("laws apart" in words for words in found.message)


def test_names_that_are_taken_lose_nothing(tmp_path):
    names = ["mean", "weight", "unit", "a", "a_error", "seed"]
    observe = {name: (lambda s: s[..., 0]) for name in names}
    found = sample(Dynamics(pair(3.0, TANH), sigma=0.3), chains(8), n_steps=200, eps=0.1, burn_in=0,
                   seed=6, observe=observe)  # fmt: skip
    dataset = found.to_dataset()
    assert torch.equal(torch.as_tensor(dataset["mean"].values), found.mean)
    assert {"a", "observed_mean", "observed_weight", "observed_a_error"} <= {*dataset.data_vars}
    ctebm.save(dataset, tmp_path / "s.nc")
    with ctebm.open(tmp_path / "s.nc") as again:
        assert again.load().identical(dataset)


def test_one_chain_says_what_it_can_not_know():
    found = sample(Dynamics(pair(3.0, TANH), sigma=0.5), [0.0, 0.0], n_steps=4000, eps=0.4,
                   burn_in=50, seed=1)  # fmt: skip
    assert "one chain" in found.message[0] and found.chain_mean.shape == (1, 2)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sigma": 0.0}, "without noise"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": float("nan")}, "n_steps"),
        ({"burn_in": -1}, "burn_in"),
        ({"every": 21}, "every"),
        ({"eps": float("inf")}, "eps"),
        ({"observe": [1]}, "name functions"),
        ({"observe": {"a": lambda s: 3}}, "one value or more a chain"),
        ({"method": "mcmc"}, "method"),
        ({"method": "rk4"}, "'euler', 'heun', 'srk' or 'mala'"),
        ({"method": "MALA"}, "or 'mala', got 'MALA'"),
        ({"method": "adaptive_srk"}, "or 'mala', got 'adaptive_srk'"),
        ({"method": None}, "or 'mala', got None"),
        ({"observe": {3: torch.square}}, "name functions"),
        ({"noise": "synaptic", "method": "mala"}, "euler"),
        ({"drive": [0.1, 0.1], "method": "mala"}, "driven"),
    ],
)
def test_what_has_no_meaning_is_refused(change, words):
    given = {"n_steps": 20, "eps": 0.1, "burn_in": 0, "method": "euler", "sigma": 0.1} | change
    motion = {key: given.pop(key) for key in ("sigma", "noise", "drive") if key in given}
    with pytest.raises(ValueError, match=words):
        sample(Dynamics(pair(1.0, TANH), **motion), chains(3), **given)


def test_no_chains_have_no_law():
    with pytest.raises(ValueError, match="expected one chain or more, got none"):
        sample(Dynamics(pair(1.0, TANH), sigma=0.1), chains(0), n_steps=20, eps=0.1, burn_in=0)


def test_a_network_alone_has_no_noise():
    with pytest.raises(ValueError, match="sigma"):
        sample(pair(1.0, TANH), chains(3), n_steps=10, eps=0.1, burn_in=0)


@pytest.mark.parametrize("method", ["euler", "mala"])
def test_what_is_observed_does_not_change_the_chains(method):
    unit = ctebm.DenseNetwork([[0.0]], [0.2], ctebm.Tanh())
    options = {"n_steps": 40, "eps": 0.1, "burn_in": 4, "every": 4, "method": method, "seed": 1}
    start = torch.zeros(8, 1)
    plain = ctebm.sample(ctebm.Dynamics(unit, 0.3), start, **options)
    found = ctebm.sample(
        ctebm.Dynamics(unit, 0.3), start, observe={"nought": lambda s: s.zero_()[..., 0]}, **options
    )
    assert torch.equal(found.mean, plain.mean)


@pytest.mark.parametrize(
    "noise, method", [("langevin", "euler"), ("langevin", "mala"), ("synaptic", "euler")]
)
def test_every_sample_of_a_batch_has_its_numbers(noise, method):
    motion = Dynamics(pair(4.0, HARD, 0.5), sigma=0.3, noise=noise)
    run = {"n_steps": 60, "eps": 0.1, "method": method, "burn_in": 10}
    found = sample(motion, torch.zeros(5, 2, 3, 2).double(), **run)
    one = sample(motion, torch.zeros(5, 2).double(), **run)
    for name, lead, inner in (
        ("mean", 0, 1), ("mean_error", 0, 1), ("covariance", 0, 2), ("ess", 0, 1), ("rhat", 0, 1),
        ("kink_number", 0, 0), ("status", 0, 0), ("chain_mean", 1, 1), ("acceptance", 1, 0),
        ("state", 1, 1), ("failed_step", 1, 0),
    ):  # fmt: skip
        assert getattr(found, name).shape == (5,) * lead + (2, 3) + (2,) * inner, name
        assert getattr(one, name).shape == (5,) * lead + (2,) * inner, name
    assert len(found.message) == 6
    kinks = noise == "langevin"  # of the law, which has them whatever the method
    assert (found.kink_number > 0).flatten().tolist() == [kinks] * 6
