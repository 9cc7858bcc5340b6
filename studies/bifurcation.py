"""Where do equilibria of the pair, and of N units, appear, vanish and change their stability?

Branches are followed by pseudo-arclength and held against closed forms: the pitchfork at w = 4 for
every N, the folds of the biased pair, the border collisions of the hard sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.verdict import largest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    import ctebm
    from ctebm.networks.activation import Activation
    from ctebm.networks.dense import DenseNetwork

PANELS = ("pair", "all", "fold", "hard")
PLANES = ("smooth", "kinked")


@dataclass(frozen=True)
class Settings(study.Settings):
    """Where do equilibria of the pair, and of N units, appear, vanish and change stability?"""

    example = "--n-units 30 --step 0.005 --out results/thirty_units"

    n_units: int = 12
    """Units of the all-to-all network beside the pair."""
    w: float = 8.0
    """Largest coupling of the pitchforks, and the coupling of the folds."""
    hard_w: float = 2.0
    """Coupling of the hard-sigmoid pair."""
    step: float = 0.01
    """Longest step along a branch, as a share of the range."""

    def __post_init__(self) -> None:
        reason = "nothing here is random, and all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["seed", "device", "dtype"], reason)
        if self.n_units < 2:
            raise ValueError(f"--n-units needs 2 or more, got {self.n_units}.")
        if not 4.5 <= self.w <= 30:
            raise ValueError(f"--w needs 4.5 to 30, beyond the pitchfork at 4, got {self.w}.")
        if not 1.1 <= self.hard_w <= 3:
            raise ValueError(f"--hard-w needs 1.1 to 3, beyond the kinks' 1, got {self.hard_w}.")
        if not 0 < self.step <= 0.1:
            raise ValueError(f"--step needs 0 to 0.1, got {self.step}.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import xarray as xr

    attrs = {"w": settings.w, "hard_w": settings.hard_w, "n_units": settings.n_units}
    data = xr.Dataset(attrs=attrs | {"n_failed": 0})
    cases = _cases(settings)
    for name in progress(PANELS, "branches"):
        branches = _followed(*cases[name], settings.step)
        data.attrs["n_failed"] += sum(not branch.complete for branch in branches)
        data.attrs[f"n_{name}"] = len(branches)
        for k, branch in enumerate(branches):
            data = data.merge(_prefixed(branch.to_dataset(), f"{name}{k}_"))
    for name in PLANES:
        plane = _plane(settings, name)
        data = data.merge(_prefixed(plane, f"{name}_"))
        kinks = ("lower_kink", "upper_kink")
        data.attrs |= {f"{name}_{kink}": plane.attrs[kink] for kink in kinks}
    return data


def _cases(settings: Settings) -> dict[str, tuple[Callable, list[float], tuple[float, float]]]:
    """Return family, start and ends of the parameter of each panel."""
    import ctebm

    tanh, hard = ctebm.Tanh(), ctebm.HardSigmoid()
    w, hard_w, n = settings.w, settings.hard_w, settings.n_units
    bias, kink = (-1.5, 1.5), hard.kinks[0]
    return {
        "pair": (lambda p: _all_to_all(2, p, tanh), [0.0] * 2, (2.0, w)),
        "all": (lambda p: _all_to_all(n, p, tanh), [0.0] * n, (2.0, w)),
        "fold": (lambda p: _all_to_all(2, w, tanh, p - w / 2), [-1.0] * 2, bias),
        "hard": (lambda p: _all_to_all(2, hard_w, hard, p - hard_w / 2), [kink] * 2, bias),
    }


def _followed(
    family: Callable, start: list[float], ends: tuple[float, float], step: float
) -> list[ctebm.Branch]:
    """Return a branch and the arms that leave it at its branch points."""
    import ctebm

    branch = ctebm.continue_branch(family, start, ends, step=step)
    arms = [a for e in branch.branch_points for a in ctebm.switch_branch(branch, e, step=step)]
    return [branch, *arms]


def _plane(settings: Settings, name: str) -> xr.Dataset:
    """Return the phase plane of a pair with its equilibria and a few paths."""
    import ctebm

    smooth = name == "smooth"
    coupling, reach = (settings.w, 1.15) if smooth else (settings.hard_w, 0.7)
    rho = ctebm.Tanh() if smooth else ctebm.HardSigmoid()
    places = ((-0.9, 0.6), (0.2, -0.95), (-0.5, 0.9), (0.95, -0.6), (-0.3, 0.1))
    starts = [(reach * a, reach * b) for a, b in places]
    pair = _all_to_all(2, coupling, rho)
    return ctebm.phase_plane(pair, limits=(-reach, reach), n_grid=161, starts=starts)


def draw(dataset: xr.Dataset) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from ctebm.figures import equilibria as portrait
    from ctebm.figures.style import MM, STYLE, WIDE, ask, name_panel

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 140 * MM), layout="constrained")
        axes = list(figure.subplots(2, 3).flat)
        kinds = _draw_branches(axes[:4], dataset)
        _draw_closed_forms(axes[:3], dataset)
        titles = f"tanh, w = {dataset.w:g}", f"hard sigmoid, w = {dataset.hard_w:g}"
        for i, (name, ax, title) in enumerate(zip(PLANES, axes[4:], titles, strict=True)):
            portrait.phase_portrait(ax, _part(dataset, f"{name}_"))
            name_panel(ax, 4 + i, title, WIDE / 3)
        handles = portrait.diagram_handles(kinds)
        handles.append(Line2D([], [], color="black", marker="+", lw=0, label="closed form"))
        handles += portrait.portrait_handles({"stable", "saddle"})
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        ask(
            figure,
            "Where do equilibria of the pair, and of N units, appear, vanish and change stability?",
            "a to d: branches of equilibria, crosses: closed forms. e, f: the planes "
            "of two units; all paths end at stable points.",
        )
    return figure


def _draw_branches(axes: Sequence[Axes], dataset: xr.Dataset) -> set[str]:
    """Draw the four diagrams and return the kinds of their events."""
    from ctebm.figures.equilibria import bifurcation_diagram
    from ctebm.figures.style import WIDE, name_panel

    titles = {
        "pair": "pair, tanh",
        "all": f"{dataset.n_units} units all to all, tanh",
        "fold": f"pair, tanh, w = {dataset.w:g}",
        "hard": f"pair, hard sigmoid, w = {dataset.hard_w:g}",
    }
    kinds: set[str] = set()
    for i, (name, ax) in enumerate(zip(PANELS, axes, strict=True)):
        for branch in _branches(dataset, name):
            bifurcation_diagram(ax, branch)
            kinds |= {str(k) for k in branch.event_kind.values}
        xlabel = "coupling $w$" if name in ("pair", "all") else "bias offset $h$"
        ax.set(xlabel=xlabel, ylabel="state of unit 0")
        name_panel(ax, i, titles[name], WIDE / 3)
    return kinds


def _draw_closed_forms(axes: Sequence[Axes], dataset: xr.Dataset) -> None:
    """Put crosses on the pitchforks and the fold, within the limits that the branches have."""
    import numpy as np

    arm, curve = np.linspace(0, 1.1, 19)[1:], np.linspace(-1.2, 1.2, 31)
    pitchfork = [(pitchfork_weight(arm), sign * arm) for sign in (1, -1)]
    for ax, crosses in zip(
        axes, (pitchfork, pitchfork, [(fold_bias(curve, dataset.w), curve)]), strict=True
    ):
        limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
        for x, y in crosses:
            ax.plot(x, y, "+", color="black", ms=5, zorder=3)
        ax.set(**limits)


def judge(dataset: xr.Dataset) -> list[Verdict]:
    out = [*_judge_pitchfork(dataset, "pair", "pair")]
    out += _judge_pitchfork(dataset, "all", f"{dataset.n_units} units")
    out += [*_judge_folds(dataset), _judge_collisions(dataset)]
    for name in PLANES:
        kinds = list(dataset[f"{name}_stability"].values)
        missing = abs(kinds.count("stable") - 2) + abs(kinds.count("saddle") - 1)
        out.append(Verdict.at_most(f"{name} pair: two stable, one saddle", missing, 0))
    return out


def _judge_pitchfork(dataset: xr.Dataset, name: str, label: str) -> list[Verdict]:
    main, *arms = _branches(dataset, name)
    events = main.event_parameter.values[main.event_kind.values == "pitchfork"]
    gaps = [
        largest(abs(arm.parameter.values[1:] - pitchfork_weight(arm.state.values[1:, 0])))
        for arm in arms
    ]
    return [
        Verdict.at_most(f"{label}: pitchfork at w = 4", _distance(events, [4.0]), 1e-10),
        Verdict.at_most(f"{label}: arms on w(s), largest gap", largest(gaps), 1e-6),
    ]


def _judge_folds(dataset: xr.Dataset) -> list[Verdict]:
    fold = _branches(dataset, "fold")[0]
    folds = fold.isel(event=fold.event_kind.values == "fold")
    expected = fold_bias(folds.event_state.values[:, 0], dataset.w)
    off = _distance(folds.event_parameter.values, expected if len(expected) == 2 else [])
    gap = largest(abs(fold_bias(fold.state.values[:, 0], dataset.w) - fold.parameter.values))
    return [
        Verdict.at_most("folds: two, on h(s)", off, 1e-10),
        Verdict.at_most("fold's branch on h(s), largest gap", gap, 1e-8),
    ]


def _judge_collisions(dataset: xr.Dataset) -> Verdict:
    found = _branches(dataset, "hard")[0].event_parameter.values
    edge = dataset.hard_w / 2 - 0.5
    off = _distance(found, [-edge, edge])
    return Verdict.at_most("border collisions at +-(w - 1)/2", off, 1e-10)


def _distance(found: np.ndarray, expected: np.ndarray | Sequence[float]) -> float:
    """Return the largest distance from where theory puts events; NaN if it is not as many."""
    import numpy as np

    if len(found) != len(expected):
        return float("nan")
    return largest(abs(np.sort(found) - np.sort(expected)))


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
