"""What a force must be, what torch can't differentiate, and results off the graph of parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["Differentiated", "check_force", "in_words", "off_graph"]

# What torch says, and what it means here.
_MEANT = (
    (
        ("saved tensor hooks", "setup_context"),
        "expected {what} that torch.func can differentiate, got one that uses "
        "torch.utils.checkpoint or an autograd.Function without setup_context; leave the "
        "checkpoint out (fewer samples at a time save memory too), or give the Function a "
        "setup_context.",
    ),
    (
        ("requires_grad_()", "does not require grad"),
        "expected {what} that torch.func can differentiate, got one that calls torch.autograd "
        "itself; subclass ctebm.Network and write the energy alone, or take the gradient as "
        "torch.func.grad(lambda s: energy(s).sum())(s).",
    ),
)


class Differentiated:
    """Says in words what torch can't differentiate within it, a ValueError with the remedy.

    Parameters
    ----------
    what : str
        Such as "a force".

    Examples
    --------
    >>> from ctebm.networks.differentiable import Differentiated
    >>> with Differentiated("a force"):
    ...     3.0
    3.0
    """

    def __init__(self, what: str) -> None:
        self.what: str = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError) and (said := in_words(error, self.what)) is not None:
            raise said from error


def in_words(error: RuntimeError, what: str) -> ValueError | None:
    """Return an error of torch as a sentence, None for one that means something else.

    Parameters
    ----------
    error : RuntimeError
        Of evaluating or differentiating a force or an energy.
    what : str
        Such as "an energy".

    Examples
    --------
    >>> from ctebm.networks.differentiable import in_words
    >>> str(in_words(RuntimeError("no support of saved tensor hooks"), "an energy"))[:45]
    'expected an energy that torch.func can differ'
    >>> in_words(RuntimeError("the sizes must match"), "an energy")
    """
    for words, sentence in _MEANT:
        if any(word in str(error) for word in words):
            return ValueError(sentence.format(what=what))
    return None


def off_graph(g: Tensor, *given: Tensor) -> Tensor:
    """Return a gradient off the graph of parameters, unless that of what was given is asked for.

    Parameters
    ----------
    g : Tensor
        The gradient.
    given : Tensor
        States and targets that it was computed from.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.differentiable import off_graph
    >>> W, s = torch.ones(2, requires_grad=True), torch.ones(2)
    >>> off_graph(W * s, s).requires_grad
    False
    """
    return g if any(t.requires_grad for t in given) else g.detach()


def check_force(force: Any, s: Tensor) -> None:
    """Refuse a force that is not one number for each unit, in the dtype of the state.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.differentiable import check_force
    >>> check_force(torch.ones(3, 2), torch.zeros(3, 2))
    """
    if not isinstance(force, Tensor) or force.shape != s.shape:
        got = tuple(force.shape) if isinstance(force, Tensor) else type(force).__name__
        raise ValueError(
            f"expected a force of shape {tuple(s.shape)}, one number for each unit, got {got}; "
            "return a tensor like the state."
        )
    if force.dtype != s.dtype:
        wanted, got = (str(t.dtype).removeprefix("torch.") for t in (s, force))
        raise ValueError(
            f"expected a force in {wanted}, as the state is, got {got}; compute every part of it "
            "in the dtype of the state."
        )
