r"""The motion of a network: what torchsde and torchdiffeq integrate.

.. math:: ds = f(s)\,dt + \sigma\,dW, \qquad f = -\partial E/\partial s

with two ways to bring a target to some layers: the paper's *drive* replaces their pressure by the
target, :math:`dy = (y^* - y)\,dt` (eq. 12); a *nudge* adds :math:`\beta (y^* - y)` to their own
force (equilibrium propagation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.base import VectorField
from ctebm.networks.kinks import Box

__all__ = ["Dynamics", "Phase"]

Targets = Mapping[str, "ArrayLike | Tensor"]


class Dynamics:
    r"""A network in motion, with its noise and its targets.

    The object has torchsde's ``f``, ``g``, ``noise_type`` and ``sde_type``.

    Parameters
    ----------
    network : VectorField
        The energy.
    sigma : float or Tensor
        Langevin: the noise's intensity, so that the stationary density is
        :math:`e^{-2E/\sigma^2}`. Synaptic: the standard deviation of :math:`\eta` in eq. 2, once
        a step. A number, or one for each sample, ``(*batch)``.
    drive : array or mapping of str to array, optional
        Target states that replace the pressure of a layer (eq. 12); a bare array is for the
        output layer.
    nudge : array or mapping of str to array, optional
        Target states towards which a layer is pulled with strength `beta`.
    beta : float or Tensor, optional
        Strength of the nudge, required with it and only then; a number, or one for each sample.
    noise : {"langevin", "synaptic"}
        Additive noise of the SDE, or the paper's map :math:`s \leftarrow s + \epsilon
        (R(s + \eta) - s)` (eqs. 1-2, 4), which exists in discrete steps only.
    """

    sde_type = "ito"
    noise_type = "diagonal"

    def __init__(
        self,
        network: VectorField,
        sigma: float | Tensor = 0.0,
        drive: ArrayLike | Tensor | Targets | None = None,
        nudge: ArrayLike | Tensor | Targets | None = None,
        beta: float | Tensor | None = None,
        noise: Literal["langevin", "synaptic"] = "langevin",
    ) -> None:
        if noise not in ("langevin", "synaptic"):
            raise ValueError(f"expected noise 'langevin' or 'synaptic', got {noise!r}.")
        if (nudge is None) != (beta is None):
            raise ValueError("expected nudge and beta together; beta is the strength of the nudge.")
        self.network = network
        self.noise = noise
        self.sigma = _one_per_sample("sigma", sigma, network, minimum=0.0)
        self.beta = _one_per_sample("beta", 0.0 if beta is None else beta, network)
        self.drive = self._targets(drive)
        self.nudge = self._targets(nudge)
        if both := set(self.drive) & set(self.nudge):
            raise ValueError(f"expected layer {min(both)!r} to be driven or nudged, got both.")

    def f(self, t: Tensor | float, s: Tensor) -> Tensor:
        """Return the drift, ``(*batch, unit)``; it does not depend on the time `t`."""
        return self._with_targets(s, self.network.force(s))

    def g(self, t: Tensor | float, s: Tensor) -> Tensor:
        """Return the noise's intensity, of the shape of `s`."""
        return self.sigma.expand_as(s)

    def synaptic(self, s: Tensor, eta: Tensor) -> Tensor:
        r"""Return :math:`R(s + \eta) - s`, the drift of the paper's map (eqs. 1-2)."""
        return self._with_targets(s, self.network.pressure(s + eta) - s)

    def sliding(self, start: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] | None:
        """Return where a projected step may end, as a function of where it begins.

        Inside the box the bounds are its two kinks; a unit that starts outside is not pulled in
        by force. Driven units have no kinks, since their own pressure is replaced.

        Parameters
        ----------
        start : Tensor, (*batch, unit)
            The first state of the run.

        Returns
        -------
        function or None
            From a state to the state with units that rounding has put beside a kink put on it,
            the lower and the upper bounds; None if nothing has kinks.
        """
        box = self.box(start)
        if box is None:
            return None
        low, high = (torch.as_tensor(b) for b in box)
        if bool(((start >= low) & (start <= high)).all()):  # and so it stays
            return lambda s: (s.clamp(low, high), low, high)

        def bounds(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            s = self.on_kinks(s)
            return s, torch.minimum(low, s), torch.maximum(high, s)

        return bounds

    def on_kinks(self, s: Tensor) -> Tensor:
        """Return the state with units that are a rounding error from a kink put on it."""
        for kink in self.box(s) or ():
            s = torch.where((s - kink).abs() <= 4 * torch.finfo(s.dtype).eps, kink, s)
        return s

    def residual(self, s: Tensor) -> Tensor:
        """Return the largest drift over the units, ``(*batch)``, 0 for a unit held at its kink."""
        f, box = self.f(0, s), self.box(s)
        if box is not None:
            f = box.residual(s, f)
        return f.abs().amax(-1)

    def box(self, s: Tensor) -> Box | None:
        """Return the kinks of each unit; infinite for driven units, which have none."""
        if self.network.box is None:
            return None
        low, high = self.network.box.each(s)
        for name in self.drive:
            where = self.network.layers[name]
            low[where], high[where] = -torch.inf, torch.inf
        return Box(low, high)

    @property
    def noisy(self) -> bool:
        """Whether any sample has noise."""
        return bool((self.sigma > 0).any())

    @property
    def batch(self) -> torch.Size:
        """The shape of the samples that network, targets, sigma and beta bring along."""
        targets = (*self.drive.values(), *self.nudge.values())
        rows = [x.shape[:-1] for x in (self.sigma, self.beta, *targets)]
        return torch.broadcast_shapes(self.network.batch, *rows)

    def _with_targets(self, s: Tensor, f: Tensor) -> Tensor:
        for name, target in self.drive.items():
            where = self.network.layers[name]
            f[..., where] = target - s[..., where]
        for name, target in self.nudge.items():
            where = self.network.layers[name]
            f[..., where] += self.beta * (target - s[..., where])
        return f

    def _targets(self, targets: ArrayLike | Tensor | Targets | None) -> dict[str, Tensor]:
        if targets is None:
            return {}
        if not isinstance(targets, Mapping):
            targets = {self.network.output: targets}
        return {name: self.network._layer_state(name, x) for name, x in targets.items()}


@dataclass(frozen=True)
class Phase:
    """A stretch of a run in which nothing changes: settle, drive, release.

    Parameters
    ----------
    name : str
        What the phase is called in the result.
    dynamics : Dynamics
        What moves the state; its network has the units of the other phases.
    n_steps : int
        How long it lasts.
    """

    name: str
    dynamics: Dynamics
    n_steps: int

    def __post_init__(self) -> None:
        if self.n_steps < 1 or int(self.n_steps) != self.n_steps:
            raise ValueError(f"expected phase {self.name!r} of n_steps >= 1, got {self.n_steps}.")


def _one_per_sample(
    name: str, value: float | Tensor, network: VectorField, minimum: float | None = None
) -> Tensor:
    """Return a value as a column that multiplies states, ``()`` or ``(*batch, 1)``."""
    tensor = torch.as_tensor(value, dtype=network.dtype, device=network.device)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"expected a finite {name}, got {value}.")
    if minimum is not None and bool((tensor < minimum).any()):
        raise ValueError(f"expected {name} >= {minimum:g}, got {tensor.min().item():g}.")
    return tensor if tensor.ndim == 0 else tensor.unsqueeze(-1)
