"""Moments of the draws of many chains, gathered in constant memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, rankdata
from torch import Tensor

from ctebm.dynamics.recorder import Observables, check_observables

__all__ = ["BlockMeans", "Moments"]

# Blocks of a chain are joined in pairs once there are so many: enough for an error bar's error
# of an eighth from one chain, few enough to be kept.
MOST_BLOCKS = 64


class BlockMeans:
    """Means of a series over blocks of draws, and its error, in constant memory.

    Blocks are of equal length. When there are 64 of them, neighbours are joined and later ones
    are twice as long, so that a chain of any length keeps 32 to 64.

    Examples
    --------
    >>> import torch
    >>> from ctebm.sampling.moments import BlockMeans
    >>> series = BlockMeans()
    >>> series.add(torch.arange(256.0).reshape(256, 1))  # (draw, chain)
    >>> series.mean, series.blocks.shape
    (tensor(127.5000), torch.Size([64, 1]))
    """

    def __init__(self) -> None:
        self.n_draws: int = 0
        self._length, self._filled, self._within = 1, 0, 0  # of a block, full blocks, in the last
        self._sums: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Take draws, ``(draw, chain, ...)``."""
        if self._sums is None:
            self._sums = values.new_zeros(MOST_BLOCKS, *values.shape[1:])
        taken = 0
        while taken < len(values):
            if self._filled == MOST_BLOCKS:
                self._join(self._sums)
            n = min(self._length - self._within, len(values) - taken)
            self._sums[self._filled] += values[taken : taken + n].sum(0)
            taken, self._within = taken + n, self._within + n
            if self._within == self._length:
                self._filled, self._within = self._filled + 1, 0
        self.n_draws += len(values)

    def _join(self, sums: Tensor) -> None:
        half = MOST_BLOCKS // 2
        sums[:half] = sums[::2] + sums[1::2]
        sums[half:] = 0
        self._filled, self._length = half, 2 * self._length

    @property
    def _total(self) -> Tensor:
        """The sum over all draws, ``(chain, ...)``."""
        if self._sums is None:
            raise ValueError("expected draws before their mean, got none; take more steps.")
        return self._sums.sum(0)

    @property
    def chain_mean(self) -> Tensor:
        """The mean of each chain, ``(chain, ...)``."""
        return self._total / self.n_draws

    @property
    def mean(self) -> Tensor:
        """The mean over draws and chains."""
        return self.chain_mean.mean(0)

    @property
    def blocks(self) -> Tensor:
        """The means over the blocks that are full, ``(block, chain, ...)``."""
        if self._sums is None:
            raise ValueError("expected draws, got none; take more steps, or smaller ones.")
        return self._sums[: self._filled] / self._length

    def error(self) -> NDArray[np.float64]:
        """Return the standard error of the mean, 0 for what never changed.

        NaN for what is not finite, and for a single draw.

        It is the spread of block means over the root of their effective number, which allows for
        what is left of the correlation between neighbours (Vehtari et al. 2021).
        """
        from arviz_stats.base.array import array_stats

        x, varies = _varying(self.blocks)
        known = np.isfinite(x).all((0, 1)) & (x.shape[0] * x.shape[1] > 1)
        error = np.where(known, 0.0, np.nan)
        if varies.any():
            error[varies] = array_stats.mcse(
                x[..., varies], chain_axis=0, draw_axis=1, method="mean"
            )
        return error

    @property
    def rhat_bound(self) -> float:
        r"""The :math:`\hat R` that chains which agree surpass once in 10,000 times, at least 1.05.

        The squares of means of `m` halves then follow chi-squared, so that few chains, and few
        blocks, may differ more.
        """
        n = max(self._filled // 2, 1)
        m = 2 * (1 if self._sums is None else self._sums.shape[1])
        return max(1.05, math.sqrt(1 + (float(chi2.ppf(1 - 1e-4, m - 1)) / (m - 1) - 1) / n))

    def rhat(self) -> NDArray[np.float64]:
        r"""Return split :math:`\hat R` of the block means, NaN for what never changed.

        Near 1 where chains, and the halves of each chain, agree: in place, and in the ranks of
        their distances from the median, without which chains that spread without end would pass
        (Vehtari et al. 2021); the larger of both. It judges block means, which vary less than
        draws, and so sees a disagreement sooner.
        """
        x, varies = _varying(self.blocks)
        rhat = np.full(x.shape[2:], np.nan)
        if varies.any() and x.shape[1] > 3:
            x = x[..., varies]
            away = abs(x - np.median(x, (0, 1)))
            ranks = rankdata(away.reshape(-1, x.shape[-1]), axis=0).reshape(x.shape)
            rhat[varies] = np.maximum(_split_rhat(x), _split_rhat(ranks))
        return rhat


class Moments:
    """What a run keeps of its draws: sums, in the place of a recorder of states.

    Parameters
    ----------
    start : Tensor, ``(chain, *sample, unit)``
        A state; moments are taken about it, so that no digits are lost.
    burn_in, every : int
        Draws are the states at multiples of `every` steps after the first `burn_in`.
    observe : mapping of str to callable or None
        Further functions of a state whose means are wanted.

    Attributes
    ----------
    state, observed : BlockMeans and dict of str to BlockMeans
        Of the states, about the reference, and of what is observed.
    """

    def __init__(
        self, start: Tensor, burn_in: int, every: int, observe: Observables | None
    ) -> None:
        check_observables(observe)
        self.steps: list[int] = [-1]
        self.state: BlockMeans = BlockMeans()
        self.observed: dict[str, BlockMeans] = {name: BlockMeans() for name in observe or {}}
        self._observe, self._burn_in, self._every = observe or {}, burn_in, every
        self._reference = start.mean(0)
        n = start.shape[-1]
        self._squares = start.new_zeros(*start.shape[1:-1], n, n)

    def save(self, steps: Sequence[int], states: Tensor, phase: int) -> None:
        """Take the states of some steps, ``(step, chain, *sample, unit)``, if they are draws."""
        if not steps:
            return
        self.steps = [steps[-1]]
        draws = [i for i, n in enumerate(steps) if n > self._burn_in and n % self._every == 0]
        if draws:
            self.add(states if len(draws) == len(steps) else states[draws])

    def add(self, states: Tensor) -> None:
        """Take draws, ``(draw, chain, *sample, unit)``."""
        x = states - self._reference
        self.state.add(x)
        rows = x.movedim((0, 1), (-3, -2)).flatten(-3, -2)  # (*sample, draw, unit)
        self._squares += rows.mT @ rows
        for name, function in self._observe.items():
            values = torch.stack([_real(name, function(state.clone())).to(x) for state in states])
            if values.shape[1 : x.ndim - 1] != x.shape[1:-1]:
                raise ValueError(
                    f"expected observe[{name!r}] to return one value or more a chain, shape "
                    f"{tuple(x.shape[1:-1])}, got {tuple(values.shape[1:])}; keep the dimensions "
                    "before the last."
                )
            self.observed[name].add(values)

    @property
    def mean(self) -> Tensor:
        """The mean state, ``(*sample, unit)``."""
        return self._reference + self.state.mean

    @property
    def chain_mean(self) -> Tensor:
        """The mean state of each chain, ``(chain, *sample, unit)``."""
        return self._reference + self.state.chain_mean

    @property
    def covariance(self) -> Tensor:
        """The covariance over draws and chains, ``(*sample, unit, unit)``."""
        n, d = len(self.state.chain_mean) * self.state.n_draws, self.state.mean
        return self._squares / n - d.unsqueeze(-1) * d.unsqueeze(-2)


def _real(name: str, value: Any) -> Tensor:
    """Return what was observed, if it has a mean."""
    x = torch.as_tensor(value)
    if x.is_complex():
        raise ValueError(
            f"expected observe[{name!r}] to return real numbers, got complex ones; observe the "
            "real and the imaginary part."
        )
    return x


def _split_rhat(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R-hat of half chains, for a series ``(chain, block, ...)``."""
    from arviz_stats.base.array import array_stats

    half = x.shape[1] // 2
    halves = np.concatenate([x[:, :half], x[:, half : 2 * half]])
    return np.asarray(array_stats.rhat(halves, chain_axis=0, draw_axis=1, method="identity"))


def _varying(blocks: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return block means as ``(chain, block, ...)``, and which of them vary and are finite."""
    x = blocks.movedim(1, 0).double().cpu().numpy()
    with np.errstate(invalid="ignore"):
        return x, np.ptp(x, axis=(0, 1)) > 0
