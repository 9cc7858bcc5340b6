"""Settling of any network layer by layer, from the input up."""

from __future__ import annotations

import torch
from torch import Tensor

from ctebm.networks.base import VectorField

__all__ = ["sweep_layers"]


def sweep_layers(
    held: VectorField, s: Tensor, *, tol: float, max_sweeps: int
) -> tuple[Tensor, int]:
    """Let each layer in turn take its pressure for its state, in place, until nothing is left.

    That is an exact minimum over a layer whose energy is ``s^2 / 2`` for what the others send, as
    between the kinks of a hard sigmoid; predictive coding is at its forward pass after one sweep
    from a state without errors, and after one for each layer from any other.

    Parameters
    ----------
    held : VectorField
        With its input clamped.
    s : Tensor, (sample, unit)
        Where to begin; it is changed.
    tol : float
        Bound on the residual.
    max_sweeps : int
        Bound on the updates of every layer.

    Returns
    -------
    tuple
        The residual ``(sample,)`` at the states, and the sweeps that were made. They end early
        where numbers run away.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.learning.layer_sweeps import sweep_layers
    >>> net = ctebm.LayeredNetwork([[[0.5]], [[0.4]]], [[0], [0], [0]], ctebm.HardSigmoid())
    >>> s = torch.zeros(1, 2).double()
    >>> residual, sweeps = sweep_layers(net.clamp({"x": [[0.1]]}), s, tol=1e-9, max_sweeps=50)
    >>> bool(residual < 1e-9)
    True
    """
    layers = held.layers
    sweep = 0
    while True:
        goal = _goal(held, s)
        residual = (goal - s).abs().amax(-1)
        settled = bool((residual <= tol).all())
        if settled or sweep == max_sweeps or not bool(torch.isfinite(residual).all()):
            return residual, sweep
        for i, (name, where) in enumerate(layers.items()):
            s[..., where] = goal[..., where] if i == 0 else _goal(held, s, name)
        sweep += 1


def _goal(held: VectorField, s: Tensor, name: str | None = None) -> Tensor:
    """Return the pressure, of one layer if it is named, brought into the box."""
    if name is None:
        R, box = s + held.force(s), held.box
    else:
        where = held.layers[name]
        R, box = s[..., where] + held.layer_force(name, s), held.box
        box = None if box is None else box.of_units(where)
    return R if box is None else box.project(R)
