"""Parameters by name: read, and written over."""

import copy
import pickle

import pytest
import torch
from cases import F64, sparse
from own_energies import OwnParameters

import ctebm
from ctebm.networks.named import named_tensors

NAMES = ["W", "more.V.0", "leak.weight", "leak.bias", "unused"]


def test_parameters_have_names_wherever_they_are():
    net = OwnParameters()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert dict(net.named_parameters())["W"] is net.W
    state = net.clamp({"x": [0.1, 0.2]}).state_dict()
    assert list(state) == NAMES
    assert not state["leak.weight"].requires_grad
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.to(torch.float32)):
        assert list(other.state_dict()) == NAMES


def test_parameters_are_loaded_in_place_and_what_was_clamped_follows():
    net, other = OwnParameters(), OwnParameters()
    W, rest = net.W, net.clamp({"x": [0.1, 0.2]})
    state = {name: 2 * p for name, p in other.state_dict().items()}
    net.load_state_dict(state)
    assert net.W is W and all(p.equal(state[name]) for name, p in net.state_dict().items())
    s = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=F64)
    assert rest.force(s).equal(net.clamp({"x": [0.1, 0.2]}).force(s))
    assert not rest.force(s).equal(other.clamp({"x": [0.1, 0.2]}).force(s))
    rest.load_state_dict(other.state_dict())
    assert net.force(torch.ones(6).double()).equal(other.force(torch.ones(6).double()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": torch.ones(2, 3)}, r"expected W of shape \(2, 2\), got \(2, 3\)"),
        ({"unused": torch.tensor([0.0, float("nan"), 0.0])}, "expected finite numbers in unused"),
        ({"W": torch.ones(2, 2) + 1j}, "W: expected real numbers, got complex"),
        ({"W": None}, "W: expected an array of real numbers, got NoneType"),
        ({"W": torch.ones(2, 2, device="meta")}, "W: expected numbers, got a tensor on the meta"),
        ({"V": torch.ones(2, 2)}, "expected parameters named W, more.V.0, .*, got W,.* V"),
    ],
)
def test_parameters_that_do_not_fit_leave_all_as_it_was(change, message):
    net = OwnParameters()
    before = {name: p.clone() for name, p in net.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        net.load_state_dict({name: p + 1 for name, p in before.items()} | change)
    assert all(p.equal(before[name]) for name, p in net.state_dict().items())


@pytest.mark.parametrize("state", [None, "W", [torch.ones(2, 2)]])
def test_parameters_come_by_their_names(state):
    with pytest.raises(TypeError, match="expected parameters by their names, got"):
        OwnParameters().load_state_dict(state)


def test_numbers_past_single_precision_are_not_loaded_as_infinities():
    net = ctebm.LayeredNetwork.random([2, 2], ctebm.Tanh(), dtype=torch.float32)
    large = {name: torch.full(p.shape, 1e300, dtype=F64) for name, p in net.state_dict().items()}
    with pytest.raises(ValueError, match="expected finite numbers in"):
        net.load_state_dict(large)


def test_names_leave_out_what_is_held():
    net = ctebm.HopfieldNetwork(ctebm.DenseNetwork([[0, 1], [1, 0]], [0.5, 0.5], ctebm.Tanh()))
    assert list(named_tensors(net)) == ["pairwise.weight", "pairwise.bias"]
    assert list(net.state_dict()) == ["pairwise.weight", "pairwise.bias"]


def test_sparse_parameters_are_loaded_where_there_are_numbers():
    net = sparse(ctebm.Tanh())
    state = net.state_dict()
    for other in (state["weight"].to_dense(), torch.eye(len(net.bias)).double().to_sparse_csr()):
        with pytest.raises(ValueError, match="expected weight sparse, with numbers where"):
            net.load_state_dict(state | {"weight": other})
