"""The record of sampled chains: moments of their draws, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ctebm.dataset import layer_of_unit, variable
from ctebm.dynamics.sde import Dynamics
from ctebm.networks.base import VectorField
from ctebm.networks.record import SampledRecord, rows_at
from ctebm.sampling.kinks import ACCEPTED
from ctebm.sampling.moments import Moments
from ctebm.sampling.motion import by_chain, motion_of, overshooting, with_motion

__all__ = ["Samples", "samples_of"]

FEWEST_DRAWS = 4  # of a chain, whose halves R-hat compares


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Samples(SampledRecord):
    r"""Moments of what chains of a noisy motion visit, from :func:`~ctebm.sample`.

    Attributes
    ----------
    mean : Tensor
        Mean state over draws and chains, ``(*sample, unit)``.
    mean_error : Tensor
        Its standard error, ``(*sample, unit)``; 0 for a unit that never moved.
    covariance : Tensor
        Over draws and chains, ``(*sample, unit, unit)``.
    observed, observed_error : dict of str to Tensor
        Means of the functions that were observed, and their standard errors. In a dataset they
        have their names, ``observed_NAME`` where a name is taken.
    chain_mean : Tensor
        Mean of each chain, ``(chain, *sample, unit)``.
    ess : Tensor
        Effective sample size, the variance over the squared error of the mean, ``(*sample,
        unit)``; NaN for a unit that never moved.
    rhat : Tensor
        Split :math:`\hat R` of block means, ``(*sample, unit)``, near 1 where chains agree; NaN
        for a unit that never moved, or with fewer than four blocks.
    acceptance : Tensor
        Share of the steps that ``"mala"`` accepted, ``(chain, *sample)``; NaN for other methods.
    kink_number : Tensor
        :math:`\kappa = \epsilon a^2/\sigma^2`, the largest over pinned units, ``(*sample)``; above
        0.05 Euler-Maruyama widens their law by more than 6 % (N6). 0 if no unit is pinned.
    state : Tensor
        Last state of each chain, ``(chain, *sample, unit)``, from which to go on.
    status : Tensor
        0 if chains agree, 1 if one left the finite numbers, 2 if they have not mixed, or if too
        few draws tell, ``(*sample)``, int8.
    message : list of str
        For each sample what is wrong or to be borne in mind, else ``""``.
    failed_step : Tensor
        First step at which a chain was not finite, or -1, ``(chain, *sample)``.
    eps : Tensor
        Step size, ``()`` or ``(chain, *sample)``.
    n_draws, every, burn_in, n_steps : int
        Draws of each chain, steps between them, steps before the first, steps after that.
    method, stream, seed, threads : str, str, int, int
        How the steps and their noise were made.
    dynamics : Dynamics
        The motion.

    Examples
    --------
    >>> import torch, ctebm
    >>> net = ctebm.DenseNetwork([[0, 3], [3, 0]], [-1.5, -1.5], ctebm.Tanh())
    >>> start = torch.zeros(64, 2, dtype=torch.float64)
    >>> found = ctebm.sample(
    ...     ctebm.Dynamics(net, sigma=0.5), start, n_steps=400, eps=0.4, burn_in=100, seed=0,
    ...     method="mala",
    ... )
    >>> bool((found.acceptance > 0.8).all()), found.to_dataset().covariance.sizes
    (True, Frozen({'unit': 2, 'other_unit': 2}))
    """

    mean: Tensor
    mean_error: Tensor
    covariance: Tensor
    observed: dict[str, Tensor]
    observed_error: dict[str, Tensor]
    chain_mean: Tensor
    ess: Tensor
    rhat: Tensor
    acceptance: Tensor
    kink_number: Tensor
    state: Tensor
    status: Tensor
    message: list[str]
    failed_step: Tensor
    eps: Tensor
    n_draws: int
    every: int
    burn_in: int
    n_steps: int
    method: str
    stream: str
    seed: int | None
    threads: int
    dynamics: Dynamics

    _outcomes = ("mixed", "not finite", "not mixed")
    _shown = ("mean", "state")

    @property
    def network(self) -> VectorField:
        """What moved."""
        return self.dynamics.network

    def _of_samples(self, rows: Tensor) -> dict[str, Any]:
        batch = self.status.shape
        names = {"mean": 0, "mean_error": 0, "covariance": 0, "ess": 0, "rhat": 0, "status": 0,
                 "kink_number": 0, "chain_mean": 1, "acceptance": 1, "state": 1,
                 "failed_step": 1}  # fmt: skip
        names |= {"eps": 1} if self.eps.ndim else {}
        found: dict[str, Any] = {
            name: rows_at(getattr(self, name), rows, batch, lead) for name, lead in names.items()
        }
        for name in ("observed", "observed_error"):
            found[name] = {k: rows_at(x, rows, batch) for k, x in getattr(self, name).items()}
        found["message"] = [self.message[i] for i in rows.reshape(-1).tolist()]
        return found | {"dynamics": motion_of(self.dynamics, self._lead, rows)}

    @property
    def _lead(self) -> torch.Size:
        """Chains and samples, ``(chain, *sample)``."""
        return self.failed_step.shape

    def to_dataset(self) -> xr.Dataset:
        """Return a dataset with dimensions ``chain``, ``unit``, ``other_unit``, and ``sample``.

        ``sample`` is the flattened batch of laws; it is missing where there is one. With the
        network and its targets, see :func:`~ctebm.networks.parameters.network_dataset`.
        """
        lead = self._lead

        def of_samples(x: Tensor, long_name: str, *inner: str) -> xr.Variable:
            return by_chain(x, lead, long_name, *inner)

        data = {
            "mean": of_samples(self.mean, "mean state", "unit"),
            "mean_error": of_samples(self.mean_error, "standard error of the mean", "unit"),
            "covariance": of_samples(self.covariance, "covariance", "unit", "other_unit"),
            "ess": of_samples(self.ess, "effective sample size of the mean", "unit"),
            "rhat": of_samples(self.rhat, "split R-hat of block means", "unit"),
            "kink_number": of_samples(self.kink_number, "largest eps a^2 / sigma^2"),
            "status": of_samples(self.status, "0 mixed, 1 not finite, 2 not mixed"),
            "message": variable(
                ["sample"] if lead[1:] else [], self.message if lead[1:] else self.message[0],
                "what is wrong",
            ),
            "chain_mean": of_samples(self.chain_mean, "mean state of a chain", "unit"),
            "last_state": of_samples(self.state, "last state of a chain", "unit"),
            "acceptance": of_samples(self.acceptance, "share of accepted steps"),
            "failed_step": of_samples(self.failed_step, "first step that is not finite, or -1"),
        }  # fmt: skip
        dataset = xr.Dataset(data)
        dataset = dataset.assign_coords(layer_of_unit(self.network.layers, self.mean.shape[-1]))
        settings = {
            "method": self.method, "noise_stream": self.stream,
            "seed": "" if self.seed is None else str(self.seed),
            "n_draws": self.n_draws, "every": self.every, "burn_in": self.burn_in,
            "n_steps": self.n_steps,
            "eps": by_chain(self.eps, lead, "step size", units="membrane time constant"),
        }  # fmt: skip
        what = "moments of sampled chains"
        dataset = with_motion(dataset, self.dynamics, what, settings, lead, self.threads)
        for name, x in self.observed.items():
            own = [f"{name}_axis{i}" for i in range(x.ndim - self.status.ndim)]
            error = of_samples(self.observed_error[name], f"standard error of {name}", *own)
            taken = {*dataset.variables, *dataset.dims}
            key = f"observed_{name}" if {name, f"{name}_error"} & taken else name
            dataset[key], dataset[f"{key}_error"] = of_samples(x, f"mean of {name}", *own), error
        return dataset


def samples_of(
    moments: Moments,
    *,
    n_draws: int,
    dynamics: Dynamics,
    eps: Tensor,
    every: int,
    burn_in: int,
    n_steps: int,
    method: str,
    stream: str,
    seed: int | None,
    threads: int,
    acceptance: Tensor,
    kink_number: Tensor,
    failed_step: Tensor,
    eps_limit: float | None,
    state: Tensor,
) -> Samples:
    """Return the record of chains whose moments were gathered, with its judgement of them."""
    covariance = moments.covariance
    of = moments.state
    error, rhat = (torch.as_tensor(x).to(state.device) for x in (of.error(), of.rhat()))
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    ess = variance / error.square()
    lost, stuck = (failed_step >= 0).any(0), (acceptance == 0).any(0)
    unmixed = (rhat > of.rhat_bound).any(-1) | stuck
    unmixed |= n_draws < FEWEST_DRAWS
    status = torch.where(lost, 1, torch.where(unmixed, 2, 0)).to(torch.int8)
    kappa = torch.zeros_like(kink_number) if method == "mala" else kink_number
    notes = _notes(status, rhat, n_draws, failed_step, acceptance, kappa, eps, eps_limit)
    if own := _own_laws(dynamics, eps, failed_step.shape, method):
        notes = [" ".join(filter(None, (note, own))) for note in notes]
    return Samples(
        mean=moments.mean, mean_error=error, covariance=covariance,
        observed={name: x.mean for name, x in moments.observed.items()},
        observed_error={
            name: torch.as_tensor(x.error(), device=error.device)
            for name, x in moments.observed.items()
        },
        chain_mean=moments.chain_mean, ess=ess.where(error > 0, torch.nan), rhat=rhat,
        acceptance=acceptance, kink_number=kink_number, state=state, status=status,
        message=notes, failed_step=failed_step, eps=eps, n_draws=n_draws, every=every,
         burn_in=burn_in, n_steps=n_steps, method=method, stream=stream, seed=seed,
        threads=threads, dynamics=dynamics,
    )  # fmt: skip


def _notes(
    status: Tensor,
    rhat: Tensor,
    n_draws: int,
    failed_step: Tensor,
    acceptance: Tensor,
    kappa: Tensor,
    eps: Tensor,
    eps_limit: float | None,
) -> list[str]:
    """Return a sentence or some for each sample, in the order of the flattened batch."""
    failed_step = failed_step.reshape(len(failed_step), -1)
    rhat, kappa, status = rhat.reshape(-1, rhat.shape[-1]), kappa.reshape(-1), status.reshape(-1)
    stuck = (acceptance == 0).reshape(len(failed_step), -1).sum(0)
    notes = []
    for i in range(failed_step.shape[1]):
        said, lost = [], torch.nonzero(failed_step[:, i] >= 0).flatten()
        if int(status[i]) == 1:
            said.append(
                f"{len(lost)} of {len(failed_step)} chains left the finite numbers, chain "
                f"{int(lost[0])} at step {int(failed_step[lost[0], i])}: these steps have no "
                "stationary law; use a smaller eps."
            )
        elif n := int(stuck[i]):
            said.append(
                f"{n} of {len(failed_step)} chains accepted no step and stay where they started; "
                "use a smaller eps."
            )
        elif n_draws < FEWEST_DRAWS:
            said.append(
                f"expected {FEWEST_DRAWS} draws or more of each chain, got {n_draws}, too few to "
                "tell by R-hat whether chains have mixed; take more steps, or draw more often."
            )
        elif int(status[i]) == 2:
            unit = int(rhat[i].nan_to_num(0.0).argmax())
            said.append(
                f"chains have not mixed: R-hat is {float(rhat[i, unit]):.3g} in unit {unit}, so "
                "that they sit in valleys that few left, or still spread; run longer, or start all "
                "chains in one valley and speak of that."
            )
        elif len(failed_step) == 1:
            said.append(
                "one chain: R-hat compares its halves, and knows nothing of valleys that it did "
                "not visit; start several chains."
            )
        if eps_limit is not None:
            said.append(overshooting(float(eps.max()), eps_limit))
        if float(kappa[i]) > ACCEPTED:
            step = float(eps.max()) * ACCEPTED / float(kappa[i])
            said.append(
                f"kink number {float(kappa[i]):.3g}: steps do not see kinks, and those of "
                "Euler-Maruyama widen the law of pinned units by more than 6 %; take eps <= "
                f"{step:.2g}, or method='mala'."
            )
        notes.append(" ".join(said))
    return notes


def _own_laws(dynamics: Dynamics, eps: Tensor, lead: torch.Size, method: str) -> str:
    """Return a sentence if chains of one sample have laws of their own."""
    differ = bool(eps.ndim) and method != "mala" and bool((eps != eps[:1]).any())
    batch = dynamics.batch
    if not differ and (len(batch) < len(lead) or batch[0] == 1):
        return ""
    return (
        "chains have inputs, targets, noise or steps of their own, so that moments are over "
        "several laws; give starts (chain, *sample, unit) to keep laws apart by sample."
    )
