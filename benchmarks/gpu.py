"""Time ctebm on a GPU beside a bare loop, and hold its results to those of the CPU.

    python benchmarks/gpu.py [--device cuda] [--out gpu.json] [--images FILE --labels FILE]

prints one table a topic and exits with 1 if a result differs from the CPU's by more than 1e-9 or a
goal is missed. The images are those of IDX files of 28 x 28 pixels (MNIST's), or noisy copies of
ten random sparse patterns. What takes seconds is timed on the CPU too, once, with all its cores.
``--device cpu --small`` tries the script without a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import ctebm
from ctebm.study.images import load_images

F64, F32 = torch.float64, torch.float32
AGREEMENT = 1e-9  # largest difference between the devices
LOOP_GOAL = 3.0  # a noisy step over a bare loop that draws the device's own normals
SETTLE_GOAL = 2.0  # seconds for 10,000 images to 1e-10
EPOCH_GOAL = 5.0  # seconds for 60,000 images in batches of 500


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--device", default="cuda")
    ask.add_argument("--out", default=None)
    ask.add_argument("--images", default=None)
    ask.add_argument("--labels", default=None)
    ask.add_argument("--small", action="store_true")
    a = ask.parse_args()
    if a.device != "cpu" and not torch.cuda.is_available():
        print("torch sees no CUDA device; give --device cpu --small to try the script")
        return 2
    name = "cpu" if a.device == "cpu" else torch.cuda.get_device_name(a.device)
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows: list[Row] = []
    for topic in (agreement, steps, settling, responses, epochs):
        for what, value, goal in topic(a):
            verdict = "met" if goal is None or value <= goal else "MISSED"
            aim = "" if goal is None else f" (goal {goal:g}, {verdict})"
            print(f"{what:66} {value:10.3g}{aim}", flush=True)
            rows.append((what, value, goal))
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


def digits(a: argparse.Namespace, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rates of `n` images, of the files if they were given, and their classes."""
    if a.images is None:
        return images(n)
    found = load_images(a.images, a.labels, n)
    return found.input, found.label


@cache
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

            def run(sigma: float, stream: str, n: int, free=free, s=s) -> object:
                motion = ctebm.Dynamics(free, sigma)
                return ctebm.simulate(
                    motion, s, n_steps=n, eps=0.05, seed=1 if sigma else None, save_every=n,
                    stream=stream,  # pyright: ignore[reportArgumentType]
                )  # fmt: skip

            u = s.clone()

            def loop(force: Callable[[Tensor], Tensor], u=u, n=n) -> None:
                for _ in range(n):
                    u.add_(0.05 * force(u) + 0.1 * 0.05**0.5 * torch.randn_like(u))

            once = free.snapshot()
            bare = clock(lambda f=loop, net=once: f(net.force), a.device) / n
            looking = clock(lambda f=loop, net=free: f(net.force), a.device) / n
            tag = f"784-512-10, B = {batch}, {str(dtype).removeprefix('torch.')}"
            found.append((f"{tag}: bare loop, us a step", 1e6 * bare, None))
            found.append((f"{tag}: a loop that sees parameters change", looking / bare, None))
            for what, sigma, stream, steps in (
                ("no noise", 0.0, "host", n), ("noise, philox", 0.1, "philox", n),
                ("noise, host", 0.1, "host", min(n, 16)),
            ):  # fmt: skip
                took = clock(lambda f=run, *_, w=(sigma, stream, steps): f(*w), a.device) / steps
                goal = LOOP_GOAL if stream == "philox" and batch == 16384 and dtype == F32 else None
                found.append((f"{tag}: {what}, over the loop", took / bare, goal))
    return found


def on_both(
    what: str, work: Callable[[str], object], a: argparse.Namespace, goal: float | None = None
) -> list[Row]:
    """Return seconds of `work` on the device, and once on the CPU."""
    found: list[Row] = [(f"{what}, s", clock(lambda: work(a.device), a.device), goal)]
    begun = time.perf_counter()
    work("cpu")
    return [*found, (f"{what}, on the CPU, s", time.perf_counter() - begun, None)]


def settling(a: argparse.Namespace) -> list[Row]:
    """Return seconds to settle images to 1e-10."""
    n, found = 50 if a.small else 10_000, []
    for sizes, gain in (((784, 512, 10), 1.0), ((784, 500, 500, 10), 0.5)):
        x = torch.as_tensor(digits(a, n)[0]) - 0.5

        def settled(device: str, sizes=sizes, gain=gain, x=x) -> object:
            free = network(sizes, F64, gain).to(device=device).clamp({"x": x.to(device)})
            return ctebm.settle(free).raise_for_status()

        what = f"settle {n} images on {'-'.join(map(str, sizes))}, gain {gain:g}"
        found += on_both(what, settled, a, SETTLE_GOAL if len(sizes) == 3 else None)
    return found


def responses(a: argparse.Namespace) -> list[Row]:
    """Return seconds for the linear response of images, and for the spectrum of one."""
    n = 50 if a.small else 10_000
    net = network((784, 500, 500, 10), F64, 0.5)
    x, target = torch.as_tensor(digits(a, n)[0]) - 0.5, torch.full((10,), -0.4, dtype=F64)
    rest = ctebm.settle(net.to(device=a.device).clamp({"x": x.to(a.device)})).state.cpu()

    def free(device: str, rows: int) -> ctebm.Network:
        return net.to(device=device).clamp({"x": x[:rows].to(device)})

    def implicit(device: str) -> object:
        return ctebm.implicit_gradient(free(device, n), rest.to(device), target)

    def spectrum(device: str) -> object:
        return ctebm.linearize(free(device, 1), rest[:1].to(device)).eigenvalues

    tag = "784-500-500-10"
    return [
        *on_both(f"implicit gradient of {n} images on {tag}", implicit, a),
        *on_both(f"all modes at one equilibrium of {tag}", spectrum, a),
    ]


def epochs(a: argparse.Namespace) -> list[Row]:
    """Return seconds for an epoch of 60,000 images by the early rule."""
    n, found = 200 if a.small else 60_000, []
    rates, labels = digits(a, n)
    for sizes in ((784, 512, 10), (784, 500, 500, 10)):
        net = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(-0.1), gain=0.3, dtype=F32)
        net = ctebm.weakly_coupled(net, 0.5).centred({"x": rates.mean(0)}).to(device=a.device)
        for batch in (500, 50):
            plan = ctebm.Plan(epochs=1, batch=batch, rate=1e-3, tol=1e-3)
            ctebm.train(net, rates[: 2 * batch], labels[: 2 * batch], plan)
            took = float(ctebm.train(net, rates, labels, plan).history["seconds"][0])
            what = f"epoch of {n} images on {'-'.join(map(str, sizes))}, batch {batch}, s"
            found.append((what, took, EPOCH_GOAL if batch == 500 else None))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
