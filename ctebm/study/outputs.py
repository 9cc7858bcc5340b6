"""What a study writes: a dataset and its figures, which are never those of other data."""

from __future__ import annotations

import dataclasses
import inspect
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ctebm.study.settings import HOUSEKEEPING, SUFFIXES, Settings
from ctebm.study.verdict import Verdict

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "claimed", "save_dataset", "save_figure", "study_name"]

FIGURES = (".png", ".pdf")


def study_name(settings_type: type[Settings]) -> str:
    """Return the name of the study that has these settings: that of its file.

    Examples
    --------
    >>> from ctebm.study import Settings
    >>> from ctebm.study.outputs import study_name
    >>> study_name(Settings)
    'settings'
    """
    return Path(inspect.getfile(settings_type)).stem


@contextmanager
def claimed(settings: Settings) -> Iterator[None]:
    """Hold the place of the results, so that they can be written once they are computed.

    Parameters
    ----------
    settings : Settings
        Say where.

    Raises
    ------
    OSError
        If they can't be written there, something is there that must not be replaced, or another
        study is about to write there.
    ValueError
        If what would be replaced is no result.
    """
    from ctebm.files.lock import locked

    _refuse_taken(settings)
    _try_folder(settings.stem.parent)
    with locked(settings.output(".nc")):
        yield


def _refuse_taken(settings: Settings) -> None:
    from ctebm.files.results import check_replaceable

    for path in map(settings.output, SUFFIXES):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; choose another --out.")
        if path.exists() and not settings.overwrite:
            raise FileExistsError(
                f"{path} exists and is kept; give --overwrite to replace it, or another --out."
            )
        check_replaceable(path)


def _try_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise OSError(
            f"can't write to the folder {folder} ({reason}); choose another --out."
        ) from (error)


def save_dataset(
    dataset: xr.Dataset, verdicts: list[Verdict], settings: Settings, history: str
) -> None:
    """Write the dataset, with where it came from; figures of the one before go as it comes.

    Parameters
    ----------
    dataset : xarray.Dataset
        Gets the attributes.
    verdicts : list of Verdict
        Kept with it.
    settings : Settings
        That it was computed with.
    history : str
        The command line.
    """
    from ctebm.dataset import provenance
    from ctebm.files.results import saving

    kept = {k: v for k, v in dataclasses.asdict(settings).items() if k not in HOUSEKEEPING}
    dataset.attrs |= provenance(
        settings=kept,
        seed=settings.seed,
        device=settings.device,
        dtype=settings.dtype,
        threads=settings.threads,
    )
    dataset.attrs["study"] = study_name(type(settings))
    dataset.attrs["history"] = history
    dataset.attrs["verdicts"] = json.dumps([v.to_record() for v in verdicts])
    with saving(dataset, settings.output(".nc"), overwrite=settings.overwrite):
        for suffix in FIGURES if settings.overwrite else ():
            settings.output(suffix).unlink(missing_ok=True)  # of the data that now go


def save_figure(figure: Figure, stem: Path, pdf: bool = False) -> None:
    """Save a figure without dates or versions, so that equal figures are equal files.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to save.
    stem : Path
        Of the files, which end in ``.png`` and ``.pdf``.
    pdf : bool
        Write the second one too.
    """
    from ctebm.files.replacement import replacing

    with replacing(stem.with_name(stem.name + ".png")) as aside:
        figure.savefig(aside, format="png", dpi=200, metadata={"Software": None})
    if pdf:
        with replacing(stem.with_name(stem.name + ".pdf")) as aside:
            undated = {"CreationDate": None, "Creator": None, "Producer": None}
            figure.savefig(aside, format="pdf", metadata=undated)
