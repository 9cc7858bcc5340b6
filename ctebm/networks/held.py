"""What depends on held layers alone, computed once for all evaluations of an energy.

A user's energy takes the state of all layers in one tensor. While it is evaluated, a layer that is
cut out of that tensor, or out of a function of each unit of it, is the layer itself: nothing is
differentiated with respect to held layers, and what is computed from them and from parameters alone
is looked up.

The tensor itself is a stand-in without numbers (on torch's device "meta"). What torch hands to a
function past these rules, as within ``vmap`` or a script, has no numbers either, and then the
energy is evaluated on the state in one piece.

Letters: state ``s``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ctebm.networks.constants import Constants, key_of, tensors_in
from ctebm.networks.versions import is_plain

__all__ = ["evaluated"]

# Functions of each unit of the state, whose other arguments are numbers.
_NAMES = (
    "abs", "add", "clamp", "clip", "cos", "cosh", "div", "erf", "exp", "expm1", "log", "log1p",
    "logit", "mul", "multiply", "neg", "negative", "pow", "reciprocal", "relu", "sigmoid", "sign",
    "sin", "sinh", "sqrt", "square", "sub", "subtract", "tanh", "true_divide", "__add__", "__mul__",
    "__neg__", "__pow__", "__radd__", "__rmul__", "__rsub__", "__rtruediv__", "__sub__",
    "__truediv__",
)  # fmt: skip
_EACH_UNIT = {
    getattr(where, name) for where in (torch, Tensor) for name in _NAMES if hasattr(where, name)
} | {getattr(torch.nn.functional, name) for name in ("elu", "gelu", "hardtanh", "leaky_relu",
     "logsigmoid", "relu", "sigmoid", "silu", "softplus", "tanh") }  # fmt: skip
_SUMS = {torch.sum, Tensor.sum}
# What a stand-in answers as well as the state, and what a layer does.
_SHAPES = {getattr(Tensor, name).__get__ for name in ("dtype", "ndim", "shape")} | {
    Tensor.dim, Tensor.is_complex, Tensor.is_floating_point, Tensor.numel, Tensor.size,
    torch.is_floating_point, torch.is_complex, torch.numel}  # fmt: skip
_OF_A_LAYER = {
    getattr(Tensor, name).__get__ for name in ("device", "is_cuda", "is_sparse", "layout")
} | {Tensor.new_zeros, Tensor.new_ones}
_IN_PLACE = {
    "__setitem__",
    "__iadd__",
    "__isub__",
    "__imul__",
    "__itruediv__",
    "__ipow__",
    "__set__",
}


def evaluated(
    function: Callable[[Tensor], Tensor],
    layers: Sequence[slice],
    parts: Sequence[Tensor],
    held: Sequence[bool],
    constants: Constants,
) -> Tensor:
    """Return a function of the state of all layers, given layer by layer.

    Parameters
    ----------
    function : callable
        Takes a state ``(*batch, unit)``.
    layers : sequence of slice
        Which units of the state each part is.
    parts : sequence of Tensor, (*batch, size)
        The states of the layers.
    held : sequence of bool
        Which of them are the same tensors in every evaluation.
    constants : Constants
        Where results are looked up, and kept.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.constants import Constants
    >>> from ctebm.networks.held import evaluated
    >>> parts, constants = [torch.ones(3), torch.tensor([2.0])], Constants()
    >>> def product(s):
    ...     return s[..., 0:3].sum(-1) * s[..., 3]
    >>> evaluated(product, [slice(0, 3), slice(3, 4)], parts, [True, False], constants)
    tensor(6.)
    >>> [result.value for result in constants.results.values()]
    [tensor(3.)]
    """
    if constants.usable:
        evaluation = _Evaluation(layers, constants)
        s = evaluation.join(parts)
        for part, same in zip(parts, held, strict=True):
            (evaluation.known if same else evaluation.moving)[id(part)] = part
        try:
            with evaluation:
                value = function(s)
            if not any(t.is_meta for t in tensors_in(value)):
                return value
        except Exception:  # of an operation on a stand-in, or the function's own: it comes again
            pass
        constants.usable = False
    return function(torch.cat(list(parts), -1))


class _InOnePiece(Exception):
    """A function changes a state, or what is the same in every evaluation, or hides its use."""


class _Evaluation(TorchFunctionMode):
    """One evaluation of a function of the state."""

    def __init__(self, layers: Sequence[slice], constants: Constants) -> None:
        super().__init__()
        self.cuts = {(where.start, where.stop): i for i, where in enumerate(layers)}
        self.constants = constants
        self.recorded = torch.is_grad_enabled()
        self.checked: set[int] = set()  # tensors found to be as they were
        self.known: dict[int, Tensor] = {}  # held layers, and what was computed from them
        self.moving: dict[int, Tensor] = {}  # free layers, and what was computed from them
        self.joined: dict[int, Sequence[Tensor]] = {}  # the layers of stand-ins for states
        self.cats: dict[int, Tensor] = {}  # states that were put together

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Return a stand-in for one tensor of all layers, which is put together when needed."""
        n = sum(part.shape[-1] for part in parts)
        s = torch.empty(*parts[0].shape[:-1], n, dtype=parts[0].dtype, device="meta")
        self.joined[id(s)], self.moving[id(s)] = parts, s
        return s

    def whole(self, x: Any) -> Any:
        """Return an argument with the states in it put together."""
        if isinstance(x, Tensor):
            parts = self.joined.get(id(x))
            if parts is None:
                return x
            if id(x) not in self.cats:
                self.cats[id(x)] = torch.cat(list(parts), -1)
            return self.cats[id(x)]
        if isinstance(x, list | tuple):
            return type(x)([self.whole(item) for item in x]) if tensors_in(x) else x
        return x

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        parts = self.joined.get(id(args[0])) if args else None
        if parts is None:
            return self._looked_up(func, args, named)
        if func in _SHAPES:
            return func(*args, **named)
        if func in _OF_A_LAYER:
            return func(parts[0], *args[1:], **named)
        if torch.is_grad_enabled() != self.recorded:  # as within an autograd Function
            raise _InOnePiece
        i = self._cut(func, args)
        if i is not None:
            return parts[i]
        others = (*args[1:], *named.values())
        if func in _EACH_UNIT and all(isinstance(x, int | float) for x in others):
            return self.join([self._looked_up(func, (p, *args[1:]), named) for p in parts])
        if func in _SUMS and others == (-1,):
            total, *sums = [self._looked_up(func, (p, *args[1:]), named) for p in parts]
            for part in sums:
                total = self._looked_up(torch.add, (total, part), {})
            return total
        return self._looked_up(func, args, named)

    def _cut(self, func: Callable[..., Any], args: tuple[Any, ...]) -> int | None:
        """Return the number of the layer that is cut out of a state."""
        if func is not Tensor.__getitem__:
            return None
        match args[1]:
            case (ellipsis, slice(start=start, stop=stop, step=None)) if ellipsis is Ellipsis:
                return self.cuts.get((start or 0, stop))
        return None

    def _changes_what_is_given(
        self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> bool:
        """Return whether a function writes into a state, or into what is looked up."""
        name, s = getattr(func, "__name__", ""), args[0] if args else None
        writes = (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE
        if "out" in named or not (writes and isinstance(s, Tensor)):
            return "out" in named
        return id(s) in self.known or id(s) in self.joined or s._is_view()

    def _looked_up(
        self, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        """Return what a function gives, from the constants if it depends on them alone."""
        given, sources = tensors_in((args, named)), []
        if self._changes_what_is_given(func, args, named):
            raise _InOnePiece
        if any(id(x) in self.moving for x in given):
            named = {name: self.whole(x) for name, x in named.items()}
            value = func(*self.whole(args), **named)
            self.moving |= {id(x): x for x in tensors_in(value)}
            return value
        if not any(id(x) in self.known for x in given):
            return func(*args, **named)
        key = key_of((func, args, tuple(named.items())), sources)
        if key is None or (torch.is_grad_enabled() and any(t.requires_grad for t in sources)):
            return func(*args, **named)
        value = self.constants.find(key, self.checked)
        if value is None:
            value = func(*args, **named)
            if not isinstance(value, Tensor) or not is_plain(value):
                return value
            given = [t for t in sources if id(t) not in self.known]
            self.constants.keep(key, value, sources, given)
        self.known[id(value)] = value
        return value
