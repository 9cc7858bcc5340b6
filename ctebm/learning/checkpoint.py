"""Checkpoints that survive being killed: whole or not there, with the one before kept.

A file is a line of text, the SHA-256 of what follows, and a mapping as :func:`torch.save` writes
it. A checkpoint says what it belongs to, and is refused by anything else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ctebm.dataset import replacing

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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"identity": json.dumps(identity, sort_keys=True), **content}, buffer)
    body = buffer.getvalue()
    with replacing(path) as aside:
        aside.write_bytes(_TITLE + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        if path.exists():
            path.replace(_previous(path))


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
    """
    path, broken = Path(path), []
    for candidate in (path, _previous(path)):
        if not candidate.exists():
            continue
        try:
            content = _read(candidate)
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            broken.append(f"{candidate} is damaged ({' '.join(str(error).split())})")
            continue
        if broken:
            warnings.warn(
                f"{broken[0]}; going on from the checkpoint before it, {candidate}.", stacklevel=2
            )
        _check_identity(candidate, json.loads(content.pop("identity")), dict(identity))
        return content
    if broken:
        raise ValueError(f"{'; '.join(broken)}; delete it to begin anew.")
    return None


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _read(path: Path) -> dict[str, Any]:
    head, _, body = path.read_bytes().partition(b"\n")
    if not head.startswith(_TITLE):
        raise ValueError("it does not begin as a checkpoint")
    if head.removeprefix(_TITLE).decode() != hashlib.sha256(body).hexdigest():
        raise ValueError("its checksum is another")
    return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)


def _check_identity(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    expected = json.loads(json.dumps(expected))
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"{path} was made with {name} = {found.get(name)}, now it is "
                f"{expected.get(name)}; give the same settings or another checkpoint."
            )
