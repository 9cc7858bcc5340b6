r"""What a rule is: what the weights of a batch at equilibrium descend, given its target.

A rule returns a gradient for an optimiser to descend; the change of a weight that a rule asks for
is minus that. All are means over the batch of changes for one sample. Letters: `i` after the
synapse, `j` before it; `k` the depth of `i`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.plastic import Plastic, WeightGradient
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.networks.numbers import finite, whole

__all__ = ["Rule", "WeightGradient", "check_steps", "in_layers"]


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
        self, network: Plastic, equilibrium: Equilibrium, target: Tensor
    ) -> WeightGradient:
        """Return what to descend for a batch.

        Parameters
        ----------
        network : Plastic
            The parameters.
        equilibrium : Equilibrium
            The states of the batch; see :meth:`Plastic.settle`.
        target : Tensor, (batch, output size)
            Target states, or what else the cost takes.
        """


def in_layers(network: Plastic, rule: Rule) -> PlasticNetwork:
    """Return a network of rates before and after each synapse, or refuse another."""
    if not isinstance(network, PlasticNetwork):
        raise ValueError(
            f"{type(rule).__name__} reads the rates before and after each synapse, which layers "
            "coupled as in eq. 6 have; take Early(), or a LayeredNetwork."
        )
    return network


def check_steps(eps: float, n_steps: int | None) -> None:
    """Refuse steps that no early phase has."""
    finite("eps", eps, above=0, high=1, remedy="larger steps overshoot")
    if n_steps is not None:
        whole("n_steps", n_steps, least=1)
