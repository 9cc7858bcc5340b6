r"""Predictive coding at rest, found in the coordinates of its errors.

In states the energy of a deep network is stiff: its smallest curvature falls with the square of
the number of layers. In errors its Hessian is about the precision plus a matrix of the rank of the
output, so that steps which learn the curvature on their way are few however deep it is (Goemaere
et al., arXiv:2505.20137). Newton steps by conjugate gradients end what these do not.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor

from ctebm.equilibria.descent import descend_to_bottom
from ctebm.equilibria.kkt import residual
from ctebm.equilibria.lbfgs import lbfgs
from ctebm.equilibria.rows import Rows
from ctebm.networks.base import VectorField
from ctebm.networks.error_coordinates import ErrorCoordinates
from ctebm.networks.predictive import PredictiveNetwork

__all__ = ["descend_in_errors", "is_predictive"]

# Ten layers of 50 take 60; what takes more starts anew by Newton steps, which know the curvature.
LEARNING_STEPS = 150


def is_predictive(rows: Rows[VectorField]) -> TypeGuard[Rows[PredictiveNetwork]]:
    """Return whether rows are samples of predictive coding."""
    return isinstance(rows.whole, PredictiveNetwork)


def descend_in_errors(
    rows: Rows[PredictiveNetwork], s: Tensor, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Go down the energy of predictive networks from states that are no equilibria yet.

    Parameters
    ----------
    rows : Rows
        The samples that the states belong to.
    s : Tensor
        Starts, ``(row, unit)``.
    tol : float
        Bound on the derivative of the energy by each error. The force on states may be larger, by
        what the couplings send back: whether they have settled is for the caller to judge.
    max_iterations : int
        Bound on the steps of each row.

    Returns
    -------
    tuple of Tensor
        States ``(row, unit)`` and steps taken ``(row,)``.
    """
    ends, steps = s.clone(), torch.zeros(len(s), dtype=torch.long, device=s.device)
    at = torch.nonzero(residual(rows.network, s) > tol).squeeze(-1)
    if not len(at):
        return ends, steps
    coded = Rows(ErrorCoordinates(rows.whole), rows.batch, rows.index[at])
    start = coded.network.errors(s[at])
    e, taken = lbfgs(coded, start, tol, min(LEARNING_STEPS, max_iterations))
    left = torch.nonzero(~(residual(coded.network, e) <= tol)).squeeze(-1)
    if len(left):
        e[left], more, *_ = descend_to_bottom(coded[left], start[left], tol, max_iterations)
        taken[left] = more
    ends[at], steps[at] = coded.network.states(e), taken
    return ends, steps
