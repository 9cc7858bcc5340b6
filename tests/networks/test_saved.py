"""Networks back from what is saved, to the bit, or refused."""

import json

import pytest
import torch
from cases import ACTIVATIONS, every_motion, every_network, layered, predictive, rows, states

import ctebm
from ctebm.networks.parameters import network_dataset

EVERY = {**every_network(), **every_motion()}
SHIPPED = {
    ctebm.DenseNetwork, ctebm.LayeredNetwork, ctebm.LayerGraph, ctebm.SparseNetwork,
    ctebm.AsymmetricNetwork,
    ctebm.FeedbackNetwork, ctebm.HopfieldNetwork, ctebm.RateLeakNetwork, ctebm.PredictiveNetwork,
    ctebm.ConvolutionalNetwork, ctebm.AssociativeMemory, ctebm.PolynomialMemory,
}  # fmt: skip
SIGMOIDS = [name for name in ACTIVATIONS if name != "custom"]


def rates_of(net):
    """Return the activations of a network."""
    rho = getattr(net, "activation", None)
    return getattr(net, "activations", getattr(rho, "activations", [rho]))


def comes_back(net):
    whole = net.origin[0]
    custom = any(isinstance(rho, ctebm.Custom) for rho in rates_of(whole))
    return type(whole) in SHIPPED and not custom


BACK = [name for name, net in EVERY.items() if comes_back(net)]
# a smooth rate of ctebm's for each that is the user's
BY_NAME = {
    **{name: EVERY[name] for name in BACK},
    "predictive": predictive([ctebm.Identity(), ctebm.Tanh(), ctebm.LeakyReLU(), ctebm.Tanh()]),
    "generative": predictive(ctebm.Softplus(2.0), direction="generative"),
    "deep-maps": ctebm.ConvolutionalNetwork.random(
        (2, 9, 8), [3, 2], 2, [5, 2], ctebm.Logistic(), seed=4, pooling="none"
    ),
}
PREDICTIVE = BY_NAME["predictive"]
BY_NAME["nudged"] = PREDICTIVE.nudged(rows(3, 2), -0.2)
BY_NAME["nudged-generative"] = BY_NAME["generative"].nudged([0.2, 0.1], 0.5)
BY_NAME["clamped-dense-kept"] = EVERY["dense-tanh"].clamp({"x": rows(3, 3)}).centred()
BY_NAME["hopfield-kept"] = ctebm.HopfieldNetwork(EVERY["dense-tanh"].clamp({"x": rows(3, 3)}))


def assert_same(again, net):
    """Assert that two networks are of one kind and compute the same numbers."""
    assert type(again) is type(net) and again.layers == net.layers and repr(again) == repr(net)
    assert rates_of(again) == rates_of(net)
    mine, yours = again.state_dict(), net.state_dict()
    assert mine.keys() == yours.keys()
    for name, p in yours.items():
        assert torch.equal(mine[name].to_dense(), p.to_dense()), name
    s = states(net, net.batch or (9,))
    assert torch.equal(again.force(s), net.force(s))
    if hasattr(net, "energy"):
        assert torch.equal(again.energy(s), net.energy(s))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_network_comes_back_to_the_bit(name):
    net = BY_NAME[name]
    dataset, held = network_dataset(net), net.origin[1]
    words = {k: "input" if k == "x" else f"clamped_{k}" for k in held}
    again = ctebm.load_network(dataset)
    assert_same(again, net.origin[0])
    assert_same(again.clamp({k: dataset[words[k]].values for k in held}) if held else again, net)
    assert ctebm.load_network(dataset, dtype=torch.float32).dtype == torch.float32
    single = net.to(torch.float32)
    again = ctebm.load_network(network_dataset(single))
    assert again.dtype == torch.float32
    assert_same(again, single.origin[0])


@pytest.mark.parametrize(
    "name",
    [
        "layered-mixed", "feedback-tanh", "hopfield-sparse", "dense-smooth-hard", "nudged",
        "deep-maps", "clamped-attention", "polynomial", "asymmetric-tanh",
    ],
)  # fmt: skip
def test_a_network_comes_back_from_a_file(name, tmp_path):
    net = BY_NAME[name]
    ctebm.save(network_dataset(net), tmp_path / "net.nc")
    for source in (tmp_path / "net.nc", str(tmp_path / "net.nc")):
        assert_same(ctebm.load_network(source), net.origin[0])


def test_every_shipped_class_is_among_them():
    assert {type(BY_NAME[name].origin[0]) for name in BY_NAME} == SHIPPED


@pytest.mark.parametrize("name", sorted(EVERY.keys() - set(BACK)))
def test_what_cannot_be_brought_back_is_refused(name):
    with pytest.raises(ValueError, match=r"got .*; build .*yourself from the (arrays|weights)\.$"):
        ctebm.load_network(network_dataset(EVERY[name]))


@pytest.mark.parametrize(
    "name", ["layered-mixed", "hopfield-layered-tanh", "predictive", "sparse-tanh"]
)
def test_records_hold_every_parameter(name):
    net = BY_NAME[name]
    names = list(net.layers)
    first = {names[0]: rows(3, net.layers[names[0]].stop)}
    free = net.clamp(first)
    rest = ctebm.settle(free)
    n = net.layers[names[-1]].stop - net.layers[names[-1]].start
    results = [
        rest,
        ctebm.simulate(ctebm.Dynamics(free), rest.state, n_steps=3, eps=0.1),
        ctebm.linearize(free, rest.state),
        ctebm.correspondence(net, first[names[0]], 0.3 * torch.ones(n), [0.1]),
    ]
    for result in results:
        assert_same(ctebm.load_network(result.to_dataset()), net)


def test_a_branch_has_a_network_a_point():
    def pair(p):
        return ctebm.DenseNetwork([[0, p], [p, 0]], [0.1, 0], ctebm.Tanh())

    dataset = ctebm.continue_branch(pair, ctebm.settle(pair(0.1)), (0.1, 0.2)).to_dataset()
    with pytest.raises(ValueError, match="weight for each point of a branch; choose one"):
        ctebm.load_network(dataset)
    assert_same(ctebm.load_network(dataset.isel(point=0)), pair(0.1))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d.drop_vars("weight_0"), "got no weight_0"),
        (lambda d: d.drop_vars("bias_2"), "got no bias_2; give the dataset of a record"),
        (lambda d: d.drop_vars([f"weight_{i}" for i in range(3)]), "got no weights"),
        (lambda d: d[["bias_0"]].drop_attrs(), "got no weights"),
        (lambda d: d.assign_attrs(activation="Custom"), "an activation of ctebm.*got 'Custom'"),
        (lambda d: d.assign_attrs(activation="finite"), "an activation of ctebm.*got 'finite'"),
        (lambda d: d.drop_attrs(), "an activation of ctebm.*got ''"),
        (lambda d: d.assign_attrs(network="os.system"), "got the parameters of os.system"),
        (lambda d: d.assign_attrs(layers="[3]"), "expected the sizes of layers by name"),
        (lambda d: d.assign_attrs(activation="LayerRates"), "the parameters of LayerRates"),
    ],
)
def test_what_is_no_network_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ctebm.load_network(change(network_dataset(layered(ctebm.Tanh()))))


def test_the_rest_of_a_network_is_not_taken_for_a_whole_one():
    rest = layered(ctebm.Tanh()).clamp({"x": rows(3, 5)}).centred()
    with pytest.raises(ValueError, match="expected all layers of a network, got h2, h1, y"):
        ctebm.load_network(network_dataset(rest))


@pytest.mark.parametrize("text", ["{", '{"width": 1}', "3", "[" * 10**5])
def test_parameters_that_the_activation_does_not_have_are_refused(text):
    dataset = network_dataset(ctebm.LayeredNetwork.random([4, 3, 2], ctebm.Tanh()))
    dataset.attrs["activation_parameters"] = text
    with pytest.raises(ValueError, match="expected the parameters of Tanh"):
        ctebm.load_network(dataset)


def test_arrays_and_an_activation_are_enough_for_layers():
    dataset = network_dataset(layered(ctebm.Tanh()))
    dataset.attrs = json.loads('{"activation": "Tanh"}')
    assert_same(ctebm.load_network(dataset), layered(ctebm.Tanh()))


def test_a_source_that_is_neither_dataset_nor_path_is_refused():
    with pytest.raises(TypeError, match="expected the path of a result, got int"):
        ctebm.load_network(42)
