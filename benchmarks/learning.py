"""Time for an epoch of the early rule beside back-propagation written plainly in torch.

``python benchmarks/learning.py`` prints a table and writes ``results/benchmark_learning.nc``. Data
are random images of the sizes of MNIST; competitors take turns, and medians over turns are
compared, to the goal where there is one; the command exits 1 if one is missed. Processor time on
one thread, so that what else runs on the machine counts little. The last table has steps of
predictive coding as it is shipped, and of a class with the same energy and nothing else.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
import xarray as xr

import ctebm
from ctebm.dataset import provenance, variable
from ctebm.files.results import save
from ctebm.learning.samples import labelled_states
from ctebm.learning.trainer import Trainer
from ctebm.study.back_propagation import FeedForward

CASES = {"784-512-10": (784, 512, 10), "784-500-500-10": (784, 500, 500, 10)}
N_SAMPLES, BATCH, TURNS, TOL = 3000, 50, 5, (1e-3, 1e-6)
GOALS = {
    ("784-512-10", "early, tol 0.001"): 1.7,
    ("784-500-500-10", "early, tol 0.001"): 2.5,
    ("784-500-10", "predictive, energy alone"): 5.0,
}
N_OWN = 1000  # samples of the comparison of a class of one's own


class Own(ctebm.Network):
    """Predictive coding by its energy alone."""

    def __init__(self, shipped: ctebm.PredictiveNetwork) -> None:
        super().__init__(layers=shipped.layers)
        self.dtype = shipped.dtype
        self.W, self.V = (W.clone() for W in shipped.weights)
        self.a, self.b = (b.clone() for b in shipped.biases[1:])

    def energy(self, s: torch.Tensor) -> torch.Tensor:
        x, h, y = (s[..., where] for where in self.layers.values())
        e1 = h - torch.tanh(x) @ self.W - self.a
        e2 = y - torch.tanh(h) @ self.V - self.b
        return (e1.square().sum(-1) + e2.square().sum(-1)) / 2


def epoch(
    network: ctebm.VectorField, plan: ctebm.Plan, x: np.ndarray, label: np.ndarray
) -> tuple[float, dict[str, float]]:
    """Return the processor time of an epoch, and what it says of itself."""
    trainer, data = Trainer(network, plan), labelled_states(network, x, label)
    begun = time.process_time()
    row = trainer.epoch(0, data, None)
    took = time.process_time() - begun
    if row is None:
        raise RuntimeError("numbers ran away; lower the learning rate.")
    return took, row


def own_energy(x: np.ndarray, label: np.ndarray) -> list[tuple[str, str, float, float, float]]:
    """Return times of a step of predictive coding, shipped and by its energy alone."""
    net = ctebm.PredictiveNetwork.random([784, 500, 10], ctebm.SignedTanh(), dtype=torch.float32)
    plan = ctebm.Plan(epochs=1, batch=BATCH, rate=1e-3, tol=1e-3, options={"fused": True})
    x, label = x[:N_OWN], label[:N_OWN]
    both: dict[str, ctebm.VectorField] = {"shipped": net, "energy alone": Own(net)}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(TURNS):
        for name, one in both.items():
            seconds[name].append(epoch(one, plan, x, label)[0])
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    return [
        ("784-500-10", f"predictive, {name}", 1e3 * t * BATCH / N_OWN, t / middle["shipped"], 0.0)
        for name, t in middle.items()
    ]


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
                took, row = epoch(network, plan, x, label)
                seconds[f"early, tol {plan.tol:g}"].append(took)
                sweeps[f"early, tol {plan.tol:g}"] = float(row["sweeps"])
            rates, classes = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(label)
            model = FeedForward(network, plans[0], rates)
            begun = time.process_time()
            model.epoch(0, rates, classes)
            seconds["back-propagation"].append(time.process_time() - begun)
        base = statistics.median(seconds["back-propagation"])
        for name, times in seconds.items():
            middle = statistics.median(times)
            rows.append((case, name, 1e3 * middle * BATCH / N_SAMPLES, middle / base,
                         sweeps.get(name, 0.0)))  # fmt: skip
    rows += own_energy(x, label)
    head = f"{'network':16} {'timed':24} {'ms a batch':>10} {'ratio':>6} {'goal':>6} {'sweeps':>6}"
    print(head)
    missed = False
    for case, name, ms, ratio, n in rows:
        goal = GOALS.get((case, name))
        missed |= goal is not None and ratio > goal
        wanted = "" if goal is None else f"{goal:g}"
        print(f"{case:16} {name:24} {ms:10.2f} {ratio:6.2f} {wanted:>6} {n:6.1f}")
    columns = list(zip(*rows, strict=True))
    dataset = xr.Dataset(
        {
            "milliseconds": variable("row", columns[2], "median time for a batch of 50", "ms"),
            "ratio": variable("row", columns[3], "time over the reference's"),
            "sweeps": variable("row", columns[4], "updates of every layer to settle a batch"),
        },
        {
            "network": variable("row", columns[0], "units of each layer"),
            "competitor": variable("row", columns[1], "what was timed"),
        },
        provenance(threads=1, dtype="float32"),
    )  # fmt: skip
    save(dataset, "results/benchmark_learning.nc", overwrite=True)
    raise SystemExit(int(missed))


if __name__ == "__main__":
    main()
