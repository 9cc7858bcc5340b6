r"""Down the energy to a minimum: a saddle on the way is left along its negative curvature.

A chain of kinked layers goes down as every other layer alone, those between at their minimum: first
by alternating updates with momentum, each of which costs little, then by Newton's method.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ctebm.equilibria.accelerated import accelerated
from ctebm.equilibria.descent import descend_to_bottom
from ctebm.equilibria.kkt import force_in_box, jump_beside, project, residual
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.saddles import downhill_from
from ctebm.equilibria.trust_region import GROWTH, energy_rounding
from ctebm.networks.condensed import Condensed, condenses
from ctebm.networks.energy import Network
from ctebm.networks.layered import LayeredNetwork
from ctebm.networks.pairwise import PairwiseNetwork

__all__ = ["Ends", "descend_to_minimum", "scale"]

# How often a sample leaves a saddle: after the first time it is off all symmetric subspaces.
ESCAPES = 10
# So many steps of this size follow the motion of couplings before Newton's steps, which are short
# at first and cost ten times as much.
FOLLOWED, STEP = 20, 0.5
# Alternating updates with momentum go on to this residual, or for so many steps, and for this share
# of those that are allowed at most.
NEAR, UPDATES, SHARE = 1e-5, 800, 0.8


class Ends(NamedTuple):
    """Where samples have settled.

    Attributes
    ----------
    state : Tensor
        ``(row, unit)``.
    steps : Tensor
        Steps taken, ``(row,)``.
    why : dict of int to str
        What a row is that has not settled, or has at an unstable equilibrium.
    known : tuple of Tensor or None
        Their energies ``(row,)`` and forces ``(row, unit)``, where these have been evaluated.
    """

    state: Tensor
    steps: Tensor
    why: dict[int, str]
    known: tuple[Tensor, Tensor] | None = None


def descend_to_minimum(
    rows: Rows[Network],
    ends: Ends,
    known: tuple[Tensor, Tensor],
    far: Tensor,
    doubtful: Tensor,
    tol: float,
    max_iterations: int,
) -> None:
    """Go down the energy from some rows; leave the saddles among their ends and doubtful rows.

    Parameters
    ----------
    rows : Rows
        All rows.
    ends : Ends
        Where they are, which is changed.
    known : tuple of Tensor
        Their energies and forces, which are changed.
    far, doubtful : Tensor
        Places of rows, ``(place,)``.
    tol, max_iterations
        As for :func:`settle`.
    """
    down = _descend_condensed if condenses(rows.whole) else _descend
    down(rows, ends, known, far, doubtful, tol, max_iterations)


def _descend(
    rows: Rows[Network],
    ends: Ends,
    known: tuple[Tensor, Tensor],
    far: Tensor,
    doubtful: Tensor,
    tol: float,
    max_iterations: int,
) -> None:
    """Descend by Newton's method; see :func:`descend_to_minimum`."""
    tried, begun, judged = far, ends.state[far], torch.cat([far, doubtful])
    (E, f), size = known, torch.zeros_like(known[0])
    if isinstance(rows.whole, PairwiseNetwork) and len(far):
        most = min(FOLLOWED, max_iterations // 2)
        ends.state[far], E[far], f[far] = _followed(rows[far].network, begun, E[far], f[far], most)
        ends.steps[far] += most
        max_iterations -= most
    for k in range(ESCAPES + 1):
        if len(far) and k < ESCAPES:
            there = (E[far], f[far]) if k == 0 else None
            s, more, *there = descend_to_bottom(
                rows[far], ends.state[far], tol, max_iterations, there
            )
            ends.state[far], ends.steps[far] = s, ends.steps[far] + more
            E[far], f[far] = there
        elif len(far):
            E[far], f[far] = rows[far].network.energy_and_force(ends.state[far])
        size[judged] = residual(rows[judged].network, ends.state[judged], f[judged])
        judged = judged[size[judged] <= tol]
        if k == ESCAPES or not len(judged):
            break
        saddles, beside = downhill_from(rows[judged], ends.state[judged], f[judged])
        if not len(saddles):
            break
        far = judged = judged[saddles]
        ends.state[far], ends.steps[far] = beside, ends.steps[far] + 1
    for j, (i, r) in enumerate(zip(tried.tolist(), size[tried].tolist(), strict=True)):
        if r <= tol:
            continue
        n, grown = int(ends.steps[i]), float(scale(ends.state[i]))
        if not grown < GROWTH * float(scale(begun[j])):
            ends.why[i] = (
                f"the energy falls without bound: it is {float(E[i]):.3g} where the largest state "
                f"is {grown:.3g}; bound the rate, add a term that grows with the state, or follow "
                'the motion (path="flow"), which may settle before.'
            )
        elif n < max_iterations:
            ends.why[i] = jump_beside(rows.one(i), ends.state[i]) or (
                f"residual {r:.3g} > {tol:g} after {n} steps, and none lowers it any more: it is "
                "the rounding of large terms, or the energy is not smooth; give a larger tol."
            )


def _followed(
    network: Network, s: Tensor, E: Tensor, f: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where some steps of the motion lead, with energies and forces; none above its start.

    Parameters
    ----------
    network : Network
        For states ``(row, unit)``.
    s, E, f : Tensor
        Starts, their energies and forces.
    most : int
        How many steps.
    """
    force, u = force_in_box(network), s
    for _ in range(most):
        u = project(network, torch.add(u, force(u), alpha=STEP))
    E_u, f_u = network.energy_and_force(u)
    lower = E_u <= E
    at = lower.unsqueeze(-1)
    return torch.where(at, u, s), torch.where(lower, E_u, E), torch.where(at, f_u, f)


def _descend_condensed(
    rows: Rows[Network],
    ends: Ends,
    known: tuple[Tensor, Tensor],
    far: Tensor,
    doubtful: Tensor,
    tol: float,
    max_iterations: int,
) -> None:
    """Descend as every other layer alone; see :func:`descend_to_minimum`."""
    at = torch.cat([far, doubtful])
    some = rows[at].network
    assert isinstance(some, LayeredNetwork)
    half = Rows.of(Condensed(some), at.shape)
    o, places = half.network.kept(ends.state[at]), torch.arange(len(at), device=at.device)
    first, others = places[: len(far)], places[len(far) :]
    updates = min(UPDATES, int(SHARE * max_iterations))
    near, steps = _hurried(half[first], o[first], updates)
    own = Ends(torch.cat([near, o[others]]), ends.steps[at], {})
    own.steps[first] += steps
    there = half.network.energy_and_force(own.state)
    _descend(half, own, there, first, others, tol, max_iterations - updates)
    moved = (own.state != o).any(-1)
    moved[first] = True
    to = at[moved]
    ends.state[to], ends.steps[at] = half.network.states(own.state)[moved], own.steps
    known[0][to], known[1][to] = rows[to].network.energy_and_force(ends.state[to])
    ends.why.update({int(at[i]): word for i, word in own.why.items()})


def _hurried(half: Rows[Condensed], o: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return states to which alternating updates lead, none above its start, and how many."""
    if not len(o):
        return o, half.index
    network = half.network
    single = network.single()
    near, steps = accelerated(single, o.float(), NEAR, most)
    near = _as_exact(single, near, network)
    first = network.energy(o)
    # not so where weights overflow in single precision
    lower = network.energy(near) <= first + energy_rounding(network, o, first)
    return torch.where(lower.unsqueeze(-1), near, o), steps


def _as_exact(single: Condensed, s: Tensor, network: Condensed) -> Tensor:
    """Return states of a network in float32 in another precision: what is on a kink stays on it."""
    assert single.box is not None and network.box is not None
    side, exact = single.box.side(s), network.box.project(s.to(network.dtype))
    low, high = network.box.each(exact)
    return torch.where(side < 0, low, torch.where(side > 0, high, exact))


def scale(s: Tensor) -> Tensor:
    """Return the largest unit of each state, at least 1, ``(row,)``."""
    return s.abs().amax(-1).clamp(min=1)
