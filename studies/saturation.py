"""Does a saturated neuron return to its baseline, and do its weights stop changing (section 4)?

The paper predicts both from its energy, and neither from that of Hopfield (1984). One unit after a
synapse, in both networks, with the same weight: (a) a strong current comes and goes, and the rate
is followed; (b) the unit rests at every current, a little change of it arrives, as it does from a
target, and the weight change of eq. 26 is read. Both energies have the same equilibria in rates, so
(a) can differ in transients alone; (b) differs because eq. 26 has the change of the state: that of
the rate vanishes in saturation in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import TAU, labelled
from ctebm.study.verdict import largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm

ENERGIES = ("eq. 6", "Hopfield 1984")
SATURATED = 1.0  # a current well beyond the kinks
FALLEN = 0.05  # share of the way to baseline at which a rate has begun to fall


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does a saturated neuron return to its baseline, and do its weights stop changing?"""

    example = "--activation logistic --out results/logistic"

    activation: str = "hard-sigmoid"
    """Rate of the unit: hard-sigmoid[:lower=-0.5], logistic[:gain=4] or tanh."""
    pulse: float = 3.0
    """Current while it is on."""
    on: float = 4.0
    """Time for which it is on, in membrane time constants."""
    currents: tuple[float, ...] = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 1.0, 1.5, 2.0, 3.0)
    """Currents at which the unit rests before they change a little."""
    change: float = -0.01
    """Little change of the current."""
    eps: float = 0.01
    """Step size, in membrane time constants."""

    def __post_init__(self) -> None:
        reason = "nothing here is random, and all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["seed", "device", "dtype"], reason)
        name, _ = study.check_activation(self.activation)
        if name == "SmoothHardSigmoid":
            raise ValueError(
                "--activation smooth-hard-sigmoid has no energy of 1984 in closed form; choose "
                "hard-sigmoid, logistic or tanh."
            )
        study.check_eps(self.eps, upper=0.1)
        if not 0 < self.on < 100:
            raise ValueError(f"--on needs a time between 0 and 100, got {self.on}.")
        if self.change == 0:
            raise ValueError("--change must not be 0, or nothing moves.")
        if max(self.currents, default=0) <= SATURATED:
            raise ValueError(f"--currents needs one beyond {SATURATED:g}, got {self.currents}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch

    rho = study.parse_activation(settings.activation)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    pulse, kicked = _pulse(settings, zero), _kicked(settings, zero)
    rest, moved = _weight_change(settings)
    time = settings.eps * np.arange(pulse.shape[1])
    return labelled(
        {
            "rate": (("energy", "time"), rho(pulse), "firing rate"),
            "state": (("energy", "time"), pulse, "state"),
            "kicked_rate": (
                ("energy", "kick_time"), rho(kicked), "firing rate after a kick of the state",
            ),
            "resting_state": (("energy", "current"), rest, "state at equilibrium"),
            "resting_rate": (("energy", "current"), rho(rest), "firing rate at equilibrium"),
            "weight_change": (
                ("energy", "current"), moved / settings.change,
                "change of the state in one time constant a change of current, eq. 26",
            ),
        },
        {
            "on": settings.on, "pulse": settings.pulse, "change": settings.change,
            "eps": settings.eps, "baseline": float(rho(zero)), "kinks": list(rho.kinks) or "",
        },
        {
            "energy": ("energy", list(ENERGIES), "energy"),
            "time": ("time", time, "time", TAU),
            "kick_time": ("kick_time", time[: kicked.shape[1]], "time", TAU),
            "current": ("current", np.asarray(settings.currents, float), "current at equilibrium"),
        },
    )  # fmt: skip


def _units(settings: Settings, current: np.ndarray) -> list[ctebm.VectorField]:
    """Return a unit of each energy with a current for each sample."""
    import torch

    import ctebm

    bias = torch.as_tensor(current, dtype=torch.float64).unsqueeze(-1)
    one = ctebm.DenseNetwork([[0.0]], bias, study.parse_activation(settings.activation))
    return [one, ctebm.HopfieldNetwork(one)]


def _followed(unit: ctebm.VectorField, start: Tensor, time: float, eps: float) -> Tensor:
    import ctebm

    n_steps = round(time / eps)
    return ctebm.simulate(ctebm.Dynamics(unit), start, n_steps=n_steps, eps=eps).state


def _pulse(settings: Settings, zero: Tensor) -> Tensor:
    """Follow a unit of each energy while a strong current is on, and after it."""
    import numpy as np
    import torch

    paths, on, eps = [], settings.on, settings.eps
    strong, none = (_units(settings, np.array([c])) for c in (settings.pulse, 0.0))
    for during, after in zip(strong, none, strict=True):
        rise = _followed(during, zero, on, eps)
        paths.append(torch.cat([rise, _followed(after, rise[-1], on, eps)[1:]])[:, 0, 0])
    return torch.stack(paths)


def _kicked(settings: Settings, zero: Tensor) -> Tensor:
    """Follow a unit of each energy from a state beyond saturation, without a current."""
    import numpy as np
    import torch

    start, units = zero + settings.pulse, _units(settings, np.zeros(1))
    paths = [_followed(unit, start, settings.on, settings.eps)[:, 0, 0] for unit in units]
    return torch.stack(paths)


def _weight_change(settings: Settings) -> tuple[Tensor, Tensor]:
    """Return where units rest at each current, and how far a little change of it moves them."""
    import numpy as np
    import torch

    import ctebm

    current, rest, moved = np.asarray(settings.currents, float), [], []
    units = _units(settings, current), _units(settings, current + settings.change)
    for before, after in zip(*units, strict=True):
        s = ctebm.settle(before).raise_for_status().state
        rest.append(s[:, 0])
        moved.append(_followed(after, s, 1.0, settings.eps)[-1][:, 0])
    return torch.stack(rest), torch.stack(moved) - torch.stack(rest)


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.learning import saturation_figure

    return saturation_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    paper, hopfield = (dataset.sel(energy=name) for name in ENERGIES)
    kinked = bool(np.size(dataset.kinks) > 1)
    high = paper.current > SATURATED
    during = paper.rate.sel(time=dataset.on, method="nearest")
    expected = f"log of current over kink {np.log(2 * dataset.pulse):.2f}" if kinked else ""
    out = [
        Verdict.reported("(a) rate of eq. 6 while a strong current is on", during,
                         "it does not return to baseline: it rests at the border"),
        Verdict.at_most("(a) time to leave saturation after it, eq. 6", _delay(paper), 0.2),
        Verdict.at_least("(a) the same, Hopfield 1984", _delay(hopfield), 0.5, expected),
        Verdict.at_most("(b) weight change in saturation, eq. 6",
                        largest(abs(paper.weight_change), high), 1e-12 if kinked else 0.25),
        Verdict.at_least("(b) the same, Hopfield 1984",
                         smallest(abs(hopfield.weight_change), high), 0.6),
    ]  # fmt: skip
    if kinked:
        law = 1 - (1 - dataset.eps) ** round(1 / dataset.eps)
        error = largest(abs(hopfield.weight_change - law))
        out.append(Verdict.at_most("(b) Hopfield 1984 against 1 - (1 - eps)^n", error, 1e-9))
    return out


def _delay(one: xr.Dataset) -> float:
    """Return the time from the pulse's end until the rate has begun to fall; NaN if it has not."""
    after = one.sel(time=slice(one.on, None))
    fallen = after.rate.values < float(after.rate[0]) - FALLEN * (1 - one.baseline)
    return float(after.time[int(fallen.argmax())]) - one.on if fallen.any() else float("nan")


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
