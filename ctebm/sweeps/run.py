"""``sweep()``: a function at many points, in a store that survives."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from ctebm.files.results import check_replaceable
from ctebm.files.results import open as open_dataset
from ctebm.files.signals import interrupts
from ctebm.files.store import shared_damages
from ctebm.files.tiled import sweep_tiles
from ctebm.sweeps.company import check_together, shared
from ctebm.sweeps.computation import Job, pickled
from ctebm.sweeps.drivers import driving
from ctebm.sweeps.form import Form
from ctebm.sweeps.identity import identity
from ctebm.sweeps.plan import SweepPlan, check_same_sweep, check_same_tiles, planned
from ctebm.sweeps.points import Points, Scalar
from ctebm.sweeps.progress import SweepProgress
from ctebm.sweeps.request import (
    asked_points,
    check_function,
    check_numbers,
    check_part,
    check_who,
    store_path,
)  # fmt: skip
from ctebm.sweeps.store import FAILED, KILLED, MISSING, create_store, open_store
from ctebm.sweeps.workers import Workers, serial, with_client

__all__ = ["run_sweep", "sweep", "who_computes"]


def sweep(
    function: Callable[..., Any],
    grid: Mapping[str, Iterable[Scalar]] | None = None,
    points: Iterable[Mapping[str, Scalar]] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    slurm: Mapping[str, str] | None = None,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    tile_points: int | None = None,
    threads: int = 1,
    quiet: bool = True,
    together: Sequence[str] = (),
) -> xr.Dataset:
    """Call a function at every point of a grid or table, and return one dataset of all results.

    Called again with the same arguments, it goes on where it was stopped or killed: what is
    finished is neither lost nor computed again. The numbers are the same to the last bit for any
    number of workers, tiles and interruptions, if the function is the same at the same arguments.

    Parameters
    ----------
    function : callable
        Takes the names of the grid as keyword arguments, each a scalar. Returns a Dataset, a
        record of this package, or a mapping from names to numbers, of one form at every point.
    grid : mapping of str to sequence, optional
        Axes: name and values. Every combination is a point.
    points : iterable of mapping, optional
        Points one by one, on an axis ``point``; with `grid`, each at every point of the grid.
    out : path, optional
        A Zarr store, ``.zarr``; without it the results are in memory alone.
    workers : int, optional
        How many processes compute; by default this one. The script then needs
        ``if __name__ == "__main__":``.
    scheduler : str, optional
        Address of a dask scheduler whose workers compute, which reach `out` by the same path.
    slurm : mapping of str to str, optional
        Arguments of ``dask_jobqueue.SLURMCluster``; `workers` is then the number of jobs.
    part : tuple of int, optional
        ``(i, n)`` computes every n-th tile from tile i on, for an array of jobs on one `out`.
    retry_failed : bool
        Compute points that failed before again.
    tile_points : int, optional
        Points computed and written together; by default enough for a second of work.
    threads : int
        Of torch and linear algebra in each process, on which last bits depend.
    quiet : bool
        False to say how far it is.
    together : sequence of str, optional
        Names of what may differ within one call of `function`, such as ``["sigma", "replicate"]``:
        it is given arrays of these, and returns a number for each entry, or a Dataset or record
        with a dimension ``sample``. Other names stay scalars. The first points are computed alone
        too, and a function is refused that gives them other bits there.

    Returns
    -------
    xarray.Dataset
        The axes are dimensions; ``status`` is 1 where a point is done, 2 where it failed, 3 where
        it ended its process, 0 where it was not computed, and ``message`` says why. There numbers
        are NaN, words empty; only a kill while points are tried again can leave their new numbers
        before their status. Whole numbers and truth values are floats. A result's own ``status``
        and ``message`` are ``result_status`` and ``result_message``.

    Raises
    ------
    ValueError
        If arguments don't fit, `out` is another sweep, or no point gives a result.
    BlockingIOError
        If another process computes on `out`, or on the same part of it or the whole.
    OSError
        If `out` can't be written.

    Examples
    --------
    >>> import ctebm
    >>> def settled(w, b):
    ...     pair = ctebm.DenseNetwork([[0, w], [w, 0]], [b, b], ctebm.Tanh())
    ...     return {"state": ctebm.settle(pair).state[0]}
    >>> found = ctebm.sweep(settled, grid={"w": [0.5, 1.0, 1.5], "b": [0.0, 0.1]})
    >>> dict(found.sizes), int(found.status.min())
    ({'w': 3, 'b': 2}, 1)
    """
    asked = asked_points(grid, points)
    check_function(function)
    check_numbers(workers=workers, tile_points=tile_points, threads=threads)
    check_who(workers, scheduler, slurm)
    check_part(part)
    names = check_together(asked, together)
    for name, value in (("retry_failed", retry_failed), ("quiet", quiet)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {type(value).__name__}.")
    with ExitStack() as held:
        if out is None:
            folder = held.enter_context(TemporaryDirectory())
            path = Path(folder, "sweep.zarr")
        else:
            path = store_path(out).absolute()
        who = who_computes(workers, scheduler, slurm)
        run_sweep(
            function, asked, path, who, part=part, retry_failed=retry_failed,
            tile_points=tile_points, threads=threads, quiet=quiet, together=names,
        )  # fmt: skip
        dataset = open_dataset(path)
        _warn_of_failures(dataset)
        return dataset.load() if out is None else dataset


def run_sweep(
    function: Callable[..., Any],
    points: Points,
    path: Path,
    who: Any,
    *,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    tile_points: int | None = None,
    threads: int = 1,
    quiet: bool = True,
    settings: Mapping[str, Any] | None = None,
    history: str = "",
    dry_run: bool = False,
    together: tuple[str, ...] = (),
) -> SweepPlan | None:
    """Compute what is missing in the store of a sweep, which is made if it is not there.

    Parameters
    ----------
    function, part, retry_failed, tile_points, threads, quiet, together
        As in :func:`sweep`.
    points : Points
        Where.
    path : Path
        The store.
    who : context manager
        Yields the :class:`~ctebm.sweeps.workers.Workers` that compute.
    settings : mapping, optional
        What else the results depend on.
    history : str
        The command.
    dry_run : bool
        Only plan.

    Returns
    -------
    SweepPlan or None
        None where the store was there.
    """
    path = path.absolute()  # the function may go to another folder
    what = identity(function, points, threads, settings or {})
    if together:
        what["together"] = ", ".join(together)
    redo = (MISSING, FAILED, KILLED) if retry_failed else (MISSING,)
    job = Job(path, points, None, pickled(function), threads, redo, together)
    there = path.exists()
    if there:
        check_replaceable(path)
        _check_whole(path)
        check_same_sweep(path, what)
        if tile_points is not None:
            check_same_tiles(path, tile_points, shared(points, together))
    with nullcontext() if dry_run else driving(path, part), who as workers:
        progress = SweepProgress(len(points), quiet=quiet)
        if workers.address:
            progress.say(f"dask: {workers.address}")
        plan = None
        known: dict[int, tuple[Any, str]] = {}
        if there and not dry_run:
            sweep_tiles(path)
            form = open_store(path).form()
        else:
            plan = planned(job, workers, tile_points)
            if dry_run:
                return replace(plan, **_left(path, redo)) if there else plan
            form, known = plan.form, plan.known
            try:
                create_store(path, points, form, plan.tiling.block, what, history)
            except FileExistsError:  # another part of the same sweep was faster
                check_same_sweep(path, what)
            except OSError as error:
                raise OSError(
                    f"can't make {path} ({error.strerror or error}); name a store in a folder "
                    "that you can write to, on a disk with room."
                ) from error
        _compute(job, form, workers, known, part, progress)
    return plan


def _check_whole(path: Path) -> None:
    """Refuse a store that is damaged where no tile could be computed again."""
    open_store(path)
    try:
        sentence = next(shared_damages(path), None)
    except ValueError as error:
        sentence = str(error)
    if sentence:
        raise ValueError(
            f"{path} can't go on, since {sentence}; restore a copy, or name another store."
        )


def _left(path: Path, redo: tuple[int, ...]) -> dict[str, Any]:
    """Return tiles of a store that is there, and how many of its points need no more work."""
    store = open_store(path)
    return {"tiling": store.tiling, "n_done": int((~np.isin(store.status(), redo)).sum())}


def _compute(
    job: Job, form: Form, workers: Workers, known: dict[int, tuple[Any, str]],
    part: tuple[int, int] | None, progress: SweepProgress,
) -> None:  # fmt: skip
    store = open_store(job.path)
    job = replace(job, form=form)
    status = store.status()
    progress.done = int((~np.isin(status, job.redo)).sum())
    tiles = store.unfinished(job.redo)
    if part is not None:
        tiles = tiles[tiles % part[1] == part[0] % part[1]]
    with progress, interrupts() as check:
        for n in workers.compute(job, tiles, known):
            progress.advance(n)
            check()


def who_computes(
    workers: int | None, scheduler: str | None = None, slurm: Mapping[str, str] | None = None
) -> Any:
    """Return the context that yields who computes: this process, or workers of dask.

    Parameters
    ----------
    workers, scheduler, slurm
        As in :func:`sweep`.
    """
    if workers is None and scheduler is None and slurm is None:
        return nullcontext(serial())
    return with_client(workers, scheduler, slurm)


def _warn_of_failures(dataset: xr.Dataset) -> None:
    bad = np.flatnonzero(np.isin(dataset.status.values, (FAILED, KILLED)))
    if bad.size:
        first = str(dataset.message.values.ravel()[bad[0]])
        warnings.warn(
            f"{bad.size} of {dataset.status.size} points failed; the first says: {first}",
            stacklevel=3,
        )
