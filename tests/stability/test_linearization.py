"""Spectra, limits of Euler's step, responses and fluctuations against closed forms."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from analytic import (
    HARD,
    TANH,
    all_to_all,
    fold_state,
    pair,
    pitchfork_state,
    random_dense,
    symmetric_spectrum,
)

import ctebm
from ctebm import (
    AsymmetricNetwork,
    DenseNetwork,
    Dynamics,
    LayeredNetwork,
    Logistic,
    SparseNetwork,
    find_fixed_points,
    linearize,
    settle,
    simulate,
)
from ctebm.equilibria.krylov import dense_spectrum, extremal_spectrum, function_product


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def at_rest(network, start=None):
    state = settle(network, start, tol=1e-13).state
    return linearize(network, state)


@pytest.mark.parametrize("w", [0.25, 0.6, -0.5])
def test_affine_pair(w):
    network = pair(w, HARD, 0.0 if w == 0.25 else -0.1)
    linear = at_rest(network)
    expected = sorted([1 - w, 1 + w])
    assert linear.eigenvalues.tolist() == pytest.approx(expected, abs=1e-14)
    assert linear.time_constants.tolist() == pytest.approx([1 / x for x in expected])
    assert float(linear.eps_max) == pytest.approx(2 / (1 + abs(w)))
    assert float(linear.eps_monotone) == pytest.approx(1 / (1 + abs(w)))
    assert float(linear.reactivity) == pytest.approx(abs(w) - 1)
    assert float(linear.return_time) == pytest.approx(1 / (1 - abs(w)))
    assert float(linear.condition_number) == pytest.approx((1 + abs(w)) / (1 - abs(w)))
    assert torch.allclose(linear.multipliers(0.3), 1 - 0.3 * tensor(*expected))
    response = linear.response(torch.eye(2))
    assert torch.allclose(response, tensor([1, w], [w, 1]) / (1 - w**2), atol=1e-14)
    assert (linear.index, linear.stability) == (0, "stable")


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("w", [5.0, 8.0])
def test_pitchfork_spectrum(n, w):
    network, s = all_to_all(n, w, TANH), pitchfork_state(w)
    low, high = symmetric_spectrum(s, w, n)
    linear = linearize(network, torch.full((n,), s, dtype=torch.float64))
    assert linear.eigenvalues.tolist() == pytest.approx([low] + [high] * (n - 1), abs=1e-12)
    origin = linearize(network, torch.zeros(n))
    assert origin.eigenvalues.tolist() == pytest.approx(
        [1 - w / 4] + [1 + w / (4 * (n - 1))] * (n - 1), abs=1e-14
    )
    assert (origin.index, origin.stability) == (1, "saddle")
    assert origin.eps_max == 0


def test_fold_is_degenerate():
    s, h = fold_state(8.0)
    assert (s, h) == pytest.approx((0.442643471823, -0.592959959487), abs=1e-12)
    linear = linearize(pair(8.0, TANH, -4 + h), tensor(s, s))
    assert abs(linear.eigenvalues[0]) < 1e-13
    assert linear.stability == "degenerate"


def test_degenerate_pair():
    linear = linearize(pair(4.0, TANH), torch.zeros(2))
    assert linear.eigenvalues.tolist() == pytest.approx([0, 2], abs=1e-14)
    assert linear.stability == "degenerate"
    assert at_rest(pair(4.0, TANH), [0.2, 0.1]).stability == "degenerate"


def test_noise_digits():
    linear = at_rest(pair(0.5, HARD))
    for covariance, variance, shared in [
        (linear.covariance(0.1), 6.66667e-3, 3.33333e-3),
        (linear.covariance(0.1, eps=0.1), 6.930007e-3, 3.326403e-3),
        (linear.covariance(0.1, eps=0.1, synaptic=True), 1.732502e-4, 8.316008e-5),
    ]:
        assert covariance.tolist() == [
            pytest.approx([variance, shared], rel=2e-6),
            pytest.approx([shared, variance], rel=2e-6),
        ]


@pytest.mark.parametrize("network", [pair(0.5, HARD), random_dense(5, 1, Logistic(), 0.6)])
def test_covariance_solves_lyapunov(network):
    linear, sigma, eps = at_rest(network), 0.3, 0.2
    H, one = network.hessian(linear.state), torch.eye(network.n_units, dtype=torch.float64)
    S = linear.covariance(sigma)
    assert torch.allclose(H @ S + S @ H, sigma**2 * one, atol=1e-13)
    M, S = one - eps * H, linear.covariance(sigma, eps)
    assert torch.allclose(M @ S @ M + eps * sigma**2 * one, S, atol=1e-13)
    S, G = linear.covariance(sigma, eps, synaptic=True), eps * (one - H)
    assert torch.allclose(M @ S @ M + sigma**2 * G @ G, S, atol=1e-13)


@pytest.mark.slow
def test_covariance_is_that_of_the_simulation():
    linear, n_samples = at_rest(pair(0.5, HARD)), 20_000
    run = simulate(
        Dynamics(pair(0.5, HARD), sigma=0.01),
        linear.state.expand(n_samples, 2),
        n_steps=300, eps=0.2, save_every=300, seed=5,
    )  # fmt: skip
    measured = torch.cov(run.state[-1].mT)
    expected = linear.covariance(0.01, eps=0.2)
    # 5 standard errors of a variance from this many normal samples
    assert (measured / expected - 1).abs().max() < 5 * math.sqrt(2 / n_samples) * 2


@pytest.mark.parametrize("network", [random_dense(6, 1, Logistic(), 0.6), pair(2.0, HARD)])
def test_euler_response_is_the_simulated_one(network):
    linear = at_rest(network, torch.full((network.n_units,), 0.2))
    push, eps, n = 1e-6 * torch.ones(network.n_units, dtype=torch.float64), 0.3, 7
    H = network.hessian(linear.state) * (~linear.pinned) * (~linear.pinned).unsqueeze(-1)
    d = torch.zeros_like(push)
    for _ in range(n):
        d = d + eps * (push * ~linear.pinned - H @ d)
    assert torch.allclose(linear.response(push, eps, n), d, atol=1e-18, rtol=1e-10)


def test_continuous_response_is_the_limit_of_eulers():
    linear = at_rest(random_dense(6, 1, Logistic(), 0.6))
    push = torch.arange(6.0, dtype=torch.float64)
    exact = linear.response(push, time=2.0)
    errors = [float((linear.response(push, 2.0 / n, n) - exact).norm()) for n in (1000, 2000, 4000)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.01)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.01)
    late = linear.response(push, time=200 * float(linear.return_time))
    assert torch.allclose(late, linear.response(push))


def test_response_is_the_shift_of_the_equilibrium():
    network = random_dense(8, 3, TANH, 0.8)
    linear = at_rest(network)
    db = 1e-5 * torch.linspace(-1, 1, 8, dtype=torch.float64)
    shifted = [
        settle(DenseNetwork(network.weight, network.bias + k * db, TANH), tol=1e-13).state
        for k in (1, -1)
    ]
    force = network.activation.derivative(linear.state) * db
    measured = (shifted[0] - shifted[1]) / 2
    assert torch.allclose(measured, linear.response(force), atol=1e-13)


def test_frequency_response_and_power_spectrum():
    network = random_dense(5, 1, Logistic(), 0.6)
    linear = at_rest(network)
    u, f = torch.ones(5, dtype=torch.float64), 0.3
    H = network.hessian(linear.state).to(torch.complex128)
    one = torch.eye(5, dtype=torch.complex128)
    expected = torch.linalg.solve(H + 2j * math.pi * f * one, u.to(torch.complex128))
    assert torch.allclose(linear.frequency_response(u, f), expected)
    frequency = torch.linspace(-400, 400, 800_001, dtype=torch.float64)
    total = torch.trapezoid(linear.power_spectrum(0.2, frequency), frequency, dim=0)
    # the tails beyond 400 hold sigma^2 / (2 pi^2 400) of the variance
    tail = 0.2**2 / (2 * math.pi**2 * 400)
    assert torch.allclose(total + tail, linear.covariance(0.2).diagonal(), rtol=1e-6)


def test_pinned_units_leave():
    network = pair(2.0, HARD)
    linear = at_rest(network, [0.1, 0.2])
    assert linear.eigenvalues.shape == (0,)
    assert linear.pinned.all()
    assert (linear.index, linear.stability, float(linear.margin)) == (0, "stable", 0.5)
    assert (linear.response(torch.ones(2)) == 0).all()
    assert (linear.covariance(0.1) == 0).all()


def test_a_unit_without_margin_is_pinned_and_degenerate_if_it_matters():
    """Its current is exactly its kink: it may move inwards, which can change the count of signs."""
    for w, kind in [(0.5, "stable"), (2.0, "degenerate")]:  # 1 - w^2 changes sign with both free
        network = pair(w, HARD, 0.5 - w)
        linear = linearize(network, tensor(0.5, 0.5))
        assert linear.residual == 0 and linear.pinned.all() and linear.margin == 0
        assert linear.stability == kind


def test_dataset_of_a_network_without_free_units():
    data = at_rest(pair(2.0, HARD), [0.1, 0.2]).to_dataset()
    assert dict(data.sizes) == {"sample": 1, "unit": 2, "mode": 0}


def test_responses_of_a_batch_without_the_matrix():
    """Each sample by the products of its own Hessian on its own unpinned units."""
    whole = LayeredNetwork.random([4, 6, 3], HARD, gain=1.5, seed=2)
    x = torch.as_tensor(np.random.default_rng(1).random((5, 4)))
    network = whole.clamp({"x": x})
    state = settle(network, tol=1e-13).state
    with_matrix, without = (linearize(network, state, dense=dense) for dense in (True, False))
    assert len(set(with_matrix.pinned.sum(-1).tolist())) > 1 and not without.whole
    push = torch.as_tensor(np.random.default_rng(2).standard_normal((3, 5, 9)))
    for how in ({}, {"time": 0.7}, {"eps": 0.2, "n_steps": 6}):
        expected = with_matrix.response(push, **how)
        assert torch.allclose(without.response(push, **how), expected, atol=1e-12)
        assert torch.allclose(without.response(push[0, 0], **how),
                              with_matrix.response(push[0, 0].expand(5, 9), **how))  # fmt: skip


def test_reduced_spectrum():
    network = random_dense(9, 5, HARD, gain=1.0)
    linear = at_rest(network, torch.full((9,), 0.1))
    free = ~linear.pinned
    assert 0 < free.sum() < 9
    H = network.hessian(linear.state)[free][:, free]
    assert torch.allclose(linear.eigenvalues, torch.linalg.eigvalsh(H))
    assert linear.eigenvectors[linear.pinned].abs().max() == 0
    assert linear.eigenvalue_residual.max() < 1e-13


def test_batch_is_one_by_one():
    whole = LayeredNetwork.random([4, 6, 3], HARD, gain=2.0, seed=2)
    x = torch.as_tensor(np.random.default_rng(0).random((5, 4)))
    network = whole.clamp({"x": x})
    together = linearize(network, settle(network).state)
    assert len(together.stability) == 5
    for i in range(5):
        one = whole.clamp({"x": x[i]})
        alone = linearize(one, together.state[i])
        n = len(alone.eigenvalues)
        assert torch.allclose(together.eigenvalues[i, :n], alone.eigenvalues, atol=1e-13)
        assert together.eigenvalues[i, n:].isnan().all()
        assert torch.allclose(together.covariance(0.1)[i], alone.covariance(0.1))
        assert together.eps_max[i] == pytest.approx(float(alone.eps_max))


@pytest.mark.parametrize("w", [0.5, 0.8])
def test_euler_limit(w):
    network = pair(w, HARD)
    limit = float(at_rest(network).eps_max)
    assert limit == pytest.approx(2 / (1 + w))
    start = tensor(0.2, -0.1)
    for factor, settles in [(0.99, True), (1.001, False), (1.05, False)]:
        said = nullcontext() if settles else pytest.warns(UserWarning, match="2/lambda_max")
        with said:
            run = simulate(Dynamics(network), start, n_steps=3000, eps=factor * limit,
                           save_every=3000, projected=False)  # fmt: skip
        assert (float(run.state[-1].abs().max()) < 1e-9) is settles


@pytest.mark.parametrize("n_units", [1000, 1001])
@pytest.mark.parametrize("w", [0.4, -0.3])
def test_ring_dense(n_units, w):
    linear = linearize(SparseNetwork.ring(n_units, w, HARD), torch.zeros(n_units))
    k = np.arange(n_units)
    expected = np.sort(1 - 2 * w * np.cos(2 * np.pi * k / n_units))
    assert np.abs(linear.eigenvalues.numpy() - expected).max() < 1e-12


@pytest.mark.parametrize(("n_units", "w"), [(20_000, 0.4), (20_001, 0.3)])
def test_ring_matrix_free(n_units, w):
    linear = linearize(SparseNetwork.ring(n_units, w, HARD), torch.zeros(n_units))
    highest = 1 + 2 * w * math.cos(math.pi / n_units if n_units % 2 else 0)
    error = (linear.eigenvalues - tensor(1 - 2 * w, highest)).abs()
    assert (error <= linear.eigenvalue_residual).all()
    assert linear.eigenvalue_residual.max() < 1e-4
    assert (linear.index, linear.stability, linear.whole) == (0, "stable", False)
    u = torch.as_tensor(np.random.default_rng(0).standard_normal(n_units))
    back = linear.network.hessian_product(linear.state, linear.response(u))
    assert (back - u).abs().max() < 1e-7
    with pytest.raises(ValueError, match="bytes"):
        linear.covariance(0.1)
    with pytest.raises(ValueError, match="GiB"):
        linearize(SparseNetwork.ring(300_000, w, HARD), torch.zeros(300_000), dense=True)


def test_extremal_spectrum_is_the_dense_one():
    H = random_dense(300, 0, TANH, gain=4.0).hessian(torch.zeros(300))
    start = torch.as_tensor(np.random.default_rng(0).standard_normal(300))
    whole = dense_spectrum(H).eigenvalues
    found = extremal_spectrum(lambda v: H @ v, start, 1e-9, n_low=3)
    assert torch.allclose(found.eigenvalues[:3], whole[:3], atol=1e-10)
    assert torch.allclose(found.eigenvalues[-1], whole[-1], atol=1e-10)
    assert found.residual.max() < 1e-7


def test_matrix_free_index_counts_saddles():
    # 2 units of strong coupling beside a weak ring: one negative eigenvalue
    n = 4500
    ring = SparseNetwork.ring(n, 0.1, HARD).weight
    indices, values = ring.to_sparse_coo().coalesce().indices(), ring.values()
    extra = torch.tensor([[0, 2, 5, 9], [2, 0, 9, 5]])
    W = torch.sparse_coo_tensor(
        torch.cat([indices, extra], 1), torch.cat([values, tensor(2, 2, 3, 3)]), (n, n)
    )
    network = SparseNetwork(W, torch.zeros(n), HARD).centred()
    linear = linearize(network, torch.zeros(n))
    assert (linear.index, linear.stability) == (2, "saddle")


def test_function_product():
    H = random_dense(200, 0, TANH, gain=1.0).hessian(torch.zeros(200))
    u = torch.as_tensor(np.random.default_rng(0).standard_normal(200))
    found = function_product(lambda v: H @ v, u, lambda x: torch.exp(-x))
    assert torch.allclose(found, torch.linalg.matrix_exp(-H) @ u, atol=1e-9)


class TestAsymmetric:
    def rotor(self, a=0.3, b=0.5, activation=HARD):
        """W = [[0, a + b], [a - b, 0]]: mu = -1 +- sqrt(a^2 - b^2)."""
        return AsymmetricNetwork([[0, a + b], [a - b, 0]], [0.0, 0.0], activation).centred()

    @pytest.mark.parametrize(("a", "b"), [(0.3, 0.5), (0.0, 0.9), (0.4, 0.1)])
    def test_rotor(self, a, b):
        linear = linearize(self.rotor(a, b), torch.zeros(2))
        mu = np.sort_complex(np.array([-1 + np.emath.sqrt(a**2 - b**2) * k for k in (1, -1)]))
        assert np.allclose(np.sort_complex(linear.eigenvalues.numpy()), mu)
        assert linear.eps_max == pytest.approx(min(-2 * mu.real / np.abs(mu) ** 2))
        S, A = np.sqrt(2 + 2 * a**2), np.sqrt(2) * b
        assert linear.symmetry == pytest.approx(S / (S + A))
        assert linear.reactivity == pytest.approx(abs(a) - 1)
        assert linear.return_time == pytest.approx(-1 / mu.real.max())

    def test_symmetric_limit(self):
        W = random_dense(6, 0, TANH).weight
        b = torch.linspace(-0.2, 0.2, 6)
        both = [kind(W, b, TANH) for kind in (AsymmetricNetwork, DenseNetwork)]
        state = settle(both[1], tol=1e-13).state
        general, special = (linearize(net, state) for net in both)
        assert torch.allclose(-general.eigenvalues.real, special.eigenvalues)
        assert general.eps_max == pytest.approx(float(special.eps_max))
        assert general.symmetry == 1
        push = torch.ones(6)
        for how in ({}, {"time": 1.5}, {"eps": 0.2, "n_steps": 9}):
            assert torch.allclose(general.response(push, **how), special.response(push, **how))
        for eps in (None, 0.3):
            assert torch.allclose(general.covariance(0.1, eps), special.covariance(0.1, eps))

    def test_covariance_solves_lyapunov(self):
        linear, sigma, eps = linearize(self.rotor(0.3, 0.4), torch.zeros(2)), 0.2, 0.3
        J, one = linear.jacobian, torch.eye(2, dtype=torch.float64)
        assert (J - J.mT).abs().max() > 0.5
        S = linear.covariance(sigma)
        assert torch.allclose(J @ S + S @ J.mT, -(sigma**2) * one, atol=1e-14)
        M, S = one + eps * J, linear.covariance(sigma, eps)
        assert torch.allclose(M @ S @ M.mT + eps * sigma**2 * one, S, atol=1e-14)

    def test_a_pinned_unit_leaves(self):
        """The third unit saturates: it neither moves, fluctuates nor answers."""
        W = [[0, 0.8, 0.1], [-0.2, 0, 0.1], [0.1, 0.1, 0]]
        network = AsymmetricNetwork(W, [-0.3, -0.1, 2.0], HARD)
        linear = linearize(network, settle(network, tol=1e-13).raise_for_status().state)
        assert linear.pinned.tolist() == [False, False, True]
        mu = np.emath.sqrt(0.8 * -0.2)
        assert np.allclose(np.sort_complex(linear.eigenvalues.numpy()), [-1 - mu, -1 + mu])
        push = tensor(0.2, -0.1, 5.0)
        moved = linear.response(push)
        J = tensor([-1, 0.8], [-0.2, -1])
        assert torch.allclose(moved[:2], torch.linalg.solve(-J, push[:2])) and moved[2] == 0
        assert (linear.covariance(0.1)[2] == 0).all()
        assert (linear.eigenvectors[2] == 0).all() and linear.eigenvalue_residual.max() < 1e-14

    def test_spirals_and_saddles(self):
        """Slope 1/2 at the origin: mu = -1 +- sqrt(a^2 - b^2) / 4."""
        spiral = linearize(self.rotor(0.0, 8.0, activation=TANH), torch.zeros(2))
        assert spiral.stability == "stable" and spiral.eps_max == pytest.approx(2 / (1 + 4))
        growing = linearize(self.rotor(6.0, 2.0, activation=TANH), torch.zeros(2))
        assert growing.stability == "saddle" and growing.index == 1
        assert growing.eps_max == 0 and growing.return_time == math.inf

    def test_jacobian_is_that_of_the_force(self):
        network = self.rotor(activation=TANH)
        s = tensor(0.3, -0.7)
        assert torch.allclose(network.jacobian(s), torch.func.jacfwd(network.force)(s))

    def test_euler_limit(self):
        network = self.rotor(0.0, 0.9)
        limit = linearize(network, torch.zeros(2)).eps_max
        for factor, settles in [(0.98, True), (1.02, False)]:
            said = nullcontext() if settles else pytest.warns(UserWarning, match="2/lambda_max")
            with said:
                run = simulate(Dynamics(network), [0.01, 0.0], n_steps=3000, eps=factor * limit,
                               save_every=3000)  # fmt: skip
            assert (float(run.state[-1].abs().max()) < 1e-9) is settles


def test_not_an_equilibrium():
    network = pair(0.5, HARD)
    with pytest.warns(UserWarning, match="not an equilibrium"):
        linear = linearize(network, [0.3, 0.1])
    with pytest.raises(ValueError, match="expected an equilibrium"):
        linear.covariance(0.1)


def test_refusals():
    saddle = linearize(pair(8.0, TANH), torch.zeros(2))
    for ask in (
        lambda: saddle.covariance(0.1),
        lambda: saddle.power_spectrum(0.1, [0.1]),
        lambda: saddle.response(torch.ones(2)),
    ):
        with pytest.raises(ValueError, match="stable"):
            ask()
    stable = at_rest(pair(0.5, HARD))
    with pytest.raises(ValueError, match="eps_max"):
        stable.covariance(0.1, eps=1.34)
    with pytest.raises(ValueError, match="give eps"):
        stable.covariance(0.1, synaptic=True)
    with pytest.raises(ValueError, match="sigma"):
        stable.covariance(-1.0)
    with pytest.raises(ValueError, match="n_steps"):
        stable.response(torch.ones(2), eps=0.1)
    with pytest.raises(ValueError, match="finite state"):
        linearize(pair(0.5, HARD), [math.nan, 0.0])


def test_dataset_is_labelled():
    for network in (pair(0.5, HARD), TestAsymmetric().rotor()):
        dataset = linearize(network, torch.zeros(2)).to_dataset()
        assert "mode" in dataset.sizes
        for name in dataset.variables:
            assert {"long_name", "units"} <= set(dataset[name].attrs)


def test_search_and_linearization_agree():
    network = random_dense(4, 2, Logistic(), gain=2.0)
    points = find_fixed_points(network, 60)
    for s, index, kind in zip(points.state, points.index, points.stability, strict=True):
        linear = ctebm.linearize(network, s)
        assert (linear.index, linear.stability) == (int(index), kind)
