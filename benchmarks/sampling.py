"""What moments cost during a run: chains of 64-32-32-10 with and without them.

    python benchmarks/sampling.py

Runs take turns; the ratio of their processor times is held against its goal, and the memory that
the longer of two runs needs beyond the shorter. Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import torch

import ctebm

RATIO_GOAL = 1.2
MEMORY_GOAL = 16.0  # MiB that four times as many steps may add
EPS, EVERY, FEW = 0.1, 10, 128


def chains(n: int) -> tuple[ctebm.Dynamics, torch.Tensor]:
    network = ctebm.LayeredNetwork.random([64, 32, 32, 10], ctebm.HardSigmoid(), gain=0.25, seed=0)
    free = network.centred().clamp({"x": torch.zeros(64, dtype=torch.float64)})
    return ctebm.Dynamics(free, sigma=0.05), ctebm.settle(free).state.expand(n, -1)


def with_moments(motion: ctebm.Dynamics, start: torch.Tensor, n_steps: int) -> None:
    ctebm.sample(motion, start, n_steps=n_steps, eps=EPS, burn_in=0, every=EVERY, seed=0)


def without(motion: ctebm.Dynamics, start: torch.Tensor, n_steps: int) -> None:
    ctebm.simulate(motion, start, n_steps=n_steps, eps=EPS, save_every=n_steps, seed=0)


def seconds(run, *args) -> float:
    begin = time.process_time()
    run(*args)
    return time.process_time() - begin


def peak() -> float:
    """Return the largest memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=1024)
    parser.add_argument("--n-steps", type=int, default=10_240)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    few = chains(FEW)
    for _ in range(2):  # once more than the allocator needs
        with_moments(*few, given.n_steps)
    short = peak()
    with_moments(*few, 4 * given.n_steps)
    grown, ratios = peak() - short, []
    motion, start = chains(given.chains)
    for _ in range(given.rounds):
        plain = seconds(without, motion, start, given.n_steps)
        ratios.append(seconds(with_moments, motion, start, given.n_steps) / plain)
        print(f"{given.chains} chains, {given.n_steps} steps: {plain:.1f} s, x {ratios[-1]:.3f}")
    ratio = sorted(ratios)[len(ratios) // 2]
    print(f"moments every {EVERY} steps over none   {ratio:.3f}  goal <= {RATIO_GOAL}")
    print(f"memory of four times the steps (MiB)  {grown:.1f}  goal <= {MEMORY_GOAL:g}")
    return int(ratio > RATIO_GOAL or grown > MEMORY_GOAL)


if __name__ == "__main__":
    sys.exit(main())
