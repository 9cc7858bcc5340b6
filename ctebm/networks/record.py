"""What every record of a result shares: how it went, its samples, its words, what it came from."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import provenance, variable
from ctebm.networks.base import VectorField
from ctebm.networks.parameters import network_dataset

__all__ = ["Record", "SampledRecord", "rows_at", "with_origin"]

_SHOWN_MESSAGES = 3  # in a repr; the record and its dataset have them all
_TAU = "membrane time constant"
# Settings in words, with their units.
_SETTINGS = {
    "tol": ("bound on the residual", "1"),
    "eps": ("step size", _TAU),
    "t_end": ("time at which paths end", _TAU),
    "steady": ("force at which the run ends; NaN if it takes all steps", "1"),
    "rtol": ("relative tolerance of adaptive steps; NaN for fixed steps", "1"),
    "atol": ("absolute tolerance of adaptive steps; NaN for fixed steps", "1"),
    "seed": ("root seed, empty if nothing is random", "1"),
    "sigma": ("intensity of the noise", "1"),
    "beta": ("strength of the nudge, 0 without one", "1"),
}


class Record:
    """What a public function found: how it went, and everything as a labelled dataset.

    A subclass is a frozen dataclass with a ``status`` and a ``message``.

    Attributes
    ----------
    network : VectorField
        What the record is of.
    """

    network: Any  # a field or a property, of the type that the subclass says

    _error: ClassVar[type[Exception]] = RuntimeError
    _on_graph: ClassVar[bool] = False  # whether what was found hangs on that of the parameters
    _shown: ClassVar[tuple[str, ...]] = ("state",)  # fields whose shapes are told

    def __post_init__(self) -> None:
        if not self._on_graph:
            for name, value in vars(self).items():
                if isinstance(value, Tensor) and value.requires_grad:
                    object.__setattr__(self, name, value.detach())

    def raise_for_status(self) -> Self:
        """Return the record itself, or raise for the first failure, with its sentence."""
        for sentence in self._failures():
            raise self._error(sentence)
        return self

    def to_dataset(self) -> xr.Dataset:
        """Return everything with names, units, and what it came from."""
        raise NotImplementedError

    def _failures(self) -> list[str]:
        """Return a sentence for each failure."""
        raise NotImplementedError

    def _outcome(self) -> str:
        """Return how it went, in words."""
        raise NotImplementedError

    def __repr__(self) -> str:
        shapes = [f"{name} {tuple(getattr(self, name).shape)}" for name in self._shown]
        said = [sentence for sentence in self._sentences() if sentence]
        more = [f"and {len(said) - _SHOWN_MESSAGES} more"] if len(said) > _SHOWN_MESSAGES else []
        lines = [", ".join([f"{type(self).__name__} of {self.network!r}", *shapes]),
                 self._outcome(), *said[:_SHOWN_MESSAGES], *more]  # fmt: skip
        return "\n  ".join(lines)

    def _repr_html_(self) -> str:
        return self.to_dataset()._repr_html_()

    def _sentences(self) -> Sequence[str]:
        message: Any = getattr(self, "message", "")
        return [message] if isinstance(message, str) else message


class SampledRecord(Record):
    """A record of one sample or more, which can be counted, picked and gone through.

    ``record[2]`` is the record of that sample alone, counted in the flattened batch;
    ``record[1:3]`` and ``record[record.status == 0]`` are records of some. Sentences keep the
    number that a sample had where it was found.

    Attributes
    ----------
    status : Tensor
        The outcome of each sample, 0 if all is well, ``(*batch)``.
    message : list of str
        A sentence for each sample of which something must be said, in the order of the flattened
        batch, else ``""``.
    """

    status: Tensor
    message: list[str]

    _outcomes: ClassVar[tuple[str, ...]]  # what a status means, in words

    def _of_samples(self, rows: Tensor) -> dict[str, Any]:
        """Return the fields that some samples have, by their numbers in the flattened batch."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.status.numel()

    def __getitem__(self, which: int | slice | Sequence[int] | Sequence[bool] | Tensor) -> Self:
        rows = _numbers(which, len(self))
        # which fields there are is a matter of the class
        return dataclasses.replace(self, **self._of_samples(rows))  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def _failures(self) -> list[str]:
        rows = zip(self.status.flatten().tolist(), self.message, strict=True)
        return [sentence for status, sentence in rows if status]

    def _outcome(self) -> str:
        counts = Counter(self.status.flatten().tolist())
        words = [f"{n} {self._outcomes[status]}" for status, n in sorted(counts.items())]
        n = len(self)
        return f"{n} sample{'s' * (n != 1)}: {', '.join(words) or 'none'}"


def rows_at(t: Tensor, rows: Tensor, batch: torch.Size, lead: int = 0) -> Tensor:
    """Return some rows of a batch that stands behind `lead` dimensions of a tensor.

    Parameters
    ----------
    t : Tensor
        ``(..., *batch, ...)``.
    rows : Tensor
        Numbers in the flattened batch, ``()`` or ``(row,)``.
    batch : torch.Size
        The shape of the batch.
    lead : int
        Dimensions before the batch.

    Examples
    --------
    >>> import torch
    >>> from ctebm.networks.record import rows_at
    >>> rows_at(torch.arange(6.0).reshape(3, 2), torch.tensor([2, 0]), torch.Size([3]))
    tensor([[4., 5.],
            [0., 1.]])
    """
    before, after = t.shape[:lead], t.shape[lead + len(batch) :]
    flat = t.reshape(*before, batch.numel(), *after)
    return flat[(slice(None),) * lead + (rows.to(t.device),)]


def with_origin(
    dataset: xr.Dataset,
    network: VectorField,
    what: str,
    settings: Mapping[str, Any],
    *,
    row: str = "sample",
    batch: torch.Size | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Return a result together with what it came from.

    Parameters
    ----------
    dataset : Dataset
        The result.
    network : VectorField
        What it is the result of.
    what : str
        What it is, for the title.
    settings : mapping
        Numbers and words by name. They become scalar coordinates, along which the results of a
        sweep can be stacked; variables are taken as they are.
    row, batch
        As for :func:`~ctebm.networks.parameters.network_dataset`.
    threads : int, optional
        Threads of torch.

    Returns
    -------
    xarray.Dataset
        With the parameters of the network and the attributes of
        :func:`ctebm.dataset.provenance`.

    Examples
    --------
    >>> import ctebm, xarray as xr
    >>> from ctebm.networks.record import with_origin
    >>> pair = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], ctebm.Tanh())
    >>> dataset = with_origin(xr.Dataset(), pair, "nothing", {"tol": 1e-9})
    >>> dataset.title, float(dataset.tol), "ctebm_version" in dataset.attrs
    ('nothing of DenseNetwork(s: 2; Tanh())', 1e-09, True)
    """
    parameters = network_dataset(network, row, batch)
    dataset = dataset.assign(parameters.data_vars).assign_coords(parameters.coords)
    dataset = dataset.assign_coords(
        {
            name: value
            if isinstance(value, xr.Variable)
            else variable((), value, *_SETTINGS.get(name, (name.replace("_", " "),)))
            for name, value in settings.items()
        }
    )
    came_from = provenance(device=network.device, dtype=network.dtype, threads=threads)
    title = f"{what} of {network!r}"
    return dataset.assign_attrs({"title": title} | dataset.attrs | parameters.attrs | came_from)


def _numbers(which: Any, n: int) -> Tensor:
    """Return the samples that an index means, ``()`` for one and ``(row,)`` for several."""
    places = torch.arange(n, device="cpu")
    if isinstance(which, slice):
        return places[which]
    chosen = torch.as_tensor(which, device="cpu")
    if chosen.dtype == torch.bool:
        if chosen.numel() != n:
            raise IndexError(
                f"expected true or false for each of {n} samples, got {chosen.numel()}."
            )
        return places[chosen.flatten()]
    if chosen.is_floating_point() and chosen.numel():
        raise IndexError(f"expected numbers of samples, got {which!r}.")
    if bool(((chosen < -n) | (chosen >= n)).any()):
        raise IndexError(f"expected numbers of samples below {n}, got {which!r}.")
    return places[chosen.long()]
