"""Drift, noise and targets of a network in motion."""

from __future__ import annotations

import pytest
import torch

import ctebm

NETWORKS = {
    "layered": lambda rho: ctebm.LayeredNetwork.random([5, 4, 3, 2], rho, seed=1),
    "clamped": lambda rho: ctebm.LayeredNetwork.random([5, 4, 3, 2], rho, seed=1).clamp(
        {"x": torch.linspace(-1, 1, 15).reshape(3, 5)}
    ),
    "wide": lambda rho: ctebm.LayeredNetwork.random([60, 50, 7], rho, seed=1),
    "dense": lambda rho: ctebm.DenseNetwork(
        torch.tensor([[0, 1, -1], [1, 0, 2], [-1, 2, 0.0]]), [0.1, 0, -0.2], rho,
        layers={"x": slice(0, 1), "y": slice(1, 3)},
    ),
}  # fmt: skip
ACTIVATIONS = [ctebm.Tanh(), ctebm.Logistic(), ctebm.HardSigmoid(), ctebm.SmoothHardSigmoid()]


def states(net: ctebm.Network, *batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, net.n_units, dtype=torch.float64, generator=generator)


def test_drive_replaces_the_pressure_and_a_nudge_adds_to_it():
    net = NETWORKS["layered"](ctebm.Tanh())
    s, y = states(net, 3), torch.tensor([0.1, -0.2], dtype=torch.float64)
    out = net.layers["y"]
    f = net.force(s)
    driven = ctebm.Dynamics(net, drive=y).f(0, s)
    nudged = ctebm.Dynamics(net, nudge=y, beta=0.3).f(0, s)
    torch.testing.assert_close(driven[..., out], y - s[..., out])
    torch.testing.assert_close(nudged[..., out], f[..., out] + 0.3 * (y - s[..., out]))
    rest = slice(0, out.start)
    assert torch.equal(driven[..., rest], f[..., rest])
    assert torch.equal(nudged[..., rest], f[..., rest])


def test_synaptic_drift_is_the_pressure_at_the_noisy_state():
    net = NETWORKS["dense"](ctebm.Tanh())
    s, eta = states(net, 4), states(net, 4) / 7
    dynamics = ctebm.Dynamics(net, 0.1, noise="synaptic")
    torch.testing.assert_close(dynamics.synaptic(s, eta), net.pressure(s + eta) - s)


def test_residual_is_zero_for_units_held_at_their_kinks():
    W = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    net = ctebm.DenseNetwork(W, [-1.0, -1.0], ctebm.HardSigmoid(), layers={"y": slice(0, 2)})
    dynamics = ctebm.Dynamics(net)
    corner = torch.tensor([[0.5, 0.5], [-0.5, -0.5], [0.0, 0.0], [0.25, 0.25]]).double()
    torch.testing.assert_close(dynamics.residual(corner), torch.tensor([0, 0, 0, 0.25]).double())
    driven = ctebm.Dynamics(net, drive=[0.9, 0.9])
    torch.testing.assert_close(driven.residual(corner[0]), torch.tensor(0.4).double())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sigma": -1.0}, "sigma >= 0"),
        ({"sigma": torch.tensor([0.1, -0.1])}, "sigma >= 0, got -0.1"),
        ({"sigma": float("nan")}, "finite sigma"),
        ({"sigma": torch.tensor([0.1, float("nan")])}, "finite sigma"),
        ({"nudge": [0.0, 0.0]}, "nudge and beta together"),
        ({"beta": 1.0}, "nudge and beta together"),
        ({"noise": "white"}, "'langevin' or 'synaptic'"),
        ({"drive": [0.0]}, r"\(\*batch, 2\)"),
        ({"drive": {"z": [0.0, 0.0]}}, "one of the layers"),
        ({"drive": [0.0, float("inf")]}, "finite states"),
        ({"drive": [0.0, 0.0], "nudge": [0.0, 0.0], "beta": 1.0}, "driven or nudged"),
    ],
)
def test_what_has_no_meaning_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        ctebm.Dynamics(NETWORKS["layered"](ctebm.Tanh()), **options)


def test_a_phase_lasts():
    with pytest.raises(ValueError, match="n_steps >= 1"):
        ctebm.Phase("settle", ctebm.Dynamics(NETWORKS["dense"](ctebm.Tanh())), 0)


class Saturated(ctebm.VectorField):
    """A force whose gradient needs the number that it returns."""

    def force(self, s: torch.Tensor) -> torch.Tensor:
        return torch.tanh(-s)


class Constant(ctebm.VectorField):
    """A force that is the network's own tensor."""

    c = torch.ones(3, dtype=torch.float64)

    def force(self, s: torch.Tensor) -> torch.Tensor:
        return self.c.expand_as(s)


def test_targets_leave_what_a_force_returns_as_it_is():
    layers = {"x": slice(0, 2), "y": slice(2, 3)}
    s = torch.rand(3, dtype=torch.float64, requires_grad=True)
    for name, options in {"drive": {}, "nudge": {"beta": 0.5}}.items():
        field = Constant(3, layers)
        f = ctebm.Dynamics(field, **{name: [0.5]}, **options).f(0, s.detach())
        assert f[2] != 1 and f[:2].tolist() == [1, 1]
        assert field.c.tolist() == [1, 1, 1]
        f = ctebm.Dynamics(Saturated(3, layers), **{name: [0.5]}, **options).f(0, s)
        slope = torch.autograd.grad(f.sum(), s)[0]
        torch.testing.assert_close(slope[:2], torch.tanh(s[:2]).square() - 1)


def test_a_network_is_its_motion_without_noise_or_target():
    net = NETWORKS["dense"](ctebm.Tanh())
    phase = ctebm.Phase("settle", net, 3)
    assert isinstance(phase.dynamics, ctebm.Dynamics)
    assert not phase.dynamics.noisy and phase.dynamics.network is net
    s = states(net, 4)
    assert torch.equal(phase.dynamics.f(0, s), net.force(s))


@pytest.mark.parametrize("kind", ["drive", "nudge"])
def test_labels_are_no_targets(kind):
    """Three labels for three samples and three classes were one state that all samples share."""
    net = ctebm.LayeredNetwork.random([4, 3, 3], ctebm.HardSigmoid(), gain=0.5, seed=1)
    net = net.clamp({"x": torch.zeros(3, 4)})
    options = {"beta": 0.1} if kind == "nudge" else {}
    with pytest.raises(ValueError, match="3 integers for 3 samples, which read as labels"):
        ctebm.Dynamics(net, **{kind: [0, 1, 2]}, **options)
    shared = ctebm.Dynamics(net, **{kind: [0.0, 1.0, 2.0]}, **options)
    assert getattr(shared, kind)["y"].tolist() == [0.0, 1.0, 2.0]
    one = ctebm.Dynamics(net.samples(net.batch, torch.tensor(0)), **{kind: [0, 1, 2]}, **options)
    with pytest.raises(ValueError, match="3 integers for 3 samples, which read as labels"):
        ctebm.simulate(one, torch.zeros(3, 6), n_steps=1, eps=0.1)
    for n in (1, 2):  # one target of integers that all starts share
        run = ctebm.simulate(one, torch.zeros(n, 6), n_steps=1, eps=0.1)
        assert run.state.shape == (2, n, 6)


def test_a_sample_has_its_own_noise_targets_and_network():
    net = NETWORKS["clamped"](ctebm.Tanh())
    y, s = torch.rand(3, 2, dtype=torch.float64), states(net, 3)
    sigma, beta = torch.tensor([0.0, 0.1, 0.2]), torch.tensor([0.5, 1.0, 2.0])
    whole = ctebm.Dynamics(net, sigma, nudge=y, beta=beta)
    batch = torch.Size((3,))
    for rows in (torch.tensor(1), torch.tensor([2, 0])):
        part = whole.samples(batch, rows)
        torch.testing.assert_close(part.f(0, s[rows]), whole.f(0, s)[rows])
        assert torch.equal(part.sigma, whole.sigma[rows])
    driven = ctebm.Dynamics(net, 0.3, drive=y).samples(batch, torch.tensor([2]))
    assert float(driven.sigma) == 0.3 and torch.equal(driven.drive["y"], y[2:])


def test_without_noise_the_motion_is_the_same_and_the_noisy_one_is_left():
    net = NETWORKS["layered"](ctebm.Tanh())
    noisy = ctebm.Dynamics(net, 0.3, drive=[0.1, 0.2])
    quiet = noisy.without_noise()
    assert noisy.noisy and not quiet.noisy and float(noisy.sigma) == pytest.approx(0.3)
    assert quiet.sigma.dtype == net.dtype
    s = states(net)
    assert torch.equal(quiet.f(0, s), noisy.f(0, s))


def test_it_is_told_by_what_it_has():
    net = NETWORKS["layered"](ctebm.Tanh())
    assert repr(ctebm.Dynamics(net)) == f"Dynamics({net!r})"
    each = ctebm.Dynamics(net, [0.1, 0.2], nudge=[0.1, 0.2], beta=0.5)
    assert repr(each) == f"Dynamics({net!r}, sigma one a sample, beta=0.5, nudges y)"
    assert repr(ctebm.Dynamics(net, 0.1, drive=[0.1, 0.2])) == (
        f"Dynamics({net!r}, sigma=0.1, drives y)"
    )


def test_samples_are_those_of_network_targets_noise_and_strength_together():
    net, y = ctebm.LayeredNetwork.random([2, 4, 3], ctebm.Tanh()), torch.zeros(3)
    each = y.expand(4, 3)
    assert ctebm.Dynamics(net, 0.1, nudge=y, beta=0.5).batch == ()
    assert ctebm.Dynamics(net, torch.full((4,), 0.1)).batch == (4,)
    assert ctebm.Dynamics(net, torch.full((5, 1), 0.1), nudge=each, beta=0.5).batch == (5, 4)
    assert ctebm.Dynamics(net, drive=y.expand(2, 4, 3)).batch == (2, 4)
    assert ctebm.Dynamics(net, nudge=y, beta=torch.ones(6)).batch == (6,)
    held = net.clamp({"x": torch.zeros(4, 2)})
    assert ctebm.Dynamics(held, torch.full((7, 1), 0.1)).batch == (7, 4)
