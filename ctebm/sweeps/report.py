"""The report of a sweep: one HTML file that needs no other."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ctebm.figures.sweeps import claims, inline_svg, sweep_figure
from ctebm.files.replacement import replacing
from ctebm.files.results import open as open_dataset
from ctebm.sweeps.store import DONE, MISSING, open_store

__all__ = ["report_html", "write_report"]

_LISTED = 1000  # failed points; the store has all
_BEGIN = "<!doctype html><html lang=en><head>"  # of every report
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .15rem .8rem .15rem 0;
border-bottom: 1px solid #ccc; vertical-align: top; } pre { background: #f4f4f4; padding: .6rem;
overflow-x: auto; } svg { max-width: 100%; height: auto; }
"""


def write_report(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write a sweep's report: figure, claims, failed points, settings, versions, command.

    Parameters
    ----------
    path : path
        The store.
    out : path
        Ends in ``.html``; a report that is there is replaced.

    Raises
    ------
    ValueError
        If `path` is no sweep, or something else than a report is at `out`.
    OSError
        If `out` can't be written.

    Examples
    --------
    >>> import ctebm, tempfile
    >>> from pathlib import Path
    >>> from ctebm.sweeps.report import write_report
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = f"{folder}/x.zarr"
    ...     _ = ctebm.sweep(lambda a: {"twice": 2 * a}, grid={"a": [1, 2, 3]}, out=out).load()
    ...     write_report(out, f"{folder}/x.html")
    ...     "3 of 3 points are done" in Path(folder, "x.html").read_text()
    True
    """
    store = open_store(Path(path))
    out = Path(out)
    _check_replaceable(out)
    with open_dataset(store.path) as dataset:
        text = report_html(dataset.load())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"can't write {out} ({error.strerror or error}); name a file in a folder that you can "
            "write to, on a disk with room."
        ) from error


def _check_replaceable(out: Path) -> None:
    """Refuse to replace what is no report."""
    if out.suffix != ".html":
        raise ValueError(f"a report's name ends in .html, got {str(out)!r}.")
    if os.path.lexists(out):
        beginning = out.read_bytes()[: len(_BEGIN)] if out.is_file() else b"another"
        if beginning not in (b"", _BEGIN.encode()):
            raise ValueError(f"{out} is not a report and is kept; choose another name.")


def report_html(dataset: xr.Dataset) -> str:
    """Return the report of a sweep as HTML, in which nothing of the dataset is markup.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of a sweep.
    """
    status, attrs = dataset.status.values.ravel(), dataset.attrs
    identity = json.loads(attrs["ctebm_sweep"])["identity"]
    done, missing = int((status == DONE).sum()), int((status == MISSING).sum())
    title = f"{identity['function']}: {attrs['title']}"
    counts = f"{done} of {status.size} points are done, {missing} are not computed, "
    counts += f"{status.size - done - missing} failed."
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(counts)}</p>", _figure(dataset)]
    if "claim_text" in dataset:
        parts += ["<h2>Claims</h2>", _table(("claim", "mean", "holds"), _claims(dataset))]
    if failed := _failed(dataset):
        parts += ["<h2>Points that failed</h2>", _table(("point", "message"), failed[:_LISTED])]
        if len(failed) > _LISTED:
            parts.append(f"<p>And {len(failed) - _LISTED} more.</p>")
    parts += ["<h2>Points</h2>", _table(("setting", "values"), identity["points"].items())]
    given = identity.get("arguments", identity["settings"])
    if isinstance(given, Mapping):
        fixed = [row for row in _flat(given) if row[0].rpartition(".")[2] not in identity["points"]]
        parts += ["<h2>Settings</h2>", _table(("setting", "value"), fixed)]
    versions = [(k, v) for k, v in attrs.items() if k.endswith("_version")]
    versions += [(k, attrs[k]) for k in ("git_commit", "created", "threads") if k in attrs]
    parts += ["<h2>Versions</h2>", _table(("what", "version"), versions)]
    if command := attrs.get("history"):
        parts += ["<h2>To repeat it</h2>", f"<pre>python {escape(str(command))}</pre>"]
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"{_BEGIN}{head}</head><body>{''.join(parts)}</body></html>\n"


def _figure(dataset: xr.Dataset) -> str:
    try:
        return inline_svg(sweep_figure(dataset))
    except ValueError as error:
        return f"<p>{escape(str(error))}</p>"


def _claims(dataset: xr.Dataset) -> Iterable[Sequence[Any]]:
    for text, one in claims(dataset).items():
        made, held = int(one.holds.notnull().sum()), int(one.holds.sum())
        words = f"at {held} of {made} points" if made else "reported"
        yield text, f"{float(one.value.mean()):.3g}", words


def _failed(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Return where and why points failed."""
    names = {name: dataset[name] for name in json.loads(dataset.attrs["ctebm_sweep"])["names"]}
    found = []
    for place in np.argwhere(~np.isin(dataset.status.values, (MISSING, DONE))):
        at = dict(zip(dataset.status.dims, place, strict=True))
        values = [f"{n}={v.values[at[v.dims[0]]]}" for n, v in names.items()]
        found.append((shlex.join(values), str(dataset.message.values[tuple(place)])))
    return found


def _flat(given: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, "" if name == "settings" else f"{before}{name}.")
        else:
            yield f"{before}{name}", " ".join(map(str, value)) if isinstance(value, list) else value


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table><tr>{cells}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
