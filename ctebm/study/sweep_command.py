"""``python studies/NAME.py sweep``: a study over its settings, on a core or a cluster.

``sweep --grid gain=0.25:3:12 --replicates 20 --out results/x.zarr`` begins or goes on;
``sweep status``, ``verify``, ``export`` and ``report`` take the path of the store.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctebm.study.activations import suggest
from ctebm.study.axes import grid_axes, seed_axis, table_rows
from ctebm.study.command_line import read_settings
from ctebm.study.flags import Parser, argument_of, unmistakable
from ctebm.study.settings import Settings
from ctebm.study.sweep_store import COMMANDS, summary, there
from ctebm.study.swept import StudyPoint, check_first_and_last

if TYPE_CHECKING:
    from ctebm.sweeps.points import Points

__all__ = ["sweep_command"]

_SINGLE = ("overwrite", "figure", "pdf", "print_config")  # settings that no sweep reads
_NUMBER: dict[str, Any] = argument_of(int) | {"metavar": "N"}
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
    if words and not words[0].startswith("-"):
        if words[0] not in COMMANDS:
            raise ValueError(f"sweep {words[0]!r}: {suggest(words[0], COMMANDS)}.")
        return COMMANDS[words[0]](study, words[1:])
    given, rest = _parser().parse_known_args(unmistakable(words))
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
    add("--replicates", **_NUMBER, help="N seeds, from --seed on")
    add("--out", type=Path, metavar="PATH.zarr", help="the store")
    add(
        "--keep",
        nargs="+",
        default=[],
        metavar="NAME",
        help="variables of the study's dataset to keep beside its verdicts",
    )
    add("--workers", **_NUMBER, help="processes of this machine, or jobs of SLURM")
    add("--scheduler", metavar="ADDRESS", help="a dask scheduler whose workers compute")
    add("--slurm", nargs="*", metavar="KEY=VALUE", help="jobs of SLURM, as queue=main memory=4GB")
    add("--tiles", metavar="I/N", help="every N-th tile from I on, for an array of jobs")
    add("--tile-points", **_NUMBER, help="points computed and written together")
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
        point, points = there(study, out)
    else:
        settings = read_settings(study[0], rest)
        axes = grid = grid_axes(study[0], given.grid)
        if given.replicates is not None:
            if "seed" in axes:
                raise ValueError("--replicates and --grid seed=... are one axis; give one of them.")
            axes = axes | seed_axis(settings.seed, given.replicates)
        rows = [] if given.table is None else table_rows(study[0], given.table)
        _refuse_ignored(settings, rest, [*grid, *(rows[0] if rows else ())])
        if not axes and given.table is None:
            raise ValueError(f"a sweep needs --grid, --table or --replicates, as in: {_EXAMPLE}")
        point = StudyPoint.of(settings, study[1], study[2], given.keep)
        points = Points.grid(axes) if axes else None
        if given.table is not None:
            table = Points.table(rows)
            points = table if points is None else table.times(points)
        assert points is not None
        check_first_and_last(point, points)
    return _run(point, points, out, given)


def _run(point: StudyPoint, points: Points, out: Path, given: argparse.Namespace) -> int:
    from ctebm.sweeps.request import check_numbers, check_who
    from ctebm.sweeps.run import run_sweep, who_computes

    slurm = _pairs(given.slurm)
    check_numbers(workers=given.workers, tile_points=given.tile_points)
    if given.scheduler is not None and (given.workers or slurm is not None):
        raise ValueError("--scheduler has its own workers; leave --workers and --slurm out.")
    check_who(given.workers, given.scheduler, slurm)
    who = who_computes(given.workers, given.scheduler, slurm)
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
    return summary(out)


def _refuse_ignored(settings: Settings, rest: list[str], varied: Collection[str]) -> None:
    """Refuse flags that a sweep would not read."""
    if getattr(settings, "checkpoint", None) is not None:
        raise ValueError("--checkpoint holds one run; a sweep keeps its points in its store.")
    for word in rest:
        flag = word.partition("=")[0]
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        if name in _SINGLE and flag.startswith("--"):
            raise ValueError(f"{flag} is for a single run; leave it out of a sweep.")
        if name in varied and flag.startswith("--"):
            raise ValueError(f"{flag} would have no effect, since {name} varies; leave it out.")


def _out(given: argparse.Namespace) -> Path:
    if given.out is None or given.out.suffix != ".zarr":
        raise ValueError(f"--out names the store of a sweep, such as results/x.zarr, "
                         f"got {given.out or 'none'}.")  # fmt: skip
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
