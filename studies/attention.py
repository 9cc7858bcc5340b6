"""What does the memory of attention retrieve, how well, and how many patterns can it hold?

The modern Hopfield network (Ramsauer et al. 2021): its bounds (theorems 3 and 5) for patterns that
are well separated, and, for random patterns on a sphere, overlaps at rest and the number of
patterns kept against a mean field, in which that number grows exponentially with the dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctebm import study
from ctebm.study import Progress, Verdict
from ctebm.study.record import labelled, stacked
from ctebm.study.verdict import falls_through, largest, smallest

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    import ctebm

EXPONENTS = (-3.0, -2.0, -1.0, -0.5, -0.25, 0.0, 0.3)  # ln of patterns over the capacity
CURVE = 40  # numbers at which the overlap of the mean field is drawn, between those
GUARANTEE = {"d": 20, "beta": 1.0, "failure": 0.001}  # of theorem 3, with K = 3
SHARPNESS = (2.0, 3.0, 4.0, 6.0)  # beta, of patterns with a squared length of the dimension
FEW = 10  # patterns of which most are well separated
SETS = 20  # of them
GUARANTEED = 2000  # sets of the number that is guaranteed


@dataclass(frozen=True)
class Settings(study.Settings):
    """What does the memory of attention retrieve, how well, and how many patterns can it hold?"""

    example = "--dimensions 8 12 16 --out results/large"

    dimensions: tuple[int, ...] = (8, 11, 14)
    """Dimensions, with patterns of that squared length and beta = 1."""
    draws: int = 4
    """Sets of random patterns behind each point."""
    cues: int = 12
    """Patterns of each set that are tried."""

    def __post_init__(self) -> None:
        reason = "all is float64 on the CPU; leave it out"
        study.refuse_ignored(self, ["device", "dtype"], reason)
        if len(self.dimensions) < 2 or not all(6 <= d <= 18 for d in self.dimensions):
            raise ValueError(
                f"--dimensions needs two values from 6 to 18 or more, got {self.dimensions}: the "
                "number of patterns grows exponentially."
            )
        if list(self.dimensions) != sorted(self.dimensions):
            raise ValueError(f"--dimensions needs values that rise, got {self.dimensions}.")
        if min(self.draws, self.cues) < 2:
            raise ValueError("--draws and --cues need 2 or more.")


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    import numpy as np

    draw = np.random.default_rng(settings.seed)
    random = [_attention(settings, d, draw) for d in progress(settings.dimensions, "dimensions")]
    bounds = [_bounds(beta, settings.dimensions[-1], draw) for beta in SHARPNESS]
    return _recorded(settings, stacked(random) | stacked(bounds) | _guaranteed(draw))


def _sphere(draw: np.random.Generator, n: int, d: int, length: float) -> Tensor:
    import torch

    x = torch.as_tensor(draw.standard_normal((n, d)))
    return length * x / x.norm(dim=-1, keepdim=True)


def _attention(settings: Settings, d: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return overlap and weight of patterns at rest, and cues with half of the weight at once."""
    import torch

    import ctebm
    from ctebm.study.attention_memories import (
        attention_capacity,
        attention_overlap,
        half_weight_cosine,
    )

    capacity, rows = attention_capacity(d, d), []
    for exponent in EXPONENTS:
        P = max(3, round(math.exp(capacity + exponent)))
        overlaps, kept, failed = [], [], 0
        for _ in range(settings.draws):
            memory = ctebm.AssociativeMemory(_sphere(draw, P, d, d**0.5), 1.0)
            X = memory.patterns[: settings.cues]
            points = ctebm.settle(memory, X)
            weight = memory.weights_of_patterns(points.state)[:, : len(X)].diagonal()
            overlaps.append((points.state * X).sum(-1).mean() / d)
            failed += int((~points.converged).sum())
            kept.append((weight > 0.5).double().mean())
        rows.append({
            "patterns": float(P),
            "overlap": torch.stack(overlaps).mean(),
            "overlap_law": attention_overlap(d, d, P),
            "kept": torch.stack(kept).mean(),
            "unsettled": float(failed),
        })  # fmt: skip
    P = round(math.exp(capacity - 2))
    cosine = half_weight_cosine(d, d, P)
    kept = [_recalled_from(cosine, P, d, settings.cues, draw) for _ in range(settings.draws)]
    found = {"half_cosine": cosine, "cue_recalled": torch.stack(kept).mean()}
    drawn = torch.linspace(EXPONENTS[0], EXPONENTS[-1], CURVE, dtype=torch.float64)
    numbers = (capacity + drawn).exp().clamp(min=3)
    law = [attention_overlap(d, d, n) for n in numbers.tolist()]
    found |= {"curve_patterns": numbers, "curve_overlap": torch.tensor(law, dtype=torch.float64)}
    return stacked(rows) | found | {"capacity": capacity}


def _recalled_from(cosine: float, P: int, d: int, n: int, draw: np.random.Generator) -> Tensor:
    """Return the share of cues at this angle to their pattern that settle at it."""
    import ctebm

    memory = ctebm.AssociativeMemory(_sphere(draw, P, d, d**0.5), 1.0)
    X = memory.patterns[:n]
    across = _sphere(draw, len(X), d, d**0.5)
    across = across - (across * X).sum(-1, keepdim=True) * X / d
    across = across * (d**0.5 / across.norm(dim=-1, keepdim=True))
    cue = cosine * X + (1 - cosine**2) ** 0.5 * across
    ends = ctebm.settle(memory, cue, path="flow").state
    return (memory.weights_of_patterns(ends)[:, : len(X)].diagonal() > 0.5).double().mean()


def _bounds(beta: float, d: int, draw: np.random.Generator) -> dict[str, Any]:
    """Return how near to their bounds well separated patterns come (theorem 5)."""
    import torch

    import ctebm
    from ctebm.study.attention_memories import needed_separation, retrieval_bound, separation

    at_rest, one_step, radius, n = [], [], [], 0
    for _ in range(SETS):
        X = _sphere(draw, FEW, d, d**0.5)
        memory = ctebm.AssociativeMemory(X, beta)
        apart = separation(X) >= needed_separation(memory)
        ball = 1 / (beta * FEW * d**0.5)
        cue = X + _sphere(draw, FEW, d, ball)
        ends = ctebm.settle(memory, cue, path="flow").state
        off, step = _pulled_off(memory, ends), _pulled_off(memory, cue)
        at_rest.append((off / retrieval_bound(memory, off))[apart])
        one_step.append((step / retrieval_bound(memory, (cue - X).norm(dim=-1)))[apart])
        radius.append((off / ball)[apart])
        n += int(apart.sum())

    def most(ratios: list[Tensor]) -> Tensor:
        return torch.cat([torch.tensor([0.0 if n else math.nan]).double(), *ratios]).max()

    return {
        "separated": n / (SETS * FEW),
        "rest_over_bound": most(at_rest),
        "step_over_bound": most(one_step),
        "rest_over_ball": most(radius),
    }


def _pulled_off(memory: ctebm.AssociativeMemory, s: Tensor) -> Tensor:
    """Return how far the pressure of the state in each row is from its pattern, below rounding."""
    p, X = memory.weights_of_patterns(s), memory.patterns
    return (p.unsqueeze(-1) * (X - X.unsqueeze(1))).sum(1).norm(dim=-1)


def _guaranteed(draw: np.random.Generator) -> dict[str, Any]:
    """Return in how many sets of the guaranteed number all patterns are well separated."""
    import torch

    import ctebm
    from ctebm.study.attention_memories import guaranteed_patterns, needed_separation, separation

    d, length = GUARANTEE["d"], 3 * (GUARANTEE["d"] - 1) ** 0.5
    number = guaranteed_patterns(d, length, GUARANTEE["beta"], GUARANTEE["failure"])
    held = []
    for _ in range(GUARANTEED):
        memory = ctebm.AssociativeMemory(_sphere(draw, int(number), d, length), GUARANTEE["beta"])
        held.append(float(separation(memory.patterns).min() >= needed_separation(memory)))
    return {"guaranteed": torch.tensor(number), "guaranteed_held": torch.tensor(held).mean()}


def _recorded(settings: Settings, found: dict[str, Any]) -> xr.Dataset:
    of, by, bound = ("dimension", "exponent"), ("dimension",), ("sharpness",)
    dims: dict[str, tuple[tuple[str, ...], str]] = {
        "patterns": (of, "patterns"),
        "overlap": (of, "overlap at rest, from the pattern on"),
        "overlap_law": (of, "overlap of the mean field"),
        "curve_patterns": (("dimension", "curve"), "patterns, as a curve"),
        "curve_overlap": (("dimension", "curve"), "overlap of the mean field, as a curve"),
        "kept": (of, "patterns that keep half of the weight"),
        "half_cosine": (by, "cosine of a cue with half of the weight at once"),
        "cue_recalled": (by, "such cues that settle at their pattern"),
        "capacity": (by, "ln of the number kept, mean field"),
        "separated": (bound, "patterns that are well separated"),
        "rest_over_bound": (bound, "distance at rest over its bound, largest"),
        "step_over_bound": (bound, "distance after a step over its bound, largest"),
        "rest_over_ball": (bound, "distance at rest over the radius of the ball, largest"),
        "guaranteed": ((), "number of patterns that theorem 3 guarantees"),
        "guaranteed_held": ((), "sets of so many that are well separated"),
    }
    coords = {
        "dimension": ("dimension", list(settings.dimensions), "dimension"),
        "exponent": ("exponent", list(EXPONENTS), "ln of patterns over the capacity"),
        "sharpness": ("sharpness", list(SHARPNESS), "inverse temperature"),
    }
    n_failed = int(found.pop("unsettled").sum())
    return labelled(
        {name: (on, found[name], text) for name, (on, text) in dims.items()},
        {"n_failed": n_failed},
        coords,
    )


def draw(dataset: xr.Dataset) -> Figure:
    from ctebm.figures.panels import Panel, Series, panel_figure

    overlaps, kept = [], []
    for i, d in enumerate(dataset.dimension.values):
        one = dataset.sel(dimension=d)
        edge = math.exp(float(one.capacity))
        overlaps += [
            Series(one.curve_patterns, one.curve_overlap, line=True, colour=i),
            Series(one.patterns, one.overlap, f"dimension {d}", colour=i),
        ]
        kept += [
            Series([edge, edge], [0, 1], line=True, colour=i),
            Series(one.patterns, one.kept, f"dimension {d}", colour=i),
        ]
    ratios = [
        Series(dataset.sharpness, dataset[name], text, colour=i)
        for i, (name, text) in enumerate(
            [("rest_over_bound", "at rest"), ("step_over_bound", "after one step")]
        )
    ]
    return panel_figure(
        [
            Panel("overlap at rest", "patterns", "overlap", overlaps, "x"),
            Panel("patterns kept", "patterns", "share kept", kept, "x"),
            Panel("distance over its bound", r"$\beta$", "largest ratio", ratios),
        ],
        question="How many patterns does the memory of attention hold, and how well?",
        see="Points: measured. Lines: in a the mean field, in b the largest number that it keeps. "
        "c: the bounds of theorem 5 hold where ratios are below 1.",
    )


def judge(dataset: xr.Dataset) -> list[Verdict]:
    return [*_judge_attention(dataset), *_judge_bounds(dataset)]


def _judge_attention(dataset: xr.Dataset) -> list[Verdict]:
    last = dataset.isel(dimension=-1)
    half = [
        falls_through(dataset.exponent, dataset.kept.isel(dimension=i))
        for i in range(len(dataset.dimension))
    ]
    d, capacity = dataset.dimension.values, dataset.capacity.values
    rate = (half[-1] + capacity[-1] - half[0] - capacity[0]) / (d[-1] - d[0])
    law = (capacity[-1] - capacity[0]) / (d[-1] - d[0])
    few = dataset.exponent <= -2
    note = ", ".join(f"{h:.2f}" for h in half)
    return [
        Verdict.at_most(f"overlap off the mean field in {d[-1]} dimensions, up to 1/7 "
                        "of its capacity",
                        largest(abs(last.overlap - last.overlap_law), few), 0.01),
        Verdict.at_most(f"ln of the number kept by half off the mean field's, {d[-1]} "
                        "dimensions", abs(half[-1]), 0.4, f"{note}, by dimension"),
        Verdict.at_least("e-folds of the number kept by half with each dimension", rate,
                         0.5, f"{law:.2f} by the mean field"),
        Verdict.at_least("cues recalled that have half of the weight at once, 1/7 of the "
                         "capacity", smallest(dataset.cue_recalled), 0.7,
                         f"cosine {float(last.half_cosine):.2f}"),
    ]  # fmt: skip


def _judge_bounds(dataset: xr.Dataset) -> list[Verdict]:
    share = float(dataset.separated.max())
    failure = GUARANTEE["failure"]
    return [
        Verdict.at_most("distance at rest over the bound of theorem 5, well separated",
                        largest(dataset.rest_over_bound), 1.0, f"up to {share:.2f} of them"),
        Verdict.at_most("distance after one step over the bound",
                        largest(dataset.step_over_bound), 1.0),
        Verdict.at_most("distance at rest over the radius of the ball 1/(beta P M)",
                        largest(dataset.rest_over_ball), 1.0),
        Verdict.at_least("sets of the number guaranteed by theorem 3 that are well separated",
                         dataset.guaranteed_held, 1 - failure,
                         f"{float(dataset.guaranteed):.1f} patterns"),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
