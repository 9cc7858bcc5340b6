"""Arrays that come from outside: checked once, copied, brought to one dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ctebm.networks.memory_limits import check_memory

__all__ = [
    "check_float",
    "finite_tensor",
    "finite_tensors",
    "is_row_of_integers",
    "listed",
    "real_tensor",
    "refuse_integers",
    "refuse_labels",
]

_NUMBERS = "biufc"  # of numpy: booleans, integers, floats, complex numbers
_COPIES = 2  # of parameters at a time, of which one is in their own dtype


def check_float(dtype: torch.dtype) -> torch.dtype:
    """Return a dtype that states can have, or refuse it.

    Raises
    ------
    ValueError
        For anything but float64 and float32.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.arrays import check_float
    >>> check_float(torch.float32)
    torch.float32
    """
    if not (isinstance(dtype, torch.dtype) and dtype in (torch.float64, torch.float32)):
        raise ValueError(
            f"expected dtype torch.float64 or torch.float32, got {dtype}; in half precision small "
            "steps round to nothing and a motion stalls, and integers or complex numbers are no "
            "states."
        )
    return dtype


def real_tensor(
    value: ArrayLike | Tensor, dtype: torch.dtype, device: torch.device | None = None
) -> Tensor:
    """Return a tensor of a dtype and device; it may share memory with `value`.

    A table of pandas or a labelled array of xarray stands for the numbers in it, in their order.

    Raises
    ------
    ValueError
        For an array of complex numbers, whose imaginary part would be lost, for a sparse one, and
        for what is no array of numbers.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.arrays import real_tensor
    >>> real_tensor([0, 1], torch.float64)
    tensor([0., 1.], dtype=torch.float64)
    """
    kind = type(value).__name__
    if _is_sparse(value):
        raise ValueError(
            f"expected a dense array, got a sparse {kind}; give its toarray() or to_dense(), or "
            "weights to SparseNetwork."
        )
    if isinstance(value, Tensor) and value.is_meta:
        raise ValueError("expected numbers, got a tensor on the meta device, which holds none.")
    if device is None:  # where a tensor is, and else where torch puts one
        device = value.device if isinstance(value, Tensor) else torch.get_default_device()
    if device.type == "meta":
        raise ValueError(
            "expected a device that holds numbers, got meta, which torch is set to; set another."
        )
    array = value if isinstance(value, Tensor) else _numbers(value)
    if array is None:
        raise ValueError(
            f"expected an array of real numbers, got {kind}; give an array, or nested lists of "
            "numbers of equal length."
        )
    if "complex" in str(array.dtype) and not dtype.is_complex:
        raise ValueError("expected real numbers, got complex ones; give their real part.")
    return torch.as_tensor(array, dtype=dtype, device=device)


def _is_sparse(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.layout != torch.strided
    return hasattr(value, "toarray")  # of scipy


def _numbers(value: Any) -> NDArray[Any] | Tensor | None:
    """Return the numbers in what came, as torch reads them; None if it is not made of numbers."""
    try:
        if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
            return torch.stack([torch.as_tensor(item) for item in value])
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or not of one kind
        return None
    if array.dtype.kind not in _NUMBERS:
        return None
    forward = array.flags.writeable and all(step >= 0 for step in array.strides)
    if array.dtype in (np.float32, np.float64) and forward:
        return array
    return array.astype(complex if array.dtype.kind == "c" else float, order="C")


def finite_tensor(value: ArrayLike | Tensor, what: str, dtype: torch.dtype) -> Tensor:
    """Return a copy of parameters, which stays connected to the graph of a tensor.

    Raises
    ------
    ValueError
        For a dtype that states cannot have, complex numbers, NaN or infinity, and for an array
        whose copy does not fit the free memory, such as a number expanded to a large matrix.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.arrays import finite_tensor
    >>> finite_tensor([[0, 1], [1, 0]], "the weights", torch.float64)
    tensor([[0., 1.], [1., 0.]], dtype=torch.float64)
    """
    check_float(dtype)
    if isinstance(value, Tensor | np.ndarray):
        n_bytes = _COPIES * math.prod(value.shape) * dtype.itemsize
        device = value.device if isinstance(value, Tensor) else None
        check_memory(f"a copy of {what}", n_bytes, "give fewer units or samples", device)
    tensor = real_tensor(value, dtype).clone()
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"expected finite numbers in {what}, got NaN or infinity.")
    return tensor


def finite_tensors(values: Any, what: str, dtype: torch.dtype) -> list[Tensor]:
    """Return copies of parameters, one array a layer or pair of layers, as a list.

    Raises
    ------
    ValueError
        As :func:`finite_tensor`, and for what is no sequence of arrays.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.arrays import finite_tensors
    >>> finite_tensors([[0, 1], [1]], "biases", torch.float64)
    [tensor([0., 1.], dtype=torch.float64), tensor([1.], dtype=torch.float64)]
    """
    return [finite_tensor(value, f"{what}[{i}]", dtype) for i, value in
            enumerate(listed(values, what))]  # fmt: skip


def listed(values: Any, what: str) -> list[Any]:
    """Return one array a layer or pair of layers as a list, or refuse what is no sequence.

    Raises
    ------
    ValueError
        With the type of what came.

    Examples
    --------
    >>> from ctebm.networks.arrays import listed
    >>> listed((1, None), "biases")
    [1, None]
    """
    arrays = isinstance(values, np.ndarray | Tensor) and values.ndim > 0
    if not (arrays or isinstance(values, list | tuple)):
        raise ValueError(
            f"expected {what} as a list of arrays, input first, got {type(values).__name__}."
        )
    return [*values]


def refuse_integers(value: object, what: str, remedy: str) -> None:
    """Refuse an array of integers or booleans, such as raw pixels; lists of numbers pass.

    Raises
    ------
    ValueError
        With the dtype and the remedy.

    Examples
    --------
    >>> from ctebm.networks.arrays import refuse_integers
    >>> refuse_integers([0, 1], "states", "give floats")
    """
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, torch.dtype):
        whole = not (dtype.is_floating_point or dtype.is_complex)
    else:
        whole = getattr(dtype, "kind", "f") in "biu"
    if whole:
        raise ValueError(f"expected {what}, got an array of {dtype}; {remedy}.")


def refuse_labels(value: Any, batch: torch.Size, n_outputs: int) -> None:
    """Refuse one integer for each of several samples where targets are expected.

    Parameters
    ----------
    value : array
        Target states, ``(*batch, output unit)`` or one ``(output unit,)`` that all samples share.
    batch : torch.Size
        The samples.
    n_outputs : int
        Units of the output.

    Raises
    ------
    ValueError
        With the shape that one-hot states have.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.arrays import refuse_labels
    >>> refuse_labels([0, 1, 2], torch.Size([5]), 3)
    >>> refuse_labels([0.0, 1.0, 2.0], torch.Size([3]), 3)
    """
    if len(batch) != 1 or not is_row_of_integers(value) or np.shape(value) != tuple(batch):
        return
    n = batch[0]
    raise ValueError(
        f"expected target states of the output, got {n} integers for {n} samples, which read as "
        f"labels; give one-hot states of shape ({n}, {n_outputs}), or floats for one target that "
        "all samples share."
    )


def is_row_of_integers(value: Any) -> bool:
    """Return whether something is one row of integers, as labels are.

    Examples
    --------
    >>> from ctebm.networks.arrays import is_row_of_integers
    >>> is_row_of_integers([0, 1, 2]), is_row_of_integers([0.0, 1.0])
    (True, False)
    """
    if isinstance(value, Tensor):
        return value.ndim == 1 and not (value.is_floating_point() or value.is_complex())
    try:
        array = np.asarray(value)
        return array.ndim == 1 and array.dtype.kind in "iu"
    except (TypeError, ValueError):  # rows of different lengths, and what is no array
        return False
