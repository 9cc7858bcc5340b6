"""A motion with layers held is the motion of the others, with all that it overrides."""

import numpy as np
import pytest
import torch
from cases import CHAIN, F64, Chain, Relay, clipped, every_motion_and_network
from network_contract import check
from numpy.testing import assert_allclose

import ctebm


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


def test_clamping_keeps_the_kinks_of_the_others():
    motion = clipped()
    held = motion.clamp({"h": [[2.0], [-1.0]]})
    assert [b.tolist() for b in held.box] == [[-0.5, 0.0], [0.5, torch.inf]]
    rest = ctebm.settle(held)
    # 0.1 - 0.5 * 2 is cut at 0
    torch.testing.assert_close(rest.state, torch.tensor([[0.5, 0.0], [0.5, 0.6]], dtype=F64))
    assert rest.pinned.tolist() == [[True, True], [True, False]]
    assert motion.clamp({"x": [0.2]}).box.low.tolist() == [-torch.inf, 0.0]


@pytest.mark.parametrize("name", ["batch-clipped"])
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
