"""What a study measured, as a labelled dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from ctebm.early_inference.record import Correspondence

__all__ = ["TAU", "by_depth", "labelled", "stacked", "unsettled"]

TAU = "membrane time constant"  # the unit of time in every dataset


def labelled(
    variables: Mapping[str, Sequence[Any]],
    attrs: Mapping[str, Any],
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> xr.Dataset:
    """Return arrays as a dataset in which every variable says what it is.

    Parameters
    ----------
    variables, coords : mapping
        Name to ``(dims, values, long_name)`` or ``(dims, values, long_name, units)``, as
        :func:`ctebm.dataset.variable` takes them.
    attrs : mapping
        Of the dataset.

    Examples
    --------
    >>> from ctebm.study.record import labelled
    >>> eps = {"eps": ("eps", [0.2, 0.1], "step size", "membrane time constant")}
    >>> data = labelled({"error": ("eps", [1e-9, 1e-8], "relative error")}, {}, eps)
    >>> data.error.attrs["long_name"], data.eps.attrs["units"]
    ('relative error', 'membrane time constant')
    """
    import xarray as xr

    from ctebm.dataset import variable

    def described(entries: Mapping[str, Sequence[Any]]) -> dict[str, xr.Variable]:
        return {name: variable(*entry) for name, entry in entries.items()}

    return xr.Dataset(described(variables), described(coords or {}), attrs)


def stacked(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return the measurements of several runs with a first dimension for the runs.

    Parameters
    ----------
    rows : sequence of mapping
        The same names in each, to tensors or numbers of the same shape.

    Examples
    --------
    >>> from ctebm.study.record import stacked
    >>> stacked([{"error": 0.5}, {"error": 0.25}])["error"]
    tensor([0.5000, 0.2500], dtype=torch.float64)
    """
    import torch

    def whole(values: list[Any]) -> Tensor:
        if isinstance(values[0], torch.Tensor):
            return torch.stack(values)
        return torch.tensor(values, dtype=torch.float64)

    return {name: whole([row[name] for row in rows]) for name in rows[0]}


def unsettled(records: Iterable[Correspondence]) -> int:
    """Return how many equilibria were not reached, the ``n_failed`` of a study.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.record import unsettled
    >>> net = ctebm.LayeredNetwork.random((3, 4, 2), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> unsettled([ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=0.1)])
    0
    """
    return sum(int((~record.fixed.converged).sum()) for record in records)


def by_depth(dataset: xr.Dataset) -> Iterator[tuple[int, xr.Dataset]]:
    """Yield the depth of each layer and its part of a dataset, the output first.

    Examples
    --------
    >>> from ctebm.study.record import by_depth, labelled
    >>> depth = {"depth": ("layer", [1, 0], "hops from the output")}
    >>> data = labelled({"error": ("layer", [0.5, 0.25], "relative error")}, {}, depth)
    >>> [(k, float(one.error)) for k, one in by_depth(data)]
    [(0, 0.25), (1, 0.5)]
    """
    for layer in dataset.depth.values.argsort():
        yield int(dataset.depth[layer]), dataset.isel(layer=layer)
