"""Tiles: blocks of points that are computed and written together, each a chunk of the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Tiling", "points_a_tile"]

_SECONDS = 1.0  # of work in a tile, beside which the 10 ms of writing it are nothing
_TILES_A_WORKER = 4  # at least, so that none is idle at the end
_BYTES = 2**28  # a tile's arrays are in memory at once
_MOST = 10_000  # points in a tile, for progress that can be seen


@dataclass(frozen=True)
class Tiling:
    """How the points on axes fall into blocks, the chunks of a store.

    Attributes
    ----------
    shape : tuple of int
        Length of each axis.
    block : tuple of int
        Length of a tile along each axis; the last one of an axis may be shorter.

    Examples
    --------
    >>> from ctebm.sweeps.tiles import Tiling
    >>> tiling = Tiling.of((4, 10), most=12)
    >>> tiling.block, len(tiling), tiling.key(3), tiling.points(3).tolist()[:3]
    ((1, 10), 4, '3/0', [30, 31, 32])
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], most: int, first: Sequence[bool] = ()) -> Tiling:
        """Return tiles of at most so many points, in which the last axes are whole.

        Parameters
        ----------
        shape : tuple of int
            Length of each axis.
        most : int
            Points in a tile, 1 or more.
        first : sequence of bool, optional
            Axes that are whole before others are.
        """
        block = [1] * len(shape)
        last_first = reversed(range(len(shape)))
        for axis in sorted(last_first, key=lambda a: not (first and first[a])):
            block[axis] = max(1, min(shape[axis], most))
            most //= block[axis]
        return cls(tuple(shape), tuple(block))

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of tiles along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return math.prod(self.grid)

    def place(self, tile: int) -> tuple[int, ...]:
        """Return where a tile is among the tiles.

        Parameters
        ----------
        tile : int
            Its number.
        """
        return tuple(int(i) for i in np.unravel_index(tile, self.grid))

    def key(self, tile: int) -> str:
        """Return the name of a tile's chunk.

        Parameters
        ----------
        tile : int
            Its number.
        """
        return "/".join(map(str, self.place(tile)))

    def tile(self, key: str) -> int:
        """Return the number of the tile whose chunk has this name.

        Parameters
        ----------
        key : str
            As :meth:`key` returns it.
        """
        return int(np.ravel_multi_index(tuple(map(int, key.split("/"))), self.grid))

    def slices(self, tile: int) -> tuple[slice, ...]:
        """Return the part of each axis that a tile covers.

        Parameters
        ----------
        tile : int
            Its number.
        """
        starts = (i * b for i, b in zip(self.place(tile), self.block, strict=True))
        ends = zip(starts, self.block, self.shape, strict=True)
        return tuple(slice(i, min(i + b, n)) for i, b, n in ends)

    def points(self, tile: int) -> np.ndarray:
        """Return the numbers of a tile's points, in order.

        Parameters
        ----------
        tile : int
            Its number.
        """
        places = np.ix_(*(np.arange(s.start, s.stop) for s in self.slices(tile)))
        return np.ravel_multi_index(places, self.shape).ravel()

    def tile_of(self, point: int) -> int:
        """Return the tile that a point is in.

        Parameters
        ----------
        point : int
            Its number.
        """
        place = np.unravel_index(point, self.shape)
        blocks = tuple(int(i) // b for i, b in zip(place, self.block, strict=True))
        return int(np.ravel_multi_index(blocks, self.grid))


def points_a_tile(n_points: int, seconds: float, n_bytes: int, workers: int) -> int:
    """Return how many points a tile should hold.

    About a second of work, so that writing costs little and a kill loses little; several tiles for
    each worker; and no more than fit in memory.

    Parameters
    ----------
    n_points : int
        In the sweep.
    seconds : float
        That a point takes.
    n_bytes : int
        That a point's result takes.
    workers : int
        How many compute at once.

    Examples
    --------
    >>> from ctebm.sweeps.tiles import points_a_tile
    >>> points_a_tile(100_000, seconds=0.005, n_bytes=8, workers=2)
    200
    >>> points_a_tile(100, seconds=5.0, n_bytes=8, workers=2)
    1
    """
    by_time = math.ceil(_SECONDS / max(seconds, 1e-9))
    by_workers = -(-n_points // (_TILES_A_WORKER * workers))
    return max(1, min(by_time, by_workers, _BYTES // max(n_bytes, 1), _MOST))
