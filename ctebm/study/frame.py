"""The frame that every script in ``studies/`` fills in, and its command line.

A study is a frozen dataclass of settings and three functions: `run` computes a dataset, `judge`
holds its claims against the numbers, `draw` shows them. :func:`main` reads the settings (defaults,
then a TOML file, then flags), refuses bad ones before anything is computed, writes ``OUT.nc``,
``OUT.png`` and, if asked, ``OUT.pdf``, and prints the verdicts. Figures are never beside data that
they don't show: old ones go before new data come. ``draw FILE.nc`` makes them again. Exit codes:

=== =====================================================================
0   every claim holds
1   a claim that must hold fails
2   bad settings or input; nothing is written
3   some points failed, recorded in the dataset's attribute ``n_failed``
130 interrupted; no file is half-written
=== =====================================================================

torch is imported once the settings are known, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from ctebm.study.command_line import as_toml, read_settings
from ctebm.study.outputs import FIGURES, claimed, save_dataset, save_figure, study_name
from ctebm.study.progress import Progress
from ctebm.study.settings import Settings, check_device
from ctebm.study.sweep_command import sweep_command
from ctebm.study.verdict import Verdict, verdict_table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["main"]

S = TypeVar("S", bound="Settings")


def main(
    settings_type: type[S],
    *,
    run: Callable[[S, Progress], xr.Dataset],
    draw: Callable[[xr.Dataset], Figure],
    judge: Callable[[xr.Dataset], list[Verdict]],
    args: Sequence[str] | None = None,
) -> int:
    """Run a study from its command line and return its exit code.

    A ValueError, OSError or MemoryError of `run` is taken as a mistake in the settings or input,
    and printed as one sentence; ``python -X dev`` shows where it came from. Any other exception is
    a bug and keeps its traceback.

    Parameters
    ----------
    settings_type : type
        A frozen dataclass, subclass of :class:`Settings`; a field is a flag, its docstring the
        help. A ValueError of its ``__post_init__`` is printed as bad settings.
    run : callable
        Computes the dataset. Sets the attribute ``n_failed`` if some points failed.
    draw : callable
        Draws the figure from the dataset alone.
    judge : callable
        Returns the verdicts from the dataset alone.
    args : sequence of str, optional
        The words of the command line; those of the process if None. ``draw FILE.nc`` draws the
        figure of a result again, with ``--pdf`` as a PDF too, in place of those beside it.
        ``sweep`` sweeps the study over its settings, see :mod:`ctebm.study.sweep_command`.

    Returns
    -------
    int
        The exit code, as in the table of :mod:`ctebm.study.frame`.

    Examples
    --------
    >>> from ctebm import study
    >>> study.main(study.Settings, run=..., draw=..., judge=..., args=["--print-config"])
    out = "results/settings"
    overwrite = false
    ...
    threads = 1
    0
    """
    words = list(sys.argv[1:] if args is None else args)
    with open(os.devnull, "w") as nowhere:  # in place of streams that the caller closed
        streams = (sys.stdout or nowhere, sys.stderr or nowhere)
        out, err = (typing.cast(TextIO, _Unbroken(stream)) for stream in streams)
        return _spoken(settings_type, run, draw, judge, words, out, err)


def _spoken(
    settings_type: type[S],
    run: Callable[[S, Progress], xr.Dataset],
    draw: Callable[[xr.Dataset], Figure],
    judge: Callable[[xr.Dataset], list[Verdict]],
    words: list[str],
    out: TextIO,
    err: TextIO,
) -> int:
    with redirect_stdout(out), redirect_stderr(err):
        try:
            with ExitStack() as held:
                return _main(settings_type, run, draw, judge, words, held)
        except _Refusal as refusal:
            print(f"error: {refusal}", file=err)
            return 2
        except KeyboardInterrupt:
            print("interrupted; no file is half-written", file=err)
            return 130
        finally:
            out.flush()
            err.flush()


def _main(
    settings_type: type[S],
    run: Callable[[S, Progress], xr.Dataset],
    draw: Callable[[xr.Dataset], Figure],
    judge: Callable[[xr.Dataset], list[Verdict]],
    words: list[str],
    held: ExitStack,
) -> int:
    if words[:1] == ["draw"]:
        return _draw_again(settings_type, draw, words[1:], held)
    if words[:1] == ["sweep"]:
        with _mistakes_in_one_sentence():
            return sweep_command(settings_type, run, judge, words[1:])
    with _mistakes_in_one_sentence():
        settings = read_settings(settings_type, words)
        if settings.print_config:
            print(as_toml(settings), end="")
            return 0
        held.enter_context(claimed(settings))
        _set_up_torch(settings)
        dataset = run(settings, Progress())
    verdicts: list[Verdict] = []
    try:
        verdicts = judge(dataset)
    finally:  # a bug in the judge doesn't cost the computation
        with _mistakes_in_one_sentence():
            save_dataset(dataset, verdicts, settings, shlex.join([*sys.argv[:1], *words]))
    if settings.figure:
        figure = draw(dataset)
        with _mistakes_in_one_sentence():
            save_figure(figure, settings.stem, settings.pdf)
    print(verdict_table(verdicts))
    print("wrote " + ", ".join(str(settings.output(suffix)) for suffix in settings.suffixes))
    n_failed = int(dataset.attrs.get("n_failed", 0))
    if n_failed:
        print(f"{n_failed} points failed; the dataset says which", file=sys.stderr)
    if any(v.must_hold and not v.ok for v in verdicts):
        return 1
    return 3 if n_failed else 0


def _draw_again(
    settings_type: type[Settings],
    draw: Callable[[xr.Dataset], Figure],
    words: list[str],
    held: ExitStack,
) -> int:
    """Draw a result that is there, without computing anything."""
    from ctebm.files.lock import locked
    from ctebm.files.results import check_replaceable
    from ctebm.files.results import open as open_dataset

    name = study_name(settings_type)
    with _mistakes_in_one_sentence():
        files = [word for word in words if word != "--pdf"]
        if len(files) != 1:
            raise ValueError(f"draw takes one result, such as draw results/{name}.nc, got {files}.")
        path = Path(files[0])
        for suffix in FIGURES:
            check_replaceable(path.with_suffix(suffix))
        if path.exists():  # else opening says so
            held.enter_context(locked(path))
        with open_dataset(path) as dataset:
            dataset.load()
        made_by, swept = dataset.attrs.get("study"), "ctebm_sweep" in dataset.attrs
        if made_by != name:
            raise ValueError(f"{path} is a result of {made_by or 'no study'}, not of {name}.")
    pdf = "--pdf" in words or path.with_suffix(".pdf").exists()
    with _mistakes_in_one_sentence() if swept else nullcontext():
        figure = _sweep_figure(dataset) if swept else draw(dataset)
    with _mistakes_in_one_sentence():
        save_figure(figure, path.with_suffix(""), pdf)
    print("wrote " + ", ".join(str(path.with_suffix(suffix)) for suffix in FIGURES[: 1 + pdf]))
    return 0


def _sweep_figure(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.sweeps import sweep_figure

    return sweep_figure(dataset)


def _set_up_torch(settings: Settings) -> None:
    import torch

    check_device(settings.device)
    torch.set_num_threads(settings.threads)


class _Refusal(Exception):
    """A mistake of the user's, as one sentence."""


@contextmanager
def _mistakes_in_one_sentence() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, MemoryError) as error:
        if sys.flags.dev_mode:
            raise
        text = str(error)
        if isinstance(error, MemoryError):
            text = f"this does not fit the memory ({text or 'no room'}); ask for less."
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        raise _Refusal(" ".join(text.split()) or type(error).__name__) from error


class _Unbroken:
    """A text stream that falls silent when its reader is gone, as in ``| head -1``.

    Letters that its encoding lacks become question marks.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self._stream.write(text.encode(encoding, "replace").decode(encoding))
        except BrokenPipeError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
