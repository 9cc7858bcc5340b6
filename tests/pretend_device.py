"""A pretend GPU for machines without one, to try code that will run on a GPU.

Inside ``PretendDevice()`` the device ``cuda`` exists. Its tensors say that they are on ``cuda:0``
and hold their numbers in a tensor on the CPU. What a GPU refuses is refused: operands on two
devices, ``.numpy()``, least squares by another
driver than ``gels``. What makes a GPU wait is counted: `reads` by the host (``.item()``,
``bool(tensor)``, masks whose size must be known, copies to the CPU), each under the line of `ctebm`
that asked for it, beside `uploads` to the device and `launches`, the operations that would start a
kernel.

Underneath, torch takes these tensors for those of its own device ``meta``, which has no kernels and
so leaves every operation to the class here.
"""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

CPU, CUDA, META = torch.device("cpu"), torch.device("cuda", 0), torch.device("meta")
GIB = 1 << 30

aten = torch.ops.aten
functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
# Their result, or its size, must be known to the host before it can go on.
READS = {
    aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique2,
    aten.unique_dim, aten.unique_consecutive, aten.is_nonzero,
}  # fmt: skip
INDEXING = {aten.index, aten.index_put_, aten.index_put, aten._unsafe_index}
COPIES = {aten._to_copy, aten.copy_, aten.copy}
INTO = {aten.copy_, aten.copy}
DEVICE = {"device": CUDA, "is_cuda": True, "is_cpu": False, "is_meta": False}


class MixedDevices(RuntimeError):
    """An operation whose operands are on two devices, as torch refuses it on a real GPU."""


class OnDevice(Tensor):
    """A tensor that says cuda:0, with its numbers in `numbers` on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls, numbers.size(), strides=numbers.stride(), storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype, device=META,
        )  # fmt: skip
        made.numbers = numbers
        return made

    def __init__(self, numbers: Tensor) -> None:
        pass

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} met a tensor of the pretend device outside of it")


class PretendDevice:
    """The pretend device, with what it has counted; see the module."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self._contexts: list[Any] = [
            mock.patch("torch.cuda.is_available", lambda: True),
            mock.patch("torch.cuda.device_count", lambda: 1),
            mock.patch("torch.cuda.synchronize", lambda *_: None),
            mock.patch("torch.cuda.mem_get_info", lambda *_: (80 * GIB, 80 * GIB)),
            mock.patch("torch.cuda.get_device_name", lambda *_: "pretend"),
            _Operations(self),
            _Names(),
        ]

    def __enter__(self) -> PretendDevice:
        for context in self._contexts:
            context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self._contexts):
            context.__exit__(*error)


class _Names(TorchFunctionMode):
    """Let ``cuda`` stand where Python names a device, and say it where Python asks for one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        first: Any = args[0] if args else None
        if name == "__get__":
            attribute = getattr(getattr(func, "__self__", None), "__name__", "")
            return DEVICE[attribute] if attribute in DEVICE and _is_there(first) else func(*args)
        if name in ("numpy", "__array__") and _is_there(first):
            raise TypeError("can't convert a tensor on cuda:0 to numpy; use Tensor.cpu() first.")
        if name == "tolist" and _is_there(first):
            return first.to(CPU).tolist()
        if name == "cuda":
            return first.to(META)
        if name in ("__getitem__", "__setitem__") and _is_there(first):
            args = (first, _index(args[1]), *args[2:])
        if name == "new_tensor" and _is_there(first):
            kwargs = {"dtype": first.dtype, "device": CUDA} | kwargs
            func, args, name = torch.tensor, args[1:], "tensor"
        if name in ("tensor", "as_tensor", "asarray"):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(_meta(device))
        if func is torch.device:
            return func(*args, **kwargs)
        return func(*map(_meta, args), **{k: _meta(v) for k, v in kwargs.items()})


def _meta(x: Any) -> Any:
    """Return the device under which torch keeps `x` if it names a GPU, and `x` itself if not."""
    if isinstance(x, torch.device):
        return META if x.type == "cuda" else x
    return META if isinstance(x, str) and x.split(":")[0] == "cuda" else x


def _index(index: Any) -> Any:
    """Return an index with lists as tensors on the device: torch would make them empty."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return torch.tensor(index).to(META) if isinstance(index, list) else index


def _is_there(x: Any) -> bool:
    while isinstance(x, Tensor) and functorch.is_functorch_wrapped_tensor(x):
        x = functorch.get_unwrapped(x)
    return isinstance(x, OnDevice)


class _Operations(TorchDispatchMode):
    """Run each operation on the numbers, refuse what mixes devices, count."""

    def __init__(self, counts: PretendDevice) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        leaves = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [x for x in leaves if isinstance(x, OnDevice)]
        asked = kwargs.get("device")
        goes_there = bool(there) if asked is None else asked.type in ("meta", "cuda")
        if packet in INTO:
            goes_there = isinstance(args[0], OnDevice)
        if packet in COPIES:
            self._count_copy(args[1] if packet in INTO else args[0], goes_there, str(packet))
        elif there:
            self._check(func, args, leaves)
            if packet is aten.linalg_lstsq and kwargs.get("driver") not in (None, "gels"):
                raise RuntimeError("`driver` other than `gels` is not supported on CUDA")
            if packet in READS:
                self.counts.reads[where()] += 1
        if (there or goes_there) and not func.is_view and packet not in COPIES:
            self.counts.launches[str(packet)] += 1
        plain = {k: CPU if k == "device" and v is not None else v for k, v in kwargs.items()}
        out = func(*tree_map(numbers_of, args), **tree_map(numbers_of, plain))
        if not goes_there:
            return out
        out = tree_map(lambda x: OnDevice(x) if isinstance(x, Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, out) if there else out

    def _count_copy(self, source: Tensor, goes_there: bool, name: str) -> None:
        if isinstance(source, OnDevice) and not goes_there:
            self.counts.reads[where()] += 1
        elif goes_there and not isinstance(source, OnDevice):
            self.counts.uploads[where()] += 1
        elif goes_there:
            self.counts.launches[name] += 1

    def _check(self, func: Any, args: Any, leaves: list[Tensor]) -> None:
        """Refuse operands on two devices, but for single numbers and indices on the CPU."""
        if func.overloadpacket in INDEXING and isinstance(args[0], OnDevice):
            indices = [x for x in args[1] if x is not None]
            self.counts.reads[where()] += any(
                x.dtype == torch.bool and isinstance(x, OnDevice) for x in indices
            )
            self.counts.uploads[where()] += sum(not isinstance(x, OnDevice) for x in indices)
            leaves = [x for x in leaves if not any(x is i for i in indices)]
        stray = [tuple(x.shape) for x in leaves if x.dim() and not isinstance(x, OnDevice)]
        if stray:
            raise MixedDevices(f"{func}: expected all tensors on cuda:0, got {stray} on the cpu")


def numbers_of(x: Any) -> Any:
    """Return the numbers of a tensor on the pretend device, and anything else as it is."""
    return x.numbers if isinstance(x, OnDevice) else x


def where() -> str:
    """Return the line of `ctebm` that runs, such as ``equilibria/newton.py:120``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/ctebm/" in name and "/tests/" not in name:
            return f"{name.rsplit('/ctebm/', 1)[1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "caller"
