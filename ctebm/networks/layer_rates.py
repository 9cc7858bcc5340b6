"""A rate for each layer: hard hidden units below a linear output, raw inputs as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.kinks import Box

__all__ = ["LayerRates", "rate_of_layer", "rates_given", "rates_without"]

T = TypeVar("T")


@dataclass(frozen=True)
class LayerRates(Activation):
    r"""The rates of units in layers with an activation each; it takes the states of all of them.

    Parameters
    ----------
    activations : tuple of Activation
        One a layer.
    sizes : tuple of int
        The units of each.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.layer_rates import LayerRates
    >>> rho = LayerRates((ctebm.ReLU(), ctebm.Identity()), (2, 1))
    >>> rho(torch.tensor([-1.0, 2.0, -3.0])), rho.box.low
    (tensor([ 0.,  2., -3.]), tensor([0., 0., -inf], dtype=torch.float64))
    """

    activations: tuple[Activation, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        each = self.activations
        found = {
            "kinks": tuple(sorted({kink for rho in each for kink in rho.kinks})),
            "rates": (
                min((rho.rates[0] for rho in each), default=0.0),
                max((rho.rates[1] for rho in each), default=0.0),
            ),
            "max_slope": max((rho.max_slope for rho in each), default=0.0),
            "max_curvature": max((rho.max_curvature for rho in each), default=0.0),
            "analytic_strip": min((rho.analytic_strip for rho in each), default=math.inf),
            "box": self._box(),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def _box(self) -> Box | None:
        """Return the kinks of each unit, infinite for those without; None if none has any."""
        if all(rho.box is None for rho in self.activations):
            return None
        boxes = [rho.box or Box(-math.inf, math.inf) for rho in self.activations]
        kinks = (
            torch.tensor(
                [float(kink) for kink in side], dtype=torch.float64, device="cpu"
            ).repeat_interleave(torch.tensor(self.sizes, device="cpu"))
            for side in zip(*boxes, strict=True)
        )
        return Box(*kinks)

    def __call__(self, s: Tensor) -> Tensor:
        return self._each(s, lambda rho, part: rho(part))

    def derivative(self, s: Tensor) -> Tensor:
        return self._each(s, lambda rho, part: rho.derivative(part))

    def second_derivative(self, s: Tensor) -> Tensor:
        return self._each(s, lambda rho, part: rho.second_derivative(part))

    def inverse(self, rate: Tensor) -> Tensor:
        return self._each(rate, lambda rho, part: rho.inverse(part))

    def integral(self, s: Tensor) -> Tensor:
        return self._each(s, lambda rho, part: rho.integral(part))

    def check_rates(self, rate: Tensor, *, closed: bool = True) -> Tensor:
        return self._each(rate, lambda rho, part: rho.check_rates(part, closed=closed))

    def _each(self, s: Tensor, function: Callable[[Activation, Tensor], Tensor]) -> Tensor:
        if s.shape[-1] != sum(self.sizes):
            raise ValueError(
                f"expected the states or rates of all {sum(self.sizes)} units, since each layer "
                f"has an activation of its own, got {s.shape[-1]}; name the layer, as in "
                "state(rates, layer='x')."
            )
        parts = s.split(self.sizes, -1)
        done = [function(rho, part) for rho, part in zip(self.activations, parts, strict=True)]
        return torch.cat(done, -1) if done else s

    def __repr__(self) -> str:
        return f"[{', '.join(map(repr, self.activations))}]"


def rate_of_layer(rho: Activation, number: int) -> Activation:
    """Return the rate of one layer, by its number among those of `rho`.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.layer_rates import LayerRates, rate_of_layer
    >>> rate_of_layer(LayerRates((ctebm.ReLU(), ctebm.Tanh()), (2, 1)), 1)
    Tanh()
    """
    return rho.activations[number] if isinstance(rho, LayerRates) else rho


def rates_given(rho: Activation) -> Activation | list[Activation]:
    """Return what a network of layers is given for its rates: one, or a list of one each.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.layer_rates import LayerRates, rates_given
    >>> rates_given(ctebm.Tanh()), rates_given(LayerRates((ctebm.ReLU(), ctebm.Tanh()), (2, 1)))
    (Tanh(), [ReLU(), Tanh()])
    """
    return list(rho.activations) if isinstance(rho, LayerRates) else rho


def rates_without(rho: Activation, number: int) -> Activation:
    """Return the rates of the other layers when one is taken out.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.layer_rates import LayerRates, rates_without
    >>> rates_without(LayerRates((ctebm.ReLU(), ctebm.Tanh()), (2, 1)), 0)
    [Tanh()]
    """
    if not isinstance(rho, LayerRates):
        return rho
    return LayerRates(_drop(rho.activations, number), _drop(rho.sizes, number))


def _drop(items: Sequence[T], number: int) -> tuple[T, ...]:
    return (*items[:number], *items[number + 1 :])
