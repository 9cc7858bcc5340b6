"""The equilibrium of a batch of any network, as rules read it: what rests, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ctebm.equilibria.settling import settle
from ctebm.equilibria.sweeps import Equilibrium
from ctebm.learning.layer_sweeps import sweep_layers
from ctebm.learning.plastic import Plastic
from ctebm.networks.base import VectorField
from ctebm.networks.layout import size_of

__all__ = ["FieldEquilibrium", "held_at", "moved_to", "of_field", "rest_of"]

_SWEEPS = 50  # that a network which settles layer by layer needs at most
_AWAY = 1e6  # a force so large tells that the sweeps ran away from every equilibrium, as of s^4


@dataclass(frozen=True, eq=False)
class FieldEquilibrium(Equilibrium):
    """The equilibrium of each sample of a batch of any network.

    Attributes
    ----------
    states, currents, residual, sweeps, tol
        As of an :class:`~ctebm.equilibria.sweeps.Equilibrium`, without currents.
    held : VectorField
        The motion that rests there, its input held.
    state : Tensor, (batch, unit)
        The layers above the input side by side.
    """

    held: VectorField
    state: Tensor

    @classmethod
    def of(
        cls, held: VectorField, x: Tensor, s: Tensor, residual: Tensor, sweeps: int, tol: float
    ) -> Self:
        """Return the equilibrium `s` of a motion whose input is held at `x`.

        Parameters
        ----------
        held, x, s, residual, tol
            As the attributes; `x` and `s` are the states of the input and of all above it.
        sweeps : int
            Of every sample.
        """
        sizes = [size_of(where) for where in held.layers.values()]
        n = torch.full((len(x),), sweeps, device=x.device)
        return cls([x, *s.split(sizes, -1)], [], residual, n, tol, held, s)


def rest_of(
    network: VectorField,
    x: Tensor,
    start: Sequence[Tensor] | None = None,
    *,
    tol: float,
    max_sweeps: int,
) -> FieldEquilibrium:
    """Find an equilibrium for each input: layer by layer from the input up, else by `settle`.

    Parameters
    ----------
    network : VectorField
        The whole network, its input first.
    x, start, tol, max_sweeps
        As for :meth:`ctebm.learning.plastic.Plastic.settle`.
    """
    with torch.no_grad():
        held = network.clamp({next(iter(network.layers)): x})
        s = _first_guess(held, x) if start is None else torch.cat(list(start), -1)
        most = min(max_sweeps, _SWEEPS)
        residual, sweeps = sweep_layers(held, s, tol=tol, max_sweeps=most)
        if bool((residual <= tol).all()) or max_sweeps <= _SWEEPS:
            return FieldEquilibrium.of(held, x, s, residual, sweeps, tol)
        return _settled(held, x, s, tol, sweeps)


def _settled(held: VectorField, x: Tensor, s: Tensor, tol: float, sweeps: int) -> FieldEquilibrium:
    stays = held.force(s).abs().amax(-1, keepdim=True) < _AWAY  # NaN is not
    s = torch.where(stays, s, 0.0)
    if not bool(stays.all() or torch.isfinite(held.force(s)).all()):  # its parameters ran away
        residual = s.new_full(s.shape[:1], torch.inf)
        return FieldEquilibrium.of(held, x, s, residual, sweeps, tol)
    found = settle(held, s, tol=tol)
    return FieldEquilibrium.of(held, x, found.state, found.residual, sweeps, tol)


def _first_guess(held: VectorField, x: Tensor) -> Tensor:
    n = sum(size_of(where) for where in held.layers.values())
    guess = getattr(held, "first_guess", lambda: x.new_zeros(n))()
    guess = guess.expand(len(x), n).clone()
    return guess if held.box is None else held.box.project(guess)


def of_field(equilibrium: Equilibrium) -> FieldEquilibrium:
    """Return the equilibrium itself, or refuse that of layers in closed form."""
    if not isinstance(equilibrium, FieldEquilibrium):
        raise TypeError(
            f"expected an equilibrium of this network's settle, got {type(equilibrium).__name__}."
        )
    return equilibrium


def held_at(network: Plastic, equilibrium: Equilibrium) -> tuple[VectorField, Tensor]:
    """Return the motion that rests at an equilibrium, and its state ``(batch, unit)``."""
    if isinstance(equilibrium, FieldEquilibrium):
        return equilibrium.held, equilibrium.state
    whole, (x, *above) = network.to_network(), equilibrium.states
    return whole.clamp({next(iter(whole.layers)): x}), torch.cat(above, -1)


def moved_to(equilibrium: Equilibrium, s: Tensor, residual: Tensor | None = None) -> Equilibrium:
    """Return an equilibrium with other states ``(batch, unit)`` of the layers above the input."""
    if residual is not None:
        equilibrium = dataclasses.replace(equilibrium, residual=residual)
    x, *above = equilibrium.states
    states = [x, *s.split([h.shape[-1] for h in above], -1)]
    if isinstance(equilibrium, FieldEquilibrium):
        return dataclasses.replace(equilibrium, states=states, state=s)
    return dataclasses.replace(equilibrium, states=states)
