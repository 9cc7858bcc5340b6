"""A file or folder that takes the place of another: whole or not at all, whatever stops it.

What is new is written under a hidden name beside its place and renamed. The hidden name says
which process writes it, so that what a killed process left is swept by the next one that writes
there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ctebm.files.process import Process, this_process
from ctebm.files.signals import stopping_tidily, undisturbed

__all__ = ["former_of", "replacing", "restored"]

_LONGEST_NAME = 120  # bytes; with the process beside it a longer one may pass a system's 255
_FORGOTTEN_AFTER = 7 * 86400  # seconds; nothing takes so long to write, on whatever machine
_ATTEMPTS = 100  # to put a folder in place, or to remove one, while others write there
_PATIENCE = 1.0  # seconds that these may take
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield an unused path beside `path`; what is written there takes its place at the end.

    Whatever stops the block, the thing at `path` stays as it was; SIGTERM and SIGHUP too leave
    nothing behind. A symbolic link stays one, and its target is replaced. What is replaced hands
    its permissions on.

    Parameters
    ----------
    path : path
        A file or a folder, which need not be there.
    overwrite : bool
        Replace what is there; if False, the first of several processes is the one that writes.

    Raises
    ------
    FileExistsError
        If something is at `path` by then and `overwrite` is False.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ctebm.files.replacement import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "note.txt")) as aside:
    ...         _ = aside.write_text("whole")
    ...     Path(folder, "note.txt").read_text()
    'whole'
    """
    path = Path(os.path.realpath(path))
    _sweep(path)
    own = [_beside(path, "partial")]
    with stopping_tidily():
        try:
            yield own[0]
            with undisturbed():
                if own[0].is_dir():
                    _place_folder(own, path, overwrite)
                else:
                    _place_file(own[0], path, overwrite)
        finally:
            with undisturbed():
                _clear(path, own)


def _place_file(aside: Path, path: Path, overwrite: bool) -> None:
    _sync(aside)
    if overwrite:
        if path.exists() and aside.stat().st_nlink == 1:  # else it is another name of a file
            shutil.copymode(path, aside)
        aside.replace(path)
    else:
        _link(aside, path)
    _sync(path.parent)


def _link(aside: Path, path: Path) -> None:
    """Give a file its name if nothing has it, in one step wherever there are hard links."""
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        aside.replace(path)


def _place_folder(own: list[Path], path: Path, overwrite: bool) -> None:
    """Rename a folder into place; a folder that is not empty is never renamed over."""
    aside = own[0]
    if overwrite:
        _hand_on_permissions(path, aside)
    for _ in range(_ATTEMPTS):
        if os.path.lexists(path):
            if not overwrite:
                break
            own.append(_beside(path, "former"))
            try:
                path.rename(own[-1])
            except FileNotFoundError:
                continue  # another process was faster
        try:
            aside.rename(path)
            return
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
    raise FileExistsError(errno.EEXIST, "something else was written there meanwhile", str(path))


def _hand_on_permissions(old: Path, new: Path) -> None:
    """Give a folder and its files the permissions of the old one and of its first file."""
    try:
        folder = stat.S_IMODE(old.stat().st_mode) | stat.S_IRWXU
        file = next((p.stat().st_mode for p in old.iterdir() if p.is_file()), None)
    except (FileNotFoundError, NotADirectoryError):  # none is there, or another process moves it
        return
    new.chmod(folder)
    for path in new.rglob("*"):
        if path.is_dir():
            path.chmod(folder)
        elif file is not None:
            path.chmod(stat.S_IMODE(file))


def restored(path: Path) -> bool:
    """Return whether a folder is there, after one whose replacement was killed is put back.

    Between the two renames that replace a folder there is none; a kill then leaves the former one
    under its hidden name.

    Parameters
    ----------
    path : Path
        Where it should be.
    """
    path = Path(os.path.realpath(path))
    if not os.path.exists(path):  # of a name too long pathlib raises
        _sweep(path)
    return os.path.exists(path)


def former_of(path: Path) -> tuple[Path, Process] | None:
    """Return where the folder lies that was at `path`, and who was replacing it, if there is one.

    Parameters
    ----------
    path : Path
        Where it should be.
    """
    asides = _asides(Path(os.path.realpath(path)))
    found = [(aside, owner) for aside, owner in asides if aside.suffix == ".former"]
    return found[0] if found else None


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{_prefix(path)}{this_process().tag()}.{uuid4().hex[:8]}.{kind}")


def _prefix(path: Path) -> str:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return f".{name}."


def _asides(path: Path) -> list[tuple[Path, Process]]:
    """Return what lies beside `path` on its way there or away, and whose it is."""
    found, prefix = [], _prefix(path)
    try:
        names = os.listdir(path.parent)
    except OSError:
        return []
    for name in names:
        rest = re.fullmatch(r"(.+)\.[0-9a-f]{8}\.(partial|former)", name.removeprefix(prefix))
        owner = rest and name.startswith(prefix) and Process.parse(rest[1])
        if owner:
            found.append((path.with_name(name), owner))
    return found


def _sweep(path: Path) -> None:
    """Remove what processes left here that are gone, or put it back where nothing else is."""
    _clear(path, [aside for aside, owner in _asides(path) if _is_forgotten(aside, owner)])


def _is_forgotten(aside: Path, owner: Process) -> bool:
    try:
        age = time.time() - aside.lstat().st_mtime
    except OSError:
        return False
    return owner.is_gone() or (age > _FORGOTTEN_AFTER and not owner.is_here())


def _clear(path: Path, asides: list[Path]) -> None:
    """Remove these; if nothing is at `path`, put the folder back that was there."""
    for aside in asides:
        if aside.suffix == ".former" and aside.exists() and not os.path.lexists(path):
            try:
                aside.rename(path)
            except OSError as error:  # another process has put one there since
                if error.errno not in _OCCUPIED:
                    raise
    for aside in asides:
        for _ in range(_ATTEMPTS):  # a library's threads may write on for a moment
            shutil.rmtree(aside, ignore_errors=True)
            if not aside.is_dir():
                break
            time.sleep(_PATIENCE / _ATTEMPTS)
        else:
            continue
        aside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
