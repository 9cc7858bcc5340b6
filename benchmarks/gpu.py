"""Time ctebm on a GPU beside a bare loop, and hold its results to those of the CPU.

    python benchmarks/gpu.py [--device cuda] [--out gpu.json]

prints one table a topic and exits with 1 if a result differs from the CPU's by more than 1e-9 or a
goal is missed. ``--device cpu --small`` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import ctebm

F64, F32 = torch.float64, torch.float32
AGREEMENT = 1e-9  # largest difference between the devices
LOOP_GOAL = 3.0  # a noisy step over a bare loop that draws the device's own normals
SETTLE_GOAL = 2.0  # seconds for 10,000 images to 1e-10
EPOCH_GOAL = 5.0  # seconds for 60,000 images in batches of 500


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--device", default="cuda")
    ask.add_argument("--out", default=None)
    ask.add_argument("--small", action="store_true")
    a = ask.parse_args()
    if a.device != "cpu" and not torch.cuda.is_available():
        print("torch sees no CUDA device; give --device cpu --small to try the script")
        return 2
    name = "cpu" if a.device == "cpu" else torch.cuda.get_device_name(a.device)
    rows = [*agreement(a), *steps(a), *settling(a), *epochs(a)]
    print(f"{name}, torch {torch.__version__}")
    for topic, value, goal in rows:
        aim = "" if goal is None else f"  (goal {goal:g}, {'met' if value <= goal else 'MISSED'})"
        print(f"{topic:64} {value:10.3g}{aim}")
    if a.out:
        Path(a.out).write_text(json.dumps({"device": name, "rows": rows}, indent=1))
    return int(any(goal is not None and not value <= goal for _, value, goal in rows))


Row = tuple[str, float, float | None]


def clock(work: Callable[[], object], device: str, seconds: float = 1.5) -> float:
    """Return the median time of `work` in seconds, after one warm run."""
    times, begun = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def images(n: int, n_pixels: int = 784) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy rates of ten sparse patterns, and which of them."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 10, n)
    pattern = draw.random((10, n_pixels)) * (draw.random((10, n_pixels)) < 0.2)
    return np.clip(pattern[label] + 0.1 * draw.standard_normal((n, n_pixels)), 0, 1), label


def network(sizes: tuple[int, ...], dtype: torch.dtype, gain: float) -> ctebm.LayeredNetwork:
    net = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(), gain=gain, seed=1, dtype=dtype)
    return net.centred({"x": images(64, sizes[0])[0].mean(0)})


def agreement(a: argparse.Namespace) -> list[Row]:
    """Return the largest difference from the CPU of each kind of result."""
    found: list[Row] = []
    x, y = torch.as_tensor(images(6, 64)[0]) - 0.5, torch.full((6, 10), -0.4, dtype=F64)
    nets = [network((64, 32, 32, 10), F64, 0.5).to(device=d) for d in ("cpu", a.device)]
    free = [net.clamp({"x": x}) for net in nets]
    rest = [ctebm.settle(net) for net in free]

    def run(i: int, **options: object) -> Tensor:
        sigma = 0.1 if "seed" in options else 0.0
        motion = ctebm.Dynamics(free[i], sigma, drive=y)
        return ctebm.simulate(motion, rest[i].state, n_steps=40, eps=0.1, **options).state  # pyright: ignore[reportArgumentType]

    calls: dict[str, Callable[[int], Tensor]] = {
        "equilibria": lambda i: rest[i].state,
        "eigenvalues": lambda i: ctebm.linearize(free[i], rest[i]).eigenvalues,
        "chain gradient": lambda i: ctebm.chain_gradient(free[i], rest[i].state, y),
        "implicit gradient": lambda i: ctebm.implicit_gradient(free[i], rest[i].state, y),
        "Euler steps": lambda i: run(i),
        "Runge-Kutta steps": lambda i: run(i, method="rk4"),
        "noisy steps": lambda i: run(i, seed=1),
        "noisy steps, philox": lambda i: run(i, seed=1, stream="philox"),
    }
    for name, call in calls.items():
        here, there = call(0), call(1).cpu()
        gap = float(torch.nan_to_num(here - there).abs().max())
        found.append((f"difference from the CPU: {name}", gap, AGREEMENT))
    return found


def steps(a: argparse.Namespace) -> list[Row]:
    """Return microseconds a step of 784-512-10, and over a bare loop."""
    found: list[Row] = []
    for batch in (8,) if a.small else (1024, 16384):
        for dtype in (F32, F64):
            x = torch.as_tensor(np.resize(images(64)[0], (batch, 784)), dtype=dtype) - 0.5
            free = network((784, 512, 10), dtype, 0.5).to(device=a.device).clamp({"x": x})
            s = ctebm.settle(free, tol=1e-5).state
            n = 8 if a.small else max(16, min(256, 2**20 // batch))

            def run(sigma: float, stream: str, free=free, s=s, n=n) -> object:
                motion = ctebm.Dynamics(free, sigma)
                return ctebm.simulate(
                    motion, s, n_steps=n, eps=0.05, seed=1 if sigma else None, save_every=n,
                    stream=stream,  # pyright: ignore[reportArgumentType]
                )  # fmt: skip

            u = s.clone()

            def loop(free=free, u=u, n=n) -> None:
                for _ in range(n):
                    u.add_(0.05 * free.force(u) + 0.1 * 0.05**0.5 * torch.randn_like(u))

            bare = clock(loop, a.device) / n
            tag = f"784-512-10, B = {batch}, {str(dtype).removeprefix('torch.')}"
            found.append((f"{tag}: bare loop, us a step", 1e6 * bare, None))
            for what, sigma, stream in (
                ("no noise", 0.0, "host"), ("noise, philox", 0.1, "philox"),
                ("noise, host", 0.1, "host"),
            ):  # fmt: skip
                took = clock(lambda f=run, sg=sigma, st=stream: f(sg, st), a.device) / n
                goal = LOOP_GOAL if stream == "philox" and batch == 16384 and dtype == F32 else None
                found.append((f"{tag}: {what}, over the loop", took / bare, goal))
    return found


def settling(a: argparse.Namespace) -> list[Row]:
    """Return seconds to settle images."""
    n, found = 50 if a.small else 10_000, []
    for sizes, gain in (((784, 512, 10), 1.0), ((784, 500, 500, 10), 0.5)):
        x = torch.as_tensor(images(n)[0]) - 0.5
        free = network(sizes, F64, gain).to(device=a.device).clamp({"x": x})
        took = clock(lambda free=free: ctebm.settle(free).raise_for_status(), a.device)
        tag = "-".join(map(str, sizes))
        goal = SETTLE_GOAL if len(sizes) == 3 else None
        found.append((f"settle {n} images on {tag}, s", took, goal))
    return found


def epochs(a: argparse.Namespace) -> list[Row]:
    """Return seconds for an epoch of 60,000 images by the early rule, from fewer."""
    n, found = 200 if a.small else 6000, []
    rates, labels = images(n)
    for sizes in ((784, 512, 10), (784, 500, 500, 10)):
        net = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(-0.1), gain=0.3, dtype=F32)
        net = ctebm.weakly_coupled(net, 0.5).centred({"x": rates.mean(0)}).to(device=a.device)
        for batch in (50, 500):
            plan = ctebm.Plan(epochs=1, batch=batch, rate=1e-3, tol=1e-3)
            ctebm.train(net, rates[: 2 * batch], labels[: 2 * batch], plan)
            took = float(ctebm.train(net, rates, labels, plan).history["seconds"][0]) * 60_000 / n
            tag = f"epoch of 60,000 images on {'-'.join(map(str, sizes))}, batch {batch}, s"
            found.append((tag, took, EPOCH_GOAL if batch == 500 else None))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
