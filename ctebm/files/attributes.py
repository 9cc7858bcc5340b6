"""Attributes and variables in the form that both netCDF and Zarr hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import xarray as xr

__all__ = ["plain", "writable"]

_REMEDIES = {bool: "write 0 or 1", dict: "write json.dumps of it", type(None): "leave it out"}


def writable(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as files can hold it: plain attributes, no encodings of an earlier file.

    Parameters
    ----------
    dataset : xarray.Dataset
        It is not changed.

    Raises
    ------
    ValueError
        If an attribute or an index can't be written.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from ctebm.files.attributes import writable
    >>> writable(xr.Dataset(attrs={"n": np.int64(3)})).attrs
    {'n': 3}
    """
    for name, index in dataset.indexes.items():
        if index.nlevels > 1:
            raise ValueError(
                f"coordinate {name!r} is a MultiIndex, which files can't hold; "
                f"call dataset.reset_index({name!r}) first."
            )
    dataset = dataset.drop_encoding()
    dataset.attrs = _checked("the dataset", dataset.attrs)
    for name in dataset.variables:
        item = dataset[name]
        item.attrs = _checked(f"variable {name!r}", item.attrs)
        if item.dtype.kind in "UT":  # strings of no fixed length, which both formats hold
            dataset[name] = item.astype(object)
    return dataset


def _checked(owner: str, attrs: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Return plain attributes, or refuse those that files can't hold."""
    found = plain(attrs)
    for name, value in found.items():
        items = list(value) if isinstance(value, list | tuple) else [value]
        kinds = {*map(type, items)}
        text = kinds <= {str} and "\0" not in "".join(items)
        numbers = kinds <= {int, float} and all(abs(v) < 2**63 for v in items if type(v) is int)
        if not (text or numbers):
            remedy = _REMEDIES.get(type(value), "write str, int, float or a list of one of these")
            raise ValueError(
                f"attribute {name!r} of {owner} is {value!r} ({type(value).__name__}), which files "
                f"can't hold; {remedy}."
            )
    return found


def plain(attrs: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Return attributes without numpy's types.

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.files.attributes import plain
    >>> plain({"many": np.arange(2)})
    {'many': [0, 1]}
    """
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in attrs.items()}
