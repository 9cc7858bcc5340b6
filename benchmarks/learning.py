"""Time for an epoch of the early rule beside back-propagation written plainly in torch.

``python benchmarks/learning.py`` prints a table and writes ``results/benchmark_learning.nc``. Data
are random images of the sizes of MNIST; competitors take turns, and medians over turns are
compared. One thread.
"""

from __future__ import annotations

import statistics

import numpy as np
import torch
import xarray as xr

import ctebm
from ctebm.dataset import provenance, variable
from ctebm.files.results import save
from ctebm.study.back_propagation import back_propagation

CASES = {"784-512-10": (784, 512, 10), "784-500-500-10": (784, 500, 500, 10)}
N_SAMPLES, BATCH, TURNS, TOL = 3000, 50, 5, (1e-3, 1e-6)


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    label = rng.integers(0, 10, N_SAMPLES)
    pattern = rng.random((10, 784)) * (rng.random((10, 784)) < 0.2)
    x = np.clip(pattern[label] + 0.1 * rng.standard_normal((N_SAMPLES, 784)), 0, 1)
    rows = []
    for case, sizes in CASES.items():
        network = ctebm.LayeredNetwork.random(
            sizes, ctebm.HardSigmoid(-0.1), gain=0.3, dtype=torch.float32
        )
        network = ctebm.weakly_coupled(network, 0.5).centred({"x": x.mean(0)})
        plans = [
            ctebm.Plan(epochs=1, batch=BATCH, rate=1e-3, tol=tol, options={"fused": True})
            for tol in TOL
        ]
        seconds: dict[str, list[float]] = {f"early, tol {tol:g}": [] for tol in TOL}
        seconds["back-propagation"] = []
        sweeps = {}
        for _ in range(TURNS):
            for plan in plans:
                history = ctebm.train(network, x, label, plan).history
                seconds[f"early, tol {plan.tol:g}"].append(float(history["seconds"][0]))
                sweeps[f"early, tol {plan.tol:g}"] = float(history["sweeps"][0])
            found = back_propagation(network, plans[0], (x, label), (x[:10], label[:10]),
                                     torch.float32)  # fmt: skip
            seconds["back-propagation"] += found["bp_seconds"]
        base = statistics.median(seconds["back-propagation"])
        for name, times in seconds.items():
            middle = statistics.median(times)
            rows.append((case, name, 1e3 * middle * BATCH / N_SAMPLES, middle / base,
                         sweeps.get(name, 0.0)))  # fmt: skip
    print(f"{'network':16} {'competitor':18} {'ms a batch':>10} {'ratio':>6} {'sweeps':>6}")
    for case, name, ms, ratio, n in rows:
        print(f"{case:16} {name:18} {ms:10.2f} {ratio:6.2f} {n:6.1f}")
    columns = list(zip(*rows, strict=True))
    dataset = xr.Dataset(
        {
            "milliseconds": variable("row", columns[2], "median time for a batch of 50", "ms"),
            "ratio": variable("row", columns[3], "time over that of back-propagation"),
            "sweeps": variable("row", columns[4], "updates of every layer to settle a batch"),
        },
        {
            "network": variable("row", columns[0], "units of each layer"),
            "competitor": variable("row", columns[1], "what was timed"),
        },
        provenance(threads=1, dtype="float32"),
    )  # fmt: skip
    save(dataset, "results/benchmark_learning.nc", overwrite=True)


if __name__ == "__main__":
    main()
