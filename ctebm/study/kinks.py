"""What kinks do to a run: the exact laws hold until the first of them is met or left (P7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctebm.study.verdict import Verdict, largest

if TYPE_CHECKING:
    import xarray as xr

    from ctebm.early_inference.record import Correspondence

__all__ = ["at_most_before_kinks", "kink_variables", "kink_verdicts", "no_crossing"]


def no_crossing(first_crossing: Any, until: Any = None) -> Any:
    """Return where no unit has met or left a kink yet.

    Parameters
    ----------
    first_crossing : Tensor, ndarray or DataArray
        First step at which a unit meets or leaves a kink; -1 if none does.
    until : int or array, optional
        The last step that must be free of crossings; the whole run if None.

    Returns
    -------
    Tensor, ndarray or DataArray of bool

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.study.kinks import no_crossing
    >>> first_crossing = np.array([-1, 3])
    >>> no_crossing(first_crossing), no_crossing(first_crossing, until=2)
    (array([ True, False]), array([ True,  True]))
    """
    never = ~(first_crossing >= 0)
    return never if until is None else never | (first_crossing > until)


def kink_variables(record: Correspondence) -> dict[str, tuple[Any, ...]]:
    """Return what the kinks did to each sample at the smallest step, as :func:`labelled` takes it.

    Parameters
    ----------
    record : Correspondence
        A measured run.

    Returns
    -------
    dict
        ``pinned_share`` and ``crossing_time``, of which :func:`kink_verdicts` speaks.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.kinks import kink_variables
    >>> net = ctebm.LayeredNetwork.random((3, 4, 2), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> record = ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=0.1)
    >>> kink_variables(record)["crossing_time"][1]
    tensor([inf], dtype=torch.float64)
    """
    import torch

    eps, smallest = record.eps.min(0)
    step = record.first_crossing[:, smallest]
    time = torch.where(step >= 0, step * eps, torch.inf)
    pinned = record.fixed.pinned.double()
    return {
        "pinned_share": ("sample", pinned.mean(-1), "share of units held at a kink"),
        "crossing_time": (
            "sample",
            time,
            "time at which a unit first meets or leaves a kink; inf if never",
            "membrane time constant",
        ),
    }


def kink_verdicts(dataset: xr.Dataset) -> list[Verdict]:
    """Report what the kinks did, if anything.

    Parameters
    ----------
    dataset : Dataset
        With the variables of :func:`kink_variables`.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.study.kinks import kink_verdicts
    >>> dataset = xr.Dataset({"pinned_share": ("sample", [0.2, 0.4]),
    ...                       "crossing_time": ("sample", [float("inf"), 3.0])})
    >>> [(v.claim, round(v.value, 3)) for v in kink_verdicts(dataset)]
    [('units held at a kink, share', 0.3),
     ('samples in which a unit meets or leaves a kink in the run', 0.5)]
    """
    import numpy as np

    time, pinned = dataset.crossing_time.values, float(dataset.pinned_share.mean(skipna=False))
    crossed = np.isfinite(time)
    out = []
    if pinned != 0:
        out.append(Verdict.reported("units held at a kink, share", pinned))
    if crossed.any():
        claim = "samples in which a unit meets or leaves a kink in the run"
        note = f"there at {np.median(time[crossed]):.3g} time constants, median"
        out.append(Verdict.reported(claim, crossed.mean(), note))
    return out


def at_most_before_kinks(
    claim: str,
    values: xr.DataArray,
    clear: xr.DataArray,
    bound: float,
    note: str = "",
    where: Any = True,
) -> Verdict:
    """Claim a bound on the values that no kink spoils; without one the claim has no case.

    Parameters
    ----------
    claim : str
        What is claimed.
    values : DataArray
        What was measured.
    clear : DataArray of bool
        Where no kink came first; see :func:`no_crossing`.
    bound : float
        What no value may pass.
    note : str
        Anything the reader should know.
    where : DataArray of bool
        What else the claim asks of a value. If nothing is left, it fails.

    Examples
    --------
    >>> import xarray as xr
    >>> from ctebm.study.kinks import at_most_before_kinks
    >>> error, clear = xr.DataArray([1e-9, 0.3]), xr.DataArray([True, False])
    >>> [at_most_before_kinks("error", error, c, 1e-6).word for c in (clear, clear & False)]
    ['holds', 'no case']
    """
    if not bool(clear.any()):
        return Verdict.no_case(claim, "every sample meets a kink before")
    return Verdict.at_most(claim, largest(values, clear & where), bound, note)
