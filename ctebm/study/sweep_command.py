"""``python studies/NAME.py sweep``: a study over its settings, on a core or a cluster.

``sweep --grid gain=0.25:3:12 --replicates 20 --out results/x.zarr`` begins or goes on;
``sweep status``, ``verify``, ``export`` and ``report`` take the path of the store.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctebm.study.axes import grid_axes, seed_axis, table_rows
from ctebm.study.command_line import read_settings
from ctebm.study.flags import Parser
from ctebm.study.settings import Settings
from ctebm.study.swept import StudyPoint, check_first_and_last

if TYPE_CHECKING:
    import xarray as xr

    from ctebm.sweeps.points import Points

__all__ = ["sweep_command"]

_LISTED = 20  # failed points that are printed; the dataset has all
_EXAMPLE = "sweep --grid gain=0.25:3:12 --replicates 20 --out results/x.zarr --workers 4"


def sweep_command(
    settings_type: type[Settings],
    run: Callable[..., Any],
    judge: Callable[..., Any],
    words: list[str],
) -> int:
    """Run what follows the word ``sweep`` on a study's command line; return the exit code.

    0 if every point is done and every claim holds at every point, 1 if a claim fails somewhere,
    3 if points failed. ``verify`` returns 1 if something is damaged.

    Parameters
    ----------
    settings_type : type
        Of the study.
    run, judge : callable
        Of the study.
    words : list of str
        What follows.

    Raises
    ------
    ValueError, OSError
        For a mistake, as one sentence.
    """
    study = settings_type, run, judge
    commands = {"status": _status, "verify": _verify, "export": _export, "report": _html}
    if words and words[0] in commands:
        return commands[words[0]](study, words[1:])
    given, rest = _parser().parse_known_args(words)
    return _sweep(study, given, rest)


def _parser() -> Parser:
    parser = Parser(
        prog=f"python {sys.argv[0]} sweep",
        usage="%(prog)s [flags] [flags of the study]  |  status|verify|export|report PATH",
        description="Sweep a study over its settings; a sweep that is there goes on.",
        epilog=f"Example: python {sys.argv[0]} {_EXAMPLE}",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="an axis: a setting and its values, as gain=0.25:3:12 or eps=0.5,0.1",
    )
    add("--table", type=Path, help="points one by one: a CSV file with a column a setting")
    add("--replicates", type=int, metavar="N", help="N seeds, from --seed on")
    add("--out", type=Path, metavar="PATH.zarr", help="the store")
    add(
        "--keep",
        nargs="+",
        default=[],
        metavar="NAME",
        help="variables of the study's dataset to keep beside its verdicts",
    )
    add("--workers", type=int, metavar="N", help="processes of this machine, or jobs of SLURM")
    add("--scheduler", metavar="ADDRESS", help="a dask scheduler whose workers compute")
    add("--slurm", nargs="*", metavar="KEY=VALUE", help="jobs of SLURM, as queue=main memory=4GB")
    add("--tiles", metavar="I/N", help="every N-th tile from I on, for an array of jobs")
    add("--tile-points", type=int, metavar="N", help="points computed and written together")
    add("--resume", action="store_true", help="go on with OUT, whose settings are read from it")
    add("--retry-failed", action="store_true", help="compute points that failed again")
    add("--dry-run", action="store_true", help="say points, tiles, bytes and time, and stop")
    return parser  # fmt: skip


def _sweep(study: tuple[Any, Any, Any], given: argparse.Namespace, rest: list[str]) -> int:
    from ctebm.sweeps.points import Points

    out = _out(given)
    if given.resume:
        if given.grid or given.table or given.replicates or given.keep or rest:
            raise ValueError("--resume reads all settings from OUT; leave the others out.")
        point, points = _there(study, out)
    else:
        settings = read_settings(study[0], rest)
        axes = grid_axes(study[0], given.grid)
        if given.replicates is not None:
            if "seed" in axes:
                raise ValueError("--replicates and --grid seed=... are one axis; give one of them.")
            axes |= seed_axis(settings.seed, given.replicates)
        if not axes and given.table is None:
            raise ValueError(f"a sweep needs --grid, --table or --replicates, as in: {_EXAMPLE}")
        point = StudyPoint.of(settings, study[1], study[2], given.keep)
        points = Points.grid(axes) if axes else None
        if given.table is not None:
            table = Points.table(table_rows(study[0], given.table))
            points = table if points is None else table.times(points)
        assert points is not None
        check_first_and_last(point, points)
    return _run(point, points, out, given)


def _run(point: StudyPoint, points: Points, out: Path, given: argparse.Namespace) -> int:
    from ctebm.sweeps.run import run_sweep, who_computes

    if given.scheduler and (given.workers or given.slurm is not None):
        raise ValueError("--scheduler has its own workers; leave --workers and --slurm out.")
    who = who_computes(given.workers, given.scheduler, _pairs(given.slurm))
    try:
        plan = run_sweep(
            point, points, out, who, part=_part(given.tiles), retry_failed=given.retry_failed,
            tile_points=given.tile_points, threads=point.base["threads"], quiet=False,
            settings={}, history=shlex.join(sys.argv), dry_run=given.dry_run,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("what is finished is kept; the same command goes on", file=sys.stderr)
        raise
    if given.dry_run:
        print(plan)
        return 0
    return _summary(out)


def _summary(out: Path) -> int:
    """Print how a sweep stands; return its exit code."""
    from ctebm.files.results import open as open_dataset

    with open_dataset(out) as dataset:
        code = _report(dataset)
    print(f"wrote {out}")
    return code


def _report(dataset: xr.Dataset) -> int:
    import numpy as np

    from ctebm.figures.sweeps import claims

    status = dataset.status.values.ravel()
    counts = [f"{int((status == 1).sum())} of {status.size} points are done"]
    if missing := int((status == 0).sum()):
        counts.append(f"{missing} are not computed")
    failed = np.flatnonzero(status > 1)
    if failed.size:
        counts.append(f"{failed.size} failed")
    broken = 0
    if "holds" in dataset and (status == 1).any():
        for text, one in claims(dataset).items():
            made, held = int(one.holds.notnull().sum()), int(one.holds.sum())
            if made:
                print(f"{text}: holds at {held} of {made} points")
                broken += held < made
    print(", ".join(counts))
    for i in failed[:_LISTED]:
        where = np.unravel_index(i, dataset.status.shape)
        at = dataset.status[where].coords
        order = sorted(at, key=lambda name: (name not in dataset.status.dims, str(name)))
        point = ", ".join(f"{name}={at[name].values}" for name in order if at[name].ndim == 0)
        print(f"failed: {point}: {dataset.message.values[where]}", file=sys.stderr)
    if failed.size > _LISTED:
        print(f"and {failed.size - _LISTED} more; `message` has all", file=sys.stderr)
    return 3 if failed.size else 1 if broken else 0


def _status(study: tuple[Any, Any, Any], words: list[str]) -> int:
    parser = Parser(prog="sweep status", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    path = parser.parse_args(words).path
    import numpy as np

    from ctebm.sweeps.store import open_store

    counts = np.bincount(open_store(path).status().ravel(), minlength=4)
    names = ("not computed", "done", "failed", "ended their worker")
    print(", ".join(f"{n} {name}" for n, name in zip(counts, names, strict=True)))
    return 3 if counts[2:].sum() else 0


def _verify(study: tuple[Any, Any, Any], words: list[str]) -> int:
    parser = Parser(prog="sweep verify", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    parser.add_argument("--repair", action="store_true")
    given = parser.parse_args(words)
    from ctebm.sweeps.verification import forget_damaged, verify_sweep

    if given.repair:
        point, points = _there(study, given.path)  # before anything is forgotten
        found = forget_damaged(given.path)
    else:
        point, points = None, None
        found = verify_sweep(given.path)
    for damage in found:
        print(damage.sentence)
    if not found:
        print("nothing is damaged")
        return 0
    if point is None or points is None:
        print(f"{len(found)} damaged; --repair computes their points again")
        return 1
    from ctebm.sweeps.run import run_sweep, who_computes

    run_sweep(point, points, given.path, who_computes(None), threads=point.base["threads"])
    return _summary(given.path)


def _export(study: tuple[Any, Any, Any], words: list[str]) -> int:
    parser = Parser(prog="sweep export", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    parser.add_argument("out", type=Path, metavar="OUT.nc")
    given = parser.parse_args(words)
    from ctebm.files.results import open as open_dataset
    from ctebm.files.results import save

    with open_dataset(given.path) as dataset:
        save(dataset.load(), given.out)
    print(f"wrote {given.out}")
    return 0


def _html(study: tuple[Any, Any, Any], words: list[str]) -> int:
    parser = Parser(prog="sweep report", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.html")
    given = parser.parse_args(words)
    from ctebm.sweeps.report import write_report

    out = given.out or given.path.with_suffix(".html")
    write_report(given.path, out)
    print(f"wrote {out}")
    return 0


def _there(study: tuple[Any, Any, Any], path: Path) -> tuple[StudyPoint, Points]:
    """Return the study and the points of a sweep that is there."""
    from ctebm.sweeps.store import open_store

    store = open_store(path)
    return StudyPoint.again(*study, store.description["identity"]), store.points()


def _out(given: argparse.Namespace) -> Path:
    if given.out is None or given.out.suffix != ".zarr":
        raise ValueError(f"--out names the store of a sweep, such as results/x.zarr, "
                         f"got {given.out}.")  # fmt: skip
    return given.out


def _pairs(words: list[str] | None) -> dict[str, str] | None:
    if words is None:
        return None
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise ValueError(f"--slurm takes KEY=VALUE, such as queue=main, got {bad[0]!r}.")
    return {name: value for name, _, value in pairs}


def _part(word: str | None) -> tuple[int, int] | None:
    if word is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", word)
    if not found or int(found[2]) < 1 or int(found[1]) > int(found[2]):
        raise ValueError(f"--tiles takes I/N, such as 3/100, got {word!r}.")
    return int(found[1]), int(found[2])
