"""Motion without an energy: closed forms and brute force."""

import math

import numpy as np
import pytest
import torch
from analytic import HARD, TANH

from ctebm import AsymmetricNetwork, linearize, settle
from ctebm.stability import jacobian
from ctebm.stability.jacobian import JacobianMotion, jacobian_spectrum


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


# decay 1 and rotation w, with a mode that is driven by the other: nearly parallel eigenvectors
ROTATION = tensor([-1, 0.7], [-0.7, -1])
SHEAR = tensor([-1, 30, 0], [0, -1.001, 2], [0, 0, -1.7])
FREE = torch.tensor([False, False])
MOTIONS = [
    pytest.param(JacobianMotion(ROTATION, FREE), id="rotation"),
    pytest.param(JacobianMotion(SHEAR, torch.zeros(3, dtype=torch.bool)), id="shear"),
    pytest.param(JacobianMotion(torch.stack([ROTATION, 2 * ROTATION]), FREE.expand(2, 2)),
                 id="batch"),
]  # fmt: skip


def test_rotation_and_decay():
    """lambda = 1 -+ i w: growth is minus the real part, the lower half plane first."""
    network = AsymmetricNetwork([[0, 0.7], [-0.7, 0]], [0, 0], HARD).centred()
    found = jacobian_spectrum(network, torch.zeros(2, dtype=torch.float64), torch.arange(2))
    np.testing.assert_allclose(found.eigenvalues, [1 - 0.7j, 1 + 0.7j], atol=1e-15)
    J, V = ROTATION.to(found.eigenvectors), found.eigenvectors
    torch.testing.assert_close(J @ V, -V * found.eigenvalues)
    torch.testing.assert_close(V.norm(dim=0), torch.ones(2, dtype=torch.float64))
    assert found.residual.max() < 1e-15


def test_covariance_of_rotation_and_decay():
    """Symmetric part -1: the covariance does not know of the rotation, its steps do."""
    sigma, eps, w = 0.3, 0.2, 0.7
    motion, one = JacobianMotion(ROTATION, FREE), torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(motion.covariance(sigma, None, False), sigma**2 / 2 * one)
    in_steps = eps * sigma**2 / (1 - (1 - eps) ** 2 - (eps * w) ** 2)  # |1 - eps lambda|^2 < 1
    torch.testing.assert_close(motion.covariance(sigma, eps, False), in_steps * one)
    synaptic = in_steps * eps * w**2  # 1 + J is the rotation alone, of size w
    torch.testing.assert_close(motion.covariance(sigma, eps, True), synaptic * one)


@pytest.mark.parametrize("motion", MOTIONS)
def test_response_is_the_sum_of_small_steps(motion):
    n = motion.jacobian.shape[-1]
    u = torch.linspace(-1, 1, n, dtype=torch.float64)

    def euler(eps, steps):
        d = torch.zeros(*motion.jacobian.shape[:-2], n, dtype=torch.float64)
        for _ in range(steps):
            d = d + eps * ((motion.jacobian @ d.unsqueeze(-1)).squeeze(-1) + u)
        return d

    torch.testing.assert_close(motion.response(u, 0.1, 23, None), euler(0.1, 23))
    errors = [(motion.response(u, None, None, 1.5) - euler(1.5 / k, k)).norm() for k in (500, 1000)]
    assert float(errors[0] / errors[1]) == pytest.approx(2, rel=0.02)
    late = motion.response(u, None, None, 60.0)
    torch.testing.assert_close(motion.response(u, None, None, None), late, rtol=1e-9, atol=1e-9)


def test_response_of_a_singular_jacobian():
    """A mode that does not decay moves on for ever: by the time itself."""
    motion = JacobianMotion(tensor([0, 0], [0, -2]), FREE)
    u = tensor(1, 1)
    expected = tensor(3, (1 - math.exp(-6)) / 2)
    torch.testing.assert_close(motion.response(u, None, None, 3.0), expected)
    torch.testing.assert_close(motion.response(u, 0.1, 30, None)[0], expected[0])


@pytest.mark.parametrize("motion", MOTIONS)
def test_transfer_is_the_response_to_an_oscillation(motion):
    J, omega = motion.jacobian, 0.9
    n = J.shape[-1]
    u = torch.linspace(-1, 1, n, dtype=torch.float64)
    d = motion.frequency_response(u, omega)
    back = 1j * omega * d - (J.to(d.dtype) @ d.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(back, u.to(d.dtype).expand_as(back), rtol=1e-12, atol=1e-12)
    columns = [motion.frequency_response(e, omega).abs().square() for e in torch.eye(n).double()]
    power = motion.power_spectrum(0.4, tensor(0.3, omega))
    torch.testing.assert_close(power[..., 1, :], 0.16 * sum(columns))


def test_reactivity_and_symmetry():
    motion = JacobianMotion(torch.stack([SHEAR[:2, :2], ROTATION]), FREE.expand(2, 2))
    # (J + J')/2 = [[-1, 15], [15, -1.001]]: perturbations grow at first though all modes decay
    grows = -1.0005 + math.sqrt(15**2 + 0.0005**2)
    torch.testing.assert_close(motion.reactivity(), tensor(grows, -1))
    S, A = math.sqrt(2), math.sqrt(2) * 0.7
    assert float(motion.symmetry()[1]) == pytest.approx(S / (S + A))


def test_a_pinned_unit_leaves():
    """The third unit saturates: it neither moves, fluctuates nor answers."""
    W = [[0, 0.8, 0.1], [-0.2, 0, 0.1], [0.1, 0.1, 0]]
    network = AsymmetricNetwork(W, [-0.3, -0.1, 2.0], HARD)
    linear = linearize(network, settle(network, tol=1e-13).raise_for_status())
    assert linear.pinned.tolist() == [False, False, True] and 0 < linear.margin < 1
    r = np.emath.sqrt(0.8 * -0.2)
    np.testing.assert_allclose(linear.eigenvalues, [1 - r, 1 + r], atol=1e-15)
    J = tensor([-1, 0.8], [-0.2, -1])
    torch.testing.assert_close(linear.jacobian, torch.block_diag(J, torch.zeros(1, 1)).double())
    push, free = tensor(0.2, -0.1, 5.0), JacobianMotion(J, FREE)
    for how in ((None, None, None), (None, None, 0.7), (0.2, 6, None)):
        moved = linear.response(push, *how)
        torch.testing.assert_close(moved[:2], free.response(push[:2], *how))
        assert moved[2] == 0
    S, power = linear.covariance(0.1), linear.power_spectrum(0.1, [0.2])
    torch.testing.assert_close(S[:2, :2], free.covariance(0.1, None, False))
    assert (S[2] == 0).all() and (S[:, 2] == 0).all() and power[0, 2] == 0
    assert linear.frequency_response(push, 0.2)[2] == 0
    assert float(linear.reactivity) == pytest.approx(float(free.reactivity()))
    assert float(linear.symmetry) == pytest.approx(float(free.symmetry()))
    assert (linear.eigenvectors[2] == 0).all() and linear.eigenvalue_residual.max() < 1e-14


def test_single_precision():
    network = AsymmetricNetwork([[0, 6], [-5, 0]], [0, 0], TANH, dtype=torch.float32).centred()
    linear = linearize(network, torch.zeros(2))
    assert linear.eigenvalues.dtype == torch.complex64
    for found in (linear.response(torch.ones(2)), linear.covariance(0.1), linear.eps_max):
        assert found.dtype == torch.float32


def test_eigenvalues_ascend_and_pairs_begin_below():
    """By the real part of lambda = -mu; every eigenvector stays with its own."""
    W = np.random.default_rng(0).normal(size=(9, 9)) / 2
    net = AsymmetricNetwork(W, np.zeros(9), TANH).centred()
    where = torch.tensor([0, 2, 3, 5, 6, 7, 8])
    found = jacobian_spectrum(net, torch.zeros(9, dtype=torch.float64), where)
    real, imag = found.eigenvalues.real, found.eigenvalues.imag
    exact = np.linalg.eigvals(-net.jacobian(torch.zeros(9))[where][:, where].numpy())
    np.testing.assert_allclose(np.sort(real), np.sort(exact.real), atol=1e-12)
    assert (real.diff() >= -1e-12).all() and (imag != 0).any()
    pairs = [(i, i + 1) for i in range(6) if abs(real[i + 1] - real[i]) < 1e-12]
    assert pairs and all(imag[i] < 0 < imag[j] for i, j in pairs)
    J, V = net.jacobian(torch.zeros(9))[where][:, where].to(found.eigenvectors), found.eigenvectors
    torch.testing.assert_close(J @ V, -V * found.eigenvalues)


@pytest.mark.parametrize("degrees", [0.0, 20.0, 45.0, 80.0, 90.0])
def test_symmetry_is_the_share_of_the_symmetric_part(degrees):
    """Of the lengths of both parts: cos / (cos + sin) for a turn between two of length 1."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    S, A = tensor([1, 0], [0, -1]), tensor([0, 1], [-1, 0])
    assert jacobian._symmetry(c * S + s * A) == pytest.approx(c / (c + s), abs=1e-15)
    assert jacobian._symmetry(0 * S) == 1.0


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1e3])
def test_symmetry_does_not_depend_on_units(size):
    S = torch.tensor([[1.0, 2.0], [2.0, -1.0]], dtype=torch.float64)
    A = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    share = float(S.norm()) / float(S.norm() + A.norm())
    assert jacobian._symmetry(size * (S + A)) == pytest.approx(share)
    assert jacobian._symmetry(size * A) == 0 and jacobian._symmetry(size * S) == 1
