"""Problems with known answers, derived by hand, as builders and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.optimize import brentq

from ctebm import DenseNetwork, HardSigmoid, Network, Tanh
from ctebm.equilibria.catalogue import Catalogue


def all_to_all(n, w, activation, bias=None):
    """N units coupled by w / (N - 1); by default centred, so that the state 0 is fixed."""
    weight = torch.full((n, n), w / (n - 1), dtype=torch.float64).fill_diagonal_(0)
    if bias is None:
        return DenseNetwork(weight, -weight.sum(1) / 2, activation)
    return DenseNetwork(weight, torch.full((n,), float(bias), dtype=torch.float64), activation)


def pair(w, activation, bias=None):
    """Two units coupled by w."""
    return all_to_all(2, w, activation, bias)


def random_dense(n, seed, activation, gain=1.0, bias=0.3):
    """Symmetric normal couplings of variance gain^2 / n."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n)) * gain / np.sqrt(2 * n)
    A = A + A.T
    np.fill_diagonal(A, 0)
    return DenseNetwork(A, bias * rng.standard_normal(n), activation)


class Quadratic(Network):
    """A quadratic well or saddle, ``E = s'As/2 - b's``."""

    def __init__(self, A, b):
        super().__init__(len(b))
        self.A, self.b = A, b

    def energy(self, s):
        return ((s @ self.A) * s).sum(-1) / 2 - s @ self.b


def quadratic(values, seed=0):
    """Curvatures of these values in random directions."""
    draw = torch.Generator().manual_seed(seed)
    n = len(values)
    Q = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64))[0]
    b = torch.randn(n, generator=draw, dtype=torch.float64)
    return Quadratic(Q * torch.tensor(values, dtype=torch.float64) @ Q.mT, b)


def affine_state(w, b=0.0, lower=-0.5):
    """The interior equilibrium of the hard-sigmoid pair: s = b + w (s - b1)."""
    return (b - w * lower) / (1 - w)


def pitchfork_weight(s):
    """The coupling at which a centred Tanh network has the symmetric equilibrium s."""
    return 4 * s / (math.tanh(s) / math.cosh(s) ** 2)


def pitchfork_state(w):
    """The positive symmetric equilibrium of a centred Tanh network, w > 4."""
    return brentq(lambda s: pitchfork_weight(s) - w, 1e-8, 20, xtol=1e-15, rtol=1e-15)


def symmetric_spectrum(s, w, n):
    """The two Hessian eigenvalues of a centred Tanh network at s (1, ..., 1)."""
    t = math.tanh(s)
    slope, bend, current = (1 - t * t) / 2, -t * (1 - t * t), w * t / 2
    diagonal = 1 - bend * current
    return diagonal - slope**2 * w, diagonal + slope**2 * w / (n - 1)


def symmetric_energy(s, w, n):
    """The energy of a centred Tanh network at s (1, ..., 1)."""
    r = (1 + math.tanh(s)) / 2
    return n * (s * s / 2 - w * r * r / 2 + w * r / 2)


def fold_bias(s, w):
    """The offset h of the Tanh pair with b = -w/2 + h that has the symmetric equilibrium s."""
    t = math.tanh(s)
    return 2 * s / (1 - t * t) - w * t / 2


def fold_state(w):
    """The positive s at which that offset turns, and the offset."""

    def slope(s):
        step = 1e-6
        return (fold_bias(s + step, w) - fold_bias(s - step, w)) / (2 * step)

    def exact(s):  # d/ds of 2 s cosh(s)^2 - w tanh(s) / 2
        c = math.cosh(s)
        return 2 * c * c + 4 * s * c * math.sinh(s) - w / (2 * c * c)

    s = brentq(exact, 1e-8, 5, xtol=1e-15, rtol=1e-15)
    assert abs(slope(s)) < 1e-6
    return s, fold_bias(s, w)


HARD, TANH = HardSigmoid(), Tanh()


def solved_patterns(network):
    """Every solution by patterns, one at a time."""
    n, (low, high) = network.n_units, network.box
    zero = torch.zeros(n, dtype=torch.float64)
    J, f, found = network.jacobian(zero), network.force(zero), Catalogue(network, 1e-10)
    for pattern in itertools.product([low, high, None], repeat=n):
        free = torch.tensor([kink is None for kink in pattern])
        s = torch.tensor([kink or 0.0 for kink in pattern], dtype=torch.float64)
        s[free] = torch.linalg.solve(J[free][:, free], -(f + J @ s)[free])
        if (s.abs() <= high).all():
            found.add(s.unsqueeze(0))
    return found.points()
