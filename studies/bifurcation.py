"""Where do equilibria of the pair, and of N units, appear, vanish and change their stability?

Branches are followed by pseudo-arclength and held against closed forms: the pitchfork at w = 4 for
every N, the folds of the biased pair, the border collisions of the hard sigmoid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study.frame import Progress, Verdict

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure

    from ctebm.networks.activation import Activation
    from ctebm.networks.dense import DenseNetwork


@dataclass(frozen=True)
class Settings(study.Settings):
    """Where do equilibria of the pair, and of N units, appear, vanish and change stability?"""

    out: Path = Path("results/bifurcation")
    """Stem of the files written: OUT.nc, OUT.png and OUT.pdf."""
    n_units: int = 12
    """Units of the all-to-all network beside the pair."""
    w: float = 8.0
    """Largest coupling of the pitchforks, and the coupling of the folds."""
    hard_w: float = 2.0
    """Coupling of the hard-sigmoid pair."""
    step: float = 0.01
    """Longest step along a branch, as a share of the range."""

    def __post_init__(self) -> None:
        if self.n_units < 2:
            raise ValueError(f"--n-units needs 2 or more, got {self.n_units}.")
        if not 4.5 <= self.w <= 30:
            raise ValueError(f"--w needs 4.5 to 30, beyond the pitchfork at 4, got {self.w}.")
        if not 1.1 <= self.hard_w <= 3:
            raise ValueError(f"--hard-w needs 1.1 to 3, beyond the kinks' 1, got {self.hard_w}.")
        if not 0 < self.step <= 0.1:
            raise ValueError(f"--step needs 0 to 0.1, got {self.step}.")


PANELS = ("pair", "all", "fold", "hard")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import xarray as xr

    import ctebm

    tanh, hard = ctebm.Tanh(), ctebm.HardSigmoid()
    w, n, step = settings.w, settings.n_units, settings.step

    def follow(family, start, ends):
        branch = ctebm.continue_branch(family, start, ends, step=step)
        arms = [a for e in branch.branch_points for a in ctebm.switch_branch(branch, e, step=step)]
        return [branch, *arms]

    cases = {
        "pair": (lambda p: _all_to_all(2, p, tanh), [0.0] * 2, (2.0, w)),
        "all": (lambda p: _all_to_all(n, p, tanh), [0.0] * n, (2.0, w)),
        "fold": (lambda p: _all_to_all(2, w, tanh, p - w / 2), [-1.0] * 2, (-1.5, 1.5)),
        "hard": (
            lambda p: _all_to_all(2, settings.hard_w, hard, p - settings.hard_w / 2),
            [hard.kinks[0]] * 2,
            (-1.5, 1.5),
        ),
    }
    data = xr.Dataset(attrs={"w": w, "hard_w": settings.hard_w, "n_units": n, "n_failed": 0})
    for name in progress(PANELS, "branches"):
        branches = follow(*cases[name])
        data.attrs["n_failed"] += sum(not branch.complete for branch in branches)
        data.attrs[f"n_{name}"] = len(branches)
        for k, branch in enumerate(branches):
            data = data.merge(_prefixed(branch.to_dataset(), f"{name}{k}_"))
    for name, rho, coupling in (("smooth", tanh, w), ("kinked", hard, settings.hard_w)):
        reach = 1.15 if name == "smooth" else 0.7
        starts = [(reach * a, reach * b) for a, b in ((-0.9, 0.6), (0.2, -0.95), (-0.5, 0.9),
                                                      (0.95, -0.6), (-0.3, 0.1))]  # fmt: skip
        plane = ctebm.phase_plane(
            _all_to_all(2, coupling, rho), limits=(-reach, reach), n_grid=161, starts=starts
        )
        data = data.merge(_prefixed(plane, f"{name}_"))
        for kink, value in plane.attrs.items():
            data.attrs[f"{name}_{kink}"] = value
    return data


def draw(dataset: xr.Dataset) -> Figure:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from ctebm.figures import equilibria as portrait
    from ctebm.figures.panels import STYLE

    titles = {
        "pair": "pair, tanh",
        "all": f"{dataset.n_units} units all to all, tanh",
        "fold": f"pair, tanh, w = {dataset.w:g}",
        "hard": f"pair, hard sigmoid, w = {dataset.hard_w:g}",
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 5.6), layout="constrained")
        axes = figure.subplots(2, 3).flat
        kinds: set[str] = set()
        for name, ax in zip(PANELS, (axes[0], axes[1], axes[2], axes[3]), strict=True):
            for branch in _branches(dataset, name):
                portrait.bifurcation_diagram(ax, branch)
                kinds |= {str(k) for k in branch.event_kind.values}
            xlabel = "coupling $w$" if name in ("pair", "all") else "bias offset $h$"
            ax.set(xlabel=xlabel, ylabel="state of unit 0", title=titles[name])
        s = np.linspace(0, 1.1, 19)[1:]
        for ax in (axes[0], axes[1]):
            (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
            for sign in (1, -1):
                ax.plot(pitchfork_weight(s), sign * s, "+", color="black", ms=5, zorder=3)
            ax.set(xlim=(left, right), ylim=(low, high))
        (left, right), (low, high) = axes[2].get_xlim(), axes[2].get_ylim()
        s = np.linspace(-1.2, 1.2, 31)
        axes[2].plot(fold_bias(s, dataset.w), s, "+", color="black", ms=5, zorder=3)
        axes[2].set(xlim=(left, right), ylim=(low, high))
        planes = {
            "smooth": (axes[4], f"tanh, w = {dataset.w:g}"),
            "kinked": (axes[5], f"hard sigmoid, w = {dataset.hard_w:g}"),
        }
        for name, (ax, title) in planes.items():
            plane = _part(dataset, f"{name}_")
            portrait.phase_portrait(ax, plane)
            ax.set_title(title)
        handles = portrait.diagram_handles(kinds)
        handles.append(Line2D([], [], color="black", marker="+", lw=0, label="closed form"))
        handles += portrait.portrait_handles({"stable", "saddle"})
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def judge(dataset: xr.Dataset) -> list[Verdict]:
    import numpy as np

    verdicts = []
    for name, label in (("pair", "pair"), ("all", f"{dataset.n_units} units")):
        main, *arms = _branches(dataset, name)
        events = main.event_parameter.values[main.event_kind.values == "pitchfork"]
        off = abs(events[0] - 4) if len(events) == 1 else np.inf
        verdicts.append(Verdict.at_most(f"{label}: pitchfork at w = 4", off, 1e-10))
        gap = max(
            np.abs(arm.parameter.values[1:] - pitchfork_weight(arm.state.values[1:, 0])).max()
            for arm in arms
        )
        verdicts.append(Verdict.at_most(f"{label}: arms on w(s), largest gap", gap, 1e-6))
    (fold,) = _branches(dataset, "fold")
    s = fold.event_state.values[fold.event_kind.values == "fold"]
    off = np.abs(fold_bias(s[:, 0], dataset.w) - fold.event_parameter.values).max()
    verdicts.append(Verdict.at_most("folds: two, on h(s)", off if len(s) == 2 else np.inf, 1e-10))
    curve = np.abs(fold_bias(fold.state.values[:, 0], dataset.w) - fold.parameter.values).max()
    verdicts.append(Verdict.at_most("fold's branch on h(s), largest gap", curve, 1e-8))
    (hard,) = _branches(dataset, "hard")
    found = np.sort(hard.event_parameter.values)
    expected = np.array([-1, 1]) * (dataset.hard_w / 2 - 0.5)
    off = np.abs(found - expected).max() if len(found) == 2 else np.inf
    verdicts.append(Verdict.at_most("border collisions at +-(w - 1)/2", off, 1e-10))
    for name in ("smooth", "kinked"):
        kinds = list(dataset[f"{name}_stability"].values)
        missing = abs(kinds.count("stable") - 2) + abs(kinds.count("saddle") - 1)
        verdicts.append(Verdict.at_most(f"{name} pair: two stable, one saddle", missing, 0))
    return verdicts


def pitchfork_weight(s: np.ndarray) -> np.ndarray:
    """The coupling with the symmetric equilibrium s, centred biases and tanh rates."""
    import numpy as np

    return 4 * s / (np.tanh(s) / np.cosh(s) ** 2)


def fold_bias(s: np.ndarray, w: float) -> np.ndarray:
    """The offset of the pair's centred biases with the symmetric equilibrium s."""
    import numpy as np

    return 2 * s * np.cosh(s) ** 2 - w * np.tanh(s) / 2


def _all_to_all(n: int, w: float, rho: Activation, bias: float | None = None) -> DenseNetwork:
    import torch

    import ctebm

    W = torch.full((n, n), w / (n - 1), dtype=torch.float64).fill_diagonal_(0)
    b = -W.sum(1) / 2 if bias is None else torch.full((n,), bias, dtype=torch.float64)
    return ctebm.DenseNetwork(W, b, rho)


def _prefixed(part: xr.Dataset, prefix: str) -> xr.Dataset:
    """Return a dataset whose variables and dimensions are its own within a larger one."""
    part = part.reset_coords().drop_attrs(deep=False)
    return part.rename({str(name): prefix + str(name) for name in {*part.variables, *part.dims}})


def _part(dataset: xr.Dataset, prefix: str) -> xr.Dataset:
    """Return what :func:`_prefixed` put in."""

    def bare(names) -> dict[str, str]:
        return {str(n): str(n).removeprefix(prefix) for n in names if str(n).startswith(prefix)}

    part = dataset[list(bare(dataset.data_vars))]
    part = part.rename(bare({*part.variables, *part.dims}))
    return part.assign_attrs({bare_name: dataset.attrs[n]
                              for n, bare_name in bare(dataset.attrs).items()})  # fmt: skip


def _branches(dataset: xr.Dataset, name: str) -> list[xr.Dataset]:
    return [_part(dataset, f"{name}{k}_") for k in range(dataset.attrs[f"n_{name}"])]


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
