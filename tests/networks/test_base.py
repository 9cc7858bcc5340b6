"""A user's motion needs a force alone, and keeps all that it overrides."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from cases import (
    CHAIN,
    F64,
    Chain,
    Neural,
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


class Relay(ctebm.VectorField):
    """The force (-x, x - h, h - y)."""

    def force(self, s):
        x, h, y = self.as_state(s).unbind(-1)
        return torch.stack([-x, x - h, h - y], -1)


def test_a_clamped_force_is_the_force():
    """With x held at 2 the equilibrium is (2, 2), whatever an energy might say."""
    free = Relay(3, CHAIN).clamp({"x": [2.0]})
    rest = ctebm.settle(free)
    assert rest.converged and rest.state.tolist() == [2.0, 2.0]
    # x = 2: h = 2 (1 - e^-t), y = 2 (1 - (1 + t) e^-t)
    run = ctebm.simulate(ctebm.Dynamics(free), [0.0, 0.0], n_steps=100, eps=0.01, method="rk4")
    expected = [2 * (1 - np.exp(-1)), 2 * (1 - 2 * np.exp(-1))]
    assert_allclose(run.state[-1], expected, rtol=1e-9)
    assert ctebm.linearize(free, rest.state).stability == "stable"


class Closed(ctebm.VectorField):
    """A linear motion that counts how often its closed forms are asked."""

    def __init__(self):
        super().__init__(3, CHAIN)
        self.J = torch.tensor([[-1.0, 0.5, 0], [0.2, -1, 0.1], [0, -0.3, -1]], dtype=F64)
        self.asked = dict.fromkeys(("force", "pressure", "forwards", "backwards", "matrix"), 0)

    def force(self, s):
        self.asked["force"] += 1
        return self.as_state(s) @ self.J.mT

    def pressure(self, s):
        self.asked["pressure"] += 1
        return s + s @ self.J.mT

    def jacobian_product(self, s, v):
        self.asked["forwards"] += 1
        return v @ self.J.mT

    def adjoint_product(self, s, v):
        self.asked["backwards"] += 1
        return v @ self.J

    def jacobian(self, s):
        self.asked["matrix"] += 1
        return self.J.expand(*s.shape, -1)


@pytest.mark.parametrize("layers", [("x",), ("h",), ("y",), ("x", "y")])
def test_clamping_keeps_what_is_overridden(layers):
    whole = Closed()
    small = whole.clamp({k: [0.3] for k in layers})
    s = torch.zeros(small.n_units, dtype=F64)
    small.force(s), small.pressure(s), small.jacobian(s)
    small.jacobian_product(s, s), small.adjoint_product(s, s)
    assert whole.asked == dict.fromkeys(whole.asked, 1)
    again = small.clamp({k: [0.1] for k in list(small.layers)[:1]})
    again.force(torch.zeros(again.n_units, dtype=F64))
    assert whole.asked["force"] == 2


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


def test_layers_that_a_class_declares_are_checked_at_the_latest_when_one_is_held():
    class Declared(Chain):
        n_units, layers = 3, {"x": slice(0, 1), "y": slice(2, 3)}

    class Silent(Declared):
        def __init__(self):
            pass

    with pytest.raises(ValueError, match="cover the 3 units"):
        Declared()
    with pytest.raises(ValueError, match="cover the 3 units"):
        Silent().clamp({"x": [0.0]})


def test_layers_tell_the_number_of_units():
    assert Chain(layers=CHAIN).n_units == 3
    assert Chain().n_units is None and Chain().layers == {}


@pytest.mark.parametrize(
    "states, words",
    [
        ({"z": [0.0]}, "one of the layers x, h, y, got 'z'"),
        ({"x": [0.0, 1.0]}, r"\(\*batch, 1\) for layer 'x'"),
        ({"x": 0.0}, r"\(\*batch, 1\) for layer 'x'"),
        ({"x": [np.nan]}, "finite states for layer 'x'"),
        ({"x": np.array([1j])}, "expected real numbers, got complex"),
        ({"x": torch.tensor([1j])}, "expected real numbers, got complex"),
        ({"x": np.array([[0], [255]], dtype=np.uint8)}, r"got an array of uint8.*network.state\("),
        ({"x": np.array([1])}, "states of layer 'x' as floats, got an array of int64"),
        ({"x": np.array([True])}, "got an array of bool"),
        ({"x": torch.tensor([1])}, "got an array of torch.int64"),
    ],
    ids=str,
)
def test_bad_states_of_a_layer_are_refused(states, words):
    for motion in (Chain(3, CHAIN), clipped(), ctebm.HopfieldNetwork(_chain()), _chain()):
        names = {"x": "x", "z": "z"}
        if "h" not in motion.layers:
            words = words.replace("x, h, y", "x, h1, y")
        with pytest.raises(ValueError, match=words):
            motion.clamp({names[k]: v for k, v in states.items()})


def _chain():
    return ctebm.LayeredNetwork.random([1, 1, 1], ctebm.Tanh())


def test_whole_numbers_in_a_list_are_states():
    assert ctebm.settle(Relay(3, CHAIN).clamp({"x": [2]})).state.tolist() == [2, 2]


def test_held_states_are_copies():
    x = np.array([2.0])
    free = Relay(3, CHAIN).clamp({"x": x})
    hopfield = ctebm.HopfieldNetwork(_chain()).clamp({"x": x})
    s = torch.zeros(2, dtype=F64)
    before = free.force(s), hopfield.energy(s)
    x *= 3
    assert torch.equal(free.force(s), before[0])
    assert torch.equal(hopfield.energy(s), before[1])


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


class Nested(ctebm.VectorField):
    """Tensors wherever a user may put them."""

    box = ctebm.Box(torch.tensor([-1.0, -2.0], dtype=F64), torch.tensor([1.0, 2.0], dtype=F64))
    shift = torch.tensor([0.1, 0.2], dtype=F64)

    def __init__(self):
        super().__init__(2)
        self.one = torch.ones(2, dtype=F64)
        self.several = [self.one, (self.one, None)]
        self.named = {"W": self.one, "deep": {"b": [self.one]}}
        self.which = torch.tensor([0, 1])
        self.inner = Neural(2, None)
        self.words, self.number = "as they are", 3

    def force(self, s):
        s = self.as_state(s)
        tensors = (
            self.shift,
            self.one,
            self.several[1][0],
            self.named["deep"]["b"][0],
            self.named["W"],
        )
        return self.inner.force(s)[..., self.which] + sum(tensors)


def test_to_takes_every_tensor_along():
    motion = Nested()
    small = motion.to(torch.float32)
    tensors = [small.one, small.several[0], small.several[1][0], small.named["deep"]["b"][0]]
    tensors += [small.shift, *small.box, *small.inner.module.parameters()]
    assert {t.dtype for t in tensors} == {torch.float32}
    assert small.which.dtype == torch.int64 and small.words == "as they are" and small.number == 3
    s = torch.zeros(3, 2)
    assert small.force(s).dtype == torch.float32
    assert motion.force(s).dtype == motion.one.dtype == motion.box.low.dtype == F64
    assert Nested.shift.dtype == Nested.box.high.dtype == F64
    assert next(motion.inner.module.parameters()).dtype == F64
    torch.testing.assert_close(small.force(s).double(), motion.force(s), rtol=1e-6, atol=1e-6)


def test_a_deep_copy_is_on_its_own():
    motion = Nested()
    twin, s = copy.deepcopy(motion), torch.ones(2, dtype=F64)
    before = motion.force(s)
    twin.several[1][0].mul_(2)
    assert torch.equal(motion.force(s), before) and not torch.equal(twin.force(s), before)
    assert twin.one is twin.several[0]  # what was one tensor is one


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


def test_clamping_keeps_the_kinks_of_the_others():
    motion = clipped()
    held = motion.clamp({"h": [[2.0], [-1.0]]})
    assert [b.tolist() for b in held.box] == [[-0.5, 0.0], [0.5, torch.inf]]
    rest = ctebm.settle(held)
    # 0.1 - 0.5 * 2 is cut at 0
    torch.testing.assert_close(rest.state, torch.tensor([[0.5, 0.0], [0.5, 0.6]], dtype=F64))
    assert rest.pinned.tolist() == [[True, True], [True, False]]
    assert motion.clamp({"x": [0.2]}).box.low.tolist() == [-torch.inf, 0.0]


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


def test_states_to_clamp_come_by_the_names_of_layers():
    whole = ctebm.LayeredNetwork.random([2, 1], ctebm.Tanh())
    for bare in ([0.1, 0.2], np.zeros(2), torch.zeros(5, 2)):
        with pytest.raises(ValueError, match=r"by their names, got .*; give \{'x': states\}"):
            whole.clamp(bare)
    with pytest.raises(ValueError, match=r"batches of layer 'x' \(3,\) and layer 'y' \(2,\)"):
        whole.clamp({"x": torch.zeros(3, 2), "y": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match=r"layer 'y' \(2,\) and network \(3,\)"):
        whole.clamp({"x": torch.zeros(3, 2)}).clamp({"y": torch.zeros(2, 1)})


def test_a_dimension_of_units_goes_last():
    network = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    s = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=F64)
    turned = xr.DataArray(s.numpy().T, dims=("unit", "sample"))
    assert torch.equal(network.as_state(turned), s)
    assert torch.equal(network.as_state(xr.Dataset({"state": turned})), s)


def test_a_device_alone_leaves_every_dtype():
    motion = Nested()
    motion.complex = torch.ones(2, dtype=torch.complex128)
    there = motion.to("cpu")
    assert (there.one.dtype, there.complex.dtype) == (F64, torch.complex128)
    small = motion.to(torch.float32)
    assert (small.one.dtype, small.complex.dtype) == (torch.float32, torch.complex64)


@pytest.mark.parametrize("name", ["chain", "neural", "spiral", "batch-clipped"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
