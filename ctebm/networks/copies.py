"""Copies of motions and of what they hold, with every tensor changed, or on their own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ctebm.networks.base import VectorField

__all__ = ["changed", "declared_tensors", "independent", "mapped"]

V = TypeVar("V", bound="VectorField")


def changed(motion: V, change: Callable[[Tensor], Tensor]) -> V:
    """Return a motion with a change applied to every tensor that it has, or that its class has.

    Parameters
    ----------
    motion : VectorField
        Which stays as it is.
    change : callable
        From a tensor to a tensor.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.networks.copies import changed
    >>> net = ctebm.DenseNetwork([[0, 1], [1, 0]], [0.2, 0.1], ctebm.Tanh())
    >>> changed(net, torch.neg).bias
    tensor([-0.2000, -0.1000], dtype=torch.float64)
    """
    other = copy.copy(motion)
    attributes = declared_tensors(type(motion)) | vars(other)
    vars(other).update({name: mapped(value, change) for name, value in attributes.items()})
    like = change(torch.empty(0, dtype=motion.dtype, device=motion.device))
    other.dtype, other.device = like.dtype, like.device
    return other


def independent(motion: V, memo: dict[int, Any]) -> V:
    """Return a copy of a motion that shares no tensor with it, as ``copy.deepcopy`` asks for it.

    Parameters
    ----------
    motion : VectorField
        Which stays as it is.
    memo : dict
        What is copied already, by its id.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.networks.copies import independent
    >>> net = ctebm.DenseNetwork([[0, 1], [1, 0]], [0.2, 0.1], ctebm.Tanh())
    >>> other = independent(net, {})
    >>> other.bias.equal(net.bias), other.bias is net.bias
    (True, False)
    """

    def keep(t: Tensor) -> Tensor:
        # torch deep-copies neither sparse tensors nor such as hang on a graph
        if id(t) not in memo and not (t.is_leaf and t.layout == torch.strided):
            memo[id(t)] = t.clone()
        return t

    motion._map(keep)
    other = memo[id(motion)] = copy.copy(motion)
    vars(other).update(copy.deepcopy(vars(other), memo))
    return other


def declared_tensors(cls: type) -> dict[str, Any]:
    """Return the tensors, and the tuples such as a box of tensors, that a class declares."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Tensor | tuple) and not name.startswith("__"):
                found[name] = value
    return found


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a value with a change applied to every tensor in it, in containers too.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.copies import mapped
    >>> mapped({"W": [torch.ones(2), None], "n": 3}, torch.neg)
    {'W': [tensor([-1., -1.]), None], 'n': 3}
    """
    if isinstance(value, Tensor):
        return change(value)
    if hasattr(value, "_map"):  # a motion or an activation
        return value._map(change)
    if isinstance(value, torch.nn.Module):
        return _mapped_module(value, change)
    if isinstance(value, dict):
        return {name: mapped(item, change) for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named one, such as a Box
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, change) for item in value)
    return value


def _mapped_module(module: torch.nn.Module, change: Callable[[Tensor], Tensor]) -> torch.nn.Module:
    """Return a copy of a module; what becomes complex stays on the graph of the real parameters."""
    own = [*module.parameters(), *module.buffers()]
    if not any(change(t.new_empty(0)).is_complex() for t in own):
        return copy.deepcopy(module)._apply(change)
    memo = {id(t): change(t) for t in own}  # taken in place of copies
    return copy.deepcopy(module, memo)
