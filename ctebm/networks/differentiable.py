"""What torch can't differentiate, in words: a force or an energy of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["differentiated", "in_words"]

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


@contextmanager
def differentiated(what: str) -> Iterator[None]:
    """Say in words what torch can't differentiate.

    Parameters
    ----------
    what : str
        Such as "a force".

    Raises
    ------
    ValueError
        With the remedy.

    Examples
    --------
    >>> from ctebm.networks.differentiable import differentiated
    >>> with differentiated("a force"):
    ...     3.0
    3.0
    """
    try:
        yield
    except RuntimeError as error:
        said = in_words(error, what)
        if said is None:
            raise
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
