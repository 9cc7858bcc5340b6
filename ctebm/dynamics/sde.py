r"""The equation of motion of a network, with its noise and its targets.

.. math:: ds = f(s)\,dt + \sigma\,dW, \qquad f = -\partial E/\partial s

A target reaches a layer in one of two ways: the paper's *drive* replaces the layer's pressure by
the target, :math:`dy = (y^* - y)\,dt` (eq. 12); a *nudge* adds :math:`\beta (y^* - y)` to the
layer's own force (equilibrium propagation). With a cost :math:`C` of one's own
:math:`-\partial C/\partial y` stands for :math:`y^* - y`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dynamics.slopes import CostFunction, checked_cost, slope_of_cost
from ctebm.networks.arrays import is_row_of_integers, real_tensor, refuse_labels
from ctebm.networks.base import VectorField, free_network
from ctebm.networks.differentiable import Differentiated
from ctebm.networks.kinks import Box, Kinks
from ctebm.networks.layer_states import states_of_layer
from ctebm.networks.layout import broadcast, broadcast_shapes, rows_of, size_of
from ctebm.networks.numbers import one_of, whole

__all__ = ["Dynamics", "Phase", "as_dynamics"]

Targets = Mapping[str, "ArrayLike | Tensor"]


class Dynamics:
    r"""A network in motion, with its noise and its targets.

    Parameters
    ----------
    network : VectorField
        What gives the force.
    sigma : float or Tensor
        Langevin noise: its intensity, so that the stationary density is
        :math:`e^{-2E/\sigma^2}`. Synaptic noise: the standard deviation of :math:`\eta` in eq. 2,
        drawn once a step. A number, or one for each sample, ``(*batch)``.
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
    cost : callable, optional
        :math:`C(y, y^*)` of each sample, ``(*batch)``, of the states of a driven or nudged layer
        and its targets; by default the squared error, whose slope is :math:`y - y^*`.

    Attributes
    ----------
    sigma, beta : Tensor
        As they multiply states, ``()`` or ``(*batch, 1)``; `beta` is 0 without a nudge.
    drive, nudge : dict of str to Tensor
        Target states of each driven or nudged layer, ``(*batch, size)``.

    Raises
    ------
    ValueError
        For a target of a layer that does not exist or of another size, labels in place of targets,
        a layer both driven and nudged, a negative `sigma`, or anything that is not finite.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0.0, 0.0], ctebm.Tanh())
    >>> s = net.as_state([0.2, -0.1])
    >>> ctebm.Dynamics(net).f(0, s) == net.force(s)
    tensor([True, True])
    >>> ctebm.Dynamics(net, drive={"s": [1.0, 1.0]}).f(0, s)  # target - state
    tensor([0.8000, 1.1000], dtype=torch.float64)
    """

    network: VectorField
    noise: Literal["langevin", "synaptic"]
    cost: CostFunction | None
    sigma: Tensor
    drive: dict[str, Tensor]
    nudge: dict[str, Tensor]
    beta: Tensor

    def __init__(
        self,
        network: VectorField,
        sigma: float | Tensor = 0.0,
        drive: ArrayLike | Tensor | Targets | None = None,
        nudge: ArrayLike | Tensor | Targets | None = None,
        beta: float | Tensor | None = None,
        noise: Literal["langevin", "synaptic"] = "langevin",
        cost: CostFunction | None = None,
    ) -> None:
        one_of("noise", noise, ["langevin", "synaptic"])
        if (nudge is None) != (beta is None):
            raise ValueError("expected nudge and beta together; beta is the strength of the nudge.")
        self.network = free_network(network)
        self.noise, self.cost = noise, checked_cost(cost)
        self.sigma: Tensor = _one_per_sample("sigma", sigma, network, minimum=0.0)
        self.beta: Tensor = _one_per_sample("beta", 0.0 if beta is None else beta, network)
        self._whole: set[str] = set()  # layers with targets that came as one row of integers
        self.drive: dict[str, Tensor] = self._targets(drive)
        self.nudge: dict[str, Tensor] = self._targets(nudge)
        self._check_samples()
        if both := set(self.drive) & set(self.nudge):
            raise ValueError(f"expected layer {min(both)!r} to be driven or nudged, got both.")

    def f(self, t: Tensor | float, s: Tensor) -> Tensor:
        """Return the drift, ``(*batch, unit)``, which is the same at all times `t`."""
        with Differentiated("a force"):
            return self.with_targets(s, self.network.force(s))

    def sliding(self, s: Tensor) -> Tensor:
        """Return the drift, in which units stay on kinks that both sides lead to."""
        f, kinks = self.f(0, s), self.kinks(s)
        if kinks is None or not bool(kinks.on(s).any()):
            return f
        return kinks.sliding(s, f, *(self.f(0, kinks.beside(s, side)) for side in (-1, 1)))

    def synaptic(self, s: Tensor, eta: Tensor) -> Tensor:
        r"""Return :math:`R(s + \eta) - s`, the drift of the paper's map (eqs. 1-2)."""
        return self.with_targets(s, self.network.pressure(s + eta) - s)

    def residual(self, s: Tensor) -> Tensor:
        """Return the largest drift over the units, ``(*batch)``; 0 for a unit held at its kink."""
        f, box = self.sliding(s), self.box(s)
        return (f if box is None else box.residual(s, f)).abs().amax(-1)

    def box(self, s: Tensor) -> Box | None:
        """Return the kinks of the units of `s`; infinite for driven units, which have none."""
        box, driven = self.network.box, [self.network.layers[name] for name in self.drive]
        return box.without(driven, s) if box is not None and driven else box

    def kinks(self, s: Tensor) -> Kinks | None:
        """Return the kinks inside the range of the units of `s`; infinite for driven units."""
        kinks, driven = self.network.kinks, [self.network.layers[name] for name in self.drive]
        return kinks.without(driven, s) if kinks is not None and driven else kinks

    def refuse_labels(self, batch: torch.Size) -> None:
        """Refuse targets that came as one integer for each of several starts.

        Parameters
        ----------
        batch : torch.Size
            The starts.

        Raises
        ------
        ValueError
            With the shape that one-hot states have.
        """
        for name in self._whole:
            refuse_labels((self.drive | self.nudge)[name].long(), batch,
                          size_of(self.network.layer(name)))  # fmt: skip

    def without_noise(self) -> Dynamics:
        """Return the same motion and targets without the noise."""
        quiet = copy.copy(self)
        quiet.sigma = torch.zeros((), dtype=self.network.dtype, device=self.network.device)
        return quiet

    def snapshot(self) -> Dynamics:
        """Return the motion with what held layers send now."""
        other = copy.copy(self)
        other.network = self.network.snapshot()
        return other

    @property
    def noisy(self) -> bool:
        """Whether any sample has noise."""
        return bool((self.sigma > 0).any())

    @property
    def batch(self) -> torch.Size:
        """The shape of the samples that network, targets, sigma and beta bring along."""
        targets = (*self.drive.values(), *self.nudge.values())
        rows = [x.shape[:-1] for x in (self.sigma, self.beta, *targets)]
        return broadcast_shapes(self.network.batch, *rows)

    def _check_samples(self) -> None:
        targets = (self.drive | self.nudge).items()
        rows = {f"targets of {name!r}": x.shape[:-1] for name, x in targets}
        rows |= {"sigma": self.sigma.shape[:-1], "beta": self.beta.shape[:-1]}
        broadcast(network=self.network.batch, **rows)

    def samples(self, batch: torch.Size, rows: Tensor) -> Dynamics:
        """Return the dynamics of some rows of the flattened `batch`."""
        other = copy.copy(self)
        other.network = self.network.samples(batch, rows)
        other.sigma, other.beta = (rows_of(x, batch, rows) for x in (self.sigma, self.beta))
        other.drive, other.nudge = (
            {name: rows_of(x, batch, rows) for name, x in targets.items()}
            for targets in (self.drive, self.nudge)
        )
        return other

    def __repr__(self) -> str:
        sizes = [f"{name} one a sample" if x.ndim else f"{name}={float(x):g}"
                 for name, x in (("sigma", self.sigma), ("beta", self.beta))
                 if x.ndim or float(x)]  # fmt: skip
        targets = [f"{name}s {layer}" for name in ("drive", "nudge")
                   for layer in getattr(self, name)]  # fmt: skip
        return f"Dynamics({', '.join([repr(self.network), *sizes, *targets])})"

    def with_targets(self, s: Tensor, f: Tensor) -> Tensor:
        """Return a force `f` on `s` with those on layers that have targets."""
        if self.drive or self.nudge:
            f = f.clone()  # the tensor may belong to the network, or be needed for gradients
        for name, target in self.drive.items():
            where = self.network.layers[name]
            f[..., where] = self._pull(s[..., where], target)
        for name, target in self.nudge.items():
            where = self.network.layers[name]
            f[..., where] += self.beta * self._pull(s[..., where], target)
        return f

    def _pull(self, y: Tensor, target: Tensor) -> Tensor:
        r"""Return :math:`-\partial C/\partial y`."""
        return target - y if self.cost is None else -slope_of_cost(self.cost, y, target)

    def _targets(self, targets: ArrayLike | Tensor | Targets | None) -> dict[str, Tensor]:
        if targets is None:
            return {}
        if not isinstance(targets, Mapping):
            targets = {self.network.output: targets}
        for name, x in targets.items():
            refuse_labels(x, self.network.batch, size_of(self.network.layer(name)))
            if is_row_of_integers(x):
                self._whole.add(name)
        return {name: states_of_layer(self.network, name, x) for name, x in targets.items()}


@dataclass(frozen=True, eq=False, init=False)
class Phase:
    """A part of a run with dynamics of its own, such as settle, drive or release.

    Attributes
    ----------
    name : str
        What the phase is called in the result.
    dynamics : Dynamics or VectorField
        What moves the state, kept as Dynamics; its network has the units of the other phases.
    n_steps : int
        How many steps the phase lasts.

    Raises
    ------
    ValueError
        If `n_steps` is not a whole number of at least 1.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.DenseNetwork([[0.0]], [0.3], ctebm.HardSigmoid())
    >>> driven = ctebm.Dynamics(net, drive={"s": [0.1]})
    >>> phases = [ctebm.Phase("settle", net, 50), ctebm.Phase("drive", driven, 2)]
    >>> ctebm.simulate(phases, [0.3], eps=0.1, save_every=50).state[:, 0]
    tensor([0.3000, 0.3000, 0.2620], dtype=torch.float64)
    """

    name: str
    dynamics: Dynamics
    n_steps: int

    def __init__(self, name: str, dynamics: Dynamics | VectorField, n_steps: int) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "dynamics", as_dynamics(dynamics))
        object.__setattr__(self, "n_steps", whole("n_steps", n_steps, least=1))


def as_dynamics(motion: Dynamics | VectorField) -> Dynamics:
    """Return dynamics as they are, and a network as its motion without noise or target.

    Raises
    ------
    ValueError
        For anything else.
    """
    return motion if isinstance(motion, Dynamics) else Dynamics(motion)


def _one_per_sample(
    name: str, value: float | Tensor, network: VectorField, minimum: float | None = None
) -> Tensor:
    """Return a value as a column that multiplies states, ``()`` or ``(*batch, 1)``."""
    tensor = real_tensor(value, network.dtype, network.device)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"expected a finite {name}, got {value}.")
    if minimum is not None and bool((tensor < minimum).any()):
        raise ValueError(f"expected {name} >= {minimum:g}, got {tensor.min().item():g}.")
    return tensor if tensor.ndim == 0 else tensor.unsqueeze(-1)
