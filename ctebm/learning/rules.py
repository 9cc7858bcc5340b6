r"""What a rule is: what the weights of a batch at equilibrium descend, given its target.

A rule returns a gradient for an optimiser to descend; the change of a weight that a rule asks for
is minus that. All are means over the batch of changes for one sample. Letters: `i` after the
synapse, `j` before it; `k` the depth of `i`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import PlasticNetwork
from ctebm.networks.numbers import finite, whole

__all__ = ["Rule", "WeightGradient"]


@dataclass(frozen=True, eq=False)
class WeightGradient:
    """What an optimiser descends, input first.

    Attributes
    ----------
    weights : list of Tensor
        For ``PlasticNetwork.weights``.
    biases : list of Tensor
        For ``PlasticNetwork.biases[1:]``.
    feedback : list of Tensor
        For ``PlasticNetwork.feedback``, if that learns by itself and the rule says how, else empty.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    feedback: list[Tensor]


class Rule(ABC):
    """How weights change; subclasses give :meth:`gradient`.

    Examples
    --------
    >>> import ctebm
    >>> class Reversed(ctebm.Rule):
    ...     def gradient(self, network, equilibrium, target):
    ...         return ctebm.Early(eps=0.1).gradient(network, equilibrium, -target)
    >>> plan = ctebm.Plan(rule=Reversed(), epochs=1)
    """

    @abstractmethod
    def gradient(
        self, network: PlasticNetwork, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        """Return what to descend for a batch.

        Parameters
        ----------
        network : PlasticNetwork
            The parameters.
        equilibrium : Equilibrium
            The states of the batch; see :meth:`PlasticNetwork.settle`.
        target : Tensor, (batch, output size)
            Target states.
        """


def products(
    network: PlasticNetwork, equilibrium: Equilibrium, delta: Sequence[Tensor]
) -> WeightGradient:
    """Return changes after the synapse times rates before it, `delta` input first."""
    r = [network.activation(s) for s in equilibrium.states]
    return WeightGradient(
        [outer(r_j, d_i) for r_j, d_i in zip(r[:-1], delta[1:], strict=True)],
        [d_i.mean(0) for d_i in delta[1:]],
        [] if network.tied else
        [outer(r_j, d_i).mT for r_j, d_i in zip(r[1:], delta[:-1], strict=True)],
    )  # fmt: skip


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Return the batch's mean of the products of `a` and `b`."""
    return a.mT @ (b / len(b))  # the product is the larger array


def check_steps(eps: float, n_steps: int | None) -> None:
    """Refuse steps that no early phase has."""
    finite("eps", eps, above=0, high=1, remedy="larger steps overshoot")
    if n_steps is not None:
        whole("n_steps", n_steps, least=1)
