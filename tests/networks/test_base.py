"""A user's motion needs a force alone, and keeps all that it overrides."""

import numpy as np
import pytest
import torch
import xarray as xr
from cases import (
    CHAIN,
    F64,
    Chain,
    Relay,
    Spiral,
    clipped,
    every_motion_and_network,
    layered,
    states,
)
from network_contract import check
from numpy.testing import assert_allclose

import ctebm
from ctebm.networks.base import count_units, free_network, single


def test_what_needs_a_force_never_asks_for_an_energy():
    for motion in (Relay(3, CHAIN), Chain(3, CHAIN), Spiral(3, CHAIN)):
        assert ctebm.settle(motion, [0.1, 0.2, 0.3]).converged
        assert len(ctebm.find_fixed_points(motion, 5)) >= 1
        assert ctebm.linearize(motion, [0.0, 0.0, 0.0]).stability == "stable"
        plane = ctebm.phase_plane(motion, (0, 2), n_grid=3)
        corner = plane.force.values[:, 0, 0]
        assert_allclose(corner, motion.force(torch.tensor([-1.0, 0, -1.0]))[[0, 2]])
        free = motion.clamp({"x": [[0.3]]})
        rest = ctebm.settle(free)
        gradient = ctebm.implicit_gradient(free, rest.state, [[0.1]])
        J = free.jacobian(rest.state)[0]
        error = torch.tensor([0.0, float(rest.state[0, 1]) - 0.1], dtype=F64)
        torch.testing.assert_close(gradient[0], torch.linalg.solve(-J.T, error))
        found = ctebm.correspondence(motion, [[0.3]], [[0.1]], [0.1])
        assert torch.isfinite(found.displacement).all()


class Rates(ctebm.VectorField):
    """A motion with samples of its own, which does not say how to choose them."""

    def __init__(self):
        super().__init__(2)
        self.bias = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    @property
    def batch(self):
        return self.bias.shape[:-1]

    def force(self, s):
        return self.bias - self.as_state(s)


def test_samples_of_its_own_must_be_chosen_by_the_class():
    with pytest.raises(NotImplementedError, match=r"Rates has a batch \(2,\).*override `samples`"):
        Rates().samples(torch.Size((2,)), torch.tensor([0]))
    assert Chain(3).samples(torch.Size((2,)), torch.tensor([0])).n_units == 3


@pytest.mark.parametrize(
    "layers",
    [
        {"x": slice(0, 1), "y": slice(2, 3)},
        {"x": slice(0, 2)},
        {"y": slice(1, 3), "x": slice(0, 1)},
        {"x": slice(0, 2), "y": slice(1, 3)},
        {"x": slice(None, 1), "y": slice(1, 3)},
        {"x": slice(0, 1), "y": slice(1, None)},
        {"x": slice(0, 3, 2)},
    ],
    ids=str,
)
def test_layers_cover_the_units(layers):
    with pytest.raises(ValueError, match="consecutive slices that cover the 3 units"):
        Chain(3, layers)


def test_a_class_may_declare_its_units_and_layers():
    class Declared(Chain):
        n_units, layers = 3, CHAIN

    assert Declared().n_units == 3 and Declared().layers == CHAIN
    assert Declared().clamp({"h": [0.0]}).n_units == 2
    two = {"x": slice(0, 1), "y": slice(1, 3)}
    assert Declared(layers=two).layers == two and Declared.layers == CHAIN


def test_layers_tell_the_number_of_units():
    assert Chain(layers=CHAIN).n_units == 3
    assert Chain().n_units is None and Chain().layers == {}


def _chain():
    return ctebm.LayeredNetwork.random([1, 1, 1], ctebm.Tanh())


def test_complex_states_are_refused():
    with pytest.raises(ValueError, match="expected real numbers, got complex"):
        Chain(3).force(torch.zeros(3, dtype=torch.complex128))


def test_a_record_stands_for_its_states():
    net = layered(ctebm.Tanh())
    rest = ctebm.settle(net)
    assert net.as_state(rest) is rest.state
    assert torch.equal(net.to(torch.float32).as_state(rest), rest.state.float())
    with pytest.raises(ValueError, match="one column for each unit"):
        layered(ctebm.Tanh(), (5, 4)).as_state(rest)


def test_only_finite_states_pass_where_they_must_be():
    net = layered(ctebm.Tanh())
    s = torch.zeros(2, 14, dtype=F64)
    assert net.finite_state(s) is s
    s[1, 3] = torch.nan
    with pytest.raises(ValueError, match="got nan in unit 3 of sample 1; settle first"):
        net.finite_state(s)


def test_motions_say_what_they_are():
    assert repr(Chain(3, CHAIN)) == "Chain(x: 1, h: 1, y: 1)"
    assert repr(Chain(3)) == "Chain(3)" and repr(Chain()) == "Chain()"
    assert repr(Chain(3, CHAIN).clamp({"h": [0.0]})) == "ClampedField(x: 1, y: 1)"
    hopfield = ctebm.HopfieldNetwork(_chain())
    assert repr(hopfield) == "HopfieldNetwork(x: 1, h1: 1, y: 1; Tanh())"


def test_one_sample_and_the_number_of_units():
    free = _chain().clamp({"x": [[0.3]]})
    assert single(free).batch == () and single(single(free)).batch == ()
    with pytest.raises(ValueError, match=r"with one sample, got \(2,\)"):
        single(_chain().clamp({"x": [[0.3], [0.4]]}))
    assert count_units(free) == 2
    with pytest.raises(ValueError, match="any length; give it n_units"):
        count_units(Chain())
    with pytest.raises(ValueError, match="no named layers"):
        _ = Chain(3).output


# kinks of its own for each unit


def test_kinks_of_each_unit_in_closed_form():
    motion = clipped()
    rest = ctebm.settle(motion)
    # 0.9 is cut at 0.5; -1 + 0.8 * 0.5; 0.1 + 0.5 * 0.6
    torch.testing.assert_close(rest.state, torch.tensor([0.5, -0.6, 0.4], dtype=F64))
    assert rest.pinned.tolist() == [True, False, False]
    assert float(rest.margin) == pytest.approx(0.4)  # of unit 0 from release, of unit 2 from 0
    linear = ctebm.linearize(motion, rest.state)
    expected = torch.tensor([[0, 0, 0], [0, -1, 0], [0, -0.5, -1]], dtype=F64)  # unit 0 is pinned
    torch.testing.assert_close(linear.jacobian, expected)
    assert linear.stability == "stable"


def test_a_projected_run_stops_each_unit_at_its_own_kinks():
    motion, eps, n = clipped(), 0.1, 30
    s0, s1, s2 = 0.0, 1.0, 0.0
    for _ in range(n):
        s0, s1, s2 = (
            min(s0 + eps * (0.9 - s0), 0.5),
            s1 + eps * (-1.0 + 0.8 * s0 - s1),
            max(s2 + eps * (0.1 - 0.5 * s1 - s2), 0.0),
        )
    run = ctebm.simulate(ctebm.Dynamics(motion), [0.0, 1.0, 0.0], n_steps=n, eps=eps)
    assert_allclose(run.state[-1], [s0, s1, s2], rtol=1e-14)
    free = 0.9 * (1 - (1 - eps) ** np.arange(8))  # unit 0 by itself, until 0.5
    assert_allclose(run.state[:8, 0], free, rtol=1e-13)
    assert run.state[9:, 0].eq(0.5).all() and run.state[:, 2].min() == 0


def test_one_number_may_stand_for_a_kink_of_all():
    motion = clipped()
    motion.box = ctebm.Box(motion.box.low, torch.inf)
    torch.testing.assert_close(
        ctebm.settle(motion).state, torch.tensor([0.9, -0.28, 0.24], dtype=F64)
    )


def test_noise_sees_the_kinks_of_each_unit():
    """Steps with noise are not projected: one is Euler-Maruyama's, from the force at the state."""
    motion = clipped()
    first = torch.tensor([0.5, 0.0, 0.0], dtype=F64)
    quiet = ctebm.simulate(ctebm.Dynamics(motion), first, n_steps=1, eps=0.1).state[-1]
    sigmas = [1e-9, 0.0]
    loud, none = (
        ctebm.simulate(ctebm.Dynamics(motion, sigma), first, n_steps=1, eps=0.1, seed=1).state[-1]
        for sigma in sigmas
    )
    torch.testing.assert_close(none, quiet, rtol=0, atol=0)
    assert float(loud[0]) == pytest.approx(0.5 + 0.1 * 0.4, abs=1e-8)


def test_states_of_the_cases_avoid_kinks():
    motion = clipped()
    s = states(motion, (1000,))
    for kinks in motion.box:
        assert ((s - kinks).abs() >= 1e-3).all()


def test_what_is_no_moving_network_is_refused():
    for value in (None, 3, "net", ctebm.Tanh(), ctebm.DenseNetwork, np.zeros((2, 2))):
        with pytest.raises(ValueError, match=f"expected a network, got {type(value).__name__}"):
            free_network(value)
    whole = ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh())
    with pytest.raises(ValueError, match="every layer clamped; leave the output out of clamp"):
        free_network(whole.clamp({"x": [0.0, 0.0], "y": [0.0]}))


def test_a_dimension_of_units_goes_last():
    network = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    s = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=F64)
    turned = xr.DataArray(s.numpy().T, dims=("unit", "sample"))
    assert torch.equal(network.as_state(turned), s)
    assert torch.equal(network.as_state(xr.Dataset({"state": turned})), s)


@pytest.mark.parametrize("name", ["chain", "neural", "spiral"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])


@pytest.mark.parametrize(
    "base",
    [
        ctebm.PredictiveNetwork, ctebm.HopfieldNetwork, ctebm.RateLeakNetwork,
        ctebm.AssociativeMemory, ctebm.PolynomialMemory, ctebm.ConvolutionalNetwork,
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["energy", "force"])
def test_a_class_that_replaces_one_closed_form_is_refused(base, name):
    """`settle` took the others for its equilibria: it "converged" where this force is not 0."""
    with pytest.raises(TypeError, match=f"forms of {base.__name__}, .*, got {name} of its own; "):
        type("Own", (base,), {name: lambda self, s: s})
    own = type("Named", (base,), {"__repr__": lambda self: "mine"})
    assert own.energy is base.energy
