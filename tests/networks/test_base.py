"""One contract, run over every network: closed forms are the derivatives of the energy."""

import numpy as np
import pytest
import scipy.sparse
import torch
from cases import ACTIVATIONS, Quartic, dense, every_motion, every_network, layered, states

import ctebm
import ctebm.networks.layered
from ctebm.networks.base import VectorField
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box
from ctebm.networks.layout import size_of

NETWORKS = every_network()
MOTIONS = every_motion()
ALL = NETWORKS | MOTIONS
MOTIONS_BY_ID = {id(motion): name for name, motion in MOTIONS.items()}


@pytest.fixture(params=NETWORKS, ids=list(NETWORKS))
def net(request) -> Network:
    return NETWORKS[request.param]


def gradient(function, s):
    """Return the slope by autograd, which knows sparse products as torch.func does not."""
    s = s.clone().requires_grad_()
    return torch.autograd.grad(function(s).sum(), s)[0]


def test_force_is_the_negative_gradient_of_the_energy(net):
    s = states(net)
    torch.testing.assert_close(net.force(s), -gradient(net.energy, s), rtol=1e-12, atol=1e-13)
    if not isinstance(net, ctebm.SparseNetwork):
        torch.testing.assert_close(net.force(s), Network.force(net, s), rtol=1e-12, atol=1e-13)


def test_force_is_the_finite_difference_of_the_energy(net):
    s, h = states(net), 1e-6
    for i in range(s.shape[-1]):
        e = torch.zeros_like(s[0])
        e[i] = h
        slope = (net.energy(s + e) - net.energy(s - e)) / (2 * h)
        torch.testing.assert_close(-net.force(s)[:, i], slope, rtol=1e-6, atol=1e-8)


def test_hessian_is_the_derivative_of_the_force(net):
    s = states(net)
    H = net.hessian(s)
    torch.testing.assert_close(H, Network.hessian(net, s), rtol=1e-11, atol=1e-12)
    v = states(net, seed=1)
    torch.testing.assert_close(net.hessian_product(s, v), (H @ v.unsqueeze(-1)).squeeze(-1))


def test_cross_derivatives_of_the_pressure_are_symmetric(net):
    """Eq. 22: the Jacobian of R = s - dE/ds is symmetric."""
    s = states(net)[0]
    J = torch.stack([gradient(lambda u, i=i: net.pressure(u)[i], s) for i in range(len(s))])
    torch.testing.assert_close(J, J.mT, rtol=0, atol=1e-12)
    torch.testing.assert_close(J, torch.eye(len(s), dtype=s.dtype) - net.hessian(s))


def test_pressure_is_the_gradient_of_the_potential(net):
    """Eqs. 20 and 21."""
    s = states(net)
    slope = gradient(net.potential, s)
    torch.testing.assert_close(net.pressure(s), slope, rtol=1e-12, atol=1e-12)


def test_a_batch_is_a_loop(net):
    s = states(net, (2, 3))
    for call in (net.energy, net.force, net.hessian, lambda u: net.hessian_product(u, u)):
        one_by_one = torch.stack([torch.stack([call(row) for row in block]) for block in s])
        torch.testing.assert_close(call(s), one_by_one, rtol=1e-13, atol=1e-14)


@pytest.fixture(params=MOTIONS, ids=list(MOTIONS))
def motion(request) -> VectorField:
    return MOTIONS[request.param]


def test_jacobian_is_the_derivative_of_the_force(motion):
    s = states(motion, (2, 3))
    J = torch.func.vmap(torch.func.vmap(torch.func.jacfwd(motion.force)))(s)
    torch.testing.assert_close(motion.jacobian(s), J, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(
        VectorField.jacobian(motion, s[0, 0]), J[0, 0], rtol=1e-11, atol=1e-12
    )
    assert not motion.is_gradient
    if "parted" not in str(MOTIONS_BY_ID[id(motion)]):
        assert (J - J.mT).abs().max() > 1e-3  # it could not be a Hessian


def test_a_batch_of_motions_is_a_loop(motion):
    s = states(motion, (2, 3))
    for call in (motion.force, motion.pressure, motion.jacobian):
        one_by_one = torch.stack([torch.stack([call(row) for row in block]) for block in s])
        torch.testing.assert_close(call(s), one_by_one, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", [n for n, net in MOTIONS.items() if type(net) in (
    ctebm.AsymmetricNetwork, ctebm.FeedbackNetwork, ctebm.HopfieldNetwork)])  # fmt: skip
def test_clamping_a_motion_is_substitution(name):
    net = MOTIONS[name]
    s = states(net, (4,))
    for layer, where in net.layers.items():
        small = net.clamp({layer: s[:, where]})
        keep = [i for i in range(s.shape[-1]) if not where.start <= i < where.stop]
        torch.testing.assert_close(small.force(s[:, keep]), net.force(s)[:, keep])
        J = net.jacobian(s)[:, keep][:, :, keep]
        torch.testing.assert_close(small.jacobian(s[:, keep]), J)
        assert list(small.layers) == [k for k in net.layers if k != layer]
        assert type(small) is type(net)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("name", list(ALL))
def test_shapes_and_dtypes(name, batch):
    net = ALL[name]
    s = states(net, batch)
    n = s.shape[-1]
    assert net.force(s).shape == net.pressure(s).shape == (*batch, n)
    assert net.jacobian(s).shape == (*batch, n, n)
    assert net.batch == () and sum(w.stop - w.start for w in net.layers.values()) in (0, n)
    if name in NETWORKS:
        energy, force = net.energy_and_force(s)
        assert energy.shape == batch and net.hessian_operator(s)(s).shape == s.shape
        torch.testing.assert_close(energy, net.energy(s), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(force, net.force(s), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(
            net.hessian_operator(s)(s), net.hessian_product(s, s), rtol=1e-11, atol=1e-12
        )
    with pytest.raises(ValueError, match="expected a state of shape"):
        net.force(torch.zeros(*batch, n + 1))


@pytest.mark.parametrize("name", [n for n, net in ALL.items() if hasattr(net, "to")])
def test_float32_is_float64_rounded(name):
    net = ALL[name]
    small, s = net.to(dtype=torch.float32), states(net, (3,))
    calls = ["force", "jacobian", *(["energy", "hessian"] if net.is_gradient else [])]
    for call in calls:
        found, exact = getattr(small, call)(s.float()), getattr(net, call)(s)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=2e-5)
    assert small.box == net.box and dict(small.layers) == dict(net.layers)


def test_energy_descends_along_the_flow(net):
    """At sigma = 0 each step below 2 / lambda_max goes down in energy, between the kinks."""
    box = net.box or Box(-torch.inf, torch.inf)
    s = box.project(states(net, spread=0.4))
    for _ in range(60):
        step = 0.5 / torch.linalg.eigvalsh(net.hessian(s)).amax(-1, keepdim=True).clamp(min=1.0)
        new = box.project(s + step * net.force(s))
        assert (net.energy(new) <= net.energy(s) + 1e-13).all()
        s = new


@pytest.mark.parametrize("name", [n for n, net in NETWORKS.items() if len(net.layers) > 1])
def test_clamping_is_substitution(name):
    net = NETWORKS[name]
    s = states(net, (4,))
    for layer, where in net.layers.items():
        small = net.clamp({layer: s[:, where]})
        free = torch.cat([s[:, w] for k, w in net.layers.items() if k != layer], -1)
        keep = torch.cat(
            [torch.arange(w.start, w.stop) for k, w in net.layers.items() if k != layer]
        )
        torch.testing.assert_close(small.energy(free), net.energy(s), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(small.force(free), net.force(s)[:, keep], rtol=1e-12, atol=1e-13)
        H = net.hessian(s)[:, keep][:, :, keep]
        torch.testing.assert_close(small.hessian(free), H, rtol=1e-12, atol=1e-13)
        assert list(small.layers) == [k for k in net.layers if k != layer]


def test_clamping_two_layers_in_one_call_or_two():
    net = layered(ACTIVATIONS["tanh"])
    s = states(net, (4,))
    x, h1 = s[:, net.layers["x"]], s[:, net.layers["h1"]]
    both, again = net.clamp({"x": x, "h1": h1}), net.clamp({"h1": h1}).clamp({"x": x})
    free = torch.cat([s[:, net.layers["h2"]], s[:, net.layers["y"]]], -1)
    torch.testing.assert_close(both.energy(free), net.energy(s))
    torch.testing.assert_close(again.force(free), both.force(free))
    assert both.weights == [None]


def test_a_network_keeps_no_weights_of_what_it_was_made_from():
    """Small networks keep their dense weights; clamping or another dtype must not take them on."""
    whole = layered(ACTIVATIONS["tanh"])
    parted = whole.clamp({"h1": torch.zeros(3, dtype=torch.float64)})
    for net in (whole, parted):
        net.force(torch.zeros(net.n_units))  # fills what is kept
    ends = {"x": torch.zeros(5, dtype=torch.float64), "y": torch.zeros(2, dtype=torch.float64)}
    alone = parted.clamp(ends)
    twin = whole.clamp({"h1": torch.zeros(3, dtype=torch.float64), **ends})
    s = states(alone, (3,))
    torch.testing.assert_close(alone.force(s), twin.force(s))
    assert alone.to(dtype=torch.float32).force(s.float()).dtype == torch.float32
    assert parted.clamp({"y": ends["y"]}).force(torch.zeros(9)).shape == (9,)


def test_eq_6_and_eq_8_written_out():
    net = dense(ACTIVATIONS["logistic"])
    s, W, b, rho = states(net, (1,))[0], net.weight, net.bias, net.activation
    n = len(s)
    E = sum(s[i] ** 2 / 2 for i in range(n)) - sum(b[i] * rho(s[i]) for i in range(n))
    E -= sum(W[i, j] * rho(s[i]) * rho(s[j]) for i in range(n) for j in range(n) if i != j) / 2
    torch.testing.assert_close(net.energy(s), E)
    R = torch.stack(
        [
            rho.derivative(s[i]) * (b[i] + sum(W[i, j] * rho(s[j]) for j in range(n)))
            for i in range(n)
        ]
    )
    torch.testing.assert_close(net.pressure(s), R)


def test_layered_is_dense_with_its_own_matrix():
    net = layered(ACTIVATIONS["smooth-hard"])
    twin = ctebm.DenseNetwork(net.dense_weight(), net.bias, net.activation)
    s = states(net)
    torch.testing.assert_close(net.energy(s), twin.energy(s))
    torch.testing.assert_close(net.force(s), twin.force(s))
    assert list(net.layers) == ["x", "h2", "h1", "y"]
    assert dict(net.depth) == {"x": 3, "h2": 2, "h1": 1, "y": 0}


def test_centred_biases_make_the_origin_a_fixed_point():
    net = ctebm.LayeredNetwork.random([6, 5, 4], ctebm.Logistic(), gain=2, seed=0)
    assert net.force(torch.zeros(15)).abs().max() < 1e-15
    rates = np.linspace(0.1, 0.9, 6)
    held = net.centred({"x": rates}).clamp({"x": ctebm.Logistic().inverse(torch.tensor(rates))})
    assert held.force(torch.zeros(9)).abs().max() < 1e-14


def test_random_weights_are_glorot_and_repeatable():
    net = ctebm.LayeredNetwork.random([300, 200, 10], ctebm.Tanh(), gain=2.0, seed=5)
    same = ctebm.LayeredNetwork.random([300, 200, 10], ctebm.Tanh(), gain=2.0, seed=5)
    other = ctebm.LayeredNetwork.random([300, 200, 10], ctebm.Tanh(), gain=2.0, seed=6)
    assert torch.equal(net.weights[0], same.weights[0])
    assert not torch.equal(net.weights[0], other.weights[0])
    bound = 2 * (6 / 500) ** 0.5
    assert net.weights[0].abs().max() <= bound
    # uniform: variance bound^2 / 3; 60,000 weights, four standard errors
    assert float(net.weights[0].var()) == pytest.approx(bound**2 / 3, rel=4 * (0.8 / 60_000) ** 0.5)


def test_a_user_network_needs_an_energy_alone():
    net = Quartic()
    s = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = s + s**3
    expected[:, 0] += s[:, -1] / 3
    expected[:, -1] += s[:, 0] / 3
    torch.testing.assert_close(net.force(s), -expected)
    torch.testing.assert_close(
        net.hessian(s[0]), torch.autograd.functional.hessian(net.energy, s[0])
    )


def test_a_record_stands_for_its_states():
    net = dense(ACTIVATIONS["tanh"])
    rest = ctebm.settle(net)
    assert net.as_state(rest) is rest.state
    assert torch.equal(net.to(dtype=torch.float32).as_state(rest), rest.state.float())
    with pytest.raises(ValueError, match="one column for each unit"):
        dense(ACTIVATIONS["tanh"], n=6).as_state(rest)


def test_a_state_that_is_not_finite_is_named():
    net = dense(ACTIVATIONS["tanh"], n=3)
    s = torch.zeros(2, 4, 3)
    assert torch.equal(net.finite_state(s), s.double())
    s[1, 2, 0], s[1, 3, 1] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="got nan in unit 0 of sample 1, 2; settle"):
        net.finite_state(s)
    with pytest.raises(ValueError, match="got -inf in unit 1; settle"):
        net.finite_state([0.0, -np.inf, 0.0])
    with pytest.raises(ValueError, match="shape"):
        net.finite_state([np.nan])


def test_float32_stays_float32_and_returns_in_to():
    net = layered(ACTIVATIONS["tanh"]).to(dtype=torch.float32)
    s = states(net).float()
    assert net.force(s).dtype == net.energy(s).dtype == net.hessian(s).dtype == torch.float32
    assert net.to(dtype=torch.float64).force(s).dtype == torch.float64


def _pair(W, b=(0.0, 0.0), **kw):
    return ctebm.DenseNetwork(W, b, ctebm.Tanh(), **kw)


def _sparse(W, b=(0.0, 0.0)):
    return ctebm.SparseNetwork(scipy.sparse.csr_array(np.array(W, float)), b, ctebm.Tanh())


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: _pair([[0, 1], [0.5, 0]]), r"symmetric weights, got max \|W - W'\| = 0.5"),
        (lambda: _pair([[1, 1], [1, 0]]), "no self-coupling.*set the diagonal to 0"),
        (lambda: _pair([[0, 1, 2], [1, 0, 2]]), "square weight matrix"),
        (lambda: _pair([[0, np.nan], [np.nan, 0]]), "finite numbers in the weights"),
        (lambda: _pair([[0, 1], [1, 0]], [0.0]), "expected 2 biases"),
        (lambda: _pair([[0, 1], [1, 0]], [0.0, np.inf]), "finite numbers in the biases"),
        (lambda: _pair([[0, 1], [1, 0]], layers={"x": slice(0, 1)}), "cover the 2 units"),
        (lambda: _pair([[0, 1], [1, 0]]).energy(torch.zeros(3)), r"\(\*batch, 2\), got \(3,\)"),
        (lambda: _pair([[0, 1], [1, 0]]).clamp({"x": [0.0]}), "one of the layers s, got 'x'"),
        (lambda: layered(ctebm.Tanh()).clamp({"x": [0.0]}), r"\(\*batch, 5\) for layer 'x'"),
        (lambda: layered(ctebm.Tanh()).clamp({"x": [np.nan] * 5}), "finite states for layer 'x'"),
        (
            lambda: ctebm.LayeredNetwork([np.ones((2, 3))], [[0] * 2], ctebm.Tanh()),
            "one more array",
        ),
        (
            lambda: ctebm.LayeredNetwork([np.ones((3, 2))], [[0] * 2, [0] * 3], ctebm.Tanh()),
            r"weights\[0\] of shape \(2, 3\)",
        ),
        (lambda: ctebm.LayeredNetwork.random([4], ctebm.Tanh()), "two or more layers"),
        (lambda: ctebm.LayeredNetwork.random([4, 0], ctebm.Tanh()), "one or more units"),
        (lambda: ctebm.LayeredNetwork.random([4, 2], ctebm.Tanh(), gain=np.nan), "finite gain"),
        (lambda: Quartic().output, "no named layers"),
        (lambda: _sparse([[0, 1], [0.5, 0]]), r"symmetric weights, got max \|W - W'\| = 0.5"),
        (lambda: _sparse([[1, 1], [1, 0]]), "no self-coupling.*set the diagonal to 0"),
        (lambda: _sparse([[0, 1, 2], [1, 0, 2]]), "square weight matrix"),
        (lambda: _sparse([[0, np.inf], [np.inf, 0]]), "finite numbers in the weights"),
        (lambda: _sparse([[0, 1], [1, 0]], [0.0]), "expected 2 biases"),
        (lambda: _sparse([[0, 1], [1, 0]], [0.0, np.nan]), "finite numbers in the biases"),
        (lambda: ctebm.SparseNetwork(torch.zeros(2, 2), [0, 0], ctebm.Tanh()), "a sparse matrix"),
        (lambda: ctebm.SparseNetwork([[0, 0]], [0, 0], ctebm.Tanh()), "use DenseNetwork"),
    ],
)
def test_bad_networks_are_refused_in_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("dense_units", [1, 1000])
@pytest.mark.parametrize(
    "clamped",
    [
        {},
        {"x": ()},
        {"x": (5,)},
        {"h2": (5,)},
        {"x": (), "h1": (5,)},
        {"x": (5,), "h2": (), "h1": ()},
    ],
    ids=str,
)
def test_blocks_are_the_dense_matrix(dense_units, clamped, monkeypatch):
    monkeypatch.setattr(ctebm.networks.layered, "_DENSE_UNITS", dense_units)
    net = ctebm.LayeredNetwork.random([60, 50, 40, 12], ctebm.Logistic(), seed=1)
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draw)

    matrix = ctebm.DenseNetwork(net.dense_weight(), net.bias, net.activation, layers=net.layers)
    values = {k: normal(*batch, size_of(net.layers[k])) for k, batch in clamped.items()}
    net, matrix = net.clamp(values), matrix.clamp(values)
    for batch in ((), (5,), (3, 5)):
        s = normal(*batch, net.n_units)
        torch.testing.assert_close(net.force(s), matrix.force(s), rtol=0, atol=1e-13)
