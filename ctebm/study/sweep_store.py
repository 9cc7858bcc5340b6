"""The store of a study's sweep: how it stands, what is damaged in it, and what is made of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctebm.study.flags import Parser
from ctebm.study.settings import Settings
from ctebm.study.swept import StudyPoint

if TYPE_CHECKING:
    import xarray as xr

    from ctebm.sweeps.points import Points

__all__ = ["COMMANDS", "summary", "there"]

Study = tuple[type[Settings], Callable[..., Any], Callable[..., Any]]

_LISTED = 20  # failed points that are printed; the dataset has all


def summary(out: Path) -> int:
    """Print how a sweep stands; return its exit code.

    Parameters
    ----------
    out : Path
        The store.
    """
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


def _status(study: Study, words: list[str]) -> int:
    parser = Parser(prog="sweep status", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    path = parser.parse_args(words).path
    import numpy as np

    from ctebm.sweeps.store import open_store

    counts = np.bincount(open_store(path).status().ravel(), minlength=4)
    names = ("not computed", "done", "failed", "ended their worker")
    print(", ".join(f"{n} {name}" for n, name in zip(counts, names, strict=True)))
    return 3 if counts[2:].sum() else 0


def _verify(study: Study, words: list[str]) -> int:
    parser = Parser(prog="sweep verify", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    parser.add_argument("--repair", action="store_true")
    given = parser.parse_args(words)
    from ctebm.sweeps.verification import forget_damaged, verify_sweep

    if given.repair:
        point, points = there(study, given.path)  # before anything is forgotten
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
    return summary(given.path)


def _export(study: Study, words: list[str]) -> int:
    parser = Parser(prog="sweep export", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    parser.add_argument("out", type=Path, metavar="OUT.nc")
    parser.add_argument("--overwrite", action="store_true")
    given = parser.parse_args(words)
    from ctebm.files.results import open as open_dataset
    from ctebm.files.results import save

    if given.out.suffix != ".nc":
        raise ValueError(f"sweep export writes one .nc file, got {str(given.out)!r}.")
    if given.out.exists() and not given.overwrite:
        raise FileExistsError(f"{given.out} exists and is kept; pass --overwrite to replace it.")
    with open_dataset(given.path) as dataset:
        save(dataset.load(), given.out, given.overwrite)
    print(f"wrote {given.out}")
    return 0


def _html(study: Study, words: list[str]) -> int:
    parser = Parser(prog="sweep report", allow_abbrev=False)
    parser.add_argument("path", type=Path)
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.html")
    given = parser.parse_args(words)
    from ctebm.sweeps.report import write_report

    out = given.out or given.path.with_suffix(".html")
    write_report(given.path, out)
    print(f"wrote {out}")
    return 0


def there(study: Study, path: Path) -> tuple[StudyPoint, Points]:
    """Return the study and the points of a sweep that is there.

    Parameters
    ----------
    study : tuple
        Settings, `run` and `judge` of the study.
    path : Path
        The store.
    """
    from ctebm.sweeps.store import open_store

    store = open_store(path)
    return StudyPoint.again(*study, store.description["identity"]), store.points()


COMMANDS = {"status": _status, "verify": _verify, "export": _export, "report": _html}
"""What follows ``sweep``, and what it does with the study and the words behind it."""
