r"""Units that are angles: states that differ by a period are one.

The states are then points of a torus, on which the sum :math:`\sum (-1)^{index}` over all
equilibria is 0 (Poincaré and Hopf), whatever the number of other units.

Letters: state ``s``, period ``P``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.arrays import real_tensor
from ctebm.networks.base import VectorField, count_units
from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box

__all__ = ["Angles"]

# A force is tried at so many states; a period away it may differ by so much relative to it.
TRIED, SAME_FORCE = 16, 1e-9


@dataclass(frozen=True, eq=False)
class Angles:
    """Which units are angles.

    Attributes
    ----------
    period : Tensor
        Of each unit, ``(unit,)``; infinite for units that are no angles.

    Examples
    --------
    >>> import torch
    >>> from ctebm.equilibria.angles import Angles
    >>> angles = Angles(torch.tensor([4.0, torch.inf]))
    >>> angles.principal(torch.tensor([[3.0, 3.0], [-5.0, 3.0]]))
    tensor([[-1.,  3.],
            [-1.,  3.]])
    >>> angles.shifted(torch.tensor([[1.0, 1.0]]))
    tensor([[5., 1.]])
    """

    period: Tensor

    @classmethod
    def of(cls, network: VectorField, period: ArrayLike | Tensor | None) -> Angles:
        """Return which units of a network are angles: none, all of one period, or each by its own.

        Raises
        ------
        ValueError
            For periods that are not positive, not one for all or one a unit, or of units between
            kinks.
        """
        n = count_units(network)
        ones = torch.ones(n, dtype=network.dtype, device=network.device)
        if period is None:
            return cls(math.inf * ones)
        P = real_tensor(period, network.dtype, network.device)
        if P.shape not in ((), (n,)) or not bool((P > 0).all()):
            raise ValueError(
                f"expected a period > 0 for all units or one for each of the {n}, infinite for "
                f"units that are no angles, got {period!r}."
            )
        angles = cls(P * ones)
        low, high = (network.box or Box(-math.inf, math.inf)).each(ones)
        kinked = torch.isfinite(angles.period) & (low.isfinite() | high.isfinite())
        if bool(kinked.any()):
            raise ValueError(
                f"expected no period of units between kinks, got one of unit "
                f"{int(kinked.nonzero()[0])}; a unit that goes round has no ends."
            )
        return angles

    @property
    def any(self) -> bool:
        """Whether any unit is an angle."""
        return bool(torch.isfinite(self.period).any())

    @property
    def index_sum(self) -> int:
        """The sum over all equilibria of a motion that leads inwards from far away."""
        return 0 if self.any else 1

    def principal(self, s: Tensor) -> Tensor:
        """Return states with angles between minus and plus half a period."""
        turns = torch.nan_to_num((s / self.period).round())
        return s - turns * torch.nan_to_num(self.period, posinf=0.0)

    def shifted(self, s: Tensor) -> Tensor:
        """Return each state ``(row, unit)`` a period further in each angle, one after the other."""
        where = torch.nonzero(torch.isfinite(self.period)).squeeze(-1)
        turns = torch.zeros(len(where), len(self.period), dtype=s.dtype, device=s.device)
        turns[torch.arange(len(where), device="cpu"), where] = self.period[where]
        return (s.unsqueeze(1) + turns).flatten(0, 1)

    def bounds(self, low: Tensor | float, high: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return bounds of starts, from half a period below 0 to half a period above in angles."""
        angle, half = torch.isfinite(self.period), self.period / 2
        low, high = (torch.as_tensor(b, device=half.device).to(half) for b in (low, high))
        return torch.where(angle, -half, low), torch.where(angle, half, high)

    def check(self, network: VectorField, starts: Tensor) -> None:
        """Refuse a period that a force, or an energy, does not have.

        Raises
        ------
        ValueError
            With the unit and what changes.
        """
        if not self.any:
            return
        s = starts[:TRIED]
        f, further = network.force(s).unsqueeze(1), self.shifted(s)
        away = network.force(further).reshape(len(s), -1, s.shape[-1])
        self._same("a force", (away - f).abs().amax(-1), f.abs().amax(-1))
        if isinstance(network, Network):
            E, E_away = network.energy(s), network.energy(further).reshape(len(s), -1)
            self._same("an energy", (E_away - E.unsqueeze(1)).abs(), E.abs().unsqueeze(1))

    def _same(self, what: str, change: Tensor, size: Tensor) -> None:
        worst = (change / (1 + size)).amax(0)
        if bool((worst > SAME_FORCE).any()):
            unit = int(torch.nonzero(torch.isfinite(self.period))[worst.argmax()])
            remedy = (
                "give the period to all its digits, such as 2 * math.pi"
                if what == "a force"
                else "give its force alone, as a VectorField, which has no energy to go round"
            )
            raise ValueError(
                f"expected a motion that is the same a period of {float(self.period[unit]):.12g} "
                f"further in unit {unit}, got {what} that changes by "
                f"{float(change.amax()):.3g}; {remedy}."
            )

    def setting(self) -> float | str:
        """Return the period as a record keeps it: that of all units, or each unit's in words."""
        periods = self.period.tolist()
        return periods[0] if len(set(periods)) == 1 else " ".join(f"{P:.17g}" for P in periods)
