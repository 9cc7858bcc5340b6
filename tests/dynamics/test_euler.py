"""Euler's steps in one loop: the libraries' to the bit, and with walls those of a slow loop."""

import pytest
import torch
from cases import ACTIVATIONS, every_motion, every_network, layered, states
from torch.utils._python_dispatch import TorchDispatchMode

import ctebm
from ctebm.dynamics.euler import projected_flow

MOTIONS = every_network() | every_motion()
KINKED = [name for name, motion in MOTIONS.items() if motion.box is not None]
DTYPES = [torch.float64, torch.float32]
EPS = torch.tensor([0.1, 0.03, 0.2], dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("noise", ["none", "langevin", "synaptic"])
@pytest.mark.parametrize("name", MOTIONS)
def test_the_loop_takes_the_steps_of_the_libraries_to_the_bit(name, noise, dtype):
    motion = MOTIONS[name].to(dtype)
    sigma, kind = (0.0, "langevin") if noise == "none" else (0.3, noise)
    dynamics = ctebm.Dynamics(motion, sigma, noise=kind)
    start = states(motion, batch=(3,), spread=0.3).to(dtype)
    options = {"n_steps": 7, "eps": EPS, "projected": False, "save_every": 3, "seed": 4}
    if noise == "none":
        del options["seed"]
    loop = ctebm.simulate(dynamics, start, **options)
    library = ctebm.simulate(dynamics, start, differentiable=True, **options)
    assert torch.equal(loop.state, library.state.detach())
    assert loop.settings["integrator"] == "ctebm.dynamics.euler"
    used = "torchsde" if noise == "langevin" else "torchdiffeq"
    assert library.settings["integrator"] == used


def test_the_dataset_says_what_took_the_steps():
    net = layered(ACTIVATIONS["tanh"])
    run = ctebm.simulate(net, torch.zeros(14), n_steps=2, eps=0.1)
    assert run.to_dataset().integrator == "ctebm.dynamics.euler"
    heun = ctebm.simulate(net, torch.zeros(14), n_steps=2, eps=0.1, method="heun")
    assert heun.to_dataset().integrator == "torchdiffeq"
    adaptive = ctebm.simulate(net, torch.zeros(14), times=[0.0, 1.0], method="dopri5")
    assert adaptive.to_dataset().integrator == "torchdiffeq"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spread", [0.1, 1.0])
@pytest.mark.parametrize("name", KINKED)
def test_a_projected_step_is_a_plain_step_that_ends_at_the_walls(name, spread, dtype):
    """Walls are the kinks, and for a unit outside of them the place where it is."""
    motion = MOTIONS[name].to(dtype)
    start = states(motion, batch=(3,), spread=spread).to(dtype)
    low, high = motion.box.each(start)
    s, eps = start, EPS.to(dtype).unsqueeze(-1)
    for _ in range(40):
        after = s + eps * motion.force(s)
        s = torch.minimum(torch.maximum(after, torch.minimum(low, s)), torch.maximum(high, s))
    run = ctebm.simulate(motion, start, n_steps=40, eps=EPS)
    assert torch.equal(run.state[-1], s)
    library = ctebm.simulate(motion, start, n_steps=40, eps=EPS, differentiable=True)
    rounding = 64 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        library.state.detach(), run.state, rtol=rounding, atol=rounding * float(s.abs().max() + 1)
    )


def test_a_projected_step_begins_on_the_kink():
    """A rounding error inside it the drift would be another."""
    net = ctebm.DenseNetwork([[0.0]], [3.0], ctebm.HardSigmoid())
    start = net.as_state([0.5 - 1e-16])
    flow = projected_flow(ctebm.Dynamics(net), torch.tensor(0.1), start, net.box)
    assert flow(start, [0, 1]).tolist() == [[0.5], [0.5]]


def test_a_run_leaves_its_start_and_a_force_that_is_kept_alone():
    class Kept(ctebm.VectorField):
        kept = torch.ones(2, dtype=torch.float64)

        def force(self, s):
            return self.kept

    start = torch.zeros(2, dtype=torch.float64)
    run = ctebm.simulate(Kept(2), start, n_steps=3, eps=0.5)
    assert run.state[:, 0].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert start.tolist() == [0.0, 0.0] and Kept.kept.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_a_step_does_not_look_whether_weights_have_changed(sigma):
    """A clamped network keeps them for the run; to look takes a small one a fifth of its steps."""

    class Comparisons(TorchDispatchMode):
        n = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.n += "equal" in str(function)
            return function(*args, **(kwargs or {}))

    net = layered(ACTIVATIONS["logistic"])
    net = net.clamp({"x": torch.zeros(net.layers["x"].stop)})
    dynamics = ctebm.Dynamics(net, sigma)
    counts = []
    for n_steps in (10, 10, 50):  # the first keeps them
        with Comparisons() as looked:
            ctebm.simulate(dynamics, torch.zeros(net.n_units), n_steps=n_steps, eps=0.1)
        counts.append(looked.n)
    assert counts[1] == counts[2]


class Pushed(ctebm.Dynamics):
    """A motion with a drift of its own."""

    def f(self, t, s):
        return super().f(t, s) + 1.0


@pytest.mark.parametrize("noise", ["none", "langevin"])
def test_a_drift_of_one_s_own_is_followed(noise):
    net, start = layered(ACTIVATIONS["tanh"]), torch.zeros(3, 14, dtype=torch.float64)
    dynamics = Pushed(net, 0.0 if noise == "none" else 0.3)
    run = ctebm.simulate(dynamics, start, n_steps=2, eps=0.1, seed=4)
    library = ctebm.simulate(dynamics, start, n_steps=2, eps=0.1, seed=4, differentiable=True)
    assert torch.equal(run.state, library.state)
    if noise == "none":
        torch.testing.assert_close(run.state[1], 0.1 * (net.force(start) + 1))
    hard = Pushed(ctebm.DenseNetwork([[0.0]], [0.0], ctebm.HardSigmoid()))
    slid = ctebm.simulate(hard, [0.0], n_steps=9, eps=0.1)
    assert float(slid.state[-1]) == 0.5  # at its kink, pushed against it
