"""A chain of layers, one tensor a layer, against the flat network."""

import pytest
import torch
from cases import ACTIVATIONS, layered, states

import ctebm

WHOLE = layered(ACTIVATIONS["tanh"])
BACK = ctebm.FeedbackNetwork.at_angle(WHOLE, 50.0, seed=2)
X, H1 = torch.full((9, 5), 0.3).double(), torch.full((3,), -0.2).double()
NETWORKS = {
    "layered": WHOLE,
    "hard": layered(ACTIVATIONS["hard"]),
    "feedback": BACK,
    "clamped": WHOLE.clamp({"x": X}),
    "clamped-feedback": BACK.clamp({"x": X}),
    "separated": WHOLE.clamp({"h1": H1}),
    "mixed": ctebm.LayeredNetwork(
        WHOLE.weights,
        [b.clone() for b in WHOLE.biases],
        [ctebm.Tanh(), ctebm.HardSigmoid(), ctebm.Logistic(), ctebm.HardSigmoid()],
    ),
    "wide": layered(ACTIVATIONS["hard"], (50, 40, 30, 20)),
}


def _parts(net, s):
    return [s[..., where] for where in net.layers.values()]


@pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
def test_currents_are_those_of_the_flat_network(net):
    s = states(net)
    rates = _parts(net, net.rate(s))
    for i, expected in enumerate(_parts(net, net.current(s))):
        torch.testing.assert_close(net.blocks.current(i, rates), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sizes", [(60, 50, 40), (40, 120, 10), (100, 3, 90, 2)], ids=str)
@pytest.mark.parametrize("n", [1, 7])
def test_currents_of_all_layers_together_are_those_of_each(sizes, n):
    """Wide and narrow blocks, one row of biases and one a sample, one state and many."""
    whole = layered(ACTIVATIONS["tanh"], (5, *sizes))
    for net in (whole, whole.clamp({"x": torch.full((n, 5), 0.3).double()})):
        r = torch.rand(n, net.n_units, dtype=torch.float64)
        rates, blocks = _parts(net, r), net.blocks
        expected = torch.cat([blocks.current(i, rates) for i in range(len(rates))], -1)
        torch.testing.assert_close(blocks.current_operator()(r), expected)


@pytest.mark.parametrize("name", ["layered", "hard", "clamped", "separated", "mixed"])
def test_the_adjoint_is_that_of_the_flat_network(name):
    net = NETWORKS[name]
    s = states(net, spread=0.2)  # in the box, where the slope is 1
    parts = _parts(net, s)
    for i in range(len(parts) - 1):
        v = torch.zeros_like(s)
        above = list(net.layers.values())[i + 1]
        v[..., above] = torch.arange(1.0, parts[i + 1].shape[-1] + 1)
        if net.box is not None:
            s = net.box.project(s)
        expected = _parts(net, net.adjoint_product(s, v))[i]
        torch.testing.assert_close(
            net.blocks.adjoint(i, _parts(net, s), v[..., above]), expected, rtol=1e-12, atol=1e-13
        )


@pytest.mark.parametrize("name", ["layered", "feedback"])
def test_without_its_input_it_is_the_clamped_network(name):
    net = NETWORKS[name]
    clamped = net.clamp({"x": X})
    above = net.blocks.without_input(net.activation(X))
    rates = [net.activation(part) for part in _parts(clamped, states(clamped))]
    for i in range(len(rates)):
        torch.testing.assert_close(above.current(i, rates), clamped.blocks.current(i, rates))
        few = above.samples(torch.tensor([4, 1])).current(i, [r[[4, 1]] for r in rates])
        torch.testing.assert_close(few, above.current(i, rates)[[4, 1]])


@pytest.mark.parametrize("name", ["layered", "hard"])
def test_pressure_and_rate_between_the_kinks(name):
    net = NETWORKS[name]
    s = states(net, spread=0.2).clamp(-0.5, 0.5)
    I, blocks = _parts(net, net.current(s)), net.blocks
    parts = zip(_parts(net, s), I, _parts(net, net.pressure(s)), strict=True)
    for i, (part, I_i, R) in enumerate(parts):
        torch.testing.assert_close(blocks.pressure(i, part, I_i), R)
        torch.testing.assert_close(blocks.rate(i, part), net.activation(part))
        assert torch.equal(blocks.project(i, part), part)
    if net.box is not None:
        assert torch.equal(blocks.project(0, 3 * s), (3 * s).clamp(-0.5, 0.5))
