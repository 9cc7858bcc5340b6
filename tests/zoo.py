"""Networks of the structure that people build, each with what is known of its equilibria."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
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
    symmetries : sequence of Tensor
        Orders of the units that leave the network as it is, from which all others come.
    """

    network: ctebm.VectorField
    stable: Tensor | None = None
    kinds: frozenset[str] = frozenset({"stable"})
    spread: float = 1.0
    symmetries: Sequence[Tensor] = ()

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


def exchanges(n: int, *parts) -> list[Tensor]:
    """Return orders of n units from which all orders of some equal parts of them come.

    Parameters
    ----------
    n : int
        How many units there are.
    *parts : array
        Equal units, ``(part,)``, or equal parts, ``(part, unit)``.
    """
    orders = []
    for part in map(np.asarray, parts):
        first = part.copy()
        first[:2] = part[1::-1]  # the first two exchanged, and all moved on by one
        for moved in (first, np.roll(part, 1, axis=0)):
            order = np.arange(n)
            order[part.ravel()] = moved.ravel()
            orders.append(torch.as_tensor(order))
    return orders


def turns(n: int) -> list[Tensor]:
    """Return orders of a ring of n units from which its turns and reflections come."""
    return [torch.arange(n).roll(1), torch.arange(n).flip(0)]


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


def potts(rho, scale: float, n_sites: int = 3, n_colours: int = 3) -> ctebm.DenseNetwork:
    """Sites that choose a colour each: colours at a site inhibit, equal ones at two sites excite.

    Neither an exchange of sites nor one of colours changes the network.
    """
    sites, colours = np.eye(n_sites), np.eye(n_colours)
    W = np.kron(0.9 * (1 - sites), colours) - np.kron(2.2 * sites, 1 - colours)
    return ctebm.DenseNetwork(scale * W, np.full(len(W), 0.1 * scale), rho)


def one_colour() -> Tensor:
    """All sites of tanh units in one colour, the first: two equations for its units and others."""
    from scipy.optimize import fsolve

    def force(s):
        (r, others), slope = (1 + np.tanh(s)) / 2, 1 / (2 * np.cosh(s) ** 2)
        currents = [0.1 + 1.8 * r - 4.4 * others, 0.1 + 1.8 * others - 2.2 * (r + others)]
        return slope * 4 * np.array(currents) - s

    up, down = fsolve(force, [1.0, -1.2], xtol=1e-14)
    return torch.tensor([up, down, down] * 3, dtype=torch.float64)


def identical_pairs(n: int, w: float) -> ctebm.SparseNetwork:
    """`n` copies of two tanh units coupled by w: each eigenvalue `n` times."""
    pairs = torch.arange(2 * n).reshape(n, 2).mT
    return coupled(torch.cat([pairs, pairs.flip(0)], 1), w, 2 * n, TANH)


def every_sign(n: int) -> Tensor:
    """Return all ``2^n`` rows of signs."""
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64)


def both_signs(state) -> Tensor:
    """Return a state and its opposite."""
    s = torch.tensor([state], dtype=torch.float64)
    return torch.cat([s, -s])


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
        f"inhibition-{n}{w:+g}": Member(
            inhibition(n, w), winners(n), symmetries=exchanges(n, range(n))
        )
        for n in (3, 5)
        for w in (-2.0, -5.0)
    }
    members |= {
        f"inhibition-{n}{w:+g}-logistic": Member(
            inhibition(n, w, ctebm.Logistic(10.0)), symmetries=exchanges(n, range(n))
        )
        for n in (3, 5)
        for w in (-2.0, -5.0)
    }
    up = pitchfork_state(8.0)
    members["excitation-3+8-hard"] = Member(
        dense(8 * off_diagonal(3), HARD),
        torch.tensor([[0.5] * 3, [-0.5] * 3]).double(),
        symmetries=exchanges(3, range(3)),
    )
    members["clones-5"] = Member(
        all_to_all(5, 8.0, TANH), both_signs([up] * 5), symmetries=exchanges(5, range(5))
    )
    members["all-to-all-20"] = Member(
        all_to_all(10, 20.0, TANH),
        both_signs([pitchfork_state(20.0)] * 10),
        symmetries=exchanges(10, range(10)),
    )
    members["identical-pairs"] = Member(
        identical_pairs(3, 8.0),
        up * every_sign(3).repeat_interleave(2, dim=1),
        symmetries=exchanges(6, [0, 1], np.arange(6).reshape(3, 2)),
    )
    # all sites in one colour, at the kinks, or each in its own, which has the bias alone
    one, own = np.tile(np.eye(3), 3), np.eye(3)[list(itertools.permutations(range(3)))]
    coloured = np.concatenate([one - 0.5, np.where(own.reshape(6, 9) > 0, 0.1, -0.5)])
    units = np.arange(9).reshape(3, 3)
    members["potts"] = Member(
        potts(HARD, 1.0),
        torch.as_tensor(coloured),
        symmetries=exchanges(9, units, units.T),
    )
    members["potts-tanh"] = Member(
        potts(TANH, 4.0),
        torch.stack([one_colour().reshape(3, 3).roll(k, 1).ravel() for k in range(3)]),
        symmetries=exchanges(9, units, units.T),
    )
    members["inhibited-layer"] = Member(inhibited_layer(), symmetries=exchanges(4, range(3)))
    members["clone-layers"] = Member(
        clones(), symmetries=exchanges(9, range(4), range(4, 7), range(7, 9))
    )
    members["hebbian"] = Member(hebbian()[0])
    sites = np.arange(25).reshape(5, 5)
    members["lattice"] = Member(
        lattice(5, 1.5),
        both_signs([pitchfork_state(6.0)] * 25),  # four neighbours of 1.5
        symmetries=[
            torch.as_tensor(np.roll(sites, 1, 0).ravel()),
            torch.as_tensor(sites.T.ravel()),
        ],
    )
    members["ring-hard"] = Member(
        ctebm.SparseNetwork.ring(20, 0.6, HARD).centred(), symmetries=turns(20)
    )
    # turned by less than a unit, the bump costs next to no energy
    members["cosine-ring"] = Member(
        cosine_ring(16), kinds=frozenset({"stable", "degenerate"}), symmetries=turns(16)
    )
    members["sixteen-decades"] = Member(
        sixteen_decades(), kinds=frozenset({"stable", "degenerate"})
    )
    members["edge"] = Member(
        all_to_all(2, 4.0, TANH),
        torch.zeros(1, 2).double(),
        frozenset({"degenerate"}),
        symmetries=exchanges(2, range(2)),
    )
    members["excitation-inhibition"] = Member(excitation_inhibition())
    members["cyclic"] = Member(
        cyclic(), both_signs([pitchfork_state(6.0)] * 3), symmetries=[torch.arange(3).roll(1)]
    )
    members["chain"] = Member(chain(30), chain_state(chain(30)).unsqueeze(0))
    # of the first eight seeds 0, 3, 4 and 7 cycle
    members |= {f"hard-asymmetric-{seed}": Member(hard_asymmetric(seed)) for seed in (2, 5, 6)}
    members["hopfield-layers"] = Member(hopfield_layers())
    return members
