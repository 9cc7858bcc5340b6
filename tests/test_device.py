"""Every public function, motion and member of the zoo on a GPU agrees with the CPU; how it waits.

Without a GPU all but one function run on a pretend one; where torch sees a real one, which alone
shows its kernels and its rounding, they run on both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import Any

import cases
import numpy as np
import pytest
import torch
import zoo
from torch import Tensor

import ctebm
from ctebm.equilibria.krylov import extremal_spectrum, generic_vector
from ctebm.equilibria.linear_systems import conjugate_gradients
from tests.pretend_device import MixedDevices, PretendDevice

F64 = torch.float64
SIZES = (8, 6, 5, 3)
X = torch.linspace(-0.4, 0.4, 8, dtype=F64) * torch.tensor([[1.0], [0.5], [-0.3], [-1.0]])
Y = torch.tensor([0.4, -0.4, 0.0], dtype=F64)
PAIR_WEIGHTS = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=F64)
RATES, LABELS = np.random.default_rng(0).random((40, 8)), np.arange(40) % 3

Case = Callable[[str], Tensor]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def layers(device: str, activation: Any = None, gain: float = 0.5) -> ctebm.LayeredNetwork:
    network = ctebm.LayeredNetwork.random(
        SIZES, activation or ctebm.HardSigmoid(), gain=gain, seed=1
    )
    return network.to(device=device)


def clamped(device: str, activation: Any = None) -> Any:
    return layers(device, activation).clamp({"x": X})


def resting(device: str, activation: Any = None) -> tuple[Any, Tensor]:
    free = clamped(device, activation)
    return free, free.as_state(torch.tensor(_rest(type(activation)), dtype=F64, device=device))


@cache
def _rest(activation: type) -> list[list[float]]:
    """Return a state at rest, found on the CPU, so that nothing of it is counted."""
    free = clamped("cpu", None if activation is type(None) else activation())
    return ctebm.settle(free).raise_for_status().state.tolist()


def pair(device: str, w: float = 2.0) -> ctebm.DenseNetwork:
    bias = torch.zeros(2, dtype=F64)
    return ctebm.DenseNetwork(w * PAIR_WEIGHTS, bias, ctebm.Tanh()).centred().to(device=device)


def run(
    device: str, n_steps: int, sigma: float = 0.0, activation: Any = None, **how: Any
) -> Tensor:
    free, s = resting(device, activation)
    motion = ctebm.Dynamics(free, sigma, drive=Y)
    return ctebm.simulate(motion, s, n_steps=n_steps, eps=0.1, save_every=n_steps, **how).state


@case
def settle(device: str) -> Tensor:
    return ctebm.settle(clamped(device)).state


@case
def settle_smooth(device: str) -> Tensor:
    return ctebm.settle(clamped(device, ctebm.Tanh())).state


@case
def settle_by_the_flow(device: str) -> Tensor:
    return ctebm.settle(clamped(device, ctebm.Tanh()), path="flow").state


@case
def linearize(device: str) -> Tensor:
    return ctebm.linearize(*resting(device)).eigenvalues


@case
def linearize_without_a_matrix(device: str) -> Tensor:
    return ctebm.linearize(*resting(device), dense=False).eigenvalues


@case
def chain_gradient(device: str) -> Tensor:
    return ctebm.chain_gradient(*resting(device), Y)


@case
def implicit_gradient(device: str) -> Tensor:
    return ctebm.implicit_gradient(*resting(device), Y)


@case
def bptt_gradient(device: str) -> Tensor:
    return ctebm.bptt_gradient(*resting(device), Y, eps=0.1, n_steps=5)


@case
def parameter_gradient(device: str) -> Tensor:
    _, s = resting(device)
    found = ctebm.parameter_gradient(layers(device), X, s, Y.expand(4, 3))
    return torch.cat([w.flatten() for w in (*found.weights, *found.biases)])


@case
def nudged(device: str) -> Tensor:
    return ctebm.settle(ctebm.nudged(clamped(device), Y, 0.1)).state


@case
def correspondence(device: str) -> Tensor:
    return ctebm.correspondence(layers(device), X, Y, [0.5, 0.1], n_steps=5).displacement


@case
def simulate(device: str) -> Tensor:
    return run(device, 20)


@case
def simulate_smooth(device: str) -> Tensor:
    return run(device, 20, activation=ctebm.Tanh())


@case
def simulate_by_runge_kutta(device: str) -> Tensor:
    return run(device, 5, method="rk4")


@case
def simulate_with_noise(device: str) -> Tensor:
    return run(device, 20, sigma=0.1, seed=1)


@case
def simulate_with_philox(device: str) -> Tensor:
    return run(device, 20, sigma=0.1, seed=1, stream="philox")


@case
def simulate_with_heun(device: str) -> Tensor:
    return run(device, 5, sigma=0.1, seed=1, method="heun")


@case
def simulate_adaptively(device: str) -> Tensor:
    free, s = resting(device, ctebm.Tanh())
    motion = ctebm.Dynamics(free, drive=Y)
    return ctebm.simulate(motion, s, times=[0.0, 0.3], method="dopri5", rtol=1e-6).state


@case
def find_fixed_points(device: str) -> Tensor:
    return ctebm.find_fixed_points(pair(device), n_starts=8).state


@case
def enumerate_fixed_points(device: str) -> Tensor:
    net = ctebm.DenseNetwork(PAIR_WEIGHTS, torch.zeros(2), ctebm.HardSigmoid()).to(device=device)
    return ctebm.enumerate_fixed_points(net).state


@case
def certify_unique(device: str) -> Tensor:
    return torch.tensor(ctebm.certify_unique(pair(device, 0.5)))


@case
def continue_branch(device: str) -> Tensor:
    start = torch.zeros(2, dtype=F64)
    return ctebm.continue_branch(
        lambda w: pair(device, w), start, (0.5, 2.0), step=0.25, max_points=9
    ).state


@case
def switch_branch(device: str) -> Tensor:
    def net(w: float) -> ctebm.DenseNetwork:
        return pair(device, w)

    branch = ctebm.continue_branch(net, torch.zeros(2), (3.0, 5.0), step=0.2)
    fork = next(event for event in branch.events if "pitchfork" in event.kind)
    return ctebm.switch_branch(branch, fork, step=0.1, max_points=3)[0].state


@case
def phase_plane(device: str) -> Tensor:
    plane = ctebm.phase_plane(pair(device), n_grid=3, n_starts=4, t_end=0.1)
    return torch.as_tensor(plane.energy.values)


@case
def train(device: str) -> Tensor:
    net = ctebm.LayeredNetwork.random((8, 6, 3), ctebm.HardSigmoid(-0.1), gain=0.3, seed=1)
    plan = ctebm.Plan(epochs=1, batch=10, rate=1e-2)
    trained = ctebm.train(net.to(device=device), RATES, LABELS, plan).network
    return torch.cat([p.flatten() for p in trained.state_dict().values()])


@case
def weakly_coupled(device: str) -> Tensor:
    return ctebm.weakly_coupled(layers(device)).state_dict()["weights.0"]


@case
def sample(device: str) -> Tensor:
    motion = ctebm.Dynamics(pair(device), 0.5)
    start = torch.zeros(4, 2, dtype=F64)
    return torch.as_tensor(
        ctebm.sample(motion, start, n_steps=40, eps=0.1, burn_in=10, every=2, seed=1).mean
    )


@case
def first_passage(device: str) -> Tensor:
    motion = ctebm.Dynamics(pair(device), 0.5)
    start = torch.full((4, 2), 0.5, dtype=F64)
    return torch.as_tensor(
        ctebm.first_passage(
            motion, start, inside=lambda s: s[..., 0] > 0.2, eps=0.1, n_steps=50, seed=1
        ).time
    )


@case
def fluctuation_response(device: str) -> Tensor:
    net = pair(device, 0.5)
    found = ctebm.fluctuation_response(
        net, net.as_state(torch.zeros(2, device=device)), [0.1, 0.0], eps=0.1, sigma=0.1, chains=4,
        time=5.0, n_steps=3, seed=0,
    )  # fmt: skip
    return found.displacement


@case
def stationary_density(device: str) -> Tensor:
    grid = [np.linspace(-1, 1, 5)] * 2
    return torch.as_tensor(ctebm.stationary_density(pair(device), 0.5, grid).values)


@case
def minimum_energy_path(device: str) -> Tensor:
    net = pair(device, 6.0)
    ends = [net.as_state(torch.full((2,), s, device=device)) for s in (1.5, -1.5)]
    a, b = (ctebm.settle(net, end).state for end in ends)
    return ctebm.minimum_energy_path(net, a, b, n_images=5, max_iterations=20).state


@case
def rescaled_loss(device: str) -> Tensor:
    return ctebm.rescaled_loss(*_predictive(device), Y, 0.1)


@case
def nudge_limit(device: str) -> Tensor:
    return ctebm.nudge_limit(*_predictive(device))


def _predictive(device: str) -> tuple[Any, Tensor]:
    rng = np.random.default_rng(0)
    sizes = (8, 6, 3)
    weights = [rng.normal(0, 0.4, (a, b)) for a, b in pairwise(sizes)]
    net = ctebm.PredictiveNetwork(weights, [np.zeros(n) for n in sizes], ctebm.Tanh())
    free = net.to(device=device).clamp({"x": X})
    return free, ctebm.settle(free).state


@case
def settle_predictive(device: str) -> Tensor:
    return ctebm.settle(ctebm.nudged(_predictive(device)[0], Y, 0.5)).state


@case
def settle_convolutional(device: str) -> Tensor:
    kernels = [0.3 * np.random.default_rng(1).normal(size=(2, 1, 2, 2))]
    net = ctebm.ConvolutionalNetwork(
        kernels, [], [None, [0.0, 0.1]], ctebm.Tanh(), shape=(1, 4, 4)
    ).to(device=device)
    return ctebm.settle(net.clamp({"x": np.linspace(-0.5, 0.5, 16)})).state


@case
def holomorphic_gradient(device: str) -> Tensor:
    return ctebm.holomorphic_gradient(*resting(device, ctebm.Tanh()), Y, points=4)


# Functions of numbers, files and networks elsewhere: nothing of theirs lies on a device.
WITHOUT_A_DEVICE = {
    "cascade_coefficient", "continuous_coefficient", "discretisation_error", "half_time",
    "first_arrival_coefficient", "leaky_coefficient", "paper_coefficient", "load_network", "open",
    "save", "sweep",
}  # fmt: skip

# torch's own device underneath the pretence ends the process in products of complex matrices.
NOT_PRETENDED = {"holomorphic_gradient"}


@cache
def on_cpu(name: str) -> Tensor:
    return CASES[name]("cpu")


def reads(function: Case) -> int:
    with PretendDevice() as device:
        function("cuda")
    return sum(device.reads.values())


def agree(found: Tensor, expected: Tensor, atol: float = 1e-11) -> bool:
    return torch.allclose(found.cpu(), expected, rtol=1e-9, atol=atol, equal_nan=True)


def test_every_public_function_is_tried():
    public = {name for name in dir(ctebm) if inspect.isfunction(getattr(ctebm, name))}
    assert not public - set(CASES) - WITHOUT_A_DEVICE


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_PRETENDED])
def test_it_agrees_with_the_cpu(name):
    expected = on_cpu(name)
    with PretendDevice():
        assert agree(CASES[name]("cuda"), expected)


def on_a_gpu(names: Iterable[str]) -> list[Any]:
    """Return the names, or where there is no GPU one case for all, which is skipped."""
    skip = pytest.mark.skip(reason="no CUDA device: tried on a pretend one alone")
    return list(names) if torch.cuda.is_available() else [pytest.param("all", marks=skip)]


@pytest.mark.cuda
class TestOnARealGpu:
    @pytest.mark.parametrize("name", on_a_gpu(CASES))
    def test_functions_agree_with_the_cpu(self, name):
        assert agree(CASES[name]("cuda"), on_cpu(name))

    @pytest.mark.parametrize("name", on_a_gpu(cases.every_motion_and_network()))
    def test_motions_agree_with_the_cpu(self, name):
        here = cases.every_motion_and_network()[name]
        there = here.to(device="cuda")
        s, v = (cases.states(here, (2, *here.batch), seed=seed) for seed in (0, 1))
        assert agree(there.force(s), here.force(s))
        s_there, v_there = there.as_state(s), there.as_state(v)
        for product in ("jacobian_product", "adjoint_product"):
            found = getattr(there, product)(s_there, v_there)
            assert agree(found, getattr(here, product)(s, v)), product

    @pytest.mark.parametrize("name", on_a_gpu(zoo.zoo()))
    def test_equilibria_agree_with_the_cpu(self, name):
        member = zoo.zoo()[name]
        atol = 1e-3 if "degenerate" in member.kinds else 1e-11  # flat: where it ends is rounding
        here, there = member.network, member.network.to(device="cuda")
        expected, found = (ctebm.settle(net, member.starts(3)) for net in (here, there))
        assert agree(found.state, expected.state, atol)
        assert found.converged.tolist() == expected.converged.tolist()
        expected, found = (
            torch.as_tensor(ctebm.linearize(*at).index) for at in ((here, expected), (there, found))
        )
        assert torch.equal(found, expected)


class TestThePretence:
    def test_devices_do_not_mix(self):
        with PretendDevice():
            there = torch.ones(3, device="cuda")
            assert there.device == torch.device("cuda:0") and (2 * there).is_cuda
            with pytest.raises(MixedDevices):
                torch.add(there, torch.ones(3))
            with pytest.raises(TypeError, match=r"Tensor\.cpu"):
                there.numpy()
            with pytest.raises(MixedDevices):
                torch.ones(3)[torch.tensor([0], device="cuda")]

    def test_reads_are_counted(self):
        with PretendDevice() as device:
            there = torch.arange(4.0, device="cuda")
            assert not device.reads
            assert float(there.sum()) == 6.0
            assert there.tolist() == [0.0, 1.0, 2.0, 3.0]
            assert there[there > 1.5].cpu().tolist() == [2.0, 3.0]
        assert sum(device.reads.values()) == 4

    def test_gradients_stay_there(self):
        with PretendDevice():
            s = torch.ones(3, device="cuda", requires_grad=True)
            (slope,) = torch.autograd.grad((s**3).sum(), s)
            assert slope.is_cuda
            assert slope.tolist() == [3.0, 3.0, 3.0]


class TestReads:
    @pytest.mark.parametrize(
        "how",
        [{}, {"activation": ctebm.Tanh()}, {"sigma": 0.1, "seed": 1},
         {"sigma": 0.1, "seed": 1, "stream": "philox"}],
        ids=["kinked", "smooth", "noise of the host", "noise of the device"],
    )  # fmt: skip
    def test_euler_steps_never_wait(self, how):
        _rest(type(how.get("activation")))
        few, many = (reads(lambda d, n=n: run(d, n, **how)) for n in (60, 120))
        assert many == few

    def test_a_step_of_training_waits_little_more_than_once_a_sweep(self):
        def waits(n: int) -> int:
            net = ctebm.LayeredNetwork.random((8, 6, 3), ctebm.HardSigmoid(-0.1), gain=0.3, seed=1)
            plan = ctebm.Plan(epochs=1, batch=10, rate=1e-2)
            with PretendDevice() as device:
                net = net.to(device="cuda")
                device.reads.clear()
                sweeps = ctebm.train(net, RATES[:n], LABELS[:n], plan).history["sweeps"][0]
            return sum(device.reads.values()) - round(float(sweeps) * n / 10)

        assert waits(40) - waits(10) <= 3 * 3  # sweeps are means over samples

    @pytest.mark.parametrize("ask", ["force", "energy", "jacobian_product"])
    @pytest.mark.parametrize("activation", [ctebm.HardSigmoid(), ctebm.Tanh()], ids=repr)
    def test_held_layers_are_looked_at_once(self, ask, activation):
        with PretendDevice() as device:
            free = clamped("cuda", activation)
            s = free.first_guess()
            given = (s, s) if ask == "jacobian_product" else (s,)
            getattr(free, ask)(*given)
            device.reads.clear()
            getattr(free, ask)(*given)
        assert sum(device.reads.values()) == 1

    @pytest.mark.parametrize("name, most", [("settle", 34), ("settle_smooth", 10)])
    def test_settling_four_samples_waits_seldom(self, name, most):
        on_cpu(name)
        assert reads(CASES[name]) <= most

    @pytest.mark.parametrize(
        ("gain", "activation"), [(1.0, ctebm.HardSigmoid()), (0.5, ctebm.Logistic())],
        ids=["kinked", "smooth"],
    )  # fmt: skip
    def test_settling_a_batch_waits_once_in_many_steps(self, gain, activation):
        """Alternating updates, conjugate gradients and what asks whether an equilibrium is one."""
        network = ctebm.LayeredNetwork.random((30, 260, 260, 10), activation, gain=gain, seed=1)
        x = torch.as_tensor(np.random.default_rng(0).random((64, 30)))
        products = 0
        with PretendDevice() as device:
            ctebm.settle(network.to(device="cuda").clamp({"x": x})).raise_for_status()
        products = device.launches["aten.mm"] + device.launches["aten.addmm"]
        assert sum(device.reads.values()) <= products / 16

    @pytest.mark.parametrize("solve", ["conjugate gradients", "Lanczos"])
    def test_krylov_methods_wait_every_16_products(self, solve):
        H = torch.diag(torch.logspace(-2, 0, 200, dtype=F64))
        products = 0

        def product(v: Tensor) -> Tensor:
            nonlocal products
            products += 1
            return v @ H.to(v.device)

        def found(device: str) -> Tensor:
            start = generic_vector(200, H).to(device)
            if solve == "Lanczos":
                return extremal_spectrum(product, start, 1e-10).eigenvalues
            return conjugate_gradients(product, start)

        expected = found("cpu")
        products = 0
        with PretendDevice() as device:
            close = torch.allclose(found("cuda").cpu(), expected, rtol=1e-9)
        assert close
        assert products > 64
        assert sum(device.reads.values()) <= products / 16 + 6  # six after the last one
