"""The quadratic model of the energy in a trust region, minimised by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctebm.equilibria.krylov import TINY, iterations_between_looks
from ctebm.equilibria.rows import Rows
from ctebm.networks.energy import Network
from ctebm.networks.free_blocks import FreeRows
from ctebm.networks.pairwise import Curvature

__all__ = ["QuadraticModel"]

# Rows that have ended are carried along until no more than this share goes on: leaving them out
# costs a new operator.
KEPT = 0.7
# Where the host looks seldom, it looks after so many iterations first.
EARLY = 4


class QuadraticModel:
    r"""The quadratic model of the energy around a state, on the units that are not pinned.

    .. math:: m(d) = -g'd + \tfrac12 d'Hd, \qquad |d| \le \Delta

    Parameters
    ----------
    rows : Rows
        The samples.
    s : Tensor
        Where, ``(row, unit)``.
    g : Tensor
        The force on the free units, 0 on the others.
    free : Tensor
        Which units may move.
    """

    rows: Rows[Network]
    s: Tensor
    g: Tensor
    free: Tensor
    all_free: bool
    H: Callable[[Tensor], Tensor]
    d: Tensor
    r: Tensor
    p: Tensor
    rr: Tensor

    def __init__(self, rows: Rows[Network], s: Tensor, g: Tensor, free: Tensor) -> None:
        self.rows, self.s, self.g = rows, s, g
        held = rows.whole.box is not None or rows.whole.kinks is not None
        self.all_free = not (held and free.is_cuda) and bool(free.all())  # a GPU need not wait
        self.free = free.to(g.dtype)
        self.H = rows.network.hessian_operator_on(s, self.free)
        self.d, self.r, self.p = torch.zeros_like(g), g, g
        self.rr = _dot(g, g)

    def minimise(self, radius: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        r"""Minimise the model in the trust region by conjugate gradients (Steihaug 1983).

        Rows end at the trust region, at negative curvature (then going on to the trust region), or
        when the residual has fallen to `goal`.

        Returns
        -------
        tuple of Tensor
            The step, ``(row, unit)``, and the decrease :math:`-m(d)`, ``(row,)``.
        """
        look = iterations_between_looks(radius)
        if look > 1:
            return self._minimise_unseen(radius, goal, look)
        n = n_left = radius.shape[0]
        step, decrease = self.d, radius.new_zeros(n)
        radius, goal = radius.unsqueeze(-1), goal.square().unsqueeze(-1)
        at, ended = torch.arange(n, device=radius.device), np.zeros(n, dtype=bool)
        for _ in range(2 * self.d.shape[-1] + 10):  # twice what exact arithmetic needs
            going = self._advance(radius, goal, ended)
            if going is None:
                continue
            new, ended = ~going, ended | ~going
            before, n_left = n_left, int((~ended).sum())
            if before == n and not n_left:  # together
                return self.d, self._decrease()
            if before == n:
                step = torch.zeros_like(step)
            rows = _places(new, at)
            step[at[rows]], decrease[at[rows]] = self.d[rows], self._decrease()[rows]
            if not n_left:
                return step, decrease
            if n_left <= KEPT * at.shape[0]:
                rows = _places(~ended, at)
                at, radius, goal, ended = at[rows], radius[rows], goal[rows], ended[~ended]
                self._keep(rows)
        if n_left == n:
            return self.d, self._decrease()
        rows = _places(~ended, at)
        step[at[rows]], decrease[at[rows]] = self.d[rows], self._decrease()[rows]
        return step, decrease

    def _minimise_unseen(self, radius: Tensor, goal: Tensor, look: int) -> tuple[Tensor, Tensor]:
        """Do likewise where the host sees only now and then which rows have ended.

        These are held as they are, and go to the trust region at the end.
        """
        radius, goal = radius.unsqueeze(-1), goal.square().unsqueeze(-1)
        at = torch.arange(radius.shape[0], device=radius.device)
        going = torch.ones_like(goal, dtype=torch.bool)
        step, decrease = torch.zeros_like(self.d), torch.zeros_like(goal).squeeze(-1)
        wait, since, before = EARLY, 0, None
        for _ in range(2 * self.d.shape[-1] + 10):  # as above
            p, Hp = self.p, self._product(self.p)
            curvature = _dot(p, Hp)
            alpha = self.rr / curvature
            d, r = torch.addcmul(self.d, alpha, p), torch.addcmul(self.r, alpha, Hp, value=-1)
            inside = (torch.linalg.vector_norm(d, dim=-1, keepdim=True) < radius) & (curvature > 0)
            moves = going & inside
            self.d, self.r = torch.where(moves, d, self.d), torch.where(moves, r, self.r)
            rr = _dot(self.r, self.r)
            self.p = torch.where(moves, torch.addcmul(self.r, rr / self.rr, p), p)
            self.rr, going = rr, moves & (rr > goal)
            since += 1
            if since < wait:
                continue
            above = torch.where(going, rr / goal, 0.0).squeeze(-1).cpu().numpy()  # one read
            ended = above == 0
            if ended.all():
                break
            wait, since, before = _until(above, before, since, look), 0, above
            if (~ended).sum() <= KEPT * len(at):
                step[at], decrease[at] = self._at_edge(radius, goal, going)
                left, before = _places(~ended, at), above[~ended]
                at, radius, goal, going = at[left], radius[left], goal[left], going[left]
                self._keep(left)
        step[at], decrease[at] = self._at_edge(radius, goal, going)
        return step, decrease

    def _at_edge(self, radius: Tensor, goal: Tensor, going: Tensor) -> tuple[Tensor, Tensor]:
        """Return steps and decreases; what ended above its goal goes on to the trust region."""
        beyond = ~(going | (self.rr <= goal))
        t = torch.where(beyond, _to_edge(self.d, self.p, radius), 0.0)
        d = torch.addcmul(self.d, t, self.p)
        r = torch.addcmul(self.r, t, self._product(self.p), value=-1)
        return d, (d * (self.g + r)).sum(-1) / 2

    def _product(self, p: Tensor) -> Tensor:
        """Return the product with the Hessian on the free units."""
        Hp = self.H(p)
        return Hp if self.all_free else self.free * Hp

    def _advance(
        self, radius: Tensor, goal: Tensor, ended: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | None:
        """Take one step of conjugate gradients.

        Parameters
        ----------
        radius, goal : Tensor
            Of the trust region, and of the squared residual, ``(row, 1)``.
        ended : array of bool
            Rows that have ended before, ``(row,)``.

        Returns
        -------
        array of bool or None
            Which rows do not end with this step, ``(row,)``; None if none does.
        """
        p, Hp = self.p, self._product(self.p)
        curvature = _dot(p, Hp)
        alpha = self.rr / curvature
        d, r = torch.addcmul(self.d, alpha, p), torch.addcmul(self.r, alpha, Hp, value=-1)
        rr = _dot(r, r)
        inside = (torch.linalg.vector_norm(d, dim=-1, keepdim=True) < radius) & (curvature > 0)
        going, within = torch.cat([inside & (rr > goal), inside], -1).cpu().numpy().T  # one read
        going = going | ended
        none_ends = bool(going.all())
        if not none_ends and not within.all():
            alpha = torch.where(inside, alpha, _to_edge(self.d, p, radius))
            d, r = torch.addcmul(self.d, alpha, p), torch.addcmul(self.r, alpha, Hp, value=-1)
        self.d, self.r, self.p = d, r, torch.addcmul(r, rr / self.rr, p)
        self.rr = rr
        return None if none_ends else going

    def _decrease(self) -> Tensor:
        """Return :math:`-m(d)`, where the residual is :math:`r = g - Hd`, ``(row,)``."""
        return (self.d * (self.g + self.r)).sum(-1) / 2

    def _keep(self, going: Tensor) -> None:
        """Go on with some of the rows, by their numbers."""
        self.rows, self.s, self.free = self.rows[going], self.s[going], self.free[going]
        self.g, self.d, self.r = self.g[going], self.d[going], self.r[going]
        self.p, self.rr = self.p[going], self.rr[going]
        if isinstance(self.H, Curvature | FreeRows):
            self.H = self.H.rows(going)
        else:
            self.H = self.rows.network.hessian_operator_on(self.s, self.free)


def _places(rows: NDArray[np.bool_], where: Tensor) -> Tensor:
    """Return the numbers of rows that are true, on the device of a tensor."""
    return torch.from_numpy(np.flatnonzero(rows)).to(where.device)


def _until(
    above: NDArray[np.floating], before: NDArray[np.floating] | None, since: int, most: int
) -> int:
    """Return after how many iterations all rows may have ended, judged by how fast they fell.

    Parameters
    ----------
    above, before : array
        How far squared residuals are above their goals, now and at the last look, ``(row,)``; 0 in
        rows that have ended.
    since : int
        The iterations between.
    most : int
        Bound on the answer.
    """
    if before is None:
        return min(EARLY, most)
    here = above > 0
    with np.errstate(invalid="ignore"):  # of infinite ones
        left, fallen = np.log(above[here]), np.log(before[here]) - np.log(above[here])
        steps = since * left / np.maximum(fallen, TINY)
    return int(np.ceil(np.nan_to_num(steps, nan=most).max().clip(1, most)))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    """Return the inner product of each row, ``(row, 1)``."""
    return (u * v).sum(-1, keepdim=True)


def _to_edge(d: Tensor, p: Tensor, radius: Tensor) -> Tensor:
    r"""Return the :math:`t \ge 0` with :math:`|d + t p| = \Delta`, without cancellation."""
    dp, pp = _dot(d, p), _dot(p, p)
    room = (radius.square() - _dot(d, d)).clamp(min=0)
    return room / (dp + (dp.square() + pp * room).sqrt()).clamp(min=TINY)
