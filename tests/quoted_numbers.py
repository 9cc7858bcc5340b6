"""Numbers that pages quote, and where they come from.

``python tests/quoted_numbers.py`` runs each study as its command says (some minutes) and writes
``quoted_numbers.json``, which ``studies/test_quoted_numbers.py`` holds the pages against.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from ctebm.study.verdict import falls_through

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_suffix(".json")
READ_ME, THEORY = "studies/README.md", "docs/explanation/theory.md"
MEMORIES = "docs/how-to/memories.md"


class Quote(NamedTuple):
    """A number on a page: where it stands (the group of a pattern), and what it is."""

    study: str
    page: str
    pattern: str
    value: Callable[[xr.Dataset], Any]
    flags: str = ""


def last(dataset: xr.Dataset, name: str, depth: int, **at: Any) -> xr.DataArray:
    """Return a variable of the layer at this depth."""
    layer = int((dataset.depth == depth).argmax())
    return dataset[name].isel(layer=layer).sel(**at)


def fallen(eigenvalue: float, deepest: bool = False) -> Callable[[xr.Dataset], Any]:
    def shares(dataset: xr.Dataset) -> Any:
        deep = dataset.start_pinned.sel(lower=-0.5, eigenvalue=eigenvalue, depth=[2, 3, 4])
        return 100 * float(deep.max() if deepest else deep.min())

    return shares


def epochs_kill(name: str) -> Callable[[xr.Dataset], Any]:
    return lambda d: float(d[f"case_{name}"].sel(case="stable weights"))


def needed(depth: int, lag: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: last(d, "time_needed", depth, lag=lag).mean()


def over_the_law(network: int) -> Callable[[xr.Dataset], Any]:
    return lambda d: (d.time / d.law).isel(network=network, barrier=-1)


def slow_mode(eps: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: d.map_variance.sel(map_sigma=0.1, map_eps=eps, mode="slow")


def hops(steps: str, eps: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: d.hops.sel(steps=steps, hop_eps=eps)


def cheaper(sigma: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: (d.early_inference / d.node_perturbation).sel(sigma=sigma).mean()


def at_depth_3(name: str, energy: str) -> Callable[[xr.Dataset], Any]:
    return lambda d: d[name].sel(energy=energy, depth=3).mean()


def off_binomial(energy: str) -> Callable[[xr.Dataset], Any]:
    def percent(d: xr.Dataset) -> Any:
        one = d.sel(energy=energy).isel(after=1, depth=slice(1, None))
        return 100 * abs(one.share / one.law - 1).mean()

    return percent


def euler_bias(power: int) -> Callable[[xr.Dataset], Any]:
    """Return a (power 0) or b (power 1) of the bias a eps + b eps^2 of a variance."""

    def coefficient(d: xr.Dataset) -> Any:
        bias = d.smooth_spread_law.sel(dynamics="Euler-Maruyama") - d.smooth_spread_law.sel(
            dynamics="MALA"
        )
        return (bias / d.smooth_eps).polyfit("smooth_eps", 1).polyfit_coefficients.sel(degree=power)

    return coefficient


def of_maps(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    return lambda d: d[name].isel(dynamics=slice(2, None))


def lost(size: int) -> Callable[[xr.Dataset], Any]:
    """Return at which load half of the patterns are lost."""
    return lambda d: falls_through(d.load_found.isel(size=size), d.kept.isel(size=size))


def basin(part: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: falls_through(d.basin_flip, d.basin_recalled.sel(basin=part))


def held_growth(order: int) -> Callable[[xr.Dataset], Any]:
    """Return the power of its units with which the number grows that a memory of signs holds."""

    def power(d: xr.Dataset) -> Any:
        memory, one = import_module("memory"), d.sel(order=order)
        return memory._growth([memory._full(one.sel(units=n)) for n in one.units.values])

    return power


def kept_off(dimension: int) -> Callable[[xr.Dataset], Any]:
    """Return by how many e-folds the number kept by half falls short of the mean field."""
    return lambda d: -falls_through(d.exponent, d.kept.sel(dimension=dimension))


def kept_growth(measured: bool) -> Callable[[xr.Dataset], Any]:
    def rate(d: xr.Dataset) -> Any:
        first, last = (
            float(d.capacity.sel(dimension=n)) - measured * kept_off(n)(d) for n in (8, 14)
        )
        return (last - first) / 6

    return rate


def coupling(denoiser: str, v: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: d.exact.sel(denoiser=denoiser, weight="coupling", noise=v)


def worst_apart(dtype: str, near: bool) -> Callable[[xr.Dataset], Any]:
    """Return the largest distance of weights at large steps (near), or at all others."""

    def distance(d: xr.Dataset) -> Any:
        return d.apart.sel(dtype=dtype).where((d.compared_eps >= 0.1) == near).max()

    return distance


def reached(word: str) -> Callable[[xr.Dataset], Any]:
    return lambda d: d.apart_test_error.sel(apart_rule=word).mean()


def mean_errors(d: xr.Dataset) -> xr.DataArray:
    """Return the mean test error of each rule that descends."""
    return d.test_error.mean("start").drop_sel(rule="presynaptic")


def best_off(tol: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: 100 * d.off.sel(tol=tol).min()


def best_beta(tol: float) -> Callable[[xr.Dataset], Any]:
    return lambda d: d.beta[d.off.sel(tol=tol).argmin("beta")]


QUOTES = [
    Quote("epsilon", READ_ME, r"half of the samples meet a kink within ([\d.]+) time constants",
          lambda d: (d.first_crossing.isel(eps=-1).where(d.first_crossing.isel(eps=-1) > 0).median()
                     * d.eps[-1]), "--gain 1"),
    Quote("depth", READ_ME, r"(\d+) % earlier at gain 0.25 in the tenth layer",
          lambda d: 100 * (1 - last(d, "half_time", 10, gain=0.25).median() / d.law_half_time[
              int((d.depth == 10).argmax())])),
    Quote("depth", THEORY, r"half of the gradient arrives (\d+) % before",
          lambda d: 100 * (1 - last(d, "half_time", 10, gain=0.25).median() / d.law_half_time[
              int((d.depth == 10).argmax())])),
    Quote("bptt", READ_ME, r"At every step, to (\S+) relative", lambda d: d.step_error.where(
        5 * d.step_floor < 1e-5).max()),
    Quote("asymmetry", READ_ME, r"at depth 2 the cosine is ([\d.]+) at 90 degrees",
          lambda d: last(d, "cosine", 2).isel(angle=4).mean()),
    Quote("asymmetry", READ_ME, r"even ones are right, ([\d.]+)\.",
          lambda d: last(d, "cosine", 2).isel(angle=-1).mean()),
    Quote("noise", READ_ME, r"first arrivals are off by ([\d.]+) at depth 1",
          lambda d: last(d, "held_error", 1)),
    Quote("noise", READ_ME, r"at depth 1 and ([\d.]+) at depth 2",
          lambda d: last(d, "held_error", 2)),
    Quote("fluctuation", READ_ME, r"takes (\d+) time constants at the output", needed(0, 1.0)),
    Quote("fluctuation", READ_ME, r"at the output, (\S+) one layer down", needed(1, 1.0)),
    Quote("fluctuation", READ_ME, r"and (\S+) two layers down at lag 1", needed(2, 1.0)),
    Quote("fluctuation", READ_ME, r"at lag 4 it takes (\d+),", needed(0, 4.0)),
    Quote("fluctuation", READ_ME, r"at lag 4 it takes 99, (\S+) and", needed(1, 4.0)),
    Quote("fluctuation", READ_ME, r"at lag 4 it takes 99, 3.45e3 and ([\d.]+e\d)", needed(2, 4.0)),
    Quote("escape", READ_ME, r"time is ([\d.]+) of the law's in a smooth pair", over_the_law(0)),
    Quote("escape", READ_ME, r"smooth pair, ([\d.]+) in a pinned one", over_the_law(1)),
    Quote("escape", READ_ME, r"pinned one and ([\d.]+) in a memory", over_the_law(2)),
    Quote("perturbation", READ_ME, r"takes ([\d.]+) of that at sigma = 0.003", cheaper(0.003)),
    Quote("perturbation", READ_ME, r"0.003 and ([\d.]+) at 0.03", cheaper(0.03)),
    Quote("langevin", READ_ME, r"distance of ([\d.]+) to 0.85 from",
          lambda d: of_maps("smooth_distance")(d).min()),
    Quote("langevin", READ_ME, r"distance of 0.59 to ([\d.]+) from",
          lambda d: of_maps("smooth_distance")(d).max()),
    Quote("langevin", READ_ME, r"([\d.]+) of the exact one at eps = 0.4",
          lambda d: (of_maps("smooth_spread")(d) / d.smooth_spread_law.sel(dynamics="MALA")).max()),
    Quote("langevin", READ_ME, r"a distance of ([\d.]+) at eps = 0.4",
          lambda d: d.smooth_law_distance.sel(smooth_eps=0.4)),
    Quote("langevin", READ_ME, r"at eps = 0.4 and ([\d.]+) at 0.05",
          lambda d: d.smooth_law_distance.sel(smooth_eps=0.05)),
    Quote("langevin", READ_ME, r"bias of the variance of ([\d.]+) eps", euler_bias(0)),
    Quote("langevin", READ_ME, r"eps \+ ([\d.]+) eps²", euler_bias(1)),
    Quote("langevin", READ_ME, r"At kinks they are at ([\d.]+) even",
          lambda d: d.kinked_law_distance[0]),
    Quote("langevin", READ_ME, r"with a variance (\d+) % too large",
          lambda d: 100 * d.pinned_bias.sel(pinned_eps=0.05)),
    Quote("langevin", THEORY, r"distance of ([\d.]+) to 0.85 from",
          lambda d: of_maps("smooth_distance")(d).min()),
    Quote("langevin", THEORY, r"distance of 0.59 to ([\d.]+) from",
          lambda d: of_maps("smooth_distance")(d).max()),
    Quote("synaptic", READ_ME, r"hard sigmoids has ([\d.]+) of the variance", slow_mode(0.2)),
    Quote("synaptic", READ_ME, r"at eps = 0.2 and ([\d.]+) at 0.0125", slow_mode(0.0125)),
    Quote("synaptic", READ_ME, r"an autocorrelation of (-[\d.]+) at lag 1",
          lambda d: d.correlation.sel(noise_of="map, v fixed", lag=1)),
    Quote("synaptic", READ_ME, r"two valleys ([\d.]+) times a", hops("map, v = σ²/ε", 0.2)),
    Quote("synaptic", READ_ME, r"steps do so ([\d.]+) times", hops("Euler-Maruyama", 0.05)),
    Quote("synaptic", THEORY, r"the slow mode has ([\d.]+), 0.30", slow_mode(0.2)),
    Quote("synaptic", THEORY, r"the slow mode has 0.92, ([\d.]+) and", slow_mode(0.05)),
    Quote("score", READ_ME, r"w = 3: ([\d.]+), 1.38", coupling("score matching", 1.0)),
    Quote("score", READ_ME, r"2.72, ([\d.]+) at v = 1", coupling("score matching", 0.02)),
    Quote("score", READ_ME, r"as the denoiser finds ([\d.]+) to", coupling("R itself", 1.0)),
    Quote("score", READ_ME, r"as the denoiser finds 1.04 to ([\d.]+),", coupling("R itself", 0.05)),
    Quote("score", THEORY, r"finds a coupling of ([\d.]+) and at", coupling("R itself", 1.0)),
    Quote("score", THEORY, r"smaller noise no more than ([\d.]+),", coupling("R itself", 0.05)),
    Quote("memory", READ_ME, r"for signs, ([\d.]+) at gain 8", lambda d: d.load_capacity),
    Quote("memory", READ_ME, r"are lost at a load of ([\d.]+),", lost(1)),
    Quote("memory", READ_ME, r"of 100 at ([\d.]+)\.", lost(0)),
    Quote("memory", READ_ME, r"quarter of the capacity ([\d.]+) of the signs", basin(0.25)),
    Quote("memory", READ_ME, r"at three quarters ([\d.]+)\.", basin(0.75)),
    Quote("memory", READ_ME, r"wrong signs from (\d+) patterns on", lambda d: falls_through(
        d.even_patterns, d.even_corrected)),
    Quote("memory", MEMORIES, r"patterns together: ([\d.]+) patterns", lambda d: d.load_capacity),
    Quote("memory", MEMORIES, r"gone at a load of ([\d.]+) with", lost(1)),
    Quote("memory", MEMORIES, r"units, and of ([\d.]+) with 100", lost(0)),
    Quote("memory", MEMORIES, r"quarter of the capacity ([\d.]+) of the signs of a", basin(0.25)),
    Quote("memory", MEMORIES, r"at three quarters ([\d.]+)\. A", basin(0.75)),
    Quote("memory", MEMORIES, r"units to the power ([\d.]+), of", held_growth(3)),
    Quote("memory", MEMORIES, r"of order 5 to the power ([\d.]+)\.", held_growth(5)),
    Quote("attention", MEMORIES, r"exponentially, by ([\d.]+) e-folds", kept_growth(True)),
    Quote("attention", MEMORIES, r"many dimensions, says ([\d.]+):", kept_growth(False)),
    Quote("attention", MEMORIES, r"than it says, by ([\d.]+) e-folds", kept_off(8)),
    Quote("attention", MEMORIES, r"e-folds, in 14 by ([\d.]+)\.", kept_off(14)),
    Quote("attention", READ_ME, r"at rest are at most ([\d.]+) of the bound",
          lambda d: d.rest_over_bound.max()),
    Quote("attention", READ_ME, r"grows by ([\d.]+) e-folds", kept_growth(True)),
    Quote("attention", READ_ME, r"where a mean field says ([\d.]+),", kept_growth(False)),
    Quote("attention", READ_ME, r"falls short by ([\d.]+) e-folds in 8", kept_off(8)),
    Quote("attention", READ_ME, r"in 8 dimensions and by ([\d.]+) in 14", kept_off(14)),
    Quote("energies", READ_ME, r"a cosine of ([\d.]+) \(hard",
          at_depth_3("cosine_implicit", "eq. 6, hard sigmoid")),
    Quote("energies", READ_ME, r"([\d.]+) \(logistic\)",
          at_depth_3("cosine_implicit", "eq. 6, logistic")),
    Quote("energies", READ_ME, r"([\d.]+) \(1984\) at depth 3",
          at_depth_3("cosine_implicit", "Hopfield 1984")),
    Quote("energies", READ_ME, r"The two have a cosine of ([\d.]+) at depth 3",
          lambda d: 1 - at_depth_3("turn", "Hopfield 1984")(d)),
    Quote("energies", READ_ME, r"to order eps \| k \+ 2 \| ([\d.]+) % off",
          off_binomial("eq. 6, logistic")),
    Quote("energies", READ_ME, r"exact \| k \+ 2 \| ([\d.]+) % off",
          off_binomial("predictive coding")),
    Quote("learning", READ_ME, r"Digits: ([\d.]+) % test error beside", lambda d: d.test_error[-1]),
    Quote("learning", READ_ME, r"test error beside ([\d.]+) % of", lambda d: d.bp_test_error[-1]),
    Quote("predictive_learning", READ_ME, r"on the digits, ([\d.]+) % test error over",
          lambda d: d.test_error.mean()),
    Quote("predictive_learning", READ_ME, r"three seeds, and ([\d.]+) % of the same",
          lambda d: d.bp_test_error.mean()),
    Quote("predictive_learning", READ_ME, r"no weight is farther than (\S+) in float64",
          worst_apart("float64", near=True)),
    Quote("predictive_learning", READ_ME, r"in float64 and (\S+) in float32 from",
          worst_apart("float32", near=True)),
    Quote("predictive_learning", READ_ME, r"nor than (\S+) and 3.6e-6 down",
          worst_apart("float64", near=False)),
    Quote("predictive_learning", READ_ME, r"nor than 9.4e-15 and (\S+) down",
          worst_apart("float32", near=False)),
    Quote("rules", READ_ME, r"to a cosine of ([\d.]+) or more",
          lambda d: d.cosine.sel(rule=[word for word in d.rule.values
                                       if word in import_module("rules").EXACT]).min()),
    Quote("rules", READ_ME, r"the early rule \(([\d.]+)\) and the chain",
          lambda d: d.cosine.sel(rule="early").min()),
    Quote("rules", READ_ME, r"errors apart \(([\d.]+) to", lambda d: mean_errors(d).min()),
    Quote("rules", READ_ME, r"errors apart \(10.6 to ([\d.]+) %", lambda d: mean_errors(d).max()),
    Quote("rules", READ_ME, r"the early rule ends at (\d+) %", reached("early")),
    Quote("rules", READ_ME, r"Kolen and Pollack's at (\d+) %", reached("kolen-pollack")),
    Quote("rules", READ_ME, r"Jacobian homeostasis at (\d+) %", reached("jacobian-homeostasis")),
    Quote("rules", READ_ME, r"corrected for the asymmetry at (\d+) %",
          reached("equilibrium-propagation-asymmetric")),
    Quote("rules", READ_ME, r"where back-propagation does, at ([\d.]+) %",
          lambda d: d.predictive_test_error.mean("start").max()),
    Quote("rules", READ_ME, r"at a cosine of (-[\d.]+) or less with the gradient",
          lambda d: d.opposite_cosine.max()),
    Quote("rules", READ_ME, r"with the gradient, and ends at (\d+) %",
          lambda d: d.opposite_test_error.mean()),
    Quote("nudges", READ_ME, r"the best beta: ([\d.]+) at a residual of 1e-3", best_beta(1e-3)),
    Quote("nudges", READ_ME, r"of 1e-3 \(off by ([\d.]+) %\)", best_off(1e-3)),
    Quote("nudges", READ_ME, r"and 1e-4 \(([\d.]+) %\)", best_off(1e-4)),
    Quote("nudges", READ_ME, r"([\d.]+) at 1e-6 \(0.0035", best_beta(1e-6)),
    Quote("nudges", READ_ME, r"0.004 at 1e-6 \(([\d.]+) %\)", best_off(1e-6)),
    Quote("convolution", READ_ME, r"after four epochs of digits ([\d.]+) %",
          lambda d: d.test_error[0]),
    Quote("convolution", READ_ME, r"mistaken, and ([\d.]+) % by", lambda d: d.test_error[1]),
    Quote("stdp", READ_ME, r"with areas in the ratio ([\d.]+) and",
          lambda d: -d.change.where(d.lag > 0).sum() / d.change.where(d.lag < 0).sum()),
    Quote("collapse", READ_ME, r"\((\d+) % of the units of three layers at -0.3",
          lambda d: 100 * d.start_pinned.sel(lower=-0.5, depth=3, eigenvalue=-0.3)),
    Quote("collapse", READ_ME, r"at -0.3, (\d+) % at -0.6\)",
          lambda d: 100 * d.start_pinned.sel(lower=-0.5, depth=3, eigenvalue=-0.6)),
    Quote("collapse", READ_ME, r"prevent death by themselves \(a share of ([\d.]+)\)",
          epochs_kill("dead")),
    Quote("collapse", READ_ME, r"the error of the naive run is still (\d+) %",
          epochs_kill("error_after")),
    Quote("collapse", THEORY, r"(\d+) to 19 % are pinned at -0.1", fallen(-0.1)),
    Quote("collapse", THEORY, r"15 to (\d+) % are pinned at -0.1", fallen(-0.1, deepest=True)),
    Quote("collapse", THEORY, r"(\d+) to 38 % at -0.3", fallen(-0.3)),
    Quote("collapse", THEORY, r"35 to (\d+) % at -0.3", fallen(-0.3, deepest=True)),
    Quote("collapse", THEORY, r"(\d+) to 55 % at -0.6", fallen(-0.6)),
    Quote("collapse", THEORY, r"54 to (\d+) % at -0.6", fallen(-0.6, deepest=True)),
    Quote("collapse", THEORY, r"(\d+) % at most with one",
          lambda d: 100 * d.start_pinned.sel(lower=-0.5, depth=1).max()),
    Quote("collapse", THEORY, r"a share of ([\d.]+) of the worst layer", epochs_kill("dead")),
    Quote("collapse", THEORY, r"its error after an epoch is (\d+) %", epochs_kill("error_after")),
]  # fmt: skip


def command(quote: Quote) -> str:
    """Return the command that makes a number."""
    return f"python studies/{quote.study}.py {quote.flags}".strip()


def settings_of(quote: Quote) -> Any:
    from ctebm.study.command_line import read_settings

    return read_settings(import_module(quote.study).Settings, quote.flags.split())


def result(quote: Quote) -> xr.Dataset:
    """Run the study of a number."""
    from ctebm.study import Progress

    return import_module(quote.study).run(settings_of(quote), Progress())


def main() -> None:
    made: dict[str, dict[str, Any]] = {}
    for line in dict.fromkeys(map(command, QUOTES)):
        quotes = [quote for quote in QUOTES if command(quote) == line]
        dataset = result(quotes[0])
        values = {quote.pattern: float(quote.value(dataset)) for quote in quotes}
        made[line] = {"settings": str(settings_of(quotes[0])), "values": values}
    FILE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "studies")]
    main()
