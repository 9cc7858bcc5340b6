"""The form that the results of all points share: names, dimensions, sizes and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ctebm.dataset import variable
from ctebm.files.attributes import writable

__all__ = ["Form", "Swept", "as_result"]

_OWN = {"status": "result_status", "message": "result_message"}  # the sweep has its own
_EXACT = 2**53  # whole numbers beyond it are not all floats
_KEPT = ("float16", "float32", "float64", "complex64", "complex128")
_LONGEST = 200  # bytes of a name, which is a file's
_ENCODINGS = (  # attributes by which files say how numbers are packed
    "_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "dtype",
    "coordinates", "_ARRAY_DIMENSIONS",
)  # fmt: skip


@dataclass(frozen=True)
class Swept:
    """A variable that every point has a value of.

    Attributes
    ----------
    dims : tuple of str
        Its dimensions beside the axes of the sweep.
    shape : tuple of int
        Its sizes.
    dtype : str
        Of its numbers in the store, in which something missing can be told: float or complex, where
        it is NaN, or str, where it is empty.
    attrs : dict
        What it is, in words.
    coordinate : bool
        Whether it is one.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    attrs: dict[str, Any]
    coordinate: bool

    @property
    def missing(self) -> Any:
        """What stands where nothing was computed."""
        if self.dtype == "str":
            return ""
        return complex(np.nan, np.nan) if self.dtype.startswith("complex") else np.nan

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The type of its values in memory."""
        return np.dtype(object if self.dtype == "str" else self.dtype)

    @property
    def n_bytes(self) -> int:
        """Bytes of one point's values; 32 for a word."""
        item = 32 if self.dtype == "str" else np.dtype(self.dtype).itemsize
        return int(np.prod(self.shape, dtype=int)) * item


@dataclass(frozen=True)
class Form:
    """What each point of a sweep gives.

    Attributes
    ----------
    swept : dict
        Name of each variable to what it is.
    labels : dict
        Coordinates that all points share: those of dimensions, and words.

    Examples
    --------
    >>> from ctebm.sweeps.form import Form
    >>> form = Form.of({"error": 0.1}, axes=["gain"])
    >>> form.row({"error": 0.2}, axes=["gain"])
    {'error': array(0.2)}
    """

    swept: dict[str, Swept]
    labels: dict[str, xr.Variable]

    @classmethod
    def of(cls, result: Any, axes: Sequence[str]) -> Form:
        """Return the form of a first result.

        Parameters
        ----------
        result : xarray.Dataset, record or mapping of str to number
            Of one point.
        axes : sequence of str
            Names of what varies, and of the axes of the sweep.
        """
        dataset = writable(as_result(result, axes))
        swept, labels = {}, {}
        for name in (*dataset.variables, *dataset.dims):
            _check_name(name)
        for name, item in dataset.variables.items():
            _check_attributes(name, item)
            if _is_label(dataset, name, item):
                labels[str(name)] = item
                continue
            swept[str(name)] = Swept(
                tuple(map(str, item.dims)), item.shape, _stored(str(name), item.dtype),
                dict(item.attrs), name in dataset.coords,
            )  # fmt: skip
        if not swept:
            raise ValueError("the function returns nothing that could be kept; return a Dataset.")
        form = cls(swept, labels)
        form.row(result, axes)  # which a form of its own may refuse
        return form

    @property
    def n_bytes(self) -> int:
        """Bytes of one point's result."""
        return sum(one.n_bytes for one in self.swept.values())

    def row(self, result: Any, axes: Sequence[str]) -> dict[str, np.ndarray]:
        """Return a point's arrays, or refuse a result of another form.

        Parameters
        ----------
        result : xarray.Dataset, record or mapping of str to number
            Of one point.
        axes : sequence of str
            As for :meth:`of`.
        """
        if isinstance(result, Mapping) and not isinstance(result, xr.Dataset):
            numbers = {name: _number(value) for name, value in result.items()}
            if numbers.keys() == self.swept.keys() and not any(v.ndim for v in numbers.values()):
                return {name: _kept(name, v, self.swept[name]) for name, v in numbers.items()}
        dataset = as_result(result, axes)
        for name, label in self.labels.items():
            here = dataset.variables.get(name)
            if here is None or here.shape != label.shape or not bool(np.all(here == label)):
                raise ValueError(
                    f"{name!r} is not that of the first point: {_shown(here)} instead of "
                    f"{_shown(label)}; a sweep's results share one form."
                )
        row = {}
        for name, item in dataset.variables.items():
            if str(name) in self.labels:
                continue
            one = self.swept.get(str(name))
            if one is None:
                raise ValueError(f"{name!r} is not among what the first point gave.")
            if item.dims != one.dims or item.shape != one.shape:
                raise ValueError(
                    f"{name!r} has the sizes {dict(item.sizes)}, and the first point had "
                    f"{dict(zip(one.dims, one.shape, strict=True))}; a sweep's results share one "
                    "form."
                )
            row[str(name)] = _kept(str(name), item.values, one)
        if missing := set(self.swept) - set(row):
            raise ValueError(f"{min(missing)!r} is missing, which the first point gave.")
        return row


def as_result(result: Any, axes: Sequence[str]) -> xr.Dataset:
    """Return what a function gave as a dataset without what varies in the sweep.

    Parameters
    ----------
    result : xarray.Dataset, record or mapping of str to number
        A record, such as that of :func:`ctebm.settle`, is its ``to_dataset()``. Its own ``status``
        and ``message`` become ``result_status`` and ``result_message``.
    axes : sequence of str
        Names of what varies, and of the axes; a dimension of one of these names has one entry.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        If a dimension is an axis too, or a variable that is no coordinate has its name.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.sweeps.form import as_result
    >>> as_result(xr.Dataset({"error": ("eps", [0.1])}, {"eps": [0.5]}), ["eps"]).error.shape
    ()
    """
    if isinstance(result, Mapping) and not isinstance(result, xr.Dataset):
        dataset = xr.Dataset({k: _scalar(k, v) for k, v in result.items()})
    elif isinstance(result, xr.Dataset):
        dataset = result
    elif callable(getattr(result, "to_dataset", None)) and not isinstance(result, xr.DataArray):
        dataset = result.to_dataset()
    else:
        raise TypeError(
            f"the function returned {type(result).__name__}; expected a Dataset, a record, or a "
            "mapping from names to numbers."
        )
    for axis in axes:
        n = dataset.sizes.get(axis, 1)
        if axis in dataset.data_vars or n != 1:
            what = f"{n} entries along" if n != 1 else "the variable"
            raise ValueError(
                f"the result has {what} {axis!r}, which is an axis of the sweep; rename it."
            )
        if axis in dataset.dims:
            dataset = dataset.squeeze(axis, drop=True)
        if axis in dataset.variables:
            dataset = dataset.drop_vars(axis)
    renamed = {k: v for k, v in _OWN.items() if k in dataset.variables or k in dataset.dims}
    for name, own in renamed.items():
        if own in dataset.variables or own in dataset.dims:
            raise ValueError(f"the result has {name!r} and {own!r}, which are one; rename {own!r}.")
    return dataset.rename(renamed) if renamed else dataset


def _number(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    array = np.ma.asarray(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    return np.ma.filled(array.astype(float), np.nan) if np.ma.is_masked(array) else array


def _scalar(name: Any, value: Any) -> xr.Variable:
    array = _number(value)
    if array.ndim:
        raise ValueError(
            f"{name!r} has {array.size} values of the sizes {array.shape}, and a mapping holds "
            "single numbers; return a Dataset, in which dimensions have names."
        )
    return variable((), array, str(name))


def _check_name(name: Any) -> None:
    """Refuse the name of a variable or dimension that can't be a file's."""
    text = str(name)
    bad = not text or text.startswith((".", "__")) or text == "zarr.json"
    if bad or not text.isprintable() or "/" in text or len(text.encode()) > _LONGEST:
        raise ValueError(
            f"the result has the name {text[:60]!r}, which can't be a file's; give it a shorter or "
            "plainer one."
        )


def _check_attributes(name: Any, item: xr.Variable) -> None:
    if packed := [key for key in item.attrs if key in _ENCODINGS]:
        raise ValueError(
            f"{name!r} has the attribute {packed[0]!r}, by which files say how they pack numbers; "
            "leave it out."
        )


def _is_label(dataset: xr.Dataset, name: Any, item: xr.Variable) -> bool:
    words = item.dtype.kind in "OUT"
    return name in dataset.coords and (item.dims == (name,) or (words and item.ndim > 0))


def _stored(name: str, dtype: np.dtype[Any]) -> str:
    if str(dtype) in _KEPT:
        return str(dtype)
    if dtype.kind in "biu":
        return "float64"
    if dtype.kind in "OUT":
        return "str"
    raise ValueError(f"{name!r} holds {dtype}, which a sweep can't keep; make it numbers or words.")


def _kept(name: str, values: np.ndarray, one: Swept) -> np.ndarray:
    if one.dtype == "str":
        if not all(isinstance(v, str) for v in values.flat):
            raise ValueError(f"{name!r} must hold words, as that of the first point does.")
        if any(v != v.encode(errors="replace").decode() for v in values.flat):
            raise ValueError(f"{name!r} holds half of a pair of surrogates, which no file holds.")
        return np.asarray(values, object)
    if values.dtype.kind not in "biufc":
        raise ValueError(f"{name!r} must hold numbers, as that of the first point does.")
    if values.dtype.kind == "c" and not one.dtype.startswith("complex"):
        raise ValueError(f"{name!r} is complex, and that of the first point was real.")
    if values.dtype.kind in "iu" and values.size and np.abs(values).max() > _EXACT:
        raise ValueError(f"{name!r} has whole numbers beyond 2^53, which a float can't hold.")
    kept = values.astype(one.dtype)
    if values.dtype.kind in "fc" and not np.array_equal(kept, values, equal_nan=True):
        raise ValueError(
            f"{name!r} is {values.dtype}, and that of the first point was {one.dtype}; give every "
            "point one type."
        )
    return kept


def _shown(item: xr.Variable | None) -> str:
    return "none" if item is None else f"{np.array2string(item.values, threshold=4)}"
