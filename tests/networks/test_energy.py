"""A user's network needs an energy alone, and keeps the closed forms that it has."""

import pytest
import torch
from cases import CHAIN, F64, Quartic, every_motion_and_network, states
from network_contract import check

import ctebm


def test_a_user_network_needs_an_energy_alone():
    net = Quartic()
    s = torch.randn(3, 4, dtype=F64, generator=torch.Generator().manual_seed(0))
    expected = s + s**3
    expected[:, 0] += s[:, -1] / 3
    expected[:, -1] += s[:, 0] / 3
    torch.testing.assert_close(net.force(s), -expected)
    torch.testing.assert_close(
        net.hessian(s[0]), torch.autograd.functional.hessian(net.energy, s[0])
    )


class Fast(Quartic):
    """Closed forms that count how often they are asked."""

    def __init__(self):
        super().__init__(3, CHAIN)
        self.asked = {"force": 0, "hessian_product": 0}

    def force(self, s):
        self.asked["force"] += 1
        return -(s + s**3 + torch.stack([s[..., 2], 0 * s[..., 1], s[..., 0]], -1) / 3)

    def hessian_product(self, s, v):
        self.asked["hessian_product"] += 1
        turned = torch.stack([v[..., 2], 0 * v[..., 1], v[..., 0]], -1) / 3
        return (1 + 3 * s**2) * v + turned


@pytest.mark.parametrize("layer", CHAIN)
def test_clamping_keeps_overridden_closed_forms(layer):
    net = Fast()
    small = net.clamp({layer: [0.2]})
    s = states(small, (4,))
    small.force(s)
    assert net.asked == {"force": 1, "hessian_product": 0}
    small.energy_and_force(s)
    assert net.asked == {"force": 2, "hessian_product": 0}
    small.hessian_product(s, s), small.hessian_operator(s)(s), small.jacobian_product(s, s)
    small.adjoint_product(s, s)
    assert net.asked == {"force": 2, "hessian_product": 4}
    slow = Quartic(3, CHAIN).clamp({layer: [0.2]})
    torch.testing.assert_close(small.force(s), slow.force(s))
    torch.testing.assert_close(small.hessian(s), slow.hessian(s))
    assert ctebm.settle(small).converged
    assert net.asked["force"] > 2


@pytest.mark.parametrize("layer", CHAIN)
def test_of_an_energy_alone_a_clamped_network_differentiates_that_of_its_own_units(
    layer, monkeypatch
):
    """Not the products of the whole, which have those of held units too."""
    small = Quartic(3, CHAIN).clamp({layer: [0.2]})
    s = states(small, (4,))
    expected = small.hessian(s) @ s.unsqueeze(-1)

    def of_the_whole(*_):
        raise AssertionError("asked for products of the whole")

    for name in ("hessian_product", "hessian_operator"):
        monkeypatch.setattr(small.whole, name, of_the_whole)
    torch.testing.assert_close(small.hessian_product(s, s), expected.squeeze(-1))
    torch.testing.assert_close(small.hessian_operator(s)(s), expected.squeeze(-1))


def test_a_network_without_gradient_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"Field is a Network.*subclass VectorField and write"):
        type("Field", (ctebm.Network,), {"is_gradient": False})
    assert ctebm.Network.is_gradient and not ctebm.VectorField.is_gradient


@pytest.mark.parametrize(
    "energy, got",
    [
        (lambda s: s.square().sum(), r"\(\)"),
        (lambda s: s.square(), r"\(5, 3\)"),
        (lambda s: s.square().sum(-1, keepdim=True), r"\(5, 1\)"),
        (lambda s: 0.0, "float"),
        # another sample's biases, without a word on the batch
        (lambda s: (s * torch.ones(4, 1, 3)).sum(-1), r"\(4, 5\)"),
    ],
)
def test_an_energy_is_one_number_for_each_state(energy, got):
    net = type("Wrong", (ctebm.Network,), {"energy": lambda self, s: energy(s)})(3)
    for call in (net.force, net.energy_and_force, net.hessian):
        with pytest.raises(ValueError, match=rf"of shape \(5,\).*got {got}; sum over the last"):
            call(torch.ones(5, 3, dtype=F64))


class Clipped(ctebm.Network):
    """Eq. 6 with a rate that is clipped in unit 0 alone."""

    W = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=F64)
    box = ctebm.Box(torch.tensor([-0.5, -torch.inf]), torch.tensor([0.5, torch.inf]))

    def energy(self, s):
        r = self.box.project(self.as_state(s))
        return s.square().sum(-1) / 2 - ((r @ self.W) * r).sum(-1) / 2 - r[..., 0]


def test_an_energy_may_have_kinks_in_some_units():
    """The current 1 + s_1 / 2 of unit 0 is cut at 0.5, and unit 1 follows with half of that."""
    rest = ctebm.settle(Clipped(2))
    torch.testing.assert_close(rest.state, torch.tensor([0.5, 0.25], dtype=F64))
    assert rest.pinned.tolist() == [True, False]
    assert float(rest.margin) == pytest.approx(1 + 0.125 - 0.5)
    linear = ctebm.linearize(Clipped(2), rest.state)
    torch.testing.assert_close(linear.eigenvalues, torch.ones(1, dtype=F64))


@pytest.mark.parametrize("layer", CHAIN)
def test_a_clamped_energy_is_that_of_the_whole_state_by_state(layer):
    """Also where what depends on the held layer alone is kept from one call to the next."""
    net = Quartic(3, CHAIN)
    small = net.clamp({layer: [0.2]})
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        s = torch.randn(4, small.n_units, dtype=F64, generator=draw)
        for _ in range(2):
            torch.testing.assert_close(small.energy(s), net.energy(small.completed(s)))
            s += 0.5  # in place


def numbers_of(s):
    return torch.from_numpy(s.detach().numpy()).square().sum(-1)


@pytest.mark.parametrize(("energy", "message"), [
    (numbers_of, "expected an energy that torch can differentiate"),
    (lambda s: s.square().sum(-1) + 0j, "expected an energy of real numbers, got complex128"),
    (lambda s: s.long().sum(-1), "expected an energy of real numbers, got int64"),
    (lambda s: sum(float(x.detach()) for x in s.flatten()), r"of shape \(.*\) for .* got float"),
])  # fmt: skip
@pytest.mark.parametrize("ask", [
    lambda net: net.force(torch.zeros(8, dtype=F64)),
    lambda net: net.clamp({"x": [0.1, 0.2, 0.3]}).force(torch.zeros(5, dtype=F64)),
    lambda net: net.hessian(torch.zeros(8, dtype=F64)),
    ctebm.settle,
    lambda net: ctebm.simulate(net, torch.zeros(8), n_steps=2, eps=0.1),
    lambda net: ctebm.find_fixed_points(net, n_starts=2),
    lambda net: ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.1, 0.2]], 0.1, n_steps=2),
    lambda net: ctebm.settle(ctebm.nudged(net, [0.1, 0.2], 0.1)),
])  # fmt: skip
def test_an_energy_that_is_none_is_refused_whatever_is_asked(energy, message, ask):
    class Wrong(ctebm.Network):
        def energy(self, s):
            return energy(s)

    net = Wrong(8, {"x": slice(0, 3), "h": slice(3, 6), "y": slice(6, 8)})
    with pytest.raises(ValueError, match=message):
        ask(net)


@pytest.mark.parametrize("name", ["quartic", "biased", "batch-quartic"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
