"""Units in named layers, and samples in rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "broadcast",
    "broadcast_shapes",
    "check_layer_names",
    "consecutive",
    "covering",
    "drop_units",
    "layer_names",
    "rows_of",
    "size_of",
    "without_layer",
]


def broadcast(**batches: torch.Size) -> torch.Size:
    """Return the batch that several broadcast to, refused in words if they don't.

    Parameters
    ----------
    **batches : torch.Size
        By the name of what comes in that many samples.

    Raises
    ------
    ValueError
        If they do not broadcast.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.layout import broadcast
    >>> broadcast(states=torch.Size([3]), targets=torch.Size([1]))
    torch.Size([3])
    """
    try:
        return broadcast_shapes(*batches.values())
    except ValueError:
        got = " and ".join(f"{name} {tuple(batch)}" for name, batch in batches.items())
        raise ValueError(
            f"expected one row or as many as the others have, got batches of {got}; give each "
            "sample a row, or all of them one."
        ) from None


def broadcast_shapes(*shapes: Sequence[int]) -> torch.Size:
    """Return the shape that several broadcast to.

    torch's own function loads a computer algebra system when it is first called.

    Parameters
    ----------
    *shapes : sequence of int
        None of them is the shape of a number, ``()``.

    Raises
    ------
    ValueError
        If they do not broadcast.

    Examples
    --------
    >>> from ctebm.networks.layout import broadcast_shapes
    >>> broadcast_shapes((2,), (3, 1), (1, 1, 1))
    torch.Size([1, 3, 2])
    """
    different = {tuple(shape) for shape in shapes if shape}
    return torch.Size(different.pop() if len(different) == 1 else np.broadcast_shapes(*different))


def size_of(where: slice) -> int:
    """Return the number of units in a slice.

    Examples
    --------
    >>> from ctebm.networks.layout import size_of
    >>> size_of(slice(3, 7))
    4
    """
    return where.stop - where.start


def layer_names(n_layers: int) -> list[str]:
    """Return the paper's names, input first: ``x, h_K ... h_1, y``.

    Examples
    --------
    >>> from ctebm.networks.layout import layer_names
    >>> layer_names(4)
    ['x', 'h2', 'h1', 'y']
    """
    return ["x", *(f"h{k}" for k in range(n_layers - 2, 0, -1)), "y"]


def consecutive(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Return layers of given sizes, one behind the other.

    Examples
    --------
    >>> from ctebm.networks.layout import consecutive
    >>> consecutive({"x": 3, "y": 2})
    {'x': slice(0, 3, None), 'y': slice(3, 5, None)}
    """
    ends = np.cumsum(list(sizes.values()), dtype=int).tolist()
    return {name: slice(end - n, end) for (name, n), end in zip(sizes.items(), ends, strict=True)}


def check_layer_names(names: Iterable[object]) -> None:
    """Refuse names of layers that are no words.

    Examples
    --------
    >>> from ctebm.networks.layout import check_layer_names
    >>> check_layer_names(["x", "h1", "y"])
    """
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"expected names of layers as words, got {name!r}; give such as 'x'.")


def covering(layers: Mapping[str, slice], n_units: int | None) -> dict[str, slice]:
    """Return named layers, checked to cover all units one behind the other.

    Raises
    ------
    ValueError
        For gaps, overlaps, another order, units that are in no layer, or names that are no words.

    Examples
    --------
    >>> from ctebm.networks.layout import covering
    >>> covering({"x": slice(0, 3), "y": slice(3, 5)}, 5)
    {'x': slice(0, 3, None), 'y': slice(3, 5, None)}
    """
    if not isinstance(layers, Mapping):
        raise ValueError(
            f"expected layers as names and slices, got {type(layers).__name__}; give such as "
            '{"x": slice(0, 3), "y": slice(3, 5)}.'
        )
    check_layer_names(layers)
    end = 0
    for where in layers.values():
        if not _follows(where, end):
            break
        end = where.stop
    else:
        if n_units in (None, end):
            return dict(layers)
    units = "all units" if n_units is None else f"the {n_units} units"
    raise ValueError(f"expected layers as consecutive slices that cover {units}, got {layers}.")


def _follows(where: Any, end: int) -> bool:
    """Return whether units begin where others have ended."""
    if not isinstance(where, slice) or where.step is not None:
        return False
    return where.start == end and isinstance(where.stop, int) and where.stop >= end


def without_layer(layers: Mapping[str, slice], name: str) -> dict[str, slice]:
    """Return the layers that are left when one is taken out, moved together.

    Examples
    --------
    >>> from ctebm.networks.layout import without_layer
    >>> without_layer({"x": slice(0, 3), "y": slice(3, 5)}, "x")
    {'y': slice(0, 2, None)}
    """
    return consecutive({k: size_of(where) for k, where in layers.items() if k != name})


def drop_units(t: Tensor, where: slice) -> Tensor:
    """Return a tensor without some of its last indices.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.layout import drop_units
    >>> drop_units(torch.arange(5), slice(1, 3))
    tensor([0, 3, 4])
    """
    return torch.cat([t[..., : where.start], t[..., where.stop :]], dim=-1)


def rows_of(t: Tensor, batch: torch.Size, rows: Tensor) -> Tensor:
    """Return rows of a parameter ``(*batch, unit)`` that is broadcast to a batch and flattened.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.layout import rows_of
    >>> rows_of(torch.tensor([[0.0], [1.0], [2.0]]), torch.Size((3,)), torch.tensor([2, 0]))
    tensor([[2.], [0.]])
    """
    return t.expand(*batch, t.shape[-1]).reshape(-1, t.shape[-1])[rows] if t.ndim > 1 else t
