r"""How a target reaches the output: the paper's drive, a nudge, a clamp.

``replace`` (eq. 12) replaces the output's pressure by the target, :math:`dy = (y^* - y)\,dt`;
``nudge`` adds :math:`\beta(y^* - y)` to the output's own force (equilibrium propagation); ``clamp``
sets the output to the target at once. To first order all three send the chain gradient down:
replacement and a nudge with the same coefficient, a clamp one step ahead of it.
"""

from __future__ import annotations

import cmath
import math
import warnings
from dataclasses import dataclass
from typing import Literal, NoReturn

import torch
from torch import Tensor

from ctebm.dynamics import Dynamics
from ctebm.network import Network, TangentNetwork, rows_of
from ctebm.pairwise import PairwiseNetwork

__all__ = ["ComplexNudge", "Drive", "PulledTangent"]

KINDS = ("replace", "nudge", "clamp")


@dataclass(frozen=True)
class Drive:
    r"""A way of bringing the target to the output.

    Parameters
    ----------
    kind : {"replace", "nudge", "clamp"}
        See the module's page.
    beta : float, optional
        Strength of a nudge, given with it and only then; negative pushes away.
    points : int
        Strengths :math:`\beta\,e^{2\pi i j/N}` of a nudge, `N` of them, whose responses are
        combined as :math:`\frac{1}{N\beta}\sum_j e^{-2\pi i j/N}\Delta_j`: the response for unit
        strength with an error of :math:`O(\beta^N)`. 1 is one-sided, 2 is symmetric, more are
        complex (Laborieux & Zenke 2022) and need an activation that is analytic as far as they
        move the states, see :attr:`ctebm.activation.Activation.strip`.
    """

    kind: Literal["replace", "nudge", "clamp"] = "replace"
    beta: float | None = None
    points: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"expected a drive {', '.join(KINDS)}, got {self.kind!r}.")
        if self.kind != "nudge" and (self.beta is not None or self.points != 1):
            raise ValueError(
                f"expected beta and points with drive='nudge' only, got {self.kind!r}."
            )
        if self.kind == "nudge" and not (
            self.beta is not None and math.isfinite(self.beta) and self.beta != 0
        ):
            raise ValueError(
                f"expected a finite beta other than 0 with a nudge, got {self.beta}; without "
                "strength it moves nothing."
            )
        if self.points < 1:
            raise ValueError(f"expected points >= 1, got {self.points}.")

    @property
    def one_sided(self) -> bool:
        """Whether a pinned output leaves its kink for an inward target; a weak nudge does not."""
        return self.kind != "nudge"

    @property
    def lead(self) -> int:
        """How many steps earlier than by replacement the target arrives."""
        return int(self.kind == "clamp")

    @property
    def strength(self) -> float:
        """What displacements are divided by: beta, or 1."""
        return 1.0 if self.beta is None else self.beta

    def weights(self) -> list[tuple[complex, complex]]:
        """Return strengths and their factors; of two conjugate strengths one, counted twice."""
        n, roots = self.points, []
        for j in range(n // 2 + 1):
            root = cmath.exp(2j * math.pi * j / n)
            real = 2 * j in (0, n)
            root = complex(round(root.real)) if real else root
            roots.append((root * self.strength, (1 if real else 2) / (root * n * self.strength)))
        return roots

    def dynamics(
        self,
        network: Network,
        target: Tensor,
        sigma: float = 0.0,
        noise: Literal["langevin", "synaptic"] = "langevin",
        strength: float = 1.0,
    ) -> Dynamics:
        """Return the motion of a network under this drive, at a real strength.

        That of a clamp begins where :meth:`start` says, and is seen through :meth:`seen`.
        """
        if self.kind == "nudge":
            return Dynamics(network, sigma=sigma, noise=noise, nudge=target, beta=strength)
        if self.kind == "clamp" and sigma > 0:
            network = HeldOutput(network, target)
        return Dynamics(network, sigma=sigma, noise=noise, drive=target)

    def start(self, network: Network, state: Tensor, target: Tensor) -> Tensor:
        """Return the state from which the motion begins."""
        return self.seen(network, state, target)

    def seen(self, network: Network, state: Tensor, target: Tensor) -> Tensor:
        """Return states of the motion with a clamped output where it is held."""
        return with_output(network, state, target) if self.kind == "clamp" else state

    def tangent(
        self, network: Network, state: Tensor, target: Tensor, responsive: Tensor
    ) -> tuple[Dynamics, Tensor]:
        """Return the linearised motion under this drive and where it begins.

        For a nudge it is the response for unit strength in the limit of a weak one.
        """
        y = network.layers[network.output]
        pull = target - state[..., y]
        if self.kind == "nudge":
            pulled = PulledTangent(network, state, responsive, pull)
            return Dynamics(pulled), torch.zeros_like(state)
        tangent = TangentNetwork(network, state, responsive)
        return Dynamics(tangent, drive=pull), self.start(tangent, torch.zeros_like(state), pull)


class HeldOutput(Network):
    """A network that sees its output at a target, whatever the state says of it.

    Noise on the output then reaches nothing else, which is how a clamped output and a free twin
    share one noise.

    Parameters
    ----------
    network : Network
        Its last layer is the output.
    target : Tensor, (*batch, output unit)
        Where the output is held.
    """

    is_gradient = False

    def __init__(self, network: Network, target: Tensor) -> None:
        super().__init__(network.n_units, network.layers)
        self.network, self.target, self.box = network, target, network.box
        self.dtype, self.device = network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        held = with_output(self.network, s, self.target)
        return self.network.force(held) + (held - s)  # so that the pressure is that at the target

    def jacobian(self, s: Tensor) -> Tensor:
        held = with_output(self.network, self.as_state(s), self.target)
        J, y = self.network.jacobian(held).clone(), self.layers[self.output]
        J[..., y] = 0
        J[..., y, y] = -torch.eye(self.target.shape[-1], dtype=J.dtype, device=J.device)
        return J

    def energy(self, s: Tensor) -> NoReturn:
        raise ValueError(
            "a network that sees its output held has no energy of all units; use "
            "network.clamp({network.output: target})."
        )

    @property
    def batch(self) -> torch.Size:
        return torch.broadcast_shapes(self.network.batch, self.target.shape[:-1])

    def samples(self, batch: torch.Size, rows: Tensor) -> Network:
        network = self.network.samples(batch, rows)
        return HeldOutput(network, rows_of(self.target, batch, rows))


def with_output(network: Network, state: Tensor, target: Tensor) -> Tensor:
    """Return states with the output at a target."""
    held = state.clone()
    held[..., network.layers[network.output]] = target
    return held


class PulledTangent(TangentNetwork):
    """The linearised network with a constant force on its output."""

    def __init__(self, network: Network, state: Tensor, responsive: Tensor, pull: Tensor) -> None:
        super().__init__(network, state, responsive)
        self.pull = torch.zeros_like(state)
        self.pull[..., network.layers[network.output]] = pull
        self.pull = self.pull * self.responsive

    def force(self, s: Tensor) -> Tensor:
        return super().force(s) + self.pull

    def energy(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        return -(s * (super().force(s) / 2 + self.pull)).sum(-1)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return -super().force(v)


class ComplexNudge(Network):
    r"""A nudged network at a complex strength: real and imaginary parts as units of their own.

    .. math:: \dot z = f(z) + \beta\,(y^* - y), \qquad \beta \in \mathbb{C}

    Parameters
    ----------
    network : PairwiseNetwork
        With an analytic activation that takes complex tensors.
    target : Tensor, (*batch, output unit)
        The target states.
    beta : complex
        The strength.
    """

    is_gradient = False

    def __init__(self, network: Network, target: Tensor, beta: complex) -> None:
        check_analytic(network)
        assert isinstance(network, PairwiseNetwork) and network.n_units is not None
        super().__init__(2 * network.n_units)
        wide = torch.complex128 if network.dtype == torch.float64 else torch.complex64
        self.inner, self.target, self.beta = network.to(dtype=wide), target, beta
        self.dtype, self.device = network.dtype, network.device

    def force(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        n, y = self.inner.n_units, self.inner.layers[self.inner.output]
        z = torch.complex(s[..., :n], s[..., n:])
        f = self.inner.force(z)
        f[..., y] = f[..., y] + self.beta * (self.target - z[..., y])
        return torch.cat([f.real, f.imag], -1)

    def energy(self, s: Tensor) -> NoReturn:
        raise ValueError("a complex nudge has no energy; use a real beta.")


def check_analytic(network: Network) -> None:
    """Refuse complex nudging where the activation has no complex continuation."""
    remedy = "use points=1 or 2"
    if not isinstance(network, PairwiseNetwork):
        raise ValueError(
            f"complex nudging needs the closed form of eq. 6, got {type(network).__name__}; "
            f"{remedy}."
        )
    rho = network.activation
    if rho.kinks:
        raise ValueError(f"complex nudging needs an analytic activation, got {rho}; {remedy}.")
    try:
        z = torch.tensor([0.1 + 1j * min(0.1, rho.strip / 2)], dtype=torch.complex128)
        slope = (rho(z + 1e-4) - rho(z - 1e-4)) / 2e-4
        turned = (rho(z + 1e-4j) - rho(z - 1e-4j)) / 2e-4j
        analytic = bool((slope - turned).abs() < 1e-4) and bool(
            (slope - rho.derivative(z)).abs() < 1e-4
        )
    except (RuntimeError, NotImplementedError, TypeError):
        analytic = False
    if not analytic:
        raise ValueError(f"{rho} takes no complex states, which complex nudging needs; {remedy}.")


def check_strip(network: Network, reached: float, beta: complex) -> None:
    """Warn where a complex nudge has moved states past the nearest singularity of the rate."""
    rho = network.activation if isinstance(network, PairwiseNetwork) else None
    if rho is not None and reached >= rho.strip:
        warnings.warn(
            f"a nudge of complex strength {beta:.3g} moved a state to imaginary part "
            f"{reached:.3g}, beyond the singularities of {rho} at {rho.strip:.3g}: its error is "
            "not of order beta^points there; use a smaller beta.",
            stacklevel=2,
        )
