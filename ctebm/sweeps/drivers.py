"""Who may drive a sweep: one process for its whole store, or one for each of n parts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctebm.files.lock import locked

__all__ = ["driving"]

_PATIENCE = 5.0  # seconds, in which another part is done with asking


@contextmanager
def driving(path: Path, part: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold the store of a sweep, or a part of it, so that no tile is computed twice.

    Parts of one division may be held side by side, and nothing beside the whole.

    Parameters
    ----------
    path : Path
        The store.
    part : tuple of int, optional
        ``(i, n)``: every n-th tile from tile i on.

    Raises
    ------
    BlockingIOError
        If another process holds any of it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ctebm.sweeps.drivers import driving
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Path(folder, "x.zarr")
    ...     with driving(store, (0, 2)), driving(store, (1, 2)):
    ...         pass  # neither computes what the other does
    """
    path = Path(os.path.realpath(path))
    if part is None:
        with locked(path):
            _refuse_parts(path, None)
            yield
        return
    i, n = part
    with locked(path.with_name(f"{path.name}.{i % n}_of_{n}")):
        _refuse_whole(path)
        _refuse_parts(path, n)
        yield


def _refuse_whole(path: Path) -> None:
    begun = time.monotonic()
    while True:
        try:
            with locked(path):
                return
        except BlockingIOError:  # perhaps another part that asks just now
            if time.monotonic() - begun > _PATIENCE:
                raise
            time.sleep(0.05)


def _refuse_parts(path: Path, n: int | None) -> None:
    """Refuse parts that are held, all of them or those of another division."""
    for lock in path.parent.iterdir():
        found = re.fullmatch(r"\.(.*)\.(\d+)_of_(\d+)\.lock", lock.name)
        if found and found[1] == path.name and (n is None or int(found[3]) != n):
            with locked(path.with_name(f"{path.name}.{found[2]}_of_{found[3]}")):
                pass  # what a killed process left is swept
