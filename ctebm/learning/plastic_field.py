r"""Any network that learns: what rules ask of it, by products with its force.

Letters: state ``s``, change ``d``, force ``f``, vector ``v``.
"""

# Long because the answer of any network to every question of a rule is here, in one class.

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from ctebm.early_inference.costs import OfRates
from ctebm.early_inference.force_products import (
    driven_products,
    energy_products,
    whole_products,
)
from ctebm.early_inference.gradients import (
    chain_feedback,
    chain_gradient,
    implicit_gradient,
    responsive_units,
)
from ctebm.early_inference.nudged import nudged
from ctebm.early_inference.parameter_gradients import (
    CostFunction,
    summed_adjoint,
    target_of_cost,
)
from ctebm.equilibria.settling import settle
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.field_equilibrium import FieldEquilibrium, of_field, rest_of
from ctebm.learning.plastic import Adjoint, Plastic, WeightGradient
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.networks.base import VectorField
from ctebm.networks.couplings import Couplings
from ctebm.networks.dense import DenseField
from ctebm.networks.drives import Drives, driven_layers, without_effect
from ctebm.networks.energy import Network
from ctebm.networks.hopfield import HopfieldNetwork
from ctebm.networks.kinks import Box
from ctebm.networks.layered import LayeredField
from ctebm.networks.layout import size_of
from ctebm.networks.named import named_tensors, with_leaves
from ctebm.networks.sparse import SparseNetwork

__all__ = ["PlasticField", "plastic"]

_STATES_ADJOINT = {
    "chain": chain_gradient, "chain_feedback": chain_feedback, "implicit": implicit_gradient,
}  # fmt: skip


class PlasticField(Plastic):
    r"""Any network that learns.

    Its parameters are those tensors among its attributes that its force depends on. A parameter
    drives the layer that the network says in its ``drives``, else what is found by trying the
    force; see :func:`ctebm.networks.drives.driven_layers`.

    Parameters
    ----------
    network : VectorField
        With named layers, input first, nothing clamped. It is copied.
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(batch,)``; the squared error by default.
    parameters : sequence of str, optional
        Names of those that learn, or the first words of their names; by default what the network
        says in its ``learned``, else all.

    Attributes
    ----------
    network : VectorField
        The copy, whose parameters change.

    Raises
    ------
    ValueError
        For a network without named layers or with a layer clamped, parameters that it has not, and
        where it can't be told what a parameter drives.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.PredictiveNetwork([[[2.0]]], [[0], [1]], ctebm.Identity())  # y = 2 x + 1
    >>> plastic = ctebm.PlasticField(net)
    >>> rest = plastic.settle(torch.ones(1, 1).double(), tol=1e-9)
    >>> ctebm.Early().gradient(plastic, rest, torch.zeros(1, 1)).weights  # (y - 0) x
    [tensor([[3.0...]], dtype=torch.float64)]
    """

    tied = True
    network: VectorField
    cost_function: CostFunction | None
    chosen: Sequence[str] | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        network: VectorField,
        *,
        cost: CostFunction | None = None,
        parameters: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(network, VectorField) or len(network.layers) < 2 or network.origin[1]:
            raise ValueError(
                f"expected a whole network with two or more named layers to train, got "
                f"{type(network).__name__}; name them by layers={{'x': slice(...), ...}}."
            )
        if isinstance(network, DenseField | SparseNetwork):
            raise ValueError(
                f"expected couplings in layers to train, got {type(network).__name__}, which holds "
                "each coupling twice; give a LayeredNetwork or a class of your own."
            )
        self.network, self.cost_function = with_leaves(network), cost
        self.dtype, self.device = network.dtype, network.device
        found = named_tensors(self.network)
        self.chosen = getattr(network, "learned", None) if parameters is None else parameters
        self._parameters = _chosen(found, self.chosen)
        if not self._parameters:
            raise ValueError(
                f"expected a network with parameters, got {type(network).__name__} without tensors "
                "among its attributes; keep its weights there."
            )

    @cached_property
    def drives(self) -> Drives:
        """What each parameter drives; see :func:`ctebm.networks.drives.driven_layers`."""
        return driven_layers(self.network, self._parameters)

    @property
    def idle(self) -> list[str]:
        """Parameters of a network of one's own without effect on its force, as far as was seen."""
        known = type(self.network).drives is not VectorField.drives
        return [] if known else without_effect(self.network, self._parameters)

    @property
    def sizes(self) -> list[int]:
        return [size_of(where) for where in self.network.layers.values()]

    @property
    def depths(self) -> list[int]:
        unreached = [name for name, k in self._depth.items() if math.isinf(k)]
        if unreached:
            raise ValueError(
                f"expected a path of couplings from the output to every layer, got none to "
                f"{', '.join(unreached)}, whose depth is infinite; couple it, or take a rule that "
                "needs no depth, such as EquilibriumPropagation()."
            )
        return [int(k) for k in self._depth.values()]

    @cached_property
    def _depth(self) -> dict[str, int | float]:
        """Hops from the output of each layer, infinite where no path leads."""
        names, said = list(self.network.layers), getattr(self.network, "depth", None)
        if not (isinstance(said, dict) and said.keys() >= set(names)):
            x = torch.zeros(self.sizes[0], dtype=self.dtype, device=self.device)
            said = Couplings.of(self.network.clamp({self._input: x})).depth
            said = {self._input: 1 + max(said.values()), **said}
        return {name: said[name] for name in names}

    @property
    def parameters(self) -> dict[str, Tensor]:
        return self._parameters

    @property
    def groups(self) -> dict[str, list[str]]:
        return {name: [name] for name in self._parameters}

    @property
    def _input(self) -> str:
        return next(iter(self.network.layers))

    def to_network(self) -> VectorField:
        return with_leaves(self.network)

    def to(self, *, dtype: torch.dtype) -> Self:
        network = with_leaves(self.network).to(dtype)
        other = type(self)(network, cost=self.cost_function, parameters=self.chosen)
        # what acts on what is a matter of the class: seen once, before weights saturate rates
        for seen in self.__dict__.keys() & {"_depth", "drives"}:
            vars(other)[seen] = vars(self)[seen]
        return other

    def settle(
        self, x: Tensor, start: Sequence[Tensor] | None = None, *, tol: float, max_sweeps: int = 500
    ) -> FieldEquilibrium:
        """Find an equilibrium for each input: layer by layer from the input up, else by `settle`.

        Parameters
        ----------
        x, start, tol, max_sweeps
            As for :meth:`ctebm.learning.plastic.Plastic.settle`.

        Returns
        -------
        FieldEquilibrium
        """
        return rest_of(self.network, x, start, tol=tol, max_sweeps=max_sweeps)

    def nudge(
        self,
        equilibrium: Equilibrium,
        target: Tensor,
        *,
        beta: float,
        tol: float,
        max_sweeps: int = 500,
    ) -> FieldEquilibrium:
        rest = of_field(equilibrium)
        with torch.no_grad():
            moved = nudged(rest.held, target, beta, self.cost_function)
            found = settle(moved, rest.state, tol=tol)
        return FieldEquilibrium.of(rest.held, rest.states[0], found.state, found.residual, 0, tol)

    def drive(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int | None = None
    ) -> list[Tensor]:
        r"""Move the equilibrium, layer by layer, less what is left of its residual.

        A change comes from the difference of two forces, which rounds at the size of a state: what
        is read at depth `k` is off by about that over :math:`\epsilon^{k+1}`.

        Parameters
        ----------
        equilibrium, target, eps, n_steps
            As for :meth:`ctebm.learning.plastic.Plastic.drive`.

        Returns
        -------
        list of Tensor
        """
        rest, depths = of_field(equilibrium), list(self._depth.values())[1:]
        held, s = rest.held, rest.state
        layers = list(held.layers.values())
        y = layers[-1]
        read = [k + 1 if n_steps is None else n_steps for k in depths]
        steps = int(max(n for n in read if not math.isinf(n)))  # nothing arrives at some layers
        changes = [torch.zeros_like(s[..., where]) for where in layers]
        with torch.no_grad():
            f = held.force(s)
            left = f if held.box is None else held.box.project(s + f) - s
            d = torch.zeros_like(s)
            for step in range(1, steps + 1):
                v = held.force(s + d) - left if step > 1 else f - left
                aim = target_of_cost(held, s + d, target, self.cost_function)
                v[..., y] = aim - (s + d)[..., y]
                d = d + eps * v
                if held.box is not None:
                    low, high = held.box
                    d = Box(low - s, high - s).project(d)
                for i, where in enumerate(layers):
                    if read[i] == step:
                        changes[i] = d[..., where]
        return [torch.zeros_like(rest.states[0]), *changes]

    def adjoint(self, equilibrium: Equilibrium, target: Tensor, which: Adjoint) -> list[Tensor]:
        rest = of_field(equilibrium)
        with torch.no_grad():
            aim = target_of_cost(rest.held, rest.state, target, self.cost_function)
            g = _STATES_ADJOINT[which](rest.held, rest.state, aim)
            if which != "implicit":
                g = g * responsive_units(rest.held, rest.state, aim)
        return [torch.zeros_like(rest.states[0]), *g.split(self.sizes[1:], -1)]

    def driven(
        self, equilibrium: Equilibrium, v: Sequence[Tensor], *, slope: bool = True
    ) -> WeightGradient:
        rest = of_field(equilibrium)
        found = driven_products(
            self.network, self._parameters, self.drives, rest.states[0], rest.state,
            torch.cat(list(v[1:]), -1),
        )  # fmt: skip
        return WeightGradient(found)

    def whole(self, equilibrium: Equilibrium, v: Sequence[Tensor]) -> WeightGradient:
        rest = of_field(equilibrium)
        return WeightGradient(whole_products(
            self.network, self._parameters, rest.states[0], rest.state, torch.cat(list(v[1:]), -1)
        ))  # fmt: skip

    def contrast(
        self, equilibrium: Equilibrium, before: Equilibrium, after: Equilibrium, scale: float
    ) -> WeightGradient:
        network, of_rates = self.network, isinstance(self.cost_function, OfRates)
        # a nudge that adds to an energy, of which what parameters change is then the difference
        if not isinstance(network, Network) and not (
            isinstance(network, HopfieldNetwork) and of_rates
        ):
            pairs = zip(before.states, after.states, strict=True)
            return self.whole(equilibrium, [(a - b) / scale for a, b in pairs])
        x = equilibrium.states[0]
        ends = [torch.cat(e.states[1:], -1) for e in (after, before)]
        factors = [1 / scale, -1 / scale]
        return WeightGradient(energy_products(network, self._parameters, x, ends, factors))

    def through_time(
        self, equilibrium: Equilibrium, target: Tensor, *, eps: float, n_steps: int
    ) -> WeightGradient:
        rest = of_field(equilibrium)
        with torch.no_grad():
            aim = target_of_cost(rest.held, rest.state, target, self.cost_function)
            g = summed_adjoint(rest.held, rest.state, aim, eps, n_steps)
        return self.whole(equilibrium, [rest.states[0], *g.split(self.sizes[1:], -1)])

    def error(self, equilibrium: Equilibrium, target: Tensor) -> Tensor:
        rest = of_field(equilibrium)
        with torch.no_grad():
            aim = target_of_cost(rest.held, rest.state, target, self.cost_function)
        return rest.states[-1] - aim

    def cost(self, equilibrium: Equilibrium, target: Tensor) -> Tensor:
        y = equilibrium.states[-1]
        if self.cost_function is None:
            return (y - target).square().sum(-1) / 2
        with torch.no_grad():
            return self.cost_function(y, target)

    def at_kink(self, states: Sequence[Tensor]) -> list[Tensor]:
        s, box = torch.cat(list(states), -1), self.network.box
        held = torch.zeros_like(s, dtype=torch.bool) if box is None else ~box.inside(s)
        return list(held.split(self.sizes, -1))


def plastic(
    network: VectorField,
    *,
    tied: bool = True,
    cost: CostFunction | None = None,
    parameters: Sequence[str] | None = None,
) -> Plastic:
    """Return a network as rules see it, in closed form where there is one.

    Parameters
    ----------
    network : VectorField
        Nothing clamped. It is copied.
    tied : bool
        For layers coupled as in eq. 6: one weight for both directions.
    cost, parameters
        As for :class:`PlasticField`.

    Raises
    ------
    ValueError
        For two directions in another network, or one weight for two that differ.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.learning.plastic_field import plastic
    >>> type(plastic(ctebm.LayeredNetwork.random([3, 2], ctebm.Tanh()))).__name__
    'PlasticNetwork'
    """
    if isinstance(network, LayeredField):
        layers = PlasticNetwork(network, tied=tied)
        if cost is None and parameters is None:
            return layers
        network = network if tied else layers.to_network()
    elif not tied:
        raise ValueError(
            "tied=False parts the two directions of layers coupled as in eq. 6, got "
            f"{type(network).__name__}; leave it True, and give each direction weights of its own."
        )
    return PlasticField(network, cost=cost, parameters=parameters)


def _chosen(found: dict[str, Tensor], parameters: Sequence[str] | None) -> dict[str, Tensor]:
    """Return those parameters that learn."""
    if parameters is None:
        return found
    if isinstance(parameters, str):
        parameters = [parameters]
    for word in parameters:
        if not any(_is_called(name, word) for name in found):
            raise ValueError(
                f"expected names of parameters among {', '.join(found) or '(none)'}, got {word!r}."
            )
    return {name: p for name, p in found.items() if any(_is_called(name, w) for w in parameters)}


def _is_called(name: str, word: str) -> bool:
    return name == word or name.startswith(f"{word}.")
