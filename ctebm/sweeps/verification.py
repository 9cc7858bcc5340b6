"""What is damaged in the store of a sweep, and forgetting it so that it is computed again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ctebm.files.store import damages
from ctebm.files.tiled import STATUS, drop_tile, tile_lists
from ctebm.sweeps.drivers import driving
from ctebm.sweeps.store import open_store

__all__ = ["Damage", "forget_damaged", "verify_sweep"]


@dataclass(frozen=True)
class Damage:
    """Something in a store that is not as it was written.

    Attributes
    ----------
    tile : int or None
        Whose it is; None for what all tiles share, which can't be computed again.
    points : int
        How many points the tile has.
    sentence : str
        What is wrong.
    """

    tile: int | None
    points: int
    sentence: str


def verify_sweep(path: str | os.PathLike[str]) -> list[Damage]:
    """Return what is damaged in the store of a sweep: flipped bits, chunks that are missing.

    A tile that was never finished is no damage, unless all of it but its status is there.

    Parameters
    ----------
    path : path
        The store.

    Examples
    --------
    >>> import ctebm, tempfile
    >>> from ctebm.sweeps.verification import verify_sweep
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = f"{folder}/x.zarr"
    ...     _ = ctebm.sweep(lambda a: {"twice": 2 * a}, grid={"a": [1, 2, 3]}, out=out).load()
    ...     verify_sweep(out)
    []
    """
    store = open_store(Path(path))
    found = [*damages(store.path)]
    for key in sorted(tile_lists(store.path)):
        if not (store.path / STATUS / "c" / key).exists():
            found.append((key, f"tile {key} has no status: it was lost, or never written"))
    tiles = [(None if key is None else store.tiling.tile(key), text) for key, text in found]
    return [
        Damage(tile, 0 if tile is None else store.tiling.points(tile).size, text)
        for tile, text in tiles
    ]


def forget_damaged(path: str | os.PathLike[str]) -> list[Damage]:
    """Forget the tiles that are damaged, so that the next sweep computes them; return the damage.

    Parameters
    ----------
    path : path
        The store.

    Raises
    ------
    ValueError
        If something is damaged that all tiles share.

    Examples
    --------
    >>> import ctebm, tempfile
    >>> from pathlib import Path
    >>> from ctebm.sweeps.verification import forget_damaged
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = f"{folder}/x.zarr"
    ...     _ = ctebm.sweep(lambda a: {"twice": 2 * a}, grid={"a": [1, 2, 3]}, out=out).load()
    ...     Path(out, "twice", "c", "0").unlink()
    ...     forget_damaged(out)[0].sentence
    "'twice' (a 0 to 0, chunk 0) is missing"
    """
    store = open_store(Path(path))
    with driving(store.path):
        found = verify_sweep(path)
        if shared := [damage.sentence for damage in found if damage.tile is None]:
            raise ValueError(
                f"{path} can't be repaired, since {shared[0]}, which all of its points share; "
                "name another store and sweep again."
            )
        for tile in {damage.tile for damage in found if damage.tile is not None}:
            drop_tile(store.path, store.tiling.key(tile))
    return found
