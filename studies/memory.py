"""What do memories of signs retrieve, from how far, and how many patterns can they hold?

The classical memory of Hebbian weights in the network of Hopfield (1984), with rates tanh(g s): the
signs of first currents against their exact law, overlaps at rest against the mean field of many
units, the load at which patterns are lost, basins. The polynomial memory of Krotov & Hopfield
(2016): first currents, how its capacity grows with its units, and what its self-coupling holds.
`attention.py` asks the same of the memory of attention.
"""

# Long because two memories are measured, recorded and judged.

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import labelled, stacked
from ctebm.study.verdict import falls_through, largest, smallest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm

BASINS = (0.25, 0.5, 0.75)  # parts of the capacity at which basins are measured
BASIN_FLIPS = (0.1, 0.2, 0.3, 0.4, 0.48)  # shares of signs that are turned over there
RECALLED = 0.8  # overlap with a pattern, between that of retrieval and that of what is left beyond
LOST = 0.01  # share of wrong signs at which a polynomial memory counts as full
ORDERS, UNITS = (3, 5), (12, 16, 24)  # of polynomial memories
EVEN, EVEN_UNITS, TURNED = 4, 24, 0.125  # of one whose units hold themselves, and share turned over
EVEN_LOADS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the number up to which it corrects
FULL = (0.6, 0.8, 1.0, 1.25)  # of the number at which it is full
BITS = 50_000  # signs that an error is counted in, for each draw
BELOW = 0.6  # loads up to this part of the capacity are held to the curve
CURVE = 40  # loads at which the overlap of many units is drawn
EDGE = 1e-3  # part of the capacity on either side of it, between which this overlap falls to 0
SEEN = 1e-9  # a current below is 0, where signs cancel up to rounding


@dataclass(frozen=True)
class Settings(study.Settings):
    """What do memories of signs retrieve, from how far, and how many can they hold?"""

    example = "--n-units 400 --gain 20 --out results/large"

    n_units: int = 200
    """Units of the classical memory; half as many are measured beside it."""
    gain: float = 8.0
    """Gain g of its rates tanh(g s)."""
    loads: tuple[float, ...] = (0.03, 0.06, 0.09, 0.12, 0.14, 0.16, 0.2)
    """Patterns over units; the number of patterns is rounded to an odd one."""
    flipped: tuple[float, ...] = (0.0, 0.15, 0.3, 0.4)
    """Shares of the signs of a cue that are turned over."""
    draws: int = 4
    """Sets of random patterns behind each point; first currents take four times as many."""
    cues: int = 12
    """Patterns of each set that are tried."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        if self.n_units < 40 or self.n_units % 4:
            raise ValueError(f"--n-units needs a multiple of 4 from 40 on, got {self.n_units}.")
        if not 1.5 <= self.gain <= 1e3:
            raise ValueError(f"--gain needs a value from 1.5 to 1000, got {self.gain:g}.")
        if len(self.loads) < 2 or not all(0 < x <= 0.5 for x in self.loads):
            raise ValueError(f"--loads needs two values in (0, 0.5] or more, got {self.loads}.")
        if list(self.loads) != sorted(self.loads):
            raise ValueError(f"--loads needs values that rise, got {self.loads}.")
        if len(self.flipped) < 2 or not all(0 <= f < 0.5 for f in self.flipped):
            raise ValueError(f"--flipped needs two shares below 0.5 or more, got {self.flipped}.")
        if list(self.flipped) != sorted(self.flipped):
            raise ValueError(f"--flipped needs values that rise, got {self.flipped}.")
        if min(self.draws, self.cues) < 2:
            raise ValueError("--draws and --cues need 2 or more.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    from ctebm.study.sign_memories import graded_capacity

    draw = np.random.default_rng(settings.seed)
    sizes = (settings.n_units // 2, settings.n_units)
    first = [_first_currents(settings, x, draw) for x in progress(settings.loads, "first currents")]
    at_rest = [
        stacked([_at_rest(settings, n, x, draw) for x in progress(settings.loads, f"{n} units")])
        for n in sizes
    ]
    capacity = graded_capacity(settings.gain)
    basins = [
        _basin(settings, part, capacity, draw) for part in progress(BASINS, "classical basins")
    ]
    polynomial = [
        stacked([_polynomial(order, n, settings.draws, draw) for n in UNITS])
        for order in progress(ORDERS, "polynomial")
    ]
    even = stacked([_even_order(part, settings.draws, draw) for part in EVEN_LOADS])
    found = {**stacked(first), **stacked(at_rest), **stacked(polynomial)}
    found |= stacked(basins)
    return _recorded(settings, sizes, found | even | _curves(settings))


def _signs(draw: np.random.Generator, *shape: int) -> Tensor:
    import torch

    return torch.as_tensor(draw.choice([-1.0, 1.0], shape))


def _turned(draw: np.random.Generator, cues: Tensor, share: float) -> Tensor:
    """Return cues with this share of their signs turned over."""
    import torch

    order = torch.as_tensor(draw.random(cues.shape).argsort(-1).argsort(-1))
    return torch.where(order < round(share * cues.shape[-1]), -cues, cues)


def _odd(load: float, n: int) -> int:
    """Return the number of patterns; an odd one leaves no current of an even number of units 0."""
    return max(3, 2 * round((load * n - 1) / 2) + 1)


def _classical(settings: Settings, patterns: Tensor) -> ctebm.HopfieldNetwork:
    import ctebm

    rate = ctebm.SignedTanh(settings.gain)
    return ctebm.HopfieldNetwork(ctebm.DenseNetwork.hebbian(patterns, rate))


def _mean_and_error(shares: Sequence[Tensor], law: float, n: float) -> tuple[Tensor, Tensor]:
    """Return the mean over sets and its standard error, no less than that of `n` single counts."""
    import torch

    of = torch.stack(list(shares))
    single = math.sqrt(law * (1 - law) / (len(of) * n))
    return of.mean(0), (of.std(0) / len(of) ** 0.5).clamp(min=single)


def _first_currents(
    settings: Settings, load: float, draw: np.random.Generator
) -> dict[str, Tensor]:
    """Return the share of wrong signs of the first current, at rates that are signs."""
    import torch

    from ctebm.study.sign_memories import hebbian_error

    n, rows = settings.n_units, []
    patterns = _odd(load, n)
    sets = [_signs(draw, patterns, n) for _ in range(4 * settings.draws)]
    networks = [_classical(settings, X) for X in sets]
    # units of which all patterns but one have the same signs are wrong together
    alike = min(n, 2.0 ** (patterns - 1))
    for share in settings.flipped:
        law = hebbian_error(n, patterns, round(share * n))
        wrong = []
        for X, net in zip(sets, networks, strict=True):
            s = 100 * _turned(draw, X, share)  # far out, where rates are signs
            wrong.append(((net.force(s) + s) * X < 0).double().mean())
        mean, error = _mean_and_error(wrong, law, patterns * alike)
        rows.append({"first_wrong": mean, "first_error": error, "first_law": law})
    return stacked(rows) | {"first_patterns": torch.tensor(float(patterns))}


def _at_rest(settings: Settings, n: int, load: float, draw: np.random.Generator) -> dict[str, Any]:
    """Return the overlap where patterns settle, and how many stay near."""
    import torch

    import ctebm

    overlaps, failed = [], 0
    for _ in range(settings.draws):
        X = _signs(draw, _odd(load, n), n)
        net, cues = _classical(settings, X), X[: settings.cues]
        points = ctebm.settle(net, cues)
        overlaps.append((net.rate(points.state) * cues).mean(-1))
        failed += int((~points.converged).sum())
    of_sets = torch.stack([o.mean() for o in overlaps])
    return {
        "overlap": of_sets.mean(),
        "overlap_error": of_sets.std() / len(of_sets) ** 0.5,
        "kept": (torch.cat(overlaps) > RECALLED).double().mean(),
        "unsettled": float(failed),
        "load_found": (_odd(load, n) - 1) / n,
    }


def _basin(
    settings: Settings, part: float, capacity: float, draw: np.random.Generator
) -> dict[str, Any]:
    """Return how many cues the motion takes to their pattern, by the signs turned over."""
    import torch

    import ctebm

    n, overlaps = settings.n_units, []
    P = _odd(part * capacity, n)
    for _ in range(max(2, settings.draws // 2)):
        X = _signs(draw, P, n)
        net, cues = _classical(settings, X), X[: settings.cues]
        start = torch.stack([_turned(draw, cues, share) for share in BASIN_FLIPS])
        ends = ctebm.settle(net, start, path="flow").state
        overlaps.append((net.rate(ends) * cues).mean(-1))
    recalled = (torch.cat(overlaps, -1) > RECALLED).double().mean(-1)
    return {"basin_recalled": recalled, "basin_load": (P - 1) / n}


def _polynomial(order: int, n: int, draws: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return wrong signs of first currents beside their law, and recall from cues at rest."""
    import torch

    import ctebm
    from ctebm.study.sign_memories import polynomial_capacity, polynomial_error

    capacity, rows = polynomial_capacity(order, n, LOST), []
    for part in FULL:
        P = max(3, round(part * capacity))
        law, wrong = polynomial_error(order, n, P), []
        for _ in range(max(2 * draws, -(-draws * BITS // (P * n)))):
            X = _signs(draw, P, n)
            memory = ctebm.PolynomialMemory(X, order)
            toward = memory.pressure(X) * X  # all rates are of one size, so that signs alone count
            scale = float(memory.activation.derivative(X[:1, :1]))
            wrong.append(
                (toward < -SEEN * scale).double().mean()
                + (toward.abs() <= SEEN * scale).double().mean() / 2
            )
        mean, error = _mean_and_error(wrong, law, P * n)
        rows.append({
            "power_patterns": float(P), "power_wrong": mean, "power_error": error,
            "power_law": law,
        })  # fmt: skip
    X = _signs(draw, max(3, round(capacity / 10)), n)
    cues = X[:32]
    memory = ctebm.PolynomialMemory(X, order)
    points = ctebm.settle(memory, _turned(draw, cues, TURNED), path="flow")
    rate = memory.activation(points.state)
    kept = ((rate.sign() * cues).mean(-1) > RECALLED).double().mean()
    return stacked(rows) | {"power_capacity": torch.tensor(capacity), "power_recalled": kept}


def _even_order(part: float, draws: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return the share of signs turned over that first currents turn back, in an even order.

    The other patterns add a self-coupling of mean (n - 1)!! N^(n/2 - 1) a pattern to a current of
    (1 - 2 f)^(n - 1) N^(n - 1), which holds a wrong sign as well as a right one.
    """
    import ctebm

    P = max(2, round(part * _corrects()))
    back = []
    for _ in range(2 * draws):
        X = _signs(draw, P, EVEN_UNITS)
        cue = _turned(draw, X, TURNED)
        toward = ctebm.PolynomialMemory(X, EVEN).pressure(cue) * X
        back.append((toward > 0)[cue != X].double().mean())
    return {"even_patterns": float(P), "even_corrected": sum(back) / len(back)}


def _corrects() -> float:
    """Return the number of patterns whose self-coupling is as large as what corrects a sign."""
    odd = math.prod(range(EVEN - 1, 0, -2))
    return (1 - 2 * TURNED) ** (EVEN - 1) * EVEN_UNITS ** (EVEN // 2) / odd


def _curves(settings: Settings) -> dict[str, Any]:
    """Return the mean field of the classical memory, at the loads of both sizes and as a curve."""
    import numpy as np
    import torch

    from ctebm.study.sign_memories import graded_capacity, graded_overlap

    def overlaps(loads: Sequence[float]) -> list[float]:
        return [graded_overlap(x, settings.gain) for x in loads]

    sizes = (settings.n_units // 2, settings.n_units)
    found = [[(_odd(x, n) - 1) / n for x in settings.loads] for n in sizes]
    capacity = graded_capacity(settings.gain)
    edges = [capacity * (1 - EDGE), capacity * (1 + EDGE)]
    drawn = sorted([*np.linspace(min(map(min, found)), max(map(max, found)), CURVE), *edges])
    return {
        "overlap_law": torch.tensor(list(map(overlaps, found)), dtype=torch.float64),
        "load_capacity": torch.tensor(capacity),
        "curve_load": torch.tensor(drawn, dtype=torch.float64),
        "curve_overlap": torch.tensor(overlaps(drawn), dtype=torch.float64),
    }


def _recorded(settings: Settings, sizes: tuple[int, int], found: dict[str, Any]) -> xr.Dataset:
    first, rest, power = ("loading", "flip"), ("size", "loading"), ("order", "units", "part")
    dims: dict[str, tuple[tuple[str, ...], str]] = {
        "first_wrong": (first, "wrong signs of the first current"),
        "first_error": (first, "its standard error"),
        "first_law": (first, "wrong signs by the binomial law"),
        "first_patterns": (("loading",), "patterns"),
        "overlap": (rest, "overlap at rest, from the pattern on"),
        "overlap_error": (rest, "its standard error over sets"),
        "overlap_law": (rest, "overlap of many units"),
        "load_found": (rest, "other patterns over units"),
        "kept": (rest, "patterns that settle nearby"),
        "basin_recalled": (("basin", "basin_flip"), "cues that settle at their pattern"),
        "basin_load": (("basin",), "other patterns over units"),
        "unsettled": (rest, "cues that have not settled"),
        "load_capacity": ((), "load up to which many units retrieve"),
        "curve_load": (("curve",), "other patterns over units"),
        "curve_overlap": (("curve",), "overlap of many units"),
        "power_patterns": (power, "patterns"),
        "power_wrong": (power, "wrong signs of the first current"),
        "power_error": (power, "its standard error"),
        "power_law": (power, "wrong signs by their law"),
        "power_capacity": (("order", "units"), "patterns with 1 % wrong signs by the law"),
        "power_recalled": (
            ("order", "units"),
            "cues recalled at a tenth of it, an eighth turned over",
        ),
        "even_patterns": (("even_load",), "patterns of a memory of order 4"),
        "even_corrected": (("even_load",), "signs turned over that first currents turn back"),
    }
    coords = {
        "loading": ("loading", list(settings.loads), "patterns over units"),
        "flip": ("flip", list(settings.flipped), "signs turned over"),
        "basin": ("basin", list(BASINS), "load over the capacity"),
        "basin_flip": ("basin_flip", list(BASIN_FLIPS), "signs turned over"),
        "size": ("size", list(sizes), "units"),
        "order": ("order", list(ORDERS), "order of the memory"),
        "units": ("units", list(UNITS), "units of a polynomial memory"),
        "part": ("part", list(FULL), "part of the capacity"),
        "even_load": (
            "even_load",
            list(EVEN_LOADS),
            "patterns over those with as much self-coupling",
        ),
    }
    return labelled(
        {name: (on, found[name], text) for name, (on, text) in dims.items()},
        {"n_failed": int(found["unsettled"].sum())},
        coords,
    )


def _full(one: xr.Dataset) -> float:
    """Return the number of patterns with 1 % wrong signs, along a line in normal quantiles."""
    import numpy as np
    from scipy.special import ndtri

    wrong = one.power_wrong.values
    if not ((wrong > 0) & (wrong < 1)).all():
        return math.nan
    slope, level = np.polyfit(ndtri(wrong), np.log(one.power_patterns.values), 1)
    return float(np.exp(level + slope * ndtri(LOST)))


def _growth(numbers: Sequence[float]) -> float:
    """Return the exponent with which a number grows with the units, over the last two of them."""
    return math.log(numbers[-1] / numbers[-2]) / math.log(UNITS[-1] / UNITS[-2])


def draw(dataset: xr.Dataset) -> Figure:
    import numpy as np

    from ctebm.figures.panels import Panel, Series, panel_figure

    at_rest, basins, powers = [], [], []
    for i, n in enumerate(dataset["size"].values):
        one = dataset.sel(size=n)
        at_rest.append(Series(one.load_found, one.overlap, f"{n} units", colour=i))
    law = Series(dataset.curve_load, dataset.curve_overlap, "many units", line=True, colour=6)
    at_rest.append(law)
    for i, part in enumerate(dataset.basin.values):
        one = dataset.sel(basin=part)
        label = f"load {float(one.basin_load):.3f}"
        basins.append(Series(dataset.basin_flip, one.basin_recalled, label, colour=i))
    for i, order in enumerate(dataset.order.values):
        one = dataset.sel(order=order)
        found = [_full(one.sel(units=n)) for n in dataset.units.values]
        powers += [
            Series(dataset.units, one.power_capacity, line=True, colour=i),
            Series(dataset.units, np.array(found), f"order {order}", colour=i),
        ]
    return panel_figure(
        [
            Panel("classical, at rest", "other patterns / units", "overlap", at_rest),
            Panel("classical, basins", "signs turned over", "cues recalled", basins),
            Panel("polynomial, when full", "units", "patterns at 1 % wrong signs", powers, "xy"),
        ],
        question="What do memories of signs retrieve, from how far, and how many can they hold?",
        see="Points: measured. Lines: in a the theory of many units, which falls to 0 at the "
        "capacity, in c the exact law. b: at a quarter, half and three quarters of it.",
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    return [
        *_judge_classical(dataset),
        *_judge_basins(dataset),
        *_judge_polynomial(dataset),
    ]


def _judge_classical(dataset: xr.Dataset) -> list[Verdict]:
    off = abs(dataset.first_wrong - dataset.first_law) / dataset.first_error
    one, capacity = dataset.isel(size=-1), float(dataset.load_capacity)
    below = one.load_found <= BELOW * capacity
    out = [
        Verdict.at_most("classical: wrong signs of first currents off the binomial law, in errors",
                        largest(off), 4.5),
        Verdict.at_most("classical: overlap at rest off the curve of many units, up to 0.6 of its "
                        "capacity", largest(abs(one.overlap - one.overlap_law), below), 0.01),
    ]  # fmt: skip
    lost = [
        falls_through(dataset.load_found.sel(size=n), dataset.kept.sel(size=n))
        for n in dataset["size"].values
    ]
    n = int(dataset["size"][-1])
    excess = [x / capacity - 1 for x in lost]
    return [
        *out,
        Verdict.reported("classical: capacity of many units", capacity, "0.138 for signs"),
        Verdict.at_most(f"classical: load at which half of the patterns of {n} units are lost, "
                        "excess over it, relative", abs(excess[-1]), 0.4, f"at {lost[-1]:.3f}"),
        Verdict.at_most(f"classical: this excess over that of {n // 2} units",
                        excess[-1] / excess[0], 0.9, f"at {lost[0]:.3f}"),
    ]  # fmt: skip


def _judge_basins(dataset: xr.Dataset) -> list[Verdict]:
    flip, rows = dataset.basin_flip, dataset.basin_recalled
    radii = [falls_through(flip, rows.sel(basin=part)) for part in dataset.basin.values]
    grows = largest([b - a for a, b in pairwise(radii)])
    note = ", ".join(f"{r:.2f}" for r in radii) + " of the signs"
    return [
        Verdict.at_most("classical: growth of the basins' radius with the load, largest",
                        grows, 0.0, note),
        Verdict.at_least("classical: cues recalled at a quarter of the capacity, a tenth or a "
                         "fifth of their signs turned over",
                         smallest(rows.isel(basin=0), flip <= 0.2), 0.95),
    ]  # fmt: skip


def _judge_polynomial(dataset: xr.Dataset) -> list[Verdict]:
    out = []
    for order in dataset.order.values:
        one = dataset.sel(order=order)
        off = abs(one.power_wrong - one.power_law) / one.power_error
        numbers = [_full(one.sel(units=n)) for n in one.units.values]
        by_law = _growth(one.power_capacity.values)
        grows = _growth(numbers)
        out += [
            Verdict.at_most(f"order {order}: wrong signs of first currents off their law, in "
                            "errors", largest(off), 4.5),
            Verdict.at_most(f"order {order}: exponent of the capacity off that of the law",
                            abs(grows - by_law), 0.1, f"{grows:.2f}"),
        ]  # fmt: skip
        claim = f"order {order}: exponent of the capacity off {order - 1}"
        out.append(Verdict.at_most(claim, abs(grows - order + 1), 0.15))
    held = falls_through(dataset.even_load, dataset.even_corrected)
    out.append(
        Verdict.at_most(f"order {EVEN}: half of the wrong signs hold themselves: off the number of "
                        "patterns with as much self-coupling, relative", abs(held - 1), 0.25,
                        f"at {held * _corrects():.0f} patterns, {EVEN_UNITS} units")
    )  # fmt: skip
    claim = (
        "polynomial: cues recalled at a tenth of the capacity, an eighth of their signs turned over"
    )
    recalled = smallest(dataset.power_recalled.isel(units=-1))
    return [*out, Verdict.at_least(claim, recalled, 0.95)]


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
