"""Activations by name, as a command line gives them.

torch is imported only when an activation is made.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctebm.networks.activation import Activation

__all__ = ["check_activation", "parse_activation", "suggest"]

_ACTIVATIONS = {
    "hard-sigmoid": ("HardSigmoid", ("lower",)),
    "logistic": ("Logistic", ("gain", "centre")),
    "tanh": ("Tanh", ()),
    "smooth-hard-sigmoid": ("SmoothHardSigmoid", ("lower", "width")),
}


def check_activation(spec: str) -> tuple[str, dict[str, float]]:
    """Return class name and parameters of an activation such as ``"logistic:gain=2"``.

    Parameters are separated by commas, as in ``"smooth-hard-sigmoid:lower=-0.5,width=0.1"``.
    torch is not imported; :func:`parse_activation` makes the activation.

    Raises
    ------
    ValueError
        If a name is unknown or a value is not a number.

    Examples
    --------
    >>> from ctebm.study import check_activation
    >>> check_activation("logistic:gain=2")
    ('Logistic', {'gain': 2.0})
    """
    name, _, rest = spec.partition(":")
    if name not in _ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; {suggest(name, _ACTIVATIONS)}.")
    class_name, known = _ACTIVATIONS[name]
    parameters = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            takes = f"takes {', '.join(known)}" if known else "takes no parameters"
            raise ValueError(f"activation {name} {takes}, got {key!r}.")
        try:
            parameters[key] = float(value)
        except ValueError:
            raise ValueError(
                f"activation {name} needs a number for {key}, as in {name}:{key}=0.5, "
                f"got {value!r}."
            ) from None
    return class_name, parameters


def parse_activation(spec: str) -> Activation:
    """Return the activation that `spec` names; see :func:`check_activation`.

    Examples
    --------
    >>> from ctebm.study import parse_activation
    >>> parse_activation("smooth-hard-sigmoid:width=0.1")
    SmoothHardSigmoid(lower=-0.5, width=0.1)
    """
    import ctebm.networks.sigmoids

    class_name, parameters = check_activation(spec)
    return getattr(ctebm.networks.sigmoids, class_name)(**parameters)


def suggest(name: str, names: Iterable[str]) -> str:
    """Return what was probably meant by a name that is none of `names`, as half a sentence.

    Examples
    --------
    >>> from ctebm.study.activations import suggest
    >>> suggest("logstic", ["tanh", "logistic"])
    "did you mean 'logistic'"
    """
    names = list(names)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}" if near else f"choose from {', '.join(names)}"
