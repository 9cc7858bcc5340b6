"""Time of a correspondence, and the share of it that is integration.

``python benchmarks/correspondence.py``: the main study's network with every step saved; ten hidden
layers; layers of 1,000 units. One thread; medians over repeats. Saves
``results/benchmark_correspondence.nc``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
import xarray as xr

import ctebm
import ctebm.early_inference.displacement
from ctebm.dataset import provenance, variable
from ctebm.files.results import save

DIGITS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
CASES = {
    "64-32-32-10, 64 samples, 6 eps, all steps": ((64, 32, 32, 10), 64, DIGITS, True),
    "64-32-32-10, 64 samples, 6 eps, 48 steps": ((64, 32, 32, 10), 64, DIGITS, False),
    "10 hidden layers of 32, 64 samples, 6 eps": ((64, *(32,) * 10, 10), 64, DIGITS, False),
    "784-512-10, 64 samples, eps 0.1": ((784, 512, 10), 64, (0.1,), False),
    "784-1000-1000-10, 16 samples, eps 0.1": ((784, 1000, 1000, 10), 16, (0.1,), False),
}


def timed(sizes, n_samples, eps, save_all):
    """Return seconds in all and seconds in simulate()."""
    net = ctebm.LayeredNetwork.random(sizes, ctebm.HardSigmoid(), gain=0.25, seed=0)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(n_samples, sizes[0], generator=draw, dtype=torch.float64) - 0.5
    y = 0.8 * torch.rand(n_samples, sizes[-1], generator=draw, dtype=torch.float64) - 0.4
    inside, simulate = [], ctebm.simulate

    def clocked(*args, **options):
        begun = time.perf_counter()
        run = simulate(*args, **options)
        inside.append(time.perf_counter() - begun)
        return run

    ctebm.early_inference.displacement.simulate = clocked
    begun = time.perf_counter()
    ctebm.correspondence(net, x, y, eps, save_all=save_all).to_dataset()
    total = time.perf_counter() - begun
    ctebm.early_inference.displacement.simulate = simulate
    return total, sum(inside)


def main() -> None:
    """Time every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/benchmark_correspondence.nc"))
    settings = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, case in CASES.items():
        runs = [timed(*case) for _ in range(settings.repeats)]
        rows.append([statistics.median(column) for column in zip(*runs, strict=True)])
        print(f"{name:45s} {rows[-1][0]:7.2f} s, {rows[-1][1] / rows[-1][0]:4.0%} integrating")
    data = xr.Dataset(
        {"seconds": variable(("case", "part"), rows, "median wall time", "s")},
        {"case": variable("case", list(CASES), "case"),
         "part": variable("part", ["all", "simulate"], "part")},
        provenance(threads=1, settings={"repeats": settings.repeats}),
    )  # fmt: skip
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    save(data, settings.out, overwrite=True)


if __name__ == "__main__":
    main()
