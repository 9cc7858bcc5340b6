"""Checkpoints that survive being killed: whole or not there, with the one before kept.

A file is a line of text, the SHA-256 of what follows, and a mapping as :func:`torch.save` writes
it. A checkpoint says what it belongs to, and is refused by anything else. Under its name there is a
whole one at any moment after the first.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ctebm.files.replacement import replacing

__all__ = ["load_checkpoint", "save_checkpoint"]

_TITLE = b"ctebm checkpoint "


def save_checkpoint(
    path: str | os.PathLike[str], content: Mapping[str, Any], identity: Mapping[str, Any]
) -> None:
    """Write a checkpoint; the one that was at `path` is kept beside it as ``PATH.previous``.

    Parameters
    ----------
    path : path
        Where; missing folders are made.
    content : mapping
        Tensors, numbers, strings, and lists or mappings of these.
    identity : mapping
        What the checkpoint belongs to, as JSON can hold it.

    Raises
    ------
    OSError
        If it can't be written.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"identity": json.dumps(identity, sort_keys=True), **content}, buffer)
    body = buffer.getvalue()
    try:
        with replacing(path) as aside:
            aside.write_bytes(_TITLE + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            if _is_whole(path):  # a damaged one must not take the place of the good one before it
                with replacing(_previous(path)) as copy:
                    _copy(path, copy)
    except OSError as error:
        raise type(error)(
            f"can't write the checkpoint {path} ({error.strerror or error}); the one before is "
            "kept: make room, or make its folder writable, and start again."
        ) from error


def load_checkpoint(
    path: str | os.PathLike[str], identity: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the content of the newest readable checkpoint, or None if there is none.

    A damaged file is passed over, with a warning, for the one before it.

    Raises
    ------
    ValueError
        If the checkpoint belongs to something else than `identity`, or if all there are is
        damaged.
    OSError
        If a file is there that can't be read, such as one without permission.
    """
    path, broken = Path(os.path.realpath(path)), []
    for candidate in (path, _previous(path)):
        try:
            raw = _read(candidate)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OSError(
                f"the checkpoint {candidate} can't be read ({error.strerror}); make it readable, "
                "or name another."
            ) from error
        try:
            found, content = _parse(raw)
        except Exception as error:  # torch and pickle raise whatever they come upon
            broken.append(f"{candidate} is damaged ({' '.join(str(error).split())})")
            continue
        if broken:
            warnings.warn(
                f"{broken[0]}; going on from the checkpoint before it, {candidate}.", stacklevel=2
            )
        _check_identity(candidate, found, dict(identity))
        return content
    if broken:
        raise ValueError(f"{'; '.join(broken)}; delete it to begin anew.")
    return None


def _read(path: Path) -> bytes:
    """Return what a file holds; a pipe or a device may have no end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return path.read_bytes()


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _copy(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where there are no hard links."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _is_whole(path: Path) -> bool:
    try:
        _body(_read(path))
    except (OSError, ValueError):
        return False
    return True


def _body(raw: bytes) -> bytes:
    """Return what follows the first line of a checkpoint, or raise a ValueError."""
    head, _, body = raw.partition(b"\n")
    if not head.startswith(_TITLE):
        raise ValueError("it does not begin as a checkpoint")
    if head.removeprefix(_TITLE) != hashlib.sha256(body).hexdigest().encode():
        raise ValueError("its checksum is another")
    return body


def _parse(raw: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return identity and content of a checkpoint."""
    content = torch.load(io.BytesIO(_body(raw)), map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or "identity" not in content:
        raise ValueError("it does not say which training it belongs to")
    return json.loads(content.pop("identity")), content


def _check_identity(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    expected = json.loads(json.dumps(expected))
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"{path} was made with {name} = {found.get(name)}, now it is "
                f"{expected.get(name)}; give the same settings or another checkpoint."
            )
