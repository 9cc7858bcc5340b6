r"""Which layers act on which, found by trying the force; how far each is from the output.

The block :math:`\partial f_k/\partial s_l` of the Jacobian is multiplied by random vectors at a few
random states: where it is 0 each time, layer `l` does not act on layer `k`.

Letters: state ``s``, force ``f``, vector ``v``, Jacobian ``J``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ctebm.networks.base import VectorField, count_units
from ctebm.networks.layered import LayeredField

__all__ = ["Couplings", "UnknownChain", "check_chain"]

_PROBED = 4  # states at which the force is tried
_SIZE = 0.3  # of their units, between the kinks of most rates
_ROUNDING = 1e3  # roundings, of the largest block: what is smaller is none


class UnknownChain(ValueError):
    """Couplings for which no gradient from layer to layer is known."""


@dataclass(frozen=True)
class Couplings:
    """The graph of the layers of a motion.

    Attributes
    ----------
    layers : tuple of str
        Names, input first, output last.
    acts : frozenset of tuple of str
        Pairs ``(l, k)`` of layers of which the first acts on the second.
    within : frozenset of str
        Layers whose units act on each other.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.couplings import Couplings
    >>> net = ctebm.LayeredNetwork.random([3, 4, 4, 2], ctebm.Tanh())
    >>> Couplings.of(net.clamp({"x": [0.1, 0.2, 0.3]})).depth
    {'h2': 2, 'h1': 1, 'y': 0}
    """

    layers: tuple[str, ...]
    acts: frozenset[tuple[str, str]]
    within: frozenset[str]

    @classmethod
    def of(cls, network: VectorField) -> Couplings:
        """Return the graph of a network with named layers."""
        names = tuple(network.layers)
        if isinstance(network, LayeredField) and all(W is not None for W in network.weights):
            both = [pair for a, b in pairwise(names) for pair in ((a, b), (b, a))]
            return cls(names, frozenset(both), frozenset())
        return cls(names, *_tried(network))

    @property
    def depth(self) -> dict[str, int | float]:
        """Steps that a change of the output takes to each layer, less one; inf if none gets there.

        For layers in a chain it counts hops from the output.
        """
        found: dict[str, int | float] = dict.fromkeys(self.layers, math.inf)
        found[self.layers[-1]], front = 0, {self.layers[-1]}
        while front:
            reached = {b for a, b in self.acts if a in front and math.isinf(found[b])}
            hops = 1 + max(found[a] for a in front)
            found |= dict.fromkeys(reached, hops)
            front = reached
        return found

    @property
    def lengths(self) -> dict[str, set[int]]:
        """The numbers of hops of all paths from the output through ever earlier layers."""
        found: dict[str, set[int]] = {self.layers[-1]: {0}}
        for i in range(len(self.layers) - 2, -1, -1):
            name, later = self.layers[i], self.layers[i + 1 :]
            found[name] = {1 + n for b in later if (b, name) in self.acts for n in found[b]}
        return found

    @property
    def skips(self) -> list[tuple[str, str]]:
        """Pairs of coupled layers that are no neighbours; none in a chain."""
        n = len(self.layers)
        pairs = [(self.layers[i], self.layers[j]) for i in range(n) for j in range(i + 2, n)]
        return [(a, b) for a, b in pairs if {(a, b), (b, a)} & self.acts]


def check_chain(network: VectorField) -> None:
    """Refuse couplings for which no gradient from layer to layer is known.

    It is known for layers in a chain, and for others if no units act within their layer, as in
    eq. 6: then the gradient is the sum over all later layers. Where layers share an error, as in
    predictive coding with skips, that sum is not back-propagation.

    Raises
    ------
    UnknownChain
        A ValueError, with the layers, and what to use.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.couplings import check_chain
    >>> check_chain(ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh()))
    """
    graph = Couplings.of(network)
    if graph.skips and graph.within:
        skips = ", ".join(f"{a} and {b}" for a, b in graph.skips)
        raise UnknownChain(
            f"expected layers in a chain, or no couplings within a layer, got {skips} coupled past "
            f"other layers and units within {', '.join(sorted(graph.within))} coupled: there a "
            "gradient from layer to layer is not known; use implicit_gradient."
        )


def _tried(network: VectorField) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
    """Return which layers act on which, and those whose units act on each other."""
    if network.batch:
        network = network.samples(
            network.batch, torch.zeros(_PROBED, dtype=torch.long, device="cpu")
        )
    draw, n = torch.Generator().manual_seed(0), count_units(network)
    s, v, w = (
        torch.randn(_PROBED, n, generator=draw, dtype=torch.float64, device="cpu").to(
            network.device, network.dtype
        )
        for _ in range(3)
    )
    s = _SIZE * s
    sizes: dict[tuple[str, str], float] = {}
    mixed: dict[str, float] = {}
    for source, where in network.layers.items():
        Jv, Jw = (network.jacobian_product(s, _only(u, where)) for u in (v, w))
        sizes |= {(source, k): _largest(Jv[..., at]) for k, at in network.layers.items()}
        # J_ll v / v is J_ll w / w where J_ll is diagonal
        mixed[source] = _largest((Jv * w - Jw * v)[..., where])
    least = _ROUNDING * torch.finfo(network.dtype).eps * max(sizes.values(), default=0.0)
    acts = {pair for pair, size in sizes.items() if size > least and pair[0] != pair[1]}
    return frozenset(acts), frozenset(name for name, size in mixed.items() if size > least)


def _only(v: Tensor, where: slice) -> Tensor:
    kept = torch.zeros_like(v)
    kept[..., where] = v[..., where]
    return kept


def _largest(x: Tensor) -> float:
    return float(x.detach().abs().max()) if x.numel() else 0.0
