"""What runs cost beside a plain loop: without noise, with every state saved, short ones, adaptive.

    python benchmarks/runs.py [--rounds 7]

Loops are in torch, a tensor a layer, everything in place, on one thread. Runs take turns, and the
least times of the calling thread are compared; the command exits 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.integrate import solve_ivp

import ctebm

EPS, BATCH, STEPS, FEW = 0.01, 64, 1000, 150
SIZES = {"L74": [64, 32, 32, 10], "L784": [784, 512, 10]}
RTOL, ATOL, TIME = 1e-8, 1e-10, 20.0
Run = Callable[[], object]


class Loop:
    """Euler's steps of a clamped network in layers, in place.

    Parameters
    ----------
    net : LayeredNetwork
        Smooth, with the logistic rate, or of the hard sigmoid, whose states end at the kinks.
    sigma : float
        Of the noise, of one stream.
    """

    def __init__(self, net: ctebm.LayeredNetwork, sigma: float = 0.0) -> None:
        self.net, self.scale = net, sigma * EPS**0.5
        self.where = list(net.layers.values())
        self.weights = [(W, W.mT.contiguous()) for W in net.weights if W is not None]
        self.hard = isinstance(net.activation, ctebm.HardSigmoid)

    def __call__(self, s: torch.Tensor, n_steps: int, keep: bool) -> torch.Tensor:
        u = s.clone()
        kept = u.new_empty(n_steps + 1 if keep else 1, *u.shape)
        r, slope, current, xi = (torch.empty_like(u) for _ in range(4))
        generator = torch.Generator().manual_seed(1)
        kept[0] = u
        for n in range(n_steps):
            if self.hard:
                torch.add(u, 0.5, out=r)
            else:
                torch.mul(u, 4.0, out=r).sigmoid_()
            current.copy_(self.net.bias)
            for (W, Wt), low, high in zip(
                self.weights, self.where[:-1], self.where[1:], strict=True
            ):
                current[:, low].addmm_(r[:, high], Wt)
                current[:, high].addmm_(r[:, low], W)
            if not self.hard:
                torch.addcmul(r, r, r, value=-1, out=slope)
                current.mul_(slope).mul_(4.0)
            u.add_(current.sub_(u), alpha=EPS)
            if self.scale:
                u.add_(xi.normal_(generator=generator), alpha=self.scale)
            elif self.hard:
                u.clamp_(-0.5, 0.5)
            if keep:
                kept[n + 1] = u
        return kept if keep else u


def network(
    size: str, rho: ctebm.Activation, batch: int, dtype: torch.dtype
) -> ctebm.LayeredNetwork:
    whole = ctebm.LayeredNetwork.random(SIZES[size], rho, gain=0.5, seed=1, dtype=dtype)
    x = torch.rand(batch, SIZES[size][0], dtype=dtype, generator=torch.Generator().manual_seed(0))
    return whole.clamp({"x": x})


def cases() -> Iterator[tuple[str, Run, Run, float]]:
    """Yield what is run, ctebm's run and the loop's, and the most that the ratio should be."""
    hard, smooth = ctebm.HardSigmoid(), ctebm.Logistic()
    for dtype in (torch.float64, torch.float32):
        kind = str(dtype).removeprefix("torch.")
        for size in SIZES:
            for name, rho, sigma, steps, keep, goal in (
                ("kinked, last state", hard, 0.0, STEPS, False, 1.2),
                ("kinked, all states", hard, 0.0, STEPS, True, 1.5),
                ("smooth, last state", smooth, 0.0, STEPS, False, 1.1),
                ("noise, 1,000 steps", smooth, 0.1, STEPS, False, np.nan),
                ("noise, 150 steps", smooth, 0.1, FEW, False, np.nan),
            ):
                net = network(size, rho, BATCH, dtype)
                s = torch.zeros(BATCH, net.bias.shape[-1], dtype=dtype)
                yield (
                    f"{size} {kind} {name}",
                    ours(net, s, sigma, steps, keep),
                    loop(net, s, sigma, steps, keep),
                    goal,
                )
    for size in SIZES:
        net = network(size, smooth, 1, torch.float64)
        s = torch.zeros(1, net.bias.shape[-1], dtype=torch.float64)
        yield f"{size} float64 adaptive, one sample", adaptive(net, s), scipys(net, s), 1.3


def ours(net: ctebm.Network, s: torch.Tensor, sigma: float, steps: int, keep: bool) -> Run:
    dynamics = ctebm.Dynamics(net, sigma)
    options = {"seed": 1} if sigma else {}
    every = 1 if keep else steps
    return lambda: ctebm.simulate(
        dynamics, s, n_steps=steps, eps=EPS, save_every=every, threads=1, **options
    )


def loop(net: ctebm.LayeredNetwork, s: torch.Tensor, sigma: float, steps: int, keep: bool) -> Run:
    plain = Loop(net, sigma)
    return lambda: plain(s, steps, keep)


def adaptive(net: ctebm.Network, s: torch.Tensor) -> Run:
    return lambda: ctebm.simulate(
        net, s, times=[0, TIME], method="dop853", rtol=RTOL, atol=ATOL, threads=1
    )


def scipys(net: ctebm.Network, s: torch.Tensor) -> Run:
    """Scipy's DOP853 of the same force."""
    now = net.snapshot()

    def force(t: float, y: np.ndarray) -> np.ndarray:
        return now.force(torch.from_numpy(y).reshape(s.shape)).numpy().reshape(-1)

    start = s.numpy().reshape(-1)
    return lambda: solve_ivp(force, (0, TIME), start, "DOP853", rtol=RTOL, atol=ATOL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    missed, ratios = 0, {}
    print(f"{'':42}{'ms':>9}{'loop, ms':>10}{'ratio':>8}{'goal':>8}")
    for name, own, other, goal in cases():
        least = [np.inf, np.inf]
        for _ in range(rounds):
            for k, run in enumerate((own, other)):
                begun = time.thread_time()
                run()
                least[k] = min(least[k], time.thread_time() - begun)
        ratios[name] = least[0] / least[1]
        if name.endswith("150 steps"):  # the start should cost a short run little
            goal = 1.15 * ratios[name.replace("150", "1,000")]
        missed += ratios[name] > goal
        wanted = "" if np.isnan(goal) else f"{goal:.2f}"
        print(f"{name:42}{1e3 * least[0]:9.2f}{1e3 * least[1]:10.2f}{ratios[name]:8.2f}{wanted:>8}",
              flush=True)  # fmt: skip
    print(f"{missed} goals are missed")
    raise SystemExit(int(missed > 0))


if __name__ == "__main__":
    main()
