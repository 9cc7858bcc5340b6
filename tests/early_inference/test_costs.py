"""Costs and their slopes at the output."""

import pytest
import torch

import ctebm
from ctebm.early_inference.costs import OfRates, cross_entropy, squared_error, target_of_cost

NET = ctebm.LayeredNetwork.random([3, 4, 3], ctebm.Tanh(), gain=0.5, seed=2)
FREE = NET.clamp({"x": [[0.1, 0.2, -0.3], [0.5, -0.4, 0.2]]})
HARD = ctebm.LayeredNetwork.random([3, 4, 3], ctebm.HardSigmoid(), gain=0.3, seed=2).clamp(
    {"x": [[0.1, 0.2, -0.3], [0.4, -0.4, 0.2]]}
)
TARGET = torch.eye(3, dtype=torch.float64)[:2]


def test_the_slope_of_cross_entropy_is_softmax_minus_target():
    y = torch.tensor([[0.3, -0.2, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    slope = torch.func.grad(lambda y: cross_entropy(y, TARGET).sum())(y)
    torch.testing.assert_close(slope, torch.softmax(y, -1) - TARGET)


def test_gradients_of_a_users_cost_begin_with_its_slope():
    fixed = ctebm.settle(FREE, tol=1e-13)
    y = fixed.state[:, FREE.layer("y")]
    chain = ctebm.chain_gradient(FREE, fixed, TARGET, cost=cross_entropy)
    torch.testing.assert_close(chain[:, FREE.layer("y")], torch.softmax(y, -1) - TARGET)
    same = ctebm.chain_gradient(FREE, fixed, TARGET, cost=squared_error)
    torch.testing.assert_close(same, ctebm.chain_gradient(FREE, fixed, TARGET))
    implicit = ctebm.implicit_gradient(FREE, fixed, TARGET, cost=cross_entropy)
    slope = torch.zeros_like(chain)
    slope[:, FREE.layer("y")] = torch.softmax(y, -1) - TARGET
    H = FREE.hessian(fixed.state)
    torch.testing.assert_close(implicit, torch.linalg.solve(H, slope), rtol=1e-8, atol=1e-10)


def test_a_cost_is_one_number_a_sample():
    s = torch.zeros(2, 7, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"cost of shape \(2,\), one for each sample, got \(\)"):
        target_of_cost(FREE, s, TARGET, lambda y, t: (y - t).square().sum())
    with pytest.raises(ValueError, match="got float"):
        ctebm.chain_gradient(FREE, s, TARGET, cost=lambda y, t: 1.0)


def quartic(y, t):
    return (y - t).pow(4).sum(-1) / 4 + (y - t).square().sum(-1)


@pytest.mark.parametrize("cost", [cross_entropy, quartic])
@pytest.mark.parametrize("options", [{}, {"drive": "nudge", "beta": 1e-6, "points": 2}])
def test_first_arrival_is_the_chain_gradient_of_the_cost(cost, options):
    rest = ctebm.settle(HARD, tol=1e-14)
    record = ctebm.correspondence(
        HARD, None, TARGET, 0.1, n_steps=5, state=rest, cost=cost, **options
    )
    chain = ctebm.chain_gradient(HARD, rest, TARGET, cost=cost)
    torch.testing.assert_close(record.chain, chain)
    for k, name in enumerate(["y", "h1"]):
        where = HARD.layer(name)
        moved = record.displacement[:, 0, k + 1, where]
        torch.testing.assert_close(moved, -(0.1 ** (k + 1)) * chain[:, where], rtol=1e-7, atol=0)
    implicit = ctebm.implicit_gradient(HARD, rest, TARGET, cost=cost)
    torch.testing.assert_close(record.implicit, implicit)


def test_linear_response_to_a_cost_is_that_of_small_motion():
    def small(y, t):  # of a slope so small that the motion is linear, with curvatures of its own
        own = (y - t).square() * torch.tensor([0.3, 1.0, 2.0], dtype=y.dtype)
        return own.sum(-1) / 2 + 0.2 * (y[..., 0] - t[..., 0]) * (y[..., 1] - t[..., 1])

    rest = ctebm.settle(FREE, tol=1e-14)
    near = rest.state[:, FREE.layer("y")] + 1e-5 * TARGET
    record = ctebm.correspondence(FREE, None, near, [0.1, 0.3], n_steps=6, state=rest, cost=small)
    size = record.linear_response.abs().max()
    assert float((record.displacement - record.linear_response).abs().max() / size) < 1e-4
    dataset = record.to_dataset()
    after = torch.tensor(dataset.after_arrival.values)
    for k, name in enumerate(["y", "h1"]):
        where = FREE.layer(name)
        torch.testing.assert_close(
            after[..., where], record.linear_response[:, :, k + 2, where], rtol=1e-9, atol=0
        )
    assert dataset.attrs["network"] and dataset.cost.item() == "small"
    assert dataset.law_coefficient.isnull().all()
    assert dataset.leaky_coefficient.notnull().all()


def test_the_squared_error_as_a_cost_is_the_default():
    rest = ctebm.settle(FREE, tol=1e-14)
    default = ctebm.correspondence(FREE, None, TARGET, 0.1, state=rest)
    own = ctebm.correspondence(FREE, None, TARGET, 0.1, state=rest, cost=squared_error)
    torch.testing.assert_close(own.displacement, default.displacement, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(own.linear_response, default.linear_response, rtol=1e-9, atol=1e-15)
    mine, yours = own.to_dataset(), default.to_dataset()
    for name in ("leaky_coefficient", "after_arrival"):
        torch.testing.assert_close(
            torch.tensor(mine[name].values), torch.tensor(yours[name].values)
        )
    with pytest.raises(ValueError, match="expected the squared error, after whose first arrival"):
        _ = own.law
    assert torch.isfinite(default.law).all()


def test_back_propagation_through_time_begins_with_the_slope_of_the_cost():
    s = ctebm.settle(FREE).state + 0.1
    found = ctebm.bptt_gradient(FREE, s, TARGET, eps=0.1, n_steps=4, cost=cross_entropy)
    start = s.clone().requires_grad_()
    moved = start
    for _ in range(4):
        moved = moved + 0.1 * FREE.force(moved)
    (g,) = torch.autograd.grad(cross_entropy(moved[:, FREE.layer("y")], TARGET).sum(), start)
    torch.testing.assert_close(found, g)


def test_a_run_is_driven_by_the_slope_of_a_cost():
    s = torch.zeros(2, 7, dtype=torch.float64)
    where, softmax = FREE.layer("y"), torch.softmax(s[:, FREE.layer("y")], -1)
    f, driven = FREE.force(s), ctebm.Dynamics(FREE, drive=TARGET, cost=cross_entropy)
    torch.testing.assert_close(driven.f(0, s)[:, where], TARGET - softmax)
    nudged = ctebm.Dynamics(FREE, nudge=TARGET, beta=0.3, cost=cross_entropy)
    torch.testing.assert_close(nudged.f(0, s)[:, where], f[:, where] + 0.3 * (TARGET - softmax))
    one = driven.samples(torch.Size([2]), torch.tensor([1]))
    torch.testing.assert_close(one.f(0, s[:1]), driven.f(0, s)[1:])
    run = ctebm.simulate(driven, s, n_steps=2, eps=0.1)
    assert run.to_dataset().attrs["cost"] == "cross_entropy"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"drive": "clamp"}, "'replace' or 'nudge' with a cost, got 'clamp'"),
        ({"drive": "nudge", "beta": 0.1, "points": 3}, "points=1 or 2 with a cost"),
        ({"baseline": "held", "sigma": 0.1}, "baseline='undriven' or 'equilibrium' with a cost"),
        ({"cost": 3}, "expected a cost .* got int"),
        ({"cost": lambda y, t: (y - t).sum()}, "one for each sample"),
    ],
)
def test_what_needs_the_squared_error_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ctebm.correspondence(FREE, None, TARGET, 0.1, **{"cost": cross_entropy} | options)


def test_cross_entropy_of_complex_states_is_its_continuation():
    y = torch.tensor([[0.3, -0.2, 0.5], [1.0, 0.0, 500.0]], dtype=torch.float64)
    z = torch.complex(y, torch.zeros_like(y))
    torch.testing.assert_close(cross_entropy(z, TARGET).real, cross_entropy(y, TARGET))
    z, h = z + 0.1j, 1e-6
    v = torch.tensor([0.2, -0.5, 0.1], dtype=torch.float64)
    along, across = (
        (cross_entropy(z + w * v, TARGET) - cross_entropy(z - w * v, TARGET)) / (2 * w)
        for w in (h, 1j * h)
    )
    torch.testing.assert_close(along, across, rtol=1e-6, atol=1e-6)


def test_a_cost_of_rates_is_that_of_the_rates():
    rho, y = ctebm.Logistic(3.0), torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    expected = (rho(y) - TARGET[:1]).square().sum(-1) / 2
    torch.testing.assert_close(OfRates(rho)(y, TARGET[:1]), expected)
    other = OfRates(rho, cross_entropy)(y, TARGET[:1])
    torch.testing.assert_close(other, cross_entropy(rho(y), TARGET[:1]))
    slope = torch.func.grad(lambda y: OfRates(rho)(y, TARGET[:1]).sum())(y)
    torch.testing.assert_close(slope, rho.derivative(y) * (rho(y) - TARGET[:1]))
