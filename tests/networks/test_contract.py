"""One contract for every motion and every network: no method returns unless it is right.

References are slow and independent: automatic differentiation of the force row by row, finite
differences, substitution, a loop over samples.
"""

import copy
import io
import pickle

import pytest
import torch
from cases import ACTIVATIONS, every_motion, every_network, layered
from network_contract import (
    check_clamping,
    check_derivatives,
    check_rows,
    gradient,
    layer_choices,
    same,
    states,
)

import ctebm
from ctebm.networks.base import VectorField
from ctebm.networks.energy import LyapunovField, Network
from ctebm.networks.kinks import Box

NETWORKS = every_network()
MOTIONS = every_motion()
ALL = NETWORKS | MOTIONS
OF_AN_ENERGY = ["potential", "energy_and_force", "hessian", "hessian_product", "hessian_operator"]
# torch.func cannot trace torch's sparse products, and the base class uses it
TRACED = {name for name in ALL if "sparse" not in name}


@pytest.fixture(params=NETWORKS, ids=list(NETWORKS))
def net(request) -> Network:
    return NETWORKS[request.param]


@pytest.fixture(params=ALL, ids=list(ALL))
def motion(request) -> VectorField:
    return ALL[request.param]


def differences(function, s, h=1e-6):
    """Return the same by central differences."""
    e = h * torch.eye(s.shape[-1], dtype=s.dtype)
    return torch.stack([(function(s + d) - function(s - d)) / (2 * h) for d in e], -1)


def test_everything_follows_from_the_force(motion):
    check_derivatives(motion, states(motion), states(motion, seed=1))


def test_the_force_on_a_layer_is_its_part_of_the_force(motion):
    s = states(motion)
    for name, where in motion.layers.items():
        torch.testing.assert_close(motion.layer_force(name, s), motion.force(s)[..., where])
    with pytest.raises(ValueError, match="layer"):
        motion.layer_force("none such", s)


def test_jacobian_is_the_finite_difference_of_the_force(motion):
    s = states(motion, (2,))
    J = differences(motion.force, s)
    torch.testing.assert_close(motion.jacobian(s), J, rtol=1e-6, atol=1e-8)


def test_force_is_the_finite_difference_of_the_energy(net):
    s = states(net)
    slope = differences(net.energy, s)
    torch.testing.assert_close(-net.force(s), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", sorted(TRACED))
def test_closed_forms_are_the_inherited_ones(name):
    motion = ALL[name]
    s, v = states(motion), states(motion, seed=1)
    for base in (VectorField, Network)[: 1 + isinstance(motion, Network)]:
        same(motion.jacobian(s), base.jacobian(motion, s))
        same(motion.jacobian_product(s, v), base.jacobian_product(motion, s, v))
        same(motion.adjoint_product(s, v), base.adjoint_product(motion, s, v))
    if isinstance(motion, Network):
        same(motion.force(s), Network.force(motion, s))
        same(motion.hessian(s), Network.hessian(motion, s))
        same(motion.hessian_operator(s)(v), Network.hessian_operator(motion, s)(v))


@pytest.mark.parametrize("name", MOTIONS)
def test_no_method_of_an_energy_exists_without_one(name):
    motion = MOTIONS[name]
    assert not isinstance(motion, Network) and not motion.is_gradient
    assert hasattr(motion, "energy") == isinstance(motion, LyapunovField)
    assert not any(hasattr(motion, method) for method in OF_AN_ENERGY)
    if "parted" not in name and "clipped" not in name:
        J = motion.jacobian(states(motion))
        assert (J - J.mT).abs().max() > 1e-3  # it could not be a Hessian


def test_a_batch_is_a_loop(motion):
    batch = motion.batch
    s, v = states(motion, (2,)), states(motion, (2,), seed=1)
    calls = ["force", "pressure", "jacobian", "jacobian_product", "adjoint_product"]
    if isinstance(motion, Network):
        calls += ["energy", "potential", "hessian", "hessian_product"]
    for call in calls:
        arguments = (s, v) if "product" in call else (s,)
        whole = getattr(motion, call)(*arguments)
        for i in range(2):
            part = getattr(motion, call)(*(t[i] for t in arguments))
            torch.testing.assert_close(part, whole[i], rtol=1e-13, atol=1e-14)
        for k in range(batch[0] if batch else 0):
            one = motion.samples(motion.batch, torch.tensor(k))
            assert one.batch == () and one.n_units == motion.n_units
            part = getattr(one, call)(*(t[:, k] for t in arguments))
            torch.testing.assert_close(part, whole[:, k], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name].batch])
def test_rows_of_a_batch_are_a_motion_of_these_samples(name):
    check_rows(ALL[name])


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name].batch])
def test_one_state_is_that_of_every_sample(name):
    motion = ALL[name]
    s, v = states(motion, ())[0], states(motion, (), seed=1)[0]
    every, each = s.expand(*motion.batch, -1), v.expand(*motion.batch, -1)
    for call in ("force", "pressure", "jacobian"):
        torch.testing.assert_close(getattr(motion, call)(s), getattr(motion, call)(every))
    for call in ("jacobian_product", "adjoint_product"):
        expected = getattr(motion, call)(every, each)
        for pair in ((s, v), (s, each), (every, v)):
            torch.testing.assert_close(getattr(motion, call)(*pair), expected)
    if isinstance(motion, Network):
        for call in ("energy", "potential", "hessian"):
            torch.testing.assert_close(getattr(motion, call)(s), getattr(motion, call)(every))
        expected = motion.hessian_product(every, each)
        torch.testing.assert_close(motion.hessian_product(s, v), expected)
        torch.testing.assert_close(motion.hessian_operator(s)(v), expected)


CLAMPED = [(name, layers) for name in ALL for layers in layer_choices(ALL[name])]


@pytest.mark.parametrize("name, layers", CLAMPED, ids=["-".join((n, *k)) for n, k in CLAMPED])
def test_clamping_is_substitution(name, layers):
    check_clamping(ALL[name], layers)


@pytest.mark.parametrize("name", [n for n in ALL if ALL[n].layers and not ALL[n].batch])
def test_nothing_is_left_when_all_layers_are_held(name):
    motion = ALL[name]
    s = states(motion, (4,))
    rest = motion.clamp({k: s[:, where] for k, where in motion.layers.items()})
    nothing = s[:, :0]
    assert rest.n_units == 0 and rest.layers == {} and rest.batch == (4,)
    assert rest.force(nothing).shape == (4, 0) and rest.jacobian(nothing).shape == (4, 0, 0)
    if isinstance(motion, Network):
        same(rest.energy(nothing), motion.energy(s))
        assert rest.hessian(nothing).shape == (4, 0, 0)


def test_a_state_has_one_number_for_each_unit(motion):
    with pytest.raises(ValueError, match="expected a state of shape"):
        motion.force(torch.zeros(3, motion.n_units + 1))


def test_float32_is_float64_rounded(motion):
    small, s = motion.to(torch.float32), states(motion, (3,))
    calls = ["force", "jacobian", *(["energy", "hessian"] if isinstance(motion, Network) else [])]
    for call in calls:
        found, exact = getattr(small, call)(s.float()), getattr(motion, call)(s)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=2e-5)
    assert small.dtype == torch.float32 and motion.dtype == torch.float64
    assert dict(small.layers) == dict(motion.layers)
    assert motion.force(s).dtype == torch.float64  # the motion itself is as it was


@pytest.mark.parametrize("target", ["cpu", torch.device("cpu"), torch.float64], ids=str)
def test_to_takes_a_dtype_or_a_device(motion, target):
    s = states(motion)
    keyword = "dtype" if isinstance(target, torch.dtype) else "device"
    for moved in (motion.to(target), motion.to(**{keyword: target})):
        assert type(moved) is type(motion)
        assert torch.equal(moved.force(s), motion.force(s))
    both = motion.to("cpu", torch.float32)
    assert both.dtype == torch.float32 and both.device == torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex128])
def test_to_refuses_what_is_no_state(motion, dtype):
    with pytest.raises(ValueError, match=f"float64 or torch.float32, got {dtype}"):
        motion.to(dtype)


def saved(motion):
    file = io.BytesIO()
    torch.save(motion, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "pickle": lambda motion: pickle.loads(pickle.dumps(motion)),
    "deepcopy": copy.deepcopy,
    "torch.save": saved,
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_are_the_same_to_the_bit(motion, way):
    s = states(motion)
    motion.force(s)  # fills what is kept
    twin = COPIES[way](motion)
    assert type(twin) is type(motion) and twin.batch == motion.batch
    assert torch.equal(twin.force(s), motion.force(s))
    assert torch.equal(twin.jacobian(s), motion.jacobian(s))
    if isinstance(motion, Network):
        assert torch.equal(twin.energy(s), motion.energy(s))
    if motion.layers:
        layer, where = next(iter(motion.layers.items()))
        if len(motion.layers) > 1:
            held = {layer: s[..., where]}
            free = s[..., where.stop :]
            assert torch.equal(twin.clamp(held).force(free), motion.clamp(held).force(free))


def test_energy_descends_along_the_flow(net):
    """At sigma = 0 each step below 2 / lambda_max goes down in energy, between the kinks."""
    box = net.box or Box(-torch.inf, torch.inf)
    s = box.project(states(net, spread=0.4))
    for _ in range(20):
        step = 0.5 / torch.linalg.eigvalsh(net.hessian(s)).amax(-1, keepdim=True).clamp(min=1.0)
        new = box.project(s + step * net.force(s))
        assert (net.energy(new) <= net.energy(s) + 1e-13).all()
        s = new


@pytest.mark.parametrize(
    "name", [n for n in MOTIONS if isinstance(MOTIONS[n], LyapunovField) and "custom" not in n]
)
def test_the_energy_of_a_lyapunov_field_falls_along_its_motion(name):
    motion = MOTIONS[name]
    s = states(motion)
    power = (gradient(motion.energy, s) * motion.force(s)).sum(-1)
    assert (power < 0).all()


def test_networks_share_nothing_with_one_that_is_mapped():
    net = layered(ACTIVATIONS["tanh"])
    other = net.centred()
    other.weights[0] = torch.zeros_like(other.weights[0])
    assert net.weights[0].any()


def test_half_precision_is_refused_at_the_door():
    with pytest.raises(ValueError, match="half precision"):
        ctebm.LayeredNetwork.random([3, 2], ctebm.Tanh(), dtype=torch.float16)


def _changed(p):
    if p.layout != torch.sparse_csr:
        return p / 2 + 0.1
    return torch.sparse_csr_tensor(p.crow_indices(), p.col_indices(), p.values() / 2, p.shape)


def test_parameters_that_are_loaded_make_the_same_motion(motion):
    other, s = copy.deepcopy(motion), states(motion)
    before = {name: p.clone() for name, p in motion.state_dict().items()}
    other.load_state_dict({name: _changed(p) for name, p in before.items()})
    changed = other.force(s)
    other.load_state_dict(before)
    assert other.force(s).equal(motion.force(s))
    assert not before or not changed.equal(motion.force(s))
