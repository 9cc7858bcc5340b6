"""A lock on a file that one process at a time may write.

The lock is the operating system's, on a hidden file beside the one that it is for, and ends with
its process however that ends. On a network file system it holds between machines if the file
system passes locks on (NFS 4 and Lustre with ``-o flock`` do).
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ctebm.files.process import Process, this_process
from ctebm.files.signals import stopping_tidily, undisturbed

__all__ = ["locked"]

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a file for this process until the block ends.

    Where the file system has no locks the block runs without one, with a warning.

    Parameters
    ----------
    path : path
        The file; it need not be there, missing folders are made.

    Raises
    ------
    TypeError, ValueError
        For what is no path, or holds a null character.
    BlockingIOError
        If another process, or another thread of this one, holds it.
    OSError
        If there can't be a lock in its folder.

    Examples
    --------
    >>> import tempfile
    >>> from ctebm.files.lock import locked
    >>> with tempfile.TemporaryDirectory() as folder, locked(f"{folder}/training.ckpt"):
    ...     pass  # nobody else writes training.ckpt here
    """
    try:
        path = Path(os.path.realpath(path))
    except TypeError as error:
        raise TypeError(f"expected the path of a file, got {type(path).__name__}.") from error
    except ValueError as error:
        raise ValueError(f"a file's name holds no null character, got {path!r}.") from error
    beside = path.with_name(f".{path.name}.lock")
    lock = FileLock(beside, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"{path} is in use by {_holder(beside)}; wait until that ends, or name another file."
        ) from error
    except (OSError, NotImplementedError) as error:
        code = getattr(error, "errno", errno.ENOSYS)
        if code not in _NO_LOCKS:
            raise OSError(
                f"can't lock {path} ({os.strerror(code)}); name a file in a folder that you can "
                "write to."
            ) from error
        warnings.warn(
            f"{path} is on a file system without locks; see that nothing else writes it.",
            stacklevel=3,
        )
        yield
        return
    with stopping_tidily():
        try:
            beside.write_text(this_process().tag())
            yield
        finally:
            with undisturbed():
                beside.unlink(missing_ok=True)
                lock.release()


def _holder(beside: Path) -> Process | str:
    try:
        return Process.parse(beside.read_text()) or "another process"
    except OSError:
        return "another process"
