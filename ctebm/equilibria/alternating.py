r"""Settle a batch by alternating updates of even and odd layers (block coordinate descent).

Layers at even depth are coupled to layers at odd depth only. With a hard sigmoid

.. math:: s_i \leftarrow \mathrm{clip}(b_i + W\rho(s)_i,\, \beta_1,\, \beta_2)

on all layers of even depth is therefore the exact minimum of the energy over them, and updating
even and odd layers in turn is block coordinate descent: the energy never rises, there is no step
size to choose, and only an equilibrium is left as it is. With a smooth activation each unit of
these layers solves its own equation :math:`s_i = R_i(s)`, which has one solution if the rate
saturates away from 0. Feedback weights of their own have no energy; the updates are the same, and
what they stop at is an equilibrium.

:func:`ctebm.settle` finds equilibria of any network. Alternating updates need layers, and take
fewer products on deep ones with kinks; where there is one equilibrium only, both find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ctebm.equilibria.sweeps import Equilibrium, Sweeps
from ctebm.networks.blocks import Blocks

__all__ = ["settle_alternating", "upward_pass"]

_FEW_NUMBERS = 2**12  # in the states of a batch that is not worth splitting
_SWEEPS_BETWEEN = 4  # choices of the over-relaxation; the rate of convergence needs a few to show


def settle_alternating(
    layers: Blocks,
    start: Sequence[Tensor] | None = None,
    *,
    tol: float,
    max_sweeps: int = 500,
    nudge: tuple[Tensor, float] | None = None,
) -> Equilibrium:
    r"""Find an equilibrium for each sample by alternating updates of even and odd layers.

    Parameters
    ----------
    layers : Blocks
        The layers that move, as of ``network.clamp({"x": states}).blocks``.
    start : sequence of Tensor, (batch, size), optional
        States to begin from; by default :func:`upward_pass`.
    tol : float
        Bound on the residual.
    max_sweeps : int
        Bound on the updates of every layer; the residual says what was reached.
    nudge : (Tensor, float), optional
        Target `t` of the output and strength :math:`\beta > -1` of the force
        :math:`\beta (t - y)`.

    Raises
    ------
    ValueError
        For less than one sweep.

    Examples
    --------
    >>> import ctebm, torch
    >>> from ctebm.equilibria.alternating import settle_alternating
    >>> net = ctebm.LayeredNetwork.random([5, 4, 3], ctebm.HardSigmoid(), gain=0.5)
    >>> clamped = net.clamp({"x": [[0.4, -0.3, 0.2, 0.0, 0.1]]})
    >>> found = settle_alternating(clamped.blocks, tol=1e-12)
    >>> bool((torch.cat(found.states, -1) - ctebm.settle(clamped).state).abs().max() < 1e-9)
    True
    """
    if max_sweeps < 1:
        raise ValueError(f"expected max_sweeps >= 1, got {max_sweeps}.")
    start = upward_pass(layers) if start is None else start
    going, ended = Sweeps(layers, start, nudge, tol), []
    width = sum(s.shape[1] for s in start)
    going.update_even()
    for sweep in range(1, max_sweeps + 1):
        going.update_odd()
        tested, residual = going.s.copy(), going.update_even()
        converged = residual <= tol
        n = int(converged.sum())
        if n == len(converged) or sweep == max_sweeps:
            ended.append(going.reached(tested, residual, sweep))
            break
        # Few samples need many sweeps, and the others need not wait for them.
        if 2 * n >= len(converged) and len(converged) * width > _FEW_NUMBERS:
            # their places without a mask, whose size a GPU would have to tell
            left, done = converged.byte().argsort(stable=True).split([len(converged) - n, n])
            ended.append(going.reached(tested, residual, sweep, done))
            going.keep(left)
        if sweep % _SWEEPS_BETWEEN == 0:
            going.over_relax()
    return _in_order(ended)


def upward_pass(layers: Blocks) -> list[Tensor]:
    """Return states after one update of each layer, input side first, from the state 0.

    Parameters
    ----------
    layers : Blocks
        The first with a row of biases for each sample.
    """
    zero = layers.biases[0].new_zeros(())
    r = [layers.rho(i)(zero).expand(b.shape[-1]) for i, b in enumerate(layers.biases)]
    s = []
    for i in range(len(r)):
        s.append(layers.project(i, layers.pressure(i, zero, layers.current(i, r))))
        r[i] = layers.rho(i)(s[i])
    return [s_i.expand(len(s[0]), -1) for s_i in s]


def _in_order(parts: list[tuple[Tensor, Equilibrium]]) -> Equilibrium:
    """Join samples that converged at different times, in the order of the batch."""
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([rows for rows, _ in parts]).argsort()
    found = [equilibrium for _, equilibrium in parts]

    def joined(tensors: Iterable[Tensor]) -> Tensor:
        return torch.cat(list(tensors))[order]

    return Equilibrium(
        [joined(layer) for layer in zip(*(one.states for one in found), strict=True)],
        [joined(layer) for layer in zip(*(one.currents for one in found), strict=True)],
        joined(one.residual for one in found),
        joined(one.sweeps for one in found),
        found[0].tol,
    )
