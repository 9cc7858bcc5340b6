"""Time Euler-Maruyama against what people use for it, in one interleaved run.

Every contestant takes the same number of steps of the same network with sigma = 0.1 and keeps the
last state: ctebm (one stream of noise a sample), a plain in-place loop in torch and one in numpy
(one common stream), the limit of any (the products of matrices and the normals alone), torchsde as
its README shows it (default Brownian motion, drift by autograd of the energy), torchsde with the
closed drift, and, where they are installed, diffrax (jit, UnsafeBrownianPath) and a loop compiled
by numba. A run has 1,000 steps, or 100 where B > 64 and the network is larger than L74: torchsde's
default Brownian motion is slower the longer the run. Times are microseconds a step, medians over
rounds in which all take turns (of processor time, the least); a contestant that needs over 3 s for
a run takes part in the first round alone. ctebm draws its noise, and diffrax computes, on a second
core if it is free. A cell with a goal says so; the command exits 1 if one is missed.

    python benchmarks/sde.py                   # the table, saved as results/benchmark_sde.nc
    python benchmarks/sde.py --networks L74 --batches 1 64 --rounds 3
    python benchmarks/sde.py --clock process   # processor time of all threads, on a busy machine
    python benchmarks/sde.py --long 1000000    # one long run of L74 in constant memory
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_ENABLE_X64", "1")

import numpy as np
import torch
import torchsde
import xarray as xr

import ctebm
from ctebm.dataset import provenance, variable

SIGMA, EPS = 0.1, 0.01
DTYPES = {"float64": torch.float64, "float32": torch.float32}
Contestant = Callable[[int], object]


def network(name: str, batch: int, dtype: torch.dtype) -> ctebm.Network:
    rho, generator = ctebm.Logistic(), torch.Generator().manual_seed(0)
    if name == "D1000":
        W = torch.randn(1000, 1000, dtype=torch.float64, generator=generator) / 1000**0.5
        W = (W + W.T).fill_diagonal_(0) / 2
        layers = {"x": slice(0, 100), "s": slice(100, 1000)}
        whole = ctebm.DenseNetwork(W, torch.zeros(1000), rho, layers=layers, dtype=dtype)
    else:
        sizes = {"L74": [64, 32, 32, 10], "L784": [784, 512, 10]}[name]
        whole = ctebm.LayeredNetwork.random(sizes, rho, seed=1, dtype=dtype)
    x = torch.rand(batch, whole.layers["x"].stop, dtype=dtype, generator=generator)
    return whole.clamp({"x": x})


def blocks_of(net) -> tuple[list[slice], list]:
    if isinstance(net, ctebm.DenseNetwork):
        return [slice(0, net.n_units)], [net.weight]
    return list(net.layers.values()), net.weights


def ours(net, s) -> Contestant:
    dynamics, options = ctebm.Dynamics(net, SIGMA), {"eps": EPS, "seed": 1, "threads": 1}
    return lambda n: ctebm.simulate(dynamics, s, n_steps=n, save_every=n, **options)


def torch_loop(net, s) -> Contestant:
    """In place throughout, one generator for the batch."""
    where, weights = blocks_of(net)
    weights = [(W, W.mT.contiguous()) for W in weights]
    g, scale = net.activation.gain, SIGMA * EPS**0.5

    def run(n: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        u = s.clone()
        r, current, xi = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
        for _ in range(n):
            torch.mul(u, g, out=r).sigmoid_()
            current.copy_(net.bias)
            if len(where) == 1:
                current.addmm_(r, weights[0][0])
            else:
                for (W, Wt), low, high in zip(weights, where[:-1], where[1:], strict=True):
                    current[:, low].addmm_(r[:, high], Wt)
                    current[:, high].addmm_(r[:, low], W)
            torch.addcmul(r, r, r, value=-1, out=r)
            current.mul_(r).mul_(g).sub_(u)
            u.add_(current, alpha=EPS).add_(xi.normal_(generator=generator), alpha=scale)
        return u

    return run


def limit(net, s) -> Contestant:
    """The products of matrices and the normals of a step, and nothing else."""
    where, weights = blocks_of(net)
    pairs = [(W, W.mT.contiguous()) for W in weights]
    r, xi = torch.rand_like(s), torch.empty_like(s)
    if len(where) == 1:
        pairs, where = [(weights[0], None)], where * 2
    products = [
        (
            r[:, above],
            Wt,
            torch.empty_like(r[:, below]),
            r[:, below],
            W,
            torch.empty_like(r[:, above]),
        )
        for (W, Wt), below, above in zip(pairs, where[:-1], where[1:], strict=True)
    ]

    def run(n: int) -> torch.Tensor:
        rng, generator = np.random.Generator(np.random.SFC64(1)), torch.Generator().manual_seed(1)
        for _ in range(n):
            for high, Wt, down, low, W, up in products:
                if Wt is not None:
                    torch.mm(high, Wt, out=down)
                torch.mm(low, W, out=up)
            if s.dtype == torch.float64:
                rng.standard_normal(out=xi.numpy())
            else:
                xi.normal_(generator=generator)
        return xi

    return run


def numpy_loop(net, s) -> Contestant:
    where, weights = blocks_of(net)
    weights = [W.numpy() for W in weights]
    bias, start, g, scale = net.bias.numpy(), s.numpy(), net.activation.gain, SIGMA * EPS**0.5
    dtype = start.dtype

    def run(n: int) -> np.ndarray:
        rng = np.random.Generator(np.random.SFC64(1))
        u = start.copy()
        for _ in range(n):
            r = 1 / (1 + np.exp(-g * u))
            current = bias.copy()
            if len(where) == 1:
                current += r @ weights[0]
            else:
                for W, low, high in zip(weights, where[:-1], where[1:], strict=True):
                    current[:, low] += r[:, high] @ W.T
                    current[:, high] += r[:, low] @ W
            f = g * r * (1 - r) * current - u
            u = u + dtype.type(EPS) * f
            u += dtype.type(scale) * rng.standard_normal(u.shape, dtype=dtype)
        return u

    return run


class ByAutograd(torch.nn.Module):
    """An energy in torchsde, as its README would have it."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, net) -> None:
        super().__init__()
        self.net = net

    def f(self, t, s):
        with torch.enable_grad():
            s = s.detach().requires_grad_()
            return -torch.autograd.grad(self.net.energy(s).sum(), s)[0]

    def g(self, t, s):
        return torch.full_like(s, SIGMA)


class Closed(ByAutograd):
    def f(self, t, s):
        return self.net.force(s)


def with_torchsde(sde) -> Callable[..., Contestant]:
    def make(net, s) -> Contestant:
        return lambda n: torchsde.sdeint(
            sde(net), s, torch.tensor([0.0, n * EPS], dtype=s.dtype), dt=EPS, method="euler"
        )

    return make


def with_diffrax(net, s) -> Contestant:
    import diffrax
    import jax
    import jax.numpy as jnp

    where, weights = blocks_of(net)
    weights = [jnp.asarray(W.numpy()) for W in weights]
    bias, start, g = jnp.asarray(net.bias.numpy()), jnp.asarray(s.numpy()), net.activation.gain

    def drift(t, u, args):
        r = jax.nn.sigmoid(g * u)
        if len(where) == 1:
            current = bias + r @ weights[0]
        else:
            parts = [bias[:, w] for w in where]
            for i, W in enumerate(weights):
                parts[i] = parts[i] + r[:, where[i + 1]] @ W.T
                parts[i + 1] = parts[i + 1] + r[:, where[i]] @ W
            current = jnp.concatenate(parts, -1)
        return g * r * (1 - r) * current - u

    def intensity(t, u, args):
        import lineax

        return lineax.DiagonalLinearOperator(jnp.full_like(u, SIGMA))

    def solve(key, n):
        shape = jax.ShapeDtypeStruct(start.shape, start.dtype)
        path = diffrax.UnsafeBrownianPath(shape, key)
        noise = diffrax.ControlTerm(intensity, path)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), noise)
        return diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, n * EPS, EPS, start, max_steps=n + 10,
            adjoint=diffrax.DirectAdjoint(), saveat=diffrax.SaveAt(t1=True),
        ).ys  # fmt: skip

    compiled = jax.jit(solve, static_argnums=1)
    key = jax.random.PRNGKey(1)
    return lambda n: jax.block_until_ready(compiled(key, n))


def with_numba(net, s) -> Contestant:
    """A compiled loop: blocks by BLAS, the rest fused by hand."""
    import numba

    where, weights = blocks_of(net)
    weights = tuple(np.ascontiguousarray(W.numpy()) for W in weights)
    transposed = tuple(np.ascontiguousarray(W.T) for W in weights)
    starts = np.array([w.start for w in where] + [where[-1].stop])
    bias, start, g = net.bias.numpy(), s.numpy(), s.numpy().dtype.type(net.activation.gain)
    eps, scale = start.dtype.type(EPS), start.dtype.type(SIGMA * EPS**0.5)
    kind, one = start.dtype.type, start.dtype.type(1)

    @numba.njit
    def loop(u, bias, weights, transposed, starts, rng, n):
        r, current = np.empty_like(u), np.empty_like(u)
        for _ in range(n):
            for i in range(u.shape[0]):
                for j in range(u.shape[1]):
                    r[i, j] = one / (one + np.exp(-g * u[i, j]))
                    current[i, j] = bias[i, j]
            if len(starts) == 2:
                current += np.dot(r, weights[0])
            else:
                for k in range(len(weights)):
                    a, b, c = starts[k], starts[k + 1], starts[k + 2]
                    current[:, a:b] += np.dot(np.ascontiguousarray(r[:, b:c]), transposed[k])
                    current[:, b:c] += np.dot(np.ascontiguousarray(r[:, a:b]), weights[k])
            for i in range(u.shape[0]):
                for j in range(u.shape[1]):
                    f = g * r[i, j] * (one - r[i, j]) * current[i, j] - u[i, j]
                    u[i, j] += eps * f + scale * rng.standard_normal(dtype=kind)
        return u

    def run(n: int) -> np.ndarray:
        rng = np.random.Generator(np.random.SFC64(1))
        return loop(start.copy(), bias, weights, transposed, starts, rng, n)

    return run


CONTESTANTS: dict[str, Callable[..., Contestant]] = {
    "ctebm": ours,
    "torch in place": torch_loop,
    "limit": limit,
    "numpy": numpy_loop,
    "torchsde README": with_torchsde(ByAutograd),
    "torchsde closed": with_torchsde(Closed),
}
if importlib.util.find_spec("diffrax"):
    CONTESTANTS["diffrax"] = with_diffrax
if importlib.util.find_spec("numba"):
    CONTESTANTS["numba"] = with_numba
# What the time of the first over a contestant's should be at most, in float64 and in float32.
GOALS: dict[tuple[str, str, int], tuple[float, float]] = {
    ("torch in place", "L74", 64): (0.75, 1.0),
    ("torch in place", "L74", 1024): (0.8, 1.2),
    ("torch in place", "L784", 1): (0.9, 0.9),
    ("torch in place", "L784", 64): (0.65, 1.2),
    ("torch in place", "L784", 1024): (0.8, 1.3),
    ("torch in place", "D1000", 64): (0.9, 1.05),
    ("torch in place", "D1000", 1024): (1.0, 1.1),
    ("diffrax", "L74", 1): (1.0, 1.0),
    **{("diffrax", net, b): (0.7, 0.7) for net in ("L74", "L784", "D1000") for b in (64, 1024)},
    **{("limit", net, b): (1.5, 1.5) for net in ("L74", "L784", "D1000") for b in (64, 1024)},
}
SLOW = 3.0  # seconds of a run above which one round is enough


CLOCKS = {
    "wall": time.perf_counter,
    "thread": time.thread_time,
    "process": time.process_time,
}


def time_case(
    name: str, batch: int, dtype: str, n_steps: int, rounds: int, clock: str, whos: list[str]
) -> dict[str, list[float]]:
    """Return microseconds a step of each contestant, one number a round, NaN if it sat out."""
    now = CLOCKS[clock]
    net = network(name, batch, DTYPES[dtype])
    s = torch.zeros(batch, net.n_units, dtype=DTYPES[dtype])
    runs = {who: CONTESTANTS[who](net, s) for who in whos}
    times: dict[str, list[float]] = {who: [] for who in runs}
    for who, run in runs.items():  # diffrax compiles for a number of steps
        run(n_steps if who == "diffrax" else min(n_steps, 20))
    for i in range(rounds):
        for who, run in runs.items():
            if i and times[who][0] * n_steps > SLOW * 1e6:
                times[who].append(np.nan)
                continue
            start = now()
            run(n_steps)
            times[who].append((now() - start) / n_steps * 1e6)
    return times


def goal(who: str, name: str, batch: int, dtype: str) -> float:
    """Return the goal of a cell, NaN where there is none."""
    return GOALS.get((who, name, batch), (np.nan, np.nan))[dtype == "float32"]


def cell(ratio: float, time: float, most: float) -> str:
    """Return a cell of the table: the time, the ratio, the goal, and a mark if it is missed."""
    wanted = "" if np.isnan(most) else f" <= {most:g}{' MISSED' if ratio > most else ''}"
    return f"{time:9.1f} ({ratio:5.2f}x{wanted})"


def table(args: argparse.Namespace) -> xr.Dataset:
    whos, cases, values, missed = args.contestants, [], [], 0
    kind, one_of = ("median", np.nanmedian) if args.clock == "wall" else ("least", np.nanmin)
    print(f"microseconds a step, {kind}; then the time of {whos[0]} over each contestant's")
    print(f"{'case':24s}" + "".join(f"{who:>34s}" for who in whos))
    for name in args.networks:
        for batch in args.batches:
            for dtype in args.dtypes:
                few = batch > 64 and name != "L74"
                n_steps = args.steps or (100 if few else 1000)
                times = time_case(name, batch, dtype, n_steps, args.rounds, args.clock, whos)
                shown = {who: float(one_of(t)) for who, t in times.items()}
                ratios = {who: shown[whos[0]] / m for who, m in shown.items()}
                goals = {who: goal(who, name, batch, dtype) for who in whos}
                missed += sum(ratios[who] > goals[who] for who in whos)
                row = [cell(ratios[who], shown[who], goals[who]) for who in whos]
                cases.append(f"{name} B={batch} {dtype}")
                print(f"{cases[-1]:24s}" + "".join(f"{text:>34s}" for text in row), flush=True)
                values.append([times[who] for who in whos])
    print(f"{missed} goals are missed")
    return xr.Dataset(
        {"missed": variable((), missed, "goals that are missed"),
         "time": variable(("case", "contestant", "round"), np.array(values), "time a step", "us")},
        {"case": variable("case", cases, "network, batch, dtype"),
         "contestant": variable("contestant", whos, "integrator")},
        provenance(settings=vars(args), threads=1),
    )  # fmt: skip


def one_batch_against_one_after_another(n_steps: int = 300) -> float:
    """Return how many times faster 64 values of sigma and eps are as one batch of L74."""
    net = network("L74", 1, torch.float64)
    sigma = torch.linspace(0.05, 0.4, 64, dtype=torch.float64)
    eps = torch.linspace(0.01, 0.1, 64, dtype=torch.float64)
    s = torch.zeros(64, net.n_units, dtype=torch.float64)

    def timed(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def batch() -> None:
        ctebm.simulate(
            ctebm.Dynamics(net, sigma), s, n_steps=n_steps, eps=eps, seed=1, save_every=n_steps
        )

    def singly() -> None:
        for i in range(64):
            ctebm.simulate(
                ctebm.Dynamics(net, sigma[i : i + 1]), s[i : i + 1], n_steps=n_steps,
                eps=eps[i : i + 1], seed=1, samples=[i], save_every=n_steps,
            )  # fmt: skip

    batch()
    return statistics.median(timed(singly) / timed(batch) for _ in range(3))


def long_run(n_steps: int) -> None:
    """Print the time and the growth of memory of one long run."""
    net = network("L74", 1, torch.float64)
    ours(net, torch.zeros(1, net.n_units, dtype=torch.float64))(5000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run = ours(net, torch.zeros(1, net.n_units, dtype=torch.float64))(n_steps)
    took = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{n_steps} steps of L74: {took:.1f} s, {took / n_steps * 1e6:.1f} us a step, "
          f"memory grew by {grown:.1f} MiB; {run.status.tolist()}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = ["L74", "L784", "D1000"]
    parser.add_argument("--networks", nargs="+", default=names, choices=names)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64, 1024])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS),
                        choices=list(CONTESTANTS), help="the first is compared")  # fmt: skip
    parser.add_argument("--steps", type=int, help="by default 1,000, or 100 as told above")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clock", default="wall", choices=list(CLOCKS),
        help="for a machine that others use too. process: processor time of all threads. thread: "
        "of the calling one, without those of noise (ctebm) and of XLA (diffrax)",
    )  # fmt: skip
    parser.add_argument("--long", type=int, default=0, help="only run so many steps of L74")
    parser.add_argument("--out", default="results/benchmark_sde.nc")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.long:
        long_run(args.long)
        return
    result = table(args)
    gain = one_batch_against_one_after_another()
    print(f"64 sigma x eps in one batch: {gain:.1f} times faster than one after another")
    result["batch_gain"] = variable((), gain, "speed of 64 settings in one batch over singly")
    ctebm.save(result, args.out, overwrite=True)
    raise SystemExit(int(result.missed > 0))


if __name__ == "__main__":
    main()
