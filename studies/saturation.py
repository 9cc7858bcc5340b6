"""Does a saturated neuron return to its baseline, and do its weights stop changing (section 4)?

The paper predicts both from its energy, and neither from that of Hopfield (1984). One unit after a
synapse, in both networks, with the same weight: (a) a strong current comes and goes, and the rate
is followed; (b) the unit rests at every current, a little change of it arrives, as it does from a
target, and the weight change of eq. 26 is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

ENERGIES = ("eq. 6", "Hopfield 1984")


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does a saturated neuron return to its baseline, and do its weights stop changing?"""

    activation: str = "hard-sigmoid"
    """hard-sigmoid[:lower=-0.5], logistic[:gain=4] or tanh."""
    pulse: float = 3.0
    """Current while it is on, in (a)."""
    on: float = 4.0
    """Time for which it is on, in membrane time constants."""
    currents: tuple[float, ...] = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 1.0, 1.5, 2.0, 3.0)
    """Currents at which the unit rests, in (b)."""
    change: float = -0.01
    """Of the current, in (b)."""
    eps: float = 0.01
    """Step."""

    def __post_init__(self) -> None:
        name, _ = study.check_activation(self.activation)
        if name == "SmoothHardSigmoid":
            raise ValueError(
                "--activation smooth-hard-sigmoid has no energy of 1984 in closed form; choose "
                "hard-sigmoid, logistic or tanh."
            )
        if not 0 < self.eps <= 0.1:
            raise ValueError(f"--eps needs a step 0 < eps <= 0.1, got {self.eps}.")
        if not 0 < self.on < 100:
            raise ValueError(f"--on needs a time between 0 and 100, got {self.on}.")
        if self.change == 0 or not self.currents:
            raise ValueError("--change must not be 0 and --currents not empty.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np
    import torch
    import xarray as xr

    import ctebm
    from ctebm.dataset import variable

    rho = study.parse_activation(settings.activation)
    eps, n = settings.eps, round(settings.on / settings.eps)

    def units(current: np.ndarray) -> list[ctebm.VectorField]:
        """Return a unit of each energy with a current for each sample."""
        bias = torch.as_tensor(current, dtype=torch.float64).unsqueeze(-1)
        one = ctebm.DenseNetwork([[0.0]], bias, rho)
        return [one, ctebm.HopfieldNetwork(one)]

    def follow(network: ctebm.VectorField, start: torch.Tensor, n_steps: int) -> torch.Tensor:
        return ctebm.simulate(ctebm.Dynamics(network), start, n_steps=n_steps, eps=eps).state

    zero = torch.zeros(1, 1, dtype=torch.float64)
    pulse = []
    for on, off in zip(units(np.array([settings.pulse])), units(np.zeros(1)), strict=True):
        rise = follow(on, zero, n)
        pulse.append(torch.cat([rise, follow(off, rise[-1], n)[1:]])[:, 0, 0])

    current = np.asarray(settings.currents, float)
    rest, moved = [], []
    for before, after in zip(units(current), units(current + settings.change), strict=True):
        s = ctebm.settle(before).raise_for_status().state
        rest.append(s[:, 0])
        moved.append(follow(after, s, round(1 / eps))[-1][:, 0])
    state = torch.stack(rest)
    sdot = torch.stack(moved) - state
    kicked = torch.stack([  # a kick of the state beyond saturation, without a current
        follow(one, zero + settings.pulse, n)[:, 0, 0] for one in units(np.zeros(1))
    ])  # fmt: skip
    time = eps * np.arange(2 * n + 1)
    which = ("energy",)
    return xr.Dataset(
        {
            "rate": variable(("energy", "time"), rho(torch.stack(pulse)), "firing rate"),
            "state": variable(("energy", "time"), torch.stack(pulse), "state"),
            "kicked_rate": variable(
                ("energy", "kick_time"), rho(kicked), "firing rate after a kick of the state"
            ),
            "resting_state": variable(("energy", "current"), state, "state at rest"),
            "resting_rate": variable(("energy", "current"), rho(state), "firing rate at rest"),
            "weight_change": variable(
                ("energy", "current"), sdot / settings.change,
                "change of the state in one time constant a change of current, eq. 26",
            ),
        },
        {
            "energy": variable(which, list(ENERGIES), "energy"),
            "time": variable("time", time, "time", "membrane time constant"),
            "kick_time": variable("kick_time", time[: n + 1], "time", "membrane time constant"),
            "current": variable("current", current, "current at rest"),
        },
        {
            "on": settings.on, "pulse": settings.pulse, "change": settings.change, "eps": eps,
            "baseline": float(rho(zero)), "kinks": list(rho.kinks) or "",
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.learning import saturation_figure

    return saturation_figure(dataset)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    paper, hopfield = (dataset.sel(energy=name) for name in ENERGIES)
    held = {name: float(one.rate.sel(time=dataset.on, method="nearest"))
            for name, one in zip(ENERGIES, (paper, hopfield), strict=True)}  # fmt: skip
    span = 1 - dataset.baseline
    kinked = bool(np.size(dataset.kinks) > 1)
    high = paper.resting_rate.current > 1

    def delay(one: xr.Dataset) -> float:
        """Return the time from the pulse's end until the rate has begun to fall."""
        after = one.sel(time=slice(dataset.on, None))
        fallen = after.rate.values < float(after.rate[0]) - 0.05 * span
        return float(after.time[int(fallen.argmax())]) - dataset.on

    verdicts = [
        Verdict.at_least("(a) rate of eq. 6 while a strong current is on", held[ENERGIES[0]], 0.95,
                         "it does not return to baseline: it rests at the border", False),
        Verdict.at_most("(a) time to leave saturation after it, eq. 6", delay(paper), 0.2),
        Verdict.at_least("(a) the same, Hopfield 1984", delay(hopfield), 0.5,
                         f"log of current over kink {np.log(2 * dataset.pulse):.2f}"
                         if kinked else ""),
        Verdict.at_most("(b) weight change in saturation, eq. 6",
                        float(abs(paper.weight_change[high]).max()), 1e-12 if kinked else 0.25),
        Verdict.at_least("(b) the same, Hopfield 1984",
                         float(abs(hopfield.weight_change[high]).min()), 0.6),
    ]  # fmt: skip
    if kinked:
        law = 1 - (1 - dataset.eps) ** round(1 / dataset.eps)
        error = float(abs(hopfield.weight_change - law).max())
        verdicts.append(Verdict.at_most("(b) Hopfield 1984 against 1 - (1 - eps)^n", error, 1e-9))
    return verdicts


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
