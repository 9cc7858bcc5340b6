"""What finding and linearising equilibria costs, beside the plain methods.

    python benchmarks/equilibria.py [--repeats 9]
        [--only settle kinked flow dense ring deep predictive search own adam]

Times are medians of processor time on one thread, methods interleaved; `ratio` is to the best plain
method of the same case that converges. Those beside `settle` have a snapshot of the network, as
`settle` takes one, so that they do not look at every force whether parameters have changed. Goals
stand beside what they bound, and the command exits 1 if one is missed. Everything printed is saved
in results/equilibria.nc.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr

import ctebm
from ctebm.equilibria.alternating import settle_alternating
from ctebm.equilibria.angles import Angles
from ctebm.equilibria.kkt import residual_vector
from ctebm.equilibria.predictive_errors import descend_in_errors
from ctebm.equilibria.rows import Rows
from ctebm.equilibria.search import search as from_starts
from ctebm.networks.error_coordinates import ErrorCoordinates

Row = tuple[str, str, float, str]

# What some quantities may be at most.
GOALS = {
    "ratio": 1.0,
    "over its goal": 1.0,
    "flow over fast": 10.0,
    "samples not converged": 0.0,
    "samples not stable": 0.0,
    "search of few equilibria": 2.0,
}


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def interleaved(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: float(np.median(t)) for name, t in times.items()}


def counted(network: ctebm.networks.pairwise.PairwiseNetwork) -> list[int]:
    """Count products with the weights from here on; the list holds the count."""
    coupling, count = network.coupling, [0]

    def product(r: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        return coupling(r)

    network.coupling = product
    return count


def relax(network: ctebm.Network, h: float, tol: float, at_most: int = 2000) -> bool:
    """Iterate s + h f, projected between kinks; return whether all samples got there."""
    s = torch.zeros(*network.batch, network.n_units, dtype=network.dtype)
    for _ in range(at_most):
        f = network.force(s)
        if network.box is not None:
            f = network.box.residual(s, f)
        if float(f.abs().max()) <= tol:
            return True
        s = s + h * f
    return False


def anderson(network: ctebm.Network, m: int, h: float, tol: float, at_most: int = 400) -> bool:
    """Mix the last `m` steps of each row so that they cancel its residual; add h times the rest.

    Anderson (1965) in the form of Walker & Ni (2011), with the products of steps kept; return
    whether all samples got there.
    """
    n, N, dtype = network.batch[0], network.n_units, network.dtype
    s = torch.zeros(n, N, dtype=dtype)
    dS, dF = torch.zeros(2, n, m, N, dtype=dtype)
    eye = torch.eye(m, dtype=dtype)
    G = 1e300 * eye.repeat(n, 1, 1)  # steps not taken yet have no share
    f = residual_vector(network, s, network.force(s))
    for k in range(at_most):
        if float(f.abs().max()) <= tol:
            return True
        step = h * f
        if k > 0:
            largest = G.diagonal(dim1=-2, dim2=-1)[:, : min(k, m)].amax(-1)[:, None, None]
            # where the last steps are the same a row is lost, and with it the method
            c = torch.linalg.solve_ex(G + 1e-12 * largest * eye, dF @ f.unsqueeze(-1))[0].mT
            step = step - (c @ dS + h * (c @ dF)).squeeze(1)
        s, before, i = s + step, f, k % m
        f = residual_vector(network, s, network.force(s))
        dS[:, i], dF[:, i] = step, f - before
        G[:, i] = G[:, :, i] = (dF @ dF[:, i].unsqueeze(-1)).squeeze(-1)
    return False


def settle(repeats: int) -> Iterator[Row]:
    """64 samples of 784-512-10, float64, to 1e-10."""
    x = torch.as_tensor(np.random.default_rng(0).random((64, 784)))
    for rho in (ctebm.Logistic(), ctebm.HardSigmoid()):
        for gain in (0.1, 0.25, 0.5, 1.0, 3.0, 6.0):
            net = ctebm.LayeredNetwork.random([784, 512, 10], rho, gain=gain, seed=1)
            net = net.clamp({"x": x})
            case = f"784-512-10 {type(rho).__name__} gain {gain:g}"
            points = ctebm.settle(net)
            yield case, "samples not converged", int((~points.converged).sum()), "of 64"
            now = net.snapshot()  # which looks at no force whether parameters have changed
            plain = {"picard": partial(relax, now, 1.0, 1e-10)}
            plain["relaxation"] = partial(relax, now, 0.5, 1e-10)
            for m in (3, 8, 12):
                plain[f"Anderson, {m} steps"] = partial(anderson, now, m, 0.5, 1e-10)
            runs = {name: run for name, run in plain.items() if run()}
            times = interleaved({"settle": partial(ctebm.settle, net), **runs}, repeats)
            for name, t in times.items():
                yield case, name, 1e3 * t, "ms"
            if runs:
                yield case, "ratio", times["settle"] / min(times[k] for k in runs), ""


def kinked(repeats: int) -> Iterator[Row]:
    """Deep chains of hard sigmoids, float64, to 1e-10: goals in seconds."""
    wide = [784, 500, 500, 500, 10]
    for sizes, gain, n, goal in (
        (wide, 0.5, 256, 3.0),
        (wide, 1.0, 256, 3.0),
        ([784, 2000, 2000, 10], 1.0, 16, 2.0),
        ([1000] * 11, 1.0, 4, 3.0),
    ):
        net = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(), gain=gain, seed=1)
        net = net.clamp({"x": torch.as_tensor(np.random.default_rng(0).random((n, sizes[0])))})
        layers = "ten layers of 1000" if len(sizes) == 11 else "-".join(map(str, sizes))
        case, run = f"{layers}, gain {gain:g}, {n} samples", partial(ctebm.settle, net)
        points = run()
        yield case, "samples not converged", int((~points.converged).sum()), ""
        yield case, "samples not stable", n - points.stability.count("stable"), ""
        t = min(seconds(run) for _ in range(3))
        yield case, "settle", t, "s"
        yield case, "over its goal", t / goal, f"of {goal:g} s"
        if sizes is wide:
            alternate = partial(settle_alternating, net.blocks, tol=1e-10)
            left = int(alternate().status.sum())
            yield case, "alternating updates", seconds(alternate), f"s, {left} not converged"


def flow(repeats: int) -> Iterator[Row]:
    """Following the motion in place of the energy, one sample and 64."""
    rng = np.random.default_rng(0)
    ring = 0.75 * np.cos(2 * np.pi * np.subtract.outer(np.arange(16), np.arange(16)) / 16)
    patterns = rng.choice([-1.0, 1.0], (3, 60))
    nets = {
        "inhibition of 5 hard": (-5 * (np.ones((5, 5)) - np.eye(5)), ctebm.HardSigmoid()),
        "cosine ring of 16": (ring - np.diag(np.diag(ring)), ctebm.Tanh()),
        "3 patterns in 60 tanh": (8 / 60 * (patterns.T @ patterns - 3 * np.eye(60)), ctebm.Tanh()),
    }
    for name, (W, rho) in nets.items():
        net = ctebm.DenseNetwork(W, np.zeros(len(W)), rho).centred()
        for batch in (1, 64):
            start = rng.uniform(-0.5, 0.5, (batch, len(W)))
            runs = {path: partial(ctebm.settle, net, start, path=path) for path in ("fast", "flow")}
            times, case = interleaved(runs, repeats), f"{name}, {batch} samples"
            for path, t in times.items():
                yield case, path, 1e3 * t, "ms"
            yield case, "flow over fast", times["flow"] / times["fast"], ""


def dense(repeats: int) -> Iterator[Row]:
    """Random symmetric couplings of 1,500 units, to 1e-12: products with the weights."""
    n = 1500
    for rho in (ctebm.Tanh(), ctebm.Logistic(), ctebm.HardSigmoid()):
        for gain in (1.0, 3.0, 6.0):
            products, times = [], []
            for seed in range(5):
                rng = np.random.default_rng(seed)
                A = rng.standard_normal((n, n)) * gain / np.sqrt(2 * n)
                A = A + A.T
                np.fill_diagonal(A, 0)
                net = ctebm.DenseNetwork(A, np.zeros(n), rho)
                start, count = 0.3 * rng.standard_normal(n), counted(net)
                times.append(seconds(lambda net=net, s=start: ctebm.settle(net, s, tol=1e-12)))
                products.append(count[0])
                if not bool(ctebm.settle(net, start, tol=1e-12).converged):
                    yield f"dense 1500 {type(rho).__name__} gain {gain:g}", "failed", seed, "seed"
            case = f"dense 1500 {type(rho).__name__} gain {gain:g}"
            yield case, "products, median of 5", float(np.median(products)), ""
            yield case, "products, most of 5", max(products), ""
            yield case, "time", float(np.median(times)), "s"


def ring(repeats: int) -> Iterator[Row]:
    """100,000 hard sigmoids on a ring: both ends of the spectrum, 0.2 and 1.8."""
    n = 100_000
    net = ctebm.SparseNetwork.ring(n, 0.4, ctebm.HardSigmoid())
    start = np.random.default_rng(0).uniform(-0.5, 0.5, n)
    yield "ring 100000", "settle", seconds(lambda: ctebm.settle(net, start)), "s"
    linear = ctebm.linearize(net, torch.zeros(n))
    yield "ring 100000", "spectrum", seconds(lambda: ctebm.linearize(net, torch.zeros(n))), "s"
    for k, exact in enumerate((0.2, 1.8)):
        error = abs(float(linear.eigenvalues[k]) - exact)
        yield "ring 100000", f"error of {exact:g}", error, ""
        yield "ring 100000", f"residual of {exact:g}", float(linear.eigenvalue_residual[k]), ""
    yield "ring 100000", "peak memory of the process", _peak(), "GB"


def deep(repeats: int) -> Iterator[Row]:
    """100 layers of 1,000 units."""
    net = ctebm.LayeredNetwork.random([1000] * 100, ctebm.HardSigmoid(), gain=0.3, seed=0)
    before = _peak()
    start = np.random.default_rng(0).uniform(-0.5, 0.5, net.n_units)
    case, found = "100 layers of 1000", {}
    yield case, "settle", seconds(lambda: found.update(s=ctebm.settle(net, start).state)), "s"
    count, cpu = counted(net), time.process_time()
    run = seconds(lambda: found.update(linear=ctebm.linearize(net, found["s"])))
    linear, cpu = found["linear"], time.process_time() - cpu
    yield case, "spectrum", run, "s"
    yield case, "spectrum, processor time", cpu, "s"
    yield case, "spectrum, products", count[0], ""
    for k, name in enumerate(("lowest", "highest")):
        yield case, f"{name} eigenvalue", float(linear.eigenvalues[k]), ""
        yield case, f"its residual ({name})", float(linear.eigenvalue_residual[k]), ""
    yield case, "peak memory beyond the weights", _peak() - before, "GB"


def predictive(repeats: int) -> Iterator[Row]:
    """Predictive coding of tanh layers, clamped and nudged: passes down and up to 1e-8."""
    for sizes in ([10, 20, 20, 20, 20, 5], [50] * 12):
        draw = np.random.default_rng(0)
        weights = [draw.standard_normal(mn) / np.sqrt(mn[0]) for mn in pairwise(sizes)]
        biases = [np.zeros(n) for n in sizes]
        net = ctebm.PredictiveNetwork(weights, biases, ctebm.SignedTanh())
        x, target = (draw.standard_normal((1, n)) for n in (sizes[0], sizes[-1]))
        free = net.clamp({"x": x})
        for arrival, one in (
            ("clamped", free.clamp({"y": target})),
            ("nudged by 1", free.nudged(target, 1.0)),
            ("nudged by 0.1", free.nudged(target, 0.1)),
        ):
            case = f"{len(sizes) - 2} layers of {sizes[1]}, {arrival}"
            s, passes = _by_errors(one)
            largest = float(torch.linalg.eigvalsh(one.hessian(s))[0, -1])
            yield case, "errors: passes", passes, ""
            yield case, "gradient descent: passes", _by_descent(one, 1 / largest), ""


def _by_errors(network: ctebm.PredictiveNetwork) -> tuple[torch.Tensor, int]:
    """Settle in the coordinates of the errors; a force or a product with the Hessian is a pass."""
    passes, force, operator = (
        [],
        ErrorCoordinates.energy_and_force,
        ErrorCoordinates.hessian_operator,
    )

    def counted_force(self, s):
        passes.append(1)
        return force(self, s)

    def counted_operator(self, s):
        multiply = operator(self, s)
        return lambda v: (passes.append(1), multiply(v))[1]

    with (
        patch.object(ErrorCoordinates, "energy_and_force", counted_force),
        patch.object(ErrorCoordinates, "hessian_operator", counted_operator),
    ):
        s, _ = descend_in_errors(Rows.of(network, network.batch), network.first_guess(), 1e-8, 1000)
    return s, len(passes)


def _by_descent(network: ctebm.PredictiveNetwork, step: float, at_most: int = 100_000) -> int:
    s = network.first_guess()
    for n in range(at_most):
        f = network.force(s)
        if float(f.abs().max()) <= 1e-8:
            return n + 1
        s = s + step * f
    return at_most


def search(repeats: int) -> Iterator[Row]:
    """100 random nets of 6 hard sigmoids: the search against all 3^6 patterns."""
    missed = {"stable": 0, "any": 0}
    invented, total, time_search, time_all = 0, 0, 0.0, 0.0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((6, 6))
        A = A + A.T
        np.fill_diagonal(A, 0)
        centre = -A.sum(1) / 2 * (seed % 2)
        net = ctebm.DenseNetwork(A, 0.5 * rng.standard_normal(6) + centre, ctebm.HardSigmoid())
        start = time.perf_counter()
        exact = ctebm.enumerate_fixed_points(net)
        middle = time.perf_counter()
        # by starts alone: find_fixed_points enumerates what the index sum says is missing
        with patch("ctebm.equilibria.search.can_enumerate", return_value=False):  # starts alone
            found = from_starts(net, 200, seed, 1e-10, None, Angles.of(net, None))
        reached = found.points().state
        time_all += middle - start
        time_search += time.perf_counter() - middle
        apart = torch.cdist(exact.state, reached, p=float("inf"))
        stable = torch.tensor([kind == "stable" for kind in exact.stability])
        missed["stable"] += int((apart[stable].amin(1) > 1e-8).sum())
        missed["any"] += int((apart.amin(1) > 1e-8).sum())
        invented += int((apart.amin(0) > 1e-8).sum())
        total += len(exact)
    case = "100 nets of 6 hard sigmoids"
    yield case, "equilibria", total, ""
    yield case, "stable ones missed", missed["stable"], ""
    yield case, "others missed by starts alone", missed["any"] - missed["stable"], ""
    yield case, "invented", invented, ""
    yield case, "search, one net", time_search / 100, "s"
    yield case, "enumeration, one net", time_all / 100, "s"


class Convolution(ctebm.Network):
    """A user's energy, without closed forms: a convolution of 25 inputs to 18 units, and to 5."""

    def __init__(self, gain: float) -> None:
        super().__init__(layers={"x": slice(0, 25), "h": slice(25, 43), "y": slice(43, 48)})
        draw = torch.Generator().manual_seed(0)
        normal = partial(torch.randn, generator=draw, dtype=torch.float64)
        self.K, self.W = gain * normal(2, 1, 3, 3) / 3, gain * normal(18, 5) / 18**0.5
        self.b = 0.1 * normal(48)

    def energy(self, s: torch.Tensor) -> torch.Tensor:
        x, h, y = (torch.tanh(s[..., where]) for where in self.layers.values())
        sent = torch.nn.functional.conv2d(x.reshape(-1, 1, 5, 5), self.K)
        coupled = (sent.reshape(*x.shape[:-1], 18) * h).sum(-1) + ((h @ self.W) * y).sum(-1)
        return s.square().sum(-1) / 2 - coupled - torch.tanh(s) @ self.b


def own(repeats: int) -> Iterator[Row]:
    """All equilibria of a user's convolution of 23 free units."""
    x = torch.linspace(-1, 1, 25, dtype=torch.float64)
    for gain in (1.0, 3.0, 6.0, 10.0):
        net = Convolution(gain).clamp({"x": x})
        points = ctebm.find_fixed_points(net)
        times = [seconds(partial(ctebm.find_fixed_points, net)) for _ in range(min(repeats, 3))]
        case, few = f"23 units, gain {gain:g}", len(points) < 10
        yield case, "equilibria", len(points), ""
        yield case, "search of few equilibria" if few else "search of many", min(times), "s"


def adam_points(
    net: ctebm.Network, starts: torch.Tensor, n_steps: int = 5000, rate: float = 0.05
) -> torch.Tensor:
    """Minimise q = |f|^2 / 2 from many starts by Adam, the idea of fixed-point-finder, plainly."""
    s = starts.clone().requires_grad_()
    adam = torch.optim.Adam([s], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
    for _ in range(n_steps):
        adam.zero_grad()
        q = net.force(s).square().sum() / 2
        q.backward()
        adam.step()
        schedule.step()
    return s.detach()


def adam(repeats: int) -> Iterator[Row]:
    """The search against Adam on |f|^2, on the pair (3 equilibria) and on a layered net."""
    weight = torch.tensor([[0.0, 8.0], [8.0, 0.0]], dtype=torch.float64)
    pair = ctebm.DenseNetwork(weight, -weight.sum(1) / 2, ctebm.Tanh())
    layered = ctebm.LayeredNetwork.random([8, 12, 6, 4], ctebm.Tanh(), gain=8.0, seed=0)
    layered = layered.clamp({"x": torch.zeros(8)})
    hard = ctebm.DenseNetwork(weight / 4, -weight.sum(1) / 8, ctebm.HardSigmoid())
    nets = {"pair": pair, "hard pair": hard, "8-12-6-4": layered}
    n_starts = 100
    for name, net in nets.items():
        begun = time.perf_counter()
        points = ctebm.find_fixed_points(net, n_starts)
        yield name, "search: time", time.perf_counter() - begun, "s"
        yield name, "search: equilibria", len(points), ""
        yield name, "search: index sum", points.index_sum, ""
        yield name, "search: largest force", float(points.residual.max()), ""
        rng = np.random.default_rng(0)
        starts = torch.as_tensor(rng.uniform(-1, 1, (n_starts, net.n_units)))
        begun = time.perf_counter()
        s = adam_points(net, starts)
        yield name, "adam: time", time.perf_counter() - begun, "s"
        size = net.force(s).abs().amax(-1)
        good = size <= 1e-6
        yield name, "adam: starts with force <= 1e-6", int(good.sum()), f"of {n_starts}"
        yield name, "adam: median force", float(size.median()), ""
        if bool(good.any()):
            apart = torch.cdist(s[good], points.state, p=float("inf"))
            near = apart.amin(1) <= 1e-4
            seen = len(set(apart.argmin(1)[near].tolist()))
            yield name, "adam: equilibria of the search seen", seen, ""
            yield name, "adam: ends at none of them", int((~near).sum()), ""


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


SECTIONS = {
    f.__name__: f for f in (settle, kinked, flow, dense, ring, deep, predictive, search, own, adam)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("results/equilibria.nc"))
    choice = parser.parse_args()
    torch.set_num_threads(1)
    rows, missed = [], 0
    for name in choice.only:
        print(f"\n{SECTIONS[name].__doc__}")
        for row in SECTIONS[name](choice.repeats):
            case, what, value, unit = row
            goal = GOALS.get(what)
            missed += goal is not None and not value <= goal
            beside = "" if goal is None else f"(goal {goal:g}{'' if value <= goal else ', missed'})"
            print(f"  {case:32s} {what:38s} {value:12.6g} {unit} {beside}")
            sys.stdout.flush()
            rows.append(row)
    columns = list(zip(*rows, strict=True))
    names = ("case", "quantity", "value", "unit")
    data = {
        name: ctebm.dataset.variable("row", np.array(column), name)
        for name, column in zip(names, columns, strict=True)
    }
    attrs = ctebm.dataset.provenance(threads=1)
    ctebm.save(xr.Dataset(data, attrs=attrs), choice.out, overwrite=True)
    print(f"\nsaved {choice.out}")
    if missed:
        sys.exit(f"{missed} goals missed")


if __name__ == "__main__":
    main()
