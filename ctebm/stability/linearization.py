r"""Linearise a network at equilibria: find the spectrum of minus its Jacobian, sample by sample."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ctebm.dynamics.threads import small_on_one_thread
from ctebm.equilibria.inertia import classify
from ctebm.equilibria.kkt import margin, pinned_units, residual
from ctebm.equilibria.krylov import Spectrum, stacked
from ctebm.networks.base import StateLike, VectorField, free_network
from ctebm.networks.differentiable import check_force
from ctebm.networks.energy import Network
from ctebm.networks.layout import broadcast
from ctebm.networks.memory_limits import check_memory
from ctebm.networks.numbers import finite
from ctebm.stability.hessian import hessian_spectrum
from ctebm.stability.jacobian import jacobian_spectrum
from ctebm.stability.record import Linearization

__all__ = ["linearize"]

_WHOLE_UNITS = 1000  # up to which all eigenpairs take less than about half a second
_WORK = 8  # matrices that the solver and the residuals of one sample take, about


@small_on_one_thread(matrices=True)
def linearize(
    network: VectorField,
    state: StateLike,
    *,
    dense: bool | None = None,
    tol: float = 1e-5,
) -> Linearization:
    r"""Linearise a network at equilibria (F3, F4).

    Parameters
    ----------
    network : VectorField
        With an energy or without.
    state : array, (*batch, unit)
        Equilibria, or a record of them such as :func:`~ctebm.settle` returns. A state that is none
        is linearised with a warning, and has ``status`` 1.
    dense : bool, optional
        Whether to make the matrix and all eigenpairs. By default those of a network without an
        energy, and of up to 1,000 unpinned units with one; else both ends of the spectrum, from
        products alone, which give stability, responses and the largest stable step.
    tol : float
        Without the matrix, the residual to reach, relative to the width of the spectrum.

    Returns
    -------
    Linearization
        Of the same shapes and the same signs with an energy and without.

    Raises
    ------
    ValueError
        If there is no state, it is not finite or has the wrong shape, the matrix does not fit
        memory, or ``dense=False`` for a network without an energy.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0, 0], ctebm.HardSigmoid()).centred()
    >>> linear = ctebm.linearize(net, ctebm.settle(net))
    >>> linear.eigenvalues
    tensor([0.5000, 1.5000], dtype=torch.float64)
    >>> linear.covariance(sigma=0.1)
    tensor([[0.0067, 0.0033],
            [0.0033, 0.0067]], dtype=torch.float64)
    """
    s = free_network(network).finite_state(state)
    tol = finite("tol", tol, above=0)
    batch = broadcast(states=s.shape[:-1], network=network.batch)
    s = s.expand(*batch, -1)
    if s.numel() == 0:
        raise ValueError(f"expected one state or more, got {tuple(s.shape)}.")
    now = network.snapshot()
    f = now.force(s)
    check_force(f, s)
    pinned = pinned_units(network, s, f)
    whole = _whole(now, int((~pinned).sum(-1).max()), batch.numel(), dense)
    spectra, kinds = _spectra(now, s, ~pinned, whole, tol)
    values, vectors, errors = stacked(spectra, s.reshape(-1, s.shape[-1]))
    index = torch.tensor([k for k, _ in kinds], device=s.device)
    found = Linearization(
        state=s,
        eigenvalues=values.reshape(*batch, values.shape[-1]),
        eigenvectors=vectors.reshape(*batch, *vectors.shape[1:]),
        eigenvalue_residual=errors.reshape(*batch, errors.shape[-1]),
        pinned=pinned,
        margin=margin(network, s, f),
        residual=residual(network, s, f),
        index=index.reshape(batch) if batch else int(index),
        stability=[kind for _, kind in kinds] if batch else kinds[0][1],
        whole=whole,
        network=network,
    )
    if bool(found.status.any()):
        warnings.warn(
            f"not an equilibrium: the largest force is {float(found.residual.max()):.3g}; "
            "settle the state first.",
            stacklevel=2,
        )
    return found


def _whole(network: VectorField, n_free: int, n_samples: int, dense: bool | None) -> bool:
    """Return whether all eigenpairs are computed; refuse what does not fit."""
    if not isinstance(network, Network):
        if dense is False:
            raise ValueError(
                "expected a network with an energy for dense=False, since the ends of a spectrum "
                "without the matrix are those of a symmetric one; leave dense=None."
            )
        remedy, size = "clamp some layers, or use a smaller network", 16  # bytes, of complex ones
    else:
        if dense is None:
            dense = n_free <= _WHOLE_UNITS
        if not dense:
            return False
        remedy, size = "leave dense=None for both ends of the spectrum without the matrix", 8
    # the vectors of every sample are there twice while they are put together
    what = f"all {n_free:,} eigenpairs of {n_samples:,} samples"
    check_memory(what, (2 * n_samples + _WORK) * size * n_free**2, remedy)
    return True


def _spectra(
    network: VectorField, s: Tensor, free: Tensor, whole: bool, tol: float
) -> tuple[list[tuple[Tensor, Spectrum]], list[tuple[int, str]]]:
    """Return for each sample its free units and their spectrum, and its index and stability."""
    n, batch = s.shape[-1], s.shape[:-1]
    spectra, kinds = [], []
    for i, (u, units) in enumerate(zip(s.reshape(-1, n), free.reshape(-1, n), strict=True)):
        one = network.samples(batch, torch.tensor(i, device="cpu"))
        where = torch.nonzero(units).squeeze(-1)
        if isinstance(one, Network):
            found = hessian_spectrum(one, u, where, whole, tol)
            enough = whole or bool((found.eigenvalues[:1] > found.residual[:1]).all())
            kinds.append(classify(one, u, found if enough else None))
        else:
            found = jacobian_spectrum(one, u, where)
            kinds.append(classify(one, u))
        spectra.append((where, found))
    return spectra, kinds
