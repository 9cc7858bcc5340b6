"""Pairwise couplings: eqs. 6 and 8, states and rates, biases, memory of their own."""

import copy

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, F64, dense, every_motion_and_network, layered, states
from network_contract import check

import ctebm
from ctebm.networks.pairwise import PairwiseNetwork

W, B = np.array([[0.0, 0.5], [0.5, 0.0]]), np.array([0.1, -0.2])


def make(kind, weight=W, bias=B, **options):
    """Return a network of two units of each kind, from arrays or tensors."""
    block = weight[:1, 1:]
    return {
        "dense": lambda: ctebm.DenseNetwork(weight, bias, ctebm.Tanh(), **options),
        "asymmetric": lambda: ctebm.AsymmetricNetwork(weight, bias, ctebm.Tanh(), **options),
        "layered": lambda: ctebm.LayeredNetwork(
            [block], [bias[:1], bias[1:]], ctebm.Tanh(), **options
        ),
        "feedback": lambda: ctebm.FeedbackNetwork(
            [block], [block], [bias[:1], bias[1:]], ctebm.Tanh(), **options
        ),
    }[kind]()


PAIRWISE = {
    name: net
    for name, net in every_motion_and_network().items()
    if isinstance(net, ctebm.networks.pairwise.PairwiseField)
}
KINDS = ["dense", "asymmetric", "layered", "feedback"]


@pytest.mark.parametrize("rho", [ctebm.Tanh(), ctebm.HardSigmoid()])
def test_the_curvature_of_some_rows_is_theirs(rho):
    net = ctebm.DenseNetwork([[0, 1.5, -1], [1.5, 0, 0.3], [-1, 0.3, 0]], [0.1, 0.2, -0.3], rho)
    s, v = torch.linspace(-0.4, 0.4, 24, dtype=F64).reshape(2, 4, 3)
    every, chosen = net.hessian_operator(s), torch.tensor([True, False, True, True])
    assert torch.equal(every.rows(chosen)(v[chosen]), net.hessian_operator(s[chosen])(v[chosen]))
    assert (every.diagonal is None) == (net.box is not None)


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


SHAPES = {
    "layered": lambda rho: layered(rho),
    "clamped": lambda rho: layered(rho).clamp({"x": torch.linspace(-1, 1, 15).reshape(3, 5)}),
    "wide": lambda rho: layered(rho, (60, 50, 7)),
    "dense": lambda rho: dense(rho),
}


@pytest.mark.parametrize("rho", ["tanh", "logistic", "hard", "smooth-hard"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("batch", [(3,), (1,), (2, 3), (3, 1)], ids=str)
def test_force_is_the_slope_of_the_energy_in_batches_of_every_shape(name, rho, batch):
    net = SHAPES[name](ACTIVATIONS[rho])
    if name == "clamped" and batch[-1] == 1:
        batch = (*batch[:-1], 3)  # its bias has three rows
    s = states(net, batch)
    by_autograd = -torch.func.grad(lambda u: net.energy(u).sum())(s)
    torch.testing.assert_close(net.force(s), by_autograd)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_copies(kind):
    weight, bias, s = W.copy(), B.copy(), torch.ones(2, dtype=F64)
    net = make(kind, weight, bias)
    before = net.force(s)
    weight *= 3
    bias += 1
    assert torch.equal(net.force(s), before)
    tensors = torch.tensor(W), torch.tensor(B)
    net = make(kind, *tensors)
    for tensor in tensors:
        tensor.mul_(3)
    assert torch.equal(net.force(s), before)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_tensors_that_were_given(kind):
    weight, bias = torch.tensor(W).requires_grad_(), torch.tensor(B).requires_grad_()
    net, s = make(kind, weight, bias), torch.tensor([0.3, -0.4], dtype=F64)
    net.force(s)[0].backward()
    rho = ctebm.Tanh()
    slope, r = rho.derivative(s), rho(s)
    expected = torch.zeros(2, 2, dtype=F64)
    expected[0, 1] = slope[0] * r[1]
    if kind == "asymmetric":
        expected[0, 0] = slope[0] * r[0]
    if kind == "dense":  # which multiplies from the left what is the same from the right
        expected = expected.T + torch.diag(torch.tensor([slope[0] * r[0], 0.0]))
    torch.testing.assert_close(weight.grad, expected)
    torch.testing.assert_close(bias.grad, torch.stack([slope[0], 0 * slope[0]]))
    twin = copy.deepcopy(net)  # stays connected too
    assert torch.equal(twin.force(s), net.force(s)) and twin.force(s).requires_grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1j, torch.tensor(1j)], ids=["numpy", "torch"])
def test_complex_parameters_are_refused(kind, number):
    ones = torch.ones(2, 2) if isinstance(number, torch.Tensor) else np.ones((2, 2))
    zeros = 0 * ones[0]
    with pytest.raises(ValueError, match="expected real numbers, got complex"):
        make(kind, number * ones, zeros)
    with pytest.raises(ValueError, match="expected real numbers, got complex"):
        make(kind, 0 * ones, number * ones[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_no_other_dtype_than_floats_of_full_precision(kind, dtype):
    with pytest.raises(ValueError, match=f"expected dtype torch.float64 .* got {dtype}"):
        make(kind, dtype=dtype)


@pytest.mark.parametrize("name", ["hard", "hard-skewed", "logistic", "tanh", "smooth-hard"])
@pytest.mark.parametrize("wrap", [lambda net: net, ctebm.HopfieldNetwork])
def test_states_and_rates_are_each_other_s_inverse(name, wrap):
    net = wrap(layered(ACTIVATIONS[name]))
    rates = np.linspace(0.01, 0.99, 14)
    s = net.state(rates)
    assert s.dtype == F64
    np.testing.assert_allclose(net.rate(s), rates, rtol=1e-12)
    pixels = np.array([[0.2, 0.9, 0.5, 0.5, 0.3]], dtype=np.float32)
    held = net.clamp({"x": net.state(pixels)})
    assert held.batch == (1,)
    single = net.to(torch.float32).state([0.5])
    assert single.dtype == torch.float32


@pytest.mark.parametrize("rates", [[1.5], [-0.1], [np.nan], np.array([0, 255], dtype=np.uint8)])
def test_rates_out_of_range_are_refused(rates):
    net = layered(ctebm.HardSigmoid())
    with pytest.raises(ValueError, match=r"HardSigmoid takes rates in \[0, 1\]"):
        net.state(rates)
    with pytest.raises(ValueError, match=r"takes rates in \[0, 1\]|rate of shape|finite rates"):
        net.centred({"x": rates})
    with pytest.raises(ValueError, match=r"takes rates in \[0, 1\]"):
        net.centred({"x": [0.5, 0.5, 0.5, 0.5, 1.01]})


def test_binary_rates_may_be_integers():
    net = layered(ctebm.HardSigmoid())
    assert net.state(np.array([0, 1])).tolist() == [-0.5, 0.5]


def test_centred_biases_make_the_origin_a_fixed_point():
    net = ctebm.LayeredNetwork.random([6, 5, 4], ctebm.Logistic(), gain=2, seed=0)
    assert net.force(torch.zeros(15)).abs().max() < 1e-15
    rates = np.linspace(0.1, 0.9, 6)
    held = net.centred({"x": rates}).clamp({"x": net.state(rates)})
    assert held.force(torch.zeros(9)).abs().max() < 1e-14


def test_a_rate_without_integral_moves_a_hopfield_network():
    net = ctebm.HopfieldNetwork(dense(ctebm.Custom(torch.sin), gain=0.5))
    rest = ctebm.settle(net)
    assert rest.converged
    torch.testing.assert_close(rest.state, net.bias + net.pairwise.weight @ rest.state.sin())
    free = net.clamp({"x": [[0.1, 0.2, 0.3]]})
    assert ctebm.settle(free).converged and torch.isfinite(free.jacobian(torch.zeros(4))).all()
    with pytest.raises(NotImplementedError, match="Custom has no integral"):
        net.energy(rest.state)


@pytest.mark.parametrize("shape", ["pairs", "columns"])
def test_two_layers_in_one_call_or_two(shape):
    net = layered(ACTIVATIONS["tanh"])
    s = states(net, (4,))
    x, h1 = s[:, net.layers["x"]], s[:, net.layers["h1"]]
    both, again = net.clamp({"x": x, "h1": h1}), net.clamp({"h1": h1}).clamp({"x": x})
    free = torch.cat([s[:, net.layers["h2"]], s[:, net.layers["y"]]], -1)
    torch.testing.assert_close(both.energy(free), net.energy(s))
    torch.testing.assert_close(again.force(free), both.force(free))
    assert both.weights == [None]


@pytest.mark.parametrize("name", PAIRWISE)
def test_products_many_times_are_those_once(name):
    """With what does not change on the way prepared, of one state and of many."""
    net = PAIRWISE[name]
    shapes = [net.batch] if net.batch else [(), (1,), (9,), (2, 3)]
    for shape in shapes:
        r = net.rate(states(net, shape))
        torch.testing.assert_close(net.coupling_operator()(r), net.coupling(r))
        torch.testing.assert_close(net.current_operator()(r), net.coupling(r) + net.bias)


@pytest.mark.parametrize("rho", ["logistic", "hard"])
@pytest.mark.parametrize("name", SHAPES)
def test_energy_and_force_together_are_those_alone(name, rho):
    net = SHAPES[name](ACTIVATIONS[rho])
    s = states(net, (3,))
    energy, force = net.energy_and_force(s)
    torch.testing.assert_close(energy, net.energy(s))
    torch.testing.assert_close(force, net.force(s))


@pytest.mark.parametrize(
    "name",
    [
        "layered-custom",
        "dense-logistic",
        "batch-layered-hard",
        "batch-dense-tanh",
        "batch-asymmetric-tanh",
        "hopfield-layered-tanh",
    ],
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])


def test_the_force_of_many_states_is_the_force():
    for network in PAIRWISE.values():
        s = states(network, batch=(3,))
        assert torch.equal(network.force_operator()(s), network.force(s))


@pytest.mark.parametrize(
    "base", [ctebm.DenseNetwork, ctebm.LayeredNetwork, ctebm.FeedbackNetwork, PairwiseNetwork]
)
@pytest.mark.parametrize("name", ["energy", "force", "coupling"])
def test_a_class_that_replaces_one_closed_form_is_refused(base, name):
    """`settle` took the others for its equilibria: it "converged" where this force is not 0."""
    if base is PairwiseNetwork and name == "coupling":
        type("Own", (base,), {name: lambda self, r: r})  # what such a class has to say
        return
    with pytest.raises(TypeError, match=f"expected Own to keep .*, got {name} of its own; subc"):
        type("Own", (base,), {name: lambda self, s: s})


def test_a_further_energy_holds_a_network_of_couplings():
    net = layered(ACTIVATIONS["tanh"])

    class Own(ctebm.Network):
        def energy(self, s):
            return net.energy(s) + s.pow(4).sum(-1) / 4

    own = Own(net.n_units, net.layers).clamp({"x": torch.zeros(5)})
    rest = ctebm.settle(own).state
    whole = torch.cat([torch.zeros(5, dtype=rest.dtype), rest])
    assert (net.force(whole) - whole**3)[5:].abs().max() < 1e-10
