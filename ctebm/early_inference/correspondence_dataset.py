"""A correspondence as labelled arrays: results, gradients, laws, and what they came from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from ctebm.dataset import layer_of_unit, variable
from ctebm.early_inference.after_arrival import displacement_after_arrival, leak_of_layers
from ctebm.early_inference.drive import Replace
from ctebm.early_inference.laws import driven_coefficient, paper_coefficient
from ctebm.early_inference.leaky_laws import leaky_coefficient
from ctebm.networks.activation import Activation
from ctebm.networks.record import with_origin

if TYPE_CHECKING:
    from ctebm.early_inference.record import Correspondence

__all__ = ["STATUS", "correspondence_dataset"]

STATUS = (
    "0 fine, 1 no equilibrium, 2 outputs that send no gradient back, 3 left the finite numbers, "
    "4 equilibrium not stable"
)
_TAU = "membrane time constant"
_RUN = ("sample", "eps")
_LAYER = ("sample", "eps", "save", "layer")
_UNIT = ("sample", "eps", "save", "unit")

# Attributes of the record: dimensions and what they are, in words.
_MEASURED: dict[str, tuple[tuple[str, ...], str]] = {
    "status": (("sample",), STATUS),
    "message": (("sample",), "what must be said of a sample"),
    "first_crossing": (_RUN, "first step at which a unit meets or leaves a kink"),
    "crossing_unit": (_RUN, "unit of the first crossing"),
    "crossing_direction": (_RUN, "1 meets a kink, -1 leaves it, 0 no crossing"),
    "displacement": (_UNIT, "displacement from equilibrium for unit strength"),
    "standard_error": (_UNIT, "standard error of the mean displacement"),
    "coefficient": (_LAYER, "share of the chain gradient"),
    "coefficient_interval": (("bound", *_LAYER), "95 % interval of the coefficient"),
    "cosine_interval": (("bound", *_LAYER), "95 % interval of the cosine with the chain gradient"),
    "tangent": (_LAYER, "tangent of the angle to the chain gradient"),
    "sign_agreement": (_LAYER, "share of units that move down their own gradient"),
    "linear_error": (_LAYER, "relative distance from linear response"),
    "rounding_floor": ((*_RUN, "layer"), "relative rounding error at arrival"),
}


def correspondence_dataset(record: Correspondence) -> xr.Dataset:
    """Return the dataset of a correspondence.

    Dimensions are ``sample, eps, save, layer, unit``, with ``bound`` for confidence intervals,
    and those of the network's parameters.

    Parameters
    ----------
    record : Correspondence
        What :func:`ctebm.correspondence` returns.
    """
    data = _equilibrium(record) | _measured(record) | _laws(record) | _leaks(record)
    outputs = f"unit_{record.layers[-1]}"
    data["target"] = variable(("sample", outputs), record.target, "target states")
    coords = {
        "eps": variable("eps", record.eps, "step size", _TAU),
        "step": variable(("eps", "save"), record.step, "steps since the target arrived"),
        "time": variable(("eps", "save"), record.time, "time since the target arrived", _TAU),
        "layer": variable("layer", np.array(record.layers), "layer"),
        "depth": variable("layer", np.array(record.depth), "hops from the output"),
    }
    dataset = xr.Dataset(data, coords, _attributes(record))
    network, n_units = record.fixed.network, record.displacement.shape[-1]
    dataset = dataset.assign_coords(layer_of_unit(network.layers, n_units, "layer_of_unit"))
    dataset = with_origin(
        dataset, network, "correspondence", _settings(record), batch=record.status.shape
    )
    dataset.attrs["title"] = f"correspondence of {record.network!r}"
    return dataset


def _equilibrium(record: Correspondence) -> dict[str, xr.Variable]:
    per_unit, fixed = ("sample", "unit"), record.fixed
    return {
        "fixed_point": variable(per_unit, fixed.state, "equilibrium state"),
        "pinned": variable(per_unit, fixed.pinned, "held at a kink by its current"),
        "responsive": variable(per_unit, record.responsive, "carries a small change"),
        "residual": variable("sample", fixed.residual, "largest force at equilibrium"),
        "margin": variable("sample", fixed.margin, "distance from a change of pinning"),
        "converged": variable("sample", fixed.converged, "equilibrium was reached"),
        "chain_gradient": variable(per_unit, record.chain, "chain gradient dC/ds"),
        "implicit_gradient": variable(per_unit, record.implicit, "implicit gradient"),
    }


def _measured(record: Correspondence) -> dict[str, xr.Variable]:
    values = {name: getattr(record, name) for name in _MEASURED}
    data = {
        name: variable(dims, values[name], text)
        for name, (dims, text) in _MEASURED.items()
        if values[name] is not None
    }
    for name, gradient in (("cosine", record.chain), ("cosine_implicit", record.implicit)):
        text = f"cosine with the {'implicit' if '_' in name else 'chain'} gradient"
        data[name] = variable(_LAYER, record.cosine(gradient), text)
    return data


def _laws(record: Correspondence) -> dict[str, xr.Variable]:
    curve = ("eps", "save", "layer")
    paper = record.by_depth(lambda k, n, eps: paper_coefficient(k, eps))
    if record.has_law:
        law, flow = record.law, record.by_depth(lambda k, n, eps: driven_coefficient(k, n, eps, 0))
    else:
        law = flow = torch.full_like(paper, math.nan)
    return {
        "law_coefficient": variable(curve, law, "coefficient of the feedback path"),
        "paper_coefficient": variable(curve, paper, "eps^(k+1), size at first arrival"),
        "continuous_coefficient": variable(curve, flow, "coefficient in continuous time"),
    }


def _leaks(record: Correspondence) -> dict[str, xr.Variable]:
    """Return what the layers' own curvature makes of the law, for Euler steps."""
    fixed, drive = record.fixed, record.drive
    aim = drive.aim(fixed.network, fixed.state, record.target)
    leak = leak_of_layers(fixed.network, fixed.state, aim, drive.one_sided)
    leak[~fixed.converged] = math.nan
    data = {"leak": variable(("sample", "layer"), leak, "curvature along the chain gradient")}
    if record.order != 1:
        return data
    c = leak.detach().cpu().numpy()[:, ::-1].copy()  # from the output down
    if isinstance(drive, Replace):
        g = record.chain[:, fixed.network.layers[fixed.network.output]]
        stiff = (g * drive.stiffness(fixed.network, fixed.state, record.target, g)).sum(-1)
        c[:, 0] = 1 if drive.cost is None else (stiff / g.square().sum(-1)).cpu().numpy()
    rows = [_leaky(c[:, drive.lead :], n, eps, drive.lead) for eps, n in _runs(record)]
    data["leaky_coefficient"] = variable(
        _LAYER, np.stack(rows, 1), "coefficient of the feedback path with each layer's own leak"
    )
    after = [
        displacement_after_arrival(fixed.network, fixed.state, record.target, eps, drive)
        for eps in record.eps.tolist()
    ]
    text = "linear response one step after the first arrival of each layer"
    data["after_arrival"] = variable(("sample", "eps", "unit"), torch.stack(after, 1), text)
    return data


def _runs(record: Correspondence) -> list[tuple[float, np.ndarray]]:
    """Return the step size and the saved steps of each run, -1 where there is none."""
    return list(zip(record.eps.tolist(), record.step.cpu().numpy(), strict=True))


def _leaky(c: np.ndarray, steps: np.ndarray, eps: float, lead: int) -> np.ndarray:
    """Return the coefficients of each sample, ``(sample, save, layer)``, the output last."""
    saved = np.asarray(steps >= 0)
    known, leaks = np.where(saved, steps, 0), np.nan_to_num(c)
    columns = [np.ones((len(c), len(steps)))] * lead  # what is clamped is there at once
    for k in range(c.shape[1]):
        a = leaky_coefficient(known, eps, leaks[:, : k + 1])
        a[np.isnan(c[:, : k + 1]).any(1)] = np.nan
        columns.append(a)
    a = np.stack(columns[::-1], -1)
    a[:, ~saved] = np.nan
    return a


def _settings(record: Correspondence) -> dict[str, Any]:
    return {
        "method": record.method,
        **{"beta": math.nan, "points": 1} | record.drive.attributes(),
        "sigma": record.sigma,
        "noise": record.noise,
        "replicates": record.replicates,
        "baseline": record.baseline,
        "seed": "" if record.seed is None else str(record.seed),
        "tol": record.fixed.tol,
    }


def _attributes(record: Correspondence) -> dict[str, Any]:
    failed = (record.status == 1) | (record.status == 3)
    attributes: dict[str, Any] = {"n_failed": int(failed.sum())}
    rho = getattr(record.network, "activation", None)
    if isinstance(rho, Activation):
        attributes["kinks"] = list(rho.kinks) or ""
    return attributes
