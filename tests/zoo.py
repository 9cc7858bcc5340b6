"""Networks of the structure that people build, each with what is known of its equilibria."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from analytic import HARD, TANH, all_to_all, pitchfork_state
from torch import Tensor

import ctebm


@dataclass(frozen=True, eq=False)
class Member:
    """A network of the zoo.

    Attributes
    ----------
    network : VectorField
        With a single sample.
    stable : Tensor or None
        All its stable equilibria, ``(fixed_point, unit)``, where they are known.
    kinds : frozenset of str
        The stabilities that a generic start may end in.
    spread : float
        The standard deviation of generic starts; between kinks starts are uniform instead.
    """

    network: ctebm.VectorField
    stable: Tensor | None = None
    kinds: frozenset[str] = frozenset({"stable"})
    spread: float = 1.0

    @property
    def has_energy(self) -> bool:
        """Whether the motion is down an energy with this force."""
        return isinstance(self.network, ctebm.Network)

    def starts(self, n: int, seed: int = 0) -> Tensor:
        """Return generic states, ``(n, unit)``."""
        rng, box = np.random.default_rng(seed), self.network.box
        shape = (n, ctebm.networks.base.count_units(self.network))
        if box is None:
            return torch.as_tensor(self.spread * rng.standard_normal(shape))
        low, high = (np.broadcast_to(np.asarray(kink, float), shape[1:]) for kink in box)
        return torch.as_tensor(rng.uniform(low, high, shape))


def arrangements(values: Iterable[float]) -> Tensor:
    """Return all distinct orders of some numbers, ``(order, unit)``."""
    return torch.tensor(sorted(set(itertools.permutations(values))), dtype=torch.float64)


def dense(W, rho, centred: bool = True) -> ctebm.DenseNetwork:
    net = ctebm.DenseNetwork(W, np.zeros(len(W)), rho)
    return net.centred() if centred else net


def asymmetric(W, rho, bias=None) -> ctebm.AsymmetricNetwork:
    net = ctebm.AsymmetricNetwork(W, np.zeros(len(W)) if bias is None else bias, rho)
    return net.centred() if bias is None else net


def off_diagonal(n: int) -> np.ndarray:
    return np.ones((n, n)) - np.eye(n)


def cosine_ring(n: int, strength: float = 12.0, rho=TANH) -> ctebm.DenseNetwork:
    """A ring attractor: units excite their neighbours and inhibit the other side.

    Turned by one unit, an equilibrium is an equilibrium; between two units the energy of the bump
    differs by less and less as `n` grows.
    """
    angle = 2 * np.pi * np.arange(n) / n
    return dense(strength / n * np.cos(angle[:, None] - angle) * off_diagonal(n), rho)


def coupled(places: Tensor, w: float, n: int, rho) -> ctebm.SparseNetwork:
    """`n` units with the coupling w at some places, ``(2, coupling)``, centred."""
    values = torch.full((places.shape[1],), w, dtype=torch.float64)
    weight = torch.sparse_coo_tensor(places, values, (n, n), check_invariants=True)
    return ctebm.SparseNetwork(weight, np.zeros(n), rho).centred()


def inhibition(n: int, w: float, rho=HARD) -> ctebm.DenseNetwork:
    """Uniform lateral inhibition, ``w < 0``, centred."""
    return dense(w * off_diagonal(n), rho)


def winners(n: int) -> Tensor:
    """The stable states of hard units under inhibition of -1 and less: halves at the kinks.

    ``H = 1 - W`` has one positive eigenvalue, so that at most one unit is between its kinks.
    """
    half = n // 2
    return arrangements([-0.5] * half + [0.0] * (n % 2) + [0.5] * half)


def inhibited_layer(w: float = -5.0) -> ctebm.DenseNetwork:
    """One input, three hidden units that inhibit each other, one output; the input clamped."""
    W = np.zeros((5, 5))
    W[1:4, 1:4] = w * off_diagonal(3)
    W[0, 1:4] = W[1:4, 0] = W[4, 1:4] = W[1:4, 4] = 1.0
    layers = {"x": slice(0, 1), "h1": slice(1, 4), "y": slice(4, 5)}
    net = ctebm.DenseNetwork(W, np.zeros(5), HARD, layers=layers).centred()
    return net.clamp({"x": [0.1]})


def hebbian(n: int = 60, n_patterns: int = 3, gain: float = 8.0, seed: int = 0):
    """Stored patterns of +-1 and the network that remembers them."""
    patterns = np.random.default_rng(seed).choice([-1.0, 1.0], (n_patterns, n))
    W = gain / n * patterns.T @ patterns
    np.fill_diagonal(W, 0)
    return dense(W, TANH), torch.as_tensor(patterns)


def excitation_inhibition(n_e: int = 40, n_i: int = 10, seed: int = 0) -> ctebm.AsymmetricNetwork:
    """Dale's law: 40 excitatory and 10 inhibitory units, strong excitation of excitatory ones."""
    rng, n = np.random.default_rng(seed), n_e + n_i
    mean = np.empty((n, n))  # to the row from the column
    mean[:n_e, :n_e], mean[:n_e, n_e:] = 9 / n_e, -2 / n_i
    mean[n_e:, :n_e], mean[n_e:, n_e:] = 3 / n_e, -1 / n_i
    return asymmetric(mean * rng.uniform(0.8, 1.2, (n, n)), TANH)


def lattice(side: int, w: float, rho=TANH) -> ctebm.SparseNetwork:
    """A square lattice with periodic borders, coupled to the four neighbours, centred."""
    site = np.arange(side * side).reshape(side, side)
    pairs = np.concatenate(
        [np.stack([site.ravel(), np.roll(site, 1, axis).ravel()]) for axis in (0, 1)], axis=1
    )
    both = np.concatenate([pairs, pairs[::-1]], axis=1)
    return coupled(torch.as_tensor(both), w, side**2, rho)


def clones(w: float = 6.0) -> ctebm.LayeredNetwork:
    """Layers of identical units: no permutation within a layer changes the network."""
    sizes = (2, 4, 3, 2)
    weights = [np.full((a, b), w / max(a, b)) for a, b in itertools.pairwise(sizes)]
    net = ctebm.LayeredNetwork(weights, [np.zeros(n) for n in sizes], TANH).centred()
    return net.clamp({"x": [0.1, 0.1]})


def identical_pairs(n: int, w: float) -> ctebm.SparseNetwork:
    """`n` copies of two tanh units coupled by w: each eigenvalue `n` times."""
    pairs = torch.arange(2 * n).reshape(n, 2).mT
    return coupled(torch.cat([pairs, pairs.flip(0)], 1), w, 2 * n, TANH)


def every_sign(n: int) -> Tensor:
    """Return all ``2^n`` rows of signs."""
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64)


def chain(n: int, w: float = 1.2, rho=TANH) -> ctebm.AsymmetricNetwork:
    """A feed-forward chain: each unit drives the next one, and nothing comes back."""
    bias = 0.1 * np.cos(np.arange(n))
    return asymmetric(np.diag(np.full(n - 1, w), -1), rho, bias)


def chain_state(net: ctebm.AsymmetricNetwork) -> Tensor:
    """The one equilibrium of a chain of tanh units with one-sided couplings, unit by unit."""
    from scipy.optimize import brentq

    W, states, rate = net.dense_weight(), [], 0.0
    for i, b in enumerate(net.bias.tolist()):
        current = b + (float(W[i, i - 1]) * rate if i else 0.0)

        def force(s: float, current: float = current) -> float:
            return current / (2 * np.cosh(s) ** 2) - s

        states.append(brentq(force, -abs(current) - 1, abs(current) + 1, xtol=1e-15))
        rate = (1 + np.tanh(states[-1])) / 2
    return torch.tensor(states, dtype=torch.float64)


def sixteen_decades(n: int = 12, seed: int = 0) -> ctebm.DenseNetwork:
    """Couplings from 1e-14 to 1e2."""
    rng = np.random.default_rng(seed)
    size = 10 ** np.linspace(-7, 1, n)
    A = rng.standard_normal((n, n))
    W = size[:, None] * (A + A.T) * size
    np.fill_diagonal(W, 0)
    return dense(W, TANH)


def hard_asymmetric(seed: int = 0, n: int = 10, spread: float = 0.7) -> ctebm.AsymmetricNetwork:
    """Independent normal couplings in the two directions, hard units."""
    W = np.random.default_rng(seed).normal(0, spread, (n, n))
    np.fill_diagonal(W, 0)
    return asymmetric(W, HARD)


def cyclic(w: float = 6.0, n: int = 3) -> ctebm.AsymmetricNetwork:
    """A ring in which each unit drives the next one only."""
    return asymmetric(w * np.roll(np.eye(n), 1, axis=0), TANH)


def hopfield_layers(seed: int = 0, gain: float = 1.0) -> ctebm.HopfieldNetwork:
    """The network of 1984 in layers."""
    rho = ctebm.Logistic(4.0)
    net = ctebm.LayeredNetwork.random([3, 4, 4, 2], rho, gain=gain, seed=seed)
    return ctebm.HopfieldNetwork(net.clamp({"x": [0.1, 0.2, 0.3]}))


def rotor(gain: float = 6.0, turn: float = 3.0) -> ctebm.AsymmetricNetwork:
    """Two tanh units that run on a limit cycle: its only equilibrium, 0, is an unstable focus."""
    return asymmetric([[gain, -turn], [turn, gain]], TANH)


def zoo() -> dict[str, Member]:
    """Return networks whose every motion from a generic start ends at a stable equilibrium."""
    members = {
        f"inhibition-{n}{w:+g}": Member(inhibition(n, w), winners(n))
        for n in (3, 5)
        for w in (-2.0, -5.0)
    }
    members |= {
        f"inhibition-{n}{w:+g}-logistic": Member(inhibition(n, w, ctebm.Logistic(10.0)))
        for n in (3, 5)
        for w in (-2.0, -5.0)
    }
    up = pitchfork_state(8.0)
    members["excitation-3+8-hard"] = Member(
        dense(8 * off_diagonal(3), HARD), torch.tensor([[0.5] * 3, [-0.5] * 3]).double()
    )
    members["clones-5"] = Member(
        all_to_all(5, 8.0, TANH), torch.tensor([[up] * 5, [-up] * 5], dtype=torch.float64)
    )
    both = torch.tensor([[pitchfork_state(20.0)] * 10], dtype=torch.float64)
    members["all-to-all-20"] = Member(all_to_all(10, 20.0, TANH), torch.cat([both, -both]))
    members["identical-pairs"] = Member(
        identical_pairs(3, 8.0), up * every_sign(3).repeat_interleave(2, dim=1)
    )
    members["inhibited-layer"] = Member(inhibited_layer())
    members["clone-layers"] = Member(clones())
    members["hebbian"] = Member(hebbian()[0])
    members["lattice"] = Member(lattice(5, 1.5))
    members["ring-hard"] = Member(ctebm.SparseNetwork.ring(20, 0.6, HARD).centred())
    # turned by less than a unit, the bump costs next to no energy
    members["cosine-ring"] = Member(cosine_ring(16), kinds=frozenset({"stable", "degenerate"}))
    members["sixteen-decades"] = Member(
        sixteen_decades(), kinds=frozenset({"stable", "degenerate"})
    )
    members["edge"] = Member(
        all_to_all(2, 4.0, TANH), torch.zeros(1, 2).double(), frozenset({"degenerate"})
    )
    members["excitation-inhibition"] = Member(excitation_inhibition())
    one = torch.tensor([[pitchfork_state(6.0)] * 3], dtype=torch.float64)
    members["cyclic"] = Member(cyclic(), torch.cat([one, -one]))
    members["chain"] = Member(chain(30), chain_state(chain(30)).unsqueeze(0))
    # of the first eight seeds 0, 3, 4 and 7 cycle
    members |= {f"hard-asymmetric-{seed}": Member(hard_asymmetric(seed)) for seed in (2, 5, 6)}
    members["hopfield-layers"] = Member(hopfield_layers())
    return members
