"""What is left of couplings between rates once some layers are held, anew whenever these change.

What held layers send is a current of the others, computed once. It stays right while nothing is
written into the couplings, which is looked for each time it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from ctebm.networks.constants import tensors_in
from ctebm.networks.layout import broadcast
from ctebm.networks.named import named_tensors
from ctebm.networks.versions import Versions, is_plain

if TYPE_CHECKING:
    from ctebm.networks.base import VectorField
    from ctebm.networks.pairwise import PairwiseField

__all__ = ["Remainder", "looks_once"]

Net = TypeVar("Net", bound="VectorField")
Given = ParamSpec("Given")
Found = TypeVar("Found")


def looks_once(
    method: Callable[Concatenate[Net, Given], Found],
) -> Callable[Concatenate[Net, Given], Found]:
    """Let a method of a network look once whether parameters have changed, then take a snapshot.

    Examples
    --------
    >>> from ctebm.networks.remainder import looks_once
    >>> class Twice:
    ...     def snapshot(self):
    ...         print("looks")
    ...         return self
    ...     @looks_once
    ...     def force(self, s):
    ...         return 2 * s
    >>> Twice().force(3.0)
    looks
    6.0
    """

    @wraps(method)
    def looked(network: Net, /, *args: Given.args, **named: Given.kwargs) -> Found:
        return method(network.snapshot(), *args, **named)

    return looked


class Remainder:
    """The couplings and currents among free layers.

    A copy, and what comes back from a file, computes them again.

    Attributes
    ----------
    whole : PairwiseField
        The network of all layers.
    held : mapping of str to Tensor
        The states of held layers.
    names : frozenset of str
        The attributes of the network that follow those of the whole.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.DenseNetwork([[0, 2], [2, 0]], [0, 0], ctebm.Tanh(),
    ...                          layers={"x": slice(0, 1), "y": slice(1, 2)})
    >>> free = net.clamp({"x": [0.0]})
    >>> sorted(free._remainder.names), float(free.bias)
    (['bias', 'constant', 'weight'], 1.0)
    >>> net.weight *= 2
    >>> float(free.bias)
    2.0
    """

    whole: PairwiseField
    held: Mapping[str, Tensor]
    names: frozenset[str]

    def __init__(
        self,
        whole: PairwiseField,
        held: Mapping[str, Tensor],
        names: frozenset[str],
        network: PairwiseField | None = None,
    ) -> None:
        self.whole, self.held, self.names = whole, held, names
        self._keep(network)

    @classmethod
    def of(
        cls, whole: PairwiseField, held: Mapping[str, Tensor], network: PairwiseField
    ) -> Remainder:
        """Return the remainder of a whole, of which the network of its free layers is known."""
        names = (name for name, value in vars(network).items() if tensors_in(value))
        own = frozenset(name for name in names if not name.startswith("_") and name != "box")
        return cls(whole, held, own, network)

    def __reduce__(self) -> tuple[type[Remainder], tuple[object, ...]]:
        return Remainder, (self.whole, self.held, self.names)

    @property
    def batch(self) -> torch.Size:
        """The shape of the samples that the whole and its held layers bring along."""
        held = {name: x.shape[:-1] for name, x in self.held.items()}
        return broadcast(parameters=self.whole.batch, **held)

    def now(self) -> PairwiseField:
        """Return the network of the free layers with the parameters as they are now."""
        given = self._given()
        recorded = torch.is_grad_enabled() and any(t.requires_grad for t in given)
        if self._network is None or recorded or not self._versions.are(given):
            network = self.whole.restricted(self.held)
            self._keep(network)
            return network
        return self._network

    def _keep(self, network: PairwiseField | None) -> None:
        given = self._given()
        parts = [] if network is None else tensors_in(vars(network))
        # what hangs on a graph serves one backward pass alone
        lasts = all(is_plain(t) and t.grad_fn is None for t in parts)
        self._network = network if lasts else None
        self._versions = Versions.of(given if self._network is not None else [])

    def _given(self) -> list[Tensor]:
        """Return all that the remainder is computed from."""
        constant = getattr(self.whole, "constant", None)
        return [*named_tensors(self.whole).values(), *tensors_in([constant]), *self.held.values()]
