"""Tests of what is left of a network once layers are held, while parameters change."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from cases import every_motion, every_network, rows

import ctebm
from ctebm.networks.layout import size_of
from ctebm.networks.remainder import Remainder
from ctebm.networks.versions import Versions

NETS = {
    name: net
    for name, net in (every_network() | every_motion()).items()
    if "x" in net.layers and len(net.layers) > 1 and not net.batch and dict(net.named_parameters())
}


def in_place(p):
    with torch.no_grad():
        p.mul_(1.25)


def past_the_version(p):
    p.data.mul_(1.25)


def by_array(p):
    p.detach().numpy()[...] *= 1.25


def one_number(p):
    p.data.view(-1)[p.shape[-1] - 1 if p.ndim else 0] += 0.5


WRITES = [in_place, past_the_version, by_array, one_number]


def values(tensor):
    return tensor.values() if tensor.layout == torch.sparse_csr else tensor


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", NETS)
def test_a_clamped_network_follows_what_is_written_into_parameters(name, write):
    net = copy.deepcopy(NETS[name])
    x = {"x": rows(3, size_of(net.layers["x"]))}
    free = net.clamp(x)
    s = rows(3, free.n_units, seed=8)
    before = free.force(s)
    for _, p in net.named_parameters():
        write(values(p))
    anew = net.clamp(x)
    torch.testing.assert_close(free.force(s), anew.force(s), rtol=0, atol=0)
    assert not torch.equal(free.force(s), before)
    torch.testing.assert_close(free.jacobian(s), anew.jacobian(s), rtol=0, atol=0)
    if isinstance(net, ctebm.Network):
        torch.testing.assert_close(free.energy(s), anew.energy(s), rtol=0, atol=0)
    mapped = torch.func.vmap(lambda u: free.samples(free.batch, torch.tensor(1)).force(u))
    if "sparse" not in name:  # whose products torch can't trace
        expected = anew.samples(anew.batch, torch.tensor(1)).force(s)
        torch.testing.assert_close(mapped(s), expected)


PAIRWISE = {
    name: net for name, net in NETS.items()
    if hasattr(net.clamp({"x": rows(1, size_of(net.layers["x"]))[0]}), "_remainder")
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRWISE)
def test_settling_simulating_and_linearising_follow_too(name):
    net = copy.deepcopy(PAIRWISE[name])
    x = {"x": rows(1, size_of(net.layers["x"]))[0]}
    free, s = net.clamp(x), torch.zeros(net.n_units - size_of(net.layers["x"])).double()
    ctebm.settle(free), ctebm.simulate(free, s, n_steps=3, eps=0.1)
    for _, p in net.named_parameters():
        past_the_version(values(p))
    anew = net.clamp(x)
    assert torch.equal(ctebm.settle(free).state, ctebm.settle(anew).state)
    ends = [ctebm.simulate(n, s, n_steps=3, eps=0.1).state for n in (free, anew)]
    assert torch.equal(*ends)
    near = ctebm.settle(free)
    values_of = [ctebm.linearize(n, near.state).eigenvalues for n in (free, anew)]
    assert torch.equal(*values_of)


@pytest.fixture
def net():
    return ctebm.LayeredNetwork.random([4, 3, 3, 2], ctebm.Tanh(), seed=3)


def test_gradients_reach_the_weights_between_a_held_layer_and_the_others(net):
    free = net.clamp({"x": rows(2, 4)})
    s, weights = rows(2, 8), net.weights[0].clone()

    def total(W):
        net.weights[0] = W
        return free.energy(s).sum()

    found = torch.func.grad(total)(weights)
    net.weights[0] = weights.clone().requires_grad_()
    loss = free.energy(s).sum()
    torch.testing.assert_close(torch.autograd.grad(loss, net.weights[0])[0], found)
    # a second graph, not the first one again
    torch.testing.assert_close(torch.autograd.grad(free.energy(s).sum(), net.weights[0])[0], found)
    each = torch.func.vmap(total)(torch.stack([weights, 2 * weights]))
    assert each[0] == pytest.approx(float(loss.detach())) and each[1] != each[0]


def test_gradients_are_there_though_it_was_clamped_without_them(net):
    net.weights[0].requires_grad_()
    with torch.no_grad():
        free = net.clamp({"x": rows(2, 4)})
        free.energy(rows(2, 8))
    assert free.energy(rows(2, 8)).requires_grad


def test_a_snapshot_stays_and_samples_copies_and_pickles_follow(net):
    x = {"x": rows(2, 4)}
    free = net.clamp(x)
    s, now = rows(2, 8), free.snapshot()
    before = now.force(s)
    assert now.snapshot() is now and net.snapshot() is net
    chosen = free.samples(free.batch, torch.tensor([1]))
    bias = net.bias
    bias.add_(1.0)  # which is not shared with what is left
    anew = net.clamp(x)
    assert torch.equal(now.force(s), before) and not torch.equal(free.force(s), before)
    assert torch.equal(chosen.force(s[1:]), anew.force(s)[1:])
    for copied in (copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))):
        twin = copied(free)
        torch.testing.assert_close(twin.force(s), anew.force(s))
        twin.origin[0].bias.sub_(0.5)
        torch.testing.assert_close(twin.force(s), twin.origin[0].clamp(x).force(s))
        assert (twin.origin[0].bias is bias) == torch.equal(free.force(s), twin.force(s))
        anew = net.clamp(x)


def test_what_is_set_on_the_free_network_no_longer_follows(net):
    free = net.clamp({"x": rows(2, 4)})
    free.bias = torch.zeros(8, dtype=torch.float64)
    weights = [W.clone() for W in free.weights]
    net.weights = [3 * W for W in net.weights]
    assert all(map(torch.equal, free.weights, weights)) and not free.bias.any()
    with pytest.raises(AttributeError, match="no attribute 'wieghts'"):
        _ = net.clamp({"x": rows(2, 4)}).wieghts


def test_nothing_is_computed_again_where_nothing_changes(net, monkeypatch):
    free = net.clamp({"x": rows(2, 4)})
    counted = []
    restricted = type(net).restricted
    monkeypatch.setattr(
        type(net), "restricted", lambda *given: (counted.append(1), restricted(*given))[1]
    )
    free.force(rows(2, 8)), ctebm.settle(free)
    assert not counted
    net.bias.add_(1.0)
    free.force(rows(2, 8)), free.energy(rows(2, 8))
    assert len(counted) == 1


def test_a_remainder_keeps_nothing_that_hangs_on_a_graph(net):
    net.weights[0].requires_grad_()
    remainder = net.clamp({"x": rows(2, 4)})._remainder
    assert isinstance(remainder, Remainder)
    with torch.no_grad():
        assert not remainder.now().bias.requires_grad
    assert remainder.now().bias.requires_grad


def test_a_remainder_knows_its_batch_without_a_look():
    whole = ctebm.LayeredNetwork.random([2, 3, 1], ctebm.Tanh())
    for x in ([0.1, 0.2], [[0.1, 0.2]], [[0.1, 0.2]] * 4):
        free = whole.clamp({"x": x})
        assert free.batch == free.bias.shape[:-1] == torch.as_tensor(x).shape[:-1]


def test_settling_looks_once_whether_parameters_have_changed(monkeypatch):
    looks, are = [], Versions.are
    monkeypatch.setattr(Versions, "are", lambda self, given: looks.append(1) or are(self, given))
    whole = ctebm.LayeredNetwork.random([2, 3, 1], ctebm.HardSigmoid(), gain=2.0, centred=False)
    free = whole.clamp({"x": [[0.1, 0.2], [0.7, -0.3]]})
    for path in ("fast", "flow"):
        looks.clear()
        assert ctebm.settle(free, path=path).converged.all()
        assert len(looks) == 1
