"""Energies evaluated layer by layer are the energies, and know when something changed."""

import copy
import pickle

import pytest
import torch
from cases import F64, every_motion_and_network
from network_contract import check

import ctebm
from ctebm.networks import constants
from ctebm.networks.constants import Constants
from ctebm.networks.held import evaluated

SIZES = {"x": slice(0, 4), "h": slice(4, 7), "y": slice(7, 9)}
DRAW = torch.Generator().manual_seed(1)


class Own(ctebm.Network):
    """Eq. 6 in the words of a user."""

    def __init__(self):
        super().__init__(9, SIZES)
        self.W = torch.randn(4, 3, generator=DRAW, dtype=F64)
        self.V = torch.nn.Parameter(torch.randn(3, 2, generator=DRAW, dtype=F64))
        self.bias = torch.randn(9, generator=DRAW, dtype=F64)

    def parts(self, s):
        return [s[..., where] for where in self.layers.values()]

    def energy(self, s):
        s = self.as_state(s)
        x, h, y = (torch.tanh(part) for part in self.parts(s))
        coupling = ((x @ self.W) * h).sum(-1) + ((h @ self.V) * y).sum(-1)
        return s.square().sum(-1) / 2 - coupling - s @ self.bias


class RateFirst(Own):
    def energy(self, s):
        r = torch.sigmoid(2 * self.as_state(s)) - 1
        x, h, y = self.parts(r.clamp(-0.9, 0.9))
        return (s**2).sum(dim=-1) - ((x @ self.W) * h).sum(-1) - ((h @ self.V) * y).sum(-1)


class InPlace(Own):
    def energy(self, s):
        x, h, y = self.parts(s)
        a = x @ self.W
        a += 1
        a *= h
        return s.square().sum(-1) + a.sum(-1) + ((h @ self.V) * y).sum(-1)


class Joining(Own):
    def energy(self, s):
        x, h, y = torch.split(s, [4, 3, 2], -1)
        both = torch.cat([x @ self.W * h, s[..., 3:5]], dim=-1)
        total = torch.einsum("...i,...i->...", y, h @ self.V) + both.pow(3).sum(-1)
        return total + s.norm(dim=-1) + torch.zeros_like(s).sum(-1)


class Filling(Own):
    def energy(self, s):
        x, h, y = self.parts(s)
        a = torch.zeros_like(x @ self.W)
        a += h
        return (a**2).sum(-1) / 2 + (y**2).sum(-1) + x.sum(-1) * a.sum(-1)


class Writing(Own):
    def energy(self, s):
        x, h, y = self.parts(s)
        total = (x @ self.W * h).sum(-1) + ((h @ self.V) * y).sum(-1)
        s *= 2
        h[..., :1] -= 1
        return total + s.square().sum(-1) + h.sum(-1)


def single(s):
    """An energy of one state, in a user's words."""
    return (s**4).sum() / 4 - s[..., :4].sum() * s[..., 4]


@torch.jit.script
def scripted(s: torch.Tensor) -> torch.Tensor:
    return (s**2).sum(-1) * s[..., 3] * s[..., 8]


class Cube(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


def mapped(s):
    each = single
    for _ in range(s.ndim - 1):
        each = torch.func.vmap(each)
    return each(s)


# Ways to use a state that torch does not show: of the state, and of a function of each unit.
HIDDEN = {
    "mapped": mapped,
    "scripted": scripted,
    "differentiated": lambda s: torch.func.grad(lambda u: (u**4).sum())(s).sum(-1),
    "a function of one's own": lambda s: Cube.apply(s).prod(-1),
}
# Others that it does.
SHOWN = {
    "numbers": lambda s: s.data.sum(-1) * s[..., 8],
    "one unit": lambda s: s[..., 3] * s[..., 8],
    "some": lambda s: s[..., [3, 5]].prod(-1) + s[..., torch.arange(9) % 2 == 0].prod(-1),
    "rolled": lambda s: (s.roll(1, -1) * s).sum(-1),
    "padded": lambda s: (torch.nn.functional.pad(s[..., :4], (0, 5)) * s).sum(-1),
    "reshaped": lambda s: s.reshape(*s.shape[:-1], 3, 3).prod(-1).sum(-1),
    "across": lambda s: torch.einsum("...i,...j->...", s[..., :4], s[..., 4:]),
    "split": lambda s: sum(t.prod(-1) for t in torch.split(s, 2, -1)),
    "unbound": lambda s: sum(a * b for a, b in zip(s.unbind(-1), s.unbind(-1)[1:], strict=False)),
    "sums": lambda s: (s.sum(-1) * s.sum(-1, True).squeeze(-1) * s.mean(-1)) ** 2,
    "new ones": lambda s: (s.new_ones(9).cumsum(-1) * s).sum(-1) ** 2 + s.new_zeros(()),
    "written": lambda s: s.clone().mul_(2).sum(-1) ** 2,
    "chosen": lambda s: torch.where(s[..., :4] > 0, s[..., :4], 2.0).sum(-1) * s[..., 4],
    "by another name": lambda s: torch.ops.aten.mul(s, torch.tanh(s)).prod(-1),
}

KINDS = [Own, RateFirst, InPlace, Joining, Filling]


def substituted(net, x, s):
    """The force and Hessian on the free units, by plain substitution."""

    def energy(u):
        return net.energy(torch.cat([x.expand(*u.shape[:-1], -1), u], -1)).sum()

    def hessian(u):
        return torch.autograd.functional.hessian(energy, u)

    force = -torch.autograd.functional.jacobian(energy, s)
    rows = s.reshape(-1, s.shape[-1])
    inputs = x.expand(*s.shape[:-1], -1).reshape(-1, x.shape[-1])
    H = torch.stack([
        torch.autograd.functional.hessian(lambda u, x=x: net.energy(torch.cat([x, u])), row)
        for row, x in zip(rows, inputs, strict=True)
    ])  # fmt: skip
    return force, H.reshape(*s.shape, s.shape[-1])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clamped_energy_is_the_energy_at_the_completed_state(kind, batch):
    net, x = kind(), torch.randn(3, 4, generator=DRAW, dtype=F64)
    x = x if batch else x[0]
    held, s = net.clamp({"x": x}), torch.randn(*batch, 5, generator=DRAW, dtype=F64)
    force, H = substituted(net, x, s)
    for _ in range(2):  # the second time from what is kept
        torch.testing.assert_close(held.force(s), force)
        torch.testing.assert_close(held.energy_and_force(s)[1], force)
        torch.testing.assert_close(held.energy(s), net.energy(held.completed(s)))
        torch.testing.assert_close(held.hessian(s), H)
        v = torch.ones_like(s)
        torch.testing.assert_close(held.hessian_product(s, v), (H @ v.unsqueeze(-1))[..., 0])
        torch.testing.assert_close(held.hessian_operator(s)(v), (H @ v.unsqueeze(-1))[..., 0])


@pytest.mark.parametrize("rate", [None, torch.tanh])
@pytest.mark.parametrize("use", [*HIDDEN, *SHOWN])
def test_a_state_used_in_any_way_is_the_state(use, rate):
    class Used(Own):
        def energy(self, s):
            return Own.energy(self, s) + (HIDDEN | SHOWN)[use](rate(s) if rate else s)

    net, x = Used(), torch.randn(3, 4, generator=DRAW, dtype=F64)
    held, s = net.clamp({"x": x}), torch.randn(3, 5, generator=DRAW, dtype=F64)
    force, H = substituted(net, x, s)
    for _ in range(2):
        torch.testing.assert_close(held.energy(s), net.energy(held.completed(s)))
        torch.testing.assert_close(held.force(s), force)
        # torch.func differentiates no script twice, and twice what plain autograd holds fixed
        if use not in ("scripted", "numbers"):
            torch.testing.assert_close(held.hessian(s), H)
        u = s.clone().requires_grad_()  # by plain autograd, too
        torch.testing.assert_close(-torch.autograd.grad(held.energy(u).sum(), u)[0], force)


def test_an_energy_that_fails_fails_in_its_own_words():
    class Failing(Own):
        def energy(self, s):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as failed:
        Failing().clamp({"x": torch.ones(4, dtype=F64)}).force(torch.ones(5, dtype=F64))
    assert failed.value.__context__ is None


def test_an_energy_that_writes_into_its_state_leaves_that_of_the_caller():
    held, s = Writing().clamp({"x": torch.ones(4, dtype=F64)}), torch.ones(5, dtype=F64)
    before = held.energy(s)
    torch.testing.assert_close(held.energy(s), before)
    assert bool((s == 1).all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change", ["in place", "data", "an array", "another tensor", "input", "the input's data"]
)
def test_what_changes_is_computed_again(kind, change):
    net, x = kind(), torch.randn(3, 4, generator=DRAW, dtype=F64)
    held, s = net.clamp({"x": x}), torch.randn(3, 5, generator=DRAW, dtype=F64)
    held.force(s)
    if change == "in place":
        net.W += 1
    elif change == "data":
        net.W.data += 1
    elif change == "an array":
        net.W.numpy()[:] += 1
    elif change == "the input's data":
        held.states["x"].data += 1
        x = x + 1
    elif change == "input":
        held.states["x"] += 1
        x = x + 1
    else:
        net.W = net.W + 1
    torch.testing.assert_close(held.force(s), substituted(net, x, s)[0])


def test_gradients_reach_parameters_through_the_force():
    net, x = Own(), torch.randn(3, 4, generator=DRAW, dtype=F64)
    net.W.requires_grad_()
    held, s = net.clamp({"x": x}), torch.randn(3, 5, generator=DRAW, dtype=F64)
    with torch.no_grad():
        held.force(s)
    grads = []
    for _ in range(2):
        out = held.force(s).sum()
        grads.append(torch.autograd.grad(out, [net.W, net.V]))
    full = net.force(torch.cat([x, s], -1))[:, 4:].sum()
    for found in grads:
        for a, b in zip(found, torch.autograd.grad(full, [net.W, net.V], retain_graph=True),
                        strict=True):  # fmt: skip
            torch.testing.assert_close(a, b)


def test_copies_begin_empty_and_move_with_their_dtype():
    net, x = Own(), torch.randn(3, 4, generator=DRAW, dtype=F64)
    held, s = net.clamp({"x": x}), torch.randn(3, 5, generator=DRAW, dtype=F64)
    f = held.force(s)
    assert held._constants.results
    for other in (copy.deepcopy(held), pickle.loads(pickle.dumps(held))):
        assert not other._constants.results
        torch.testing.assert_close(other.force(s), f)
    single = held.to(torch.float32)
    assert single.force(s.float()).dtype == torch.float32
    torch.testing.assert_close(single.force(s.float()), f.float())
    torch.testing.assert_close(held.force(s), f)


def test_what_is_kept_is_kept_once_and_little_of_it():
    held = Own().clamp({"x": torch.ones(2, 4, dtype=F64)})
    s = torch.randn(2, 5, generator=DRAW, dtype=F64)
    held.force(s)
    n = len(held._constants.results)
    held.force(s + 1)
    assert len(held._constants.results) == n
    for i in range(constants._MOST_KEPT):
        held.force(torch.zeros(i + 1, 2, 5, dtype=F64))
    assert len(held._constants.results) <= constants._MOST_KEPT


def test_nothing_is_differentiated_with_respect_to_held_layers():
    seen = []

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, g):
            seen.append(tuple(g.shape))
            return g

    def energy(s):
        return (Spy.apply(s[..., :4]).sum(-1) * Spy.apply(s[..., 4:7]).sum(-1)).square()

    parts = [torch.ones(4), torch.ones(3)]
    layers = [slice(0, 4), slice(4, 7)]

    def of_free(h):
        return evaluated(energy, layers, [parts[0], h], [True, False], Constants())

    torch.func.grad(of_free)(parts[1])
    assert seen == [(3,)]


@pytest.mark.parametrize(
    "name",
    [
        "batch-quartic",
        "parted-quartic",
        "batch-biased",
        "batch-neural",
        "batch-clipped",
        "clamped-chain",
    ],
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
