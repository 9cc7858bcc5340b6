"""A study that is quick, and fails where it is told."""

from __future__ import annotations

from dataclasses import dataclass

from ctebm import study

MISTAKE, MANY = 7.0, 9.0  # gains at which it fails, and at which it claims more


@dataclass(frozen=True)
class Settings(study.Settings):
    """Is it small?"""

    gain: float = 1.0
    """How much."""
    eps: tuple[float, ...] = (0.1, 0.2)
    """Steps."""

    def __post_init__(self) -> None:
        study.check_positive("--gain", self.gain)


def run(settings, progress):
    import xarray as xr

    from ctebm.dataset import variable

    if settings.gain == MISTAKE:
        raise ValueError("this gain is bad")
    values = [settings.gain * e for e in progress(settings.eps, "steps")]
    dataset = xr.Dataset({"size": variable("eps", values, "size")}, {"eps": list(settings.eps)})
    return dataset.assign_attrs(gain=settings.gain, seed=settings.seed)


def judge(dataset):
    out = [study.Verdict.at_most("it is small", float(dataset.size.max()), 1.0)]
    if dataset.attrs["gain"] == MANY:
        out.insert(0, study.Verdict.reported("it is odd", dataset.attrs["seed"]))
    return out


def draw(dataset):
    from matplotlib.figure import Figure

    return Figure()


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
