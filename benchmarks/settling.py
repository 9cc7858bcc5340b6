"""What `settle` costs on random networks, beside another checkout of the package.

    git worktree add ../before SOME_COMMIT
    python benchmarks/settling.py --against ../before [--only WORD ...] [--repeats 7] [--still]

Each package runs in a process of its own, in turn with the other, on one thread. `calls` are those
of torch's operators in one `settle`, which no busy machine changes; `time` is the least processor
time. The ratio should be 1 or less; the command exits 1 if one is above. A clamped network looks
each time whether the parameters of its whole have changed, which reads all of them; with `--still`
its snapshot is settled, which does not, where the package has snapshots.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parents[1]
# Times of the same process, minima of several, differ by so much.
NOISE = 1.03
# Seconds of a turn of one process.
TURN = 0.03


def cases(still: bool) -> dict[str, Callable[[], object]]:
    """Return what settles, by name; the package is the one that this process imports."""
    import ctebm

    rates = {"hard": ctebm.HardSigmoid(), "tanh": ctebm.Tanh()}
    found: dict[str, Callable[[], object]] = {}

    def layered(sizes: list[int], name: str, gain: float, batch: int) -> Callable[[], object]:
        x = torch.as_tensor(np.random.default_rng(0).random((batch, sizes[0])))
        net = ctebm.LayeredNetwork.random(sizes, rates[name], gain=gain, seed=1).clamp({"x": x})
        net = net.snapshot() if still and hasattr(net, "snapshot") else net
        return lambda: ctebm.settle(net)

    def dense(gain: float) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        A = rng.standard_normal((500, 500)) * gain / np.sqrt(2 * 500)
        A = A + A.T
        np.fill_diagonal(A, 0)
        net = ctebm.DenseNetwork(A, np.zeros(500), ctebm.HardSigmoid())
        start = 0.3 * rng.standard_normal(500)
        return lambda: ctebm.settle(net, start)

    for sizes, gains in (
        ([784, 512, 10], {"hard": (0.1, 0.3, 1.0, 3.0), "tanh": (0.1, 0.3, 1.0)}),
        ([64, 32, 32, 10], {"hard": (0.1, 0.3, 1.0, 3.0), "tanh": (0.1, 0.3, 1.0)}),
    ):
        for batch in (1, 64):
            for name, some in gains.items():
                for gain in some:
                    case = f"{'-'.join(map(str, sizes))} {name} gain {gain:g}, {batch} samples"
                    found[case] = layered(sizes, name, gain, batch)
    for gain in (0.3, 1.0, 3.0):
        found[f"dense 500 hard gain {gain:g}"] = dense(gain)
    return found


class Calls(TorchDispatchMode):
    """Counts the calls of torch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += 1
        return func(*args, **(kwargs or {}))


def serve(still: bool) -> None:
    """Answer a line with a case by a line with its calls, or the processor time of one run."""
    torch.set_num_threads(1)
    known = cases(still)
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        what, case = json.loads(line)
        if what == "calls":
            with Calls() as calls:
                known[case]()
            print(calls.n, flush=True)
            continue
        print(least_time(known[case]), flush=True)


def least_time(run: Callable[[], object]) -> float:
    """Return the least processor time of some runs one after another, the first ones cold."""
    times, end = [], time.process_time() + TURN
    while time.process_time() < end or len(times) < 2:
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return min(times)


class Package:
    """A checkout of the package in a process of its own."""

    def __init__(self, root: Path, still: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *["--still"] * still],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
            env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.cases: list[str] = self._answer()

    def ask(self, what: str, case: str) -> float:
        assert self.process.stdin is not None
        print(json.dumps([what, case]), file=self.process.stdin, flush=True)
        return float(self._answer())

    def _answer(self):
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", type=Path, help="the root of another checkout")
    parser.add_argument("--only", nargs="+", default=[""], help="words, one of which a case has")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--still", action="store_true", help="settle snapshots")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    choice = parser.parse_args()
    if choice.serve:
        serve(choice.still)
        return
    roots = [HERE] if choice.against is None else [HERE, choice.against.resolve()]
    packages, missed = [Package(root, choice.still) for root in roots], 0
    print(f"{'':44}{'calls':>16}{'time, ms':>20}{'ratio':>8}")
    for case in packages[0].cases:
        if not any(word in case for word in choice.only):
            continue
        calls = [int(package.ask("calls", case)) for package in packages]
        times = [[package.ask("time", case) for package in packages] for _ in range(choice.repeats)]
        least = [1e3 * min(column) for column in zip(*times, strict=True)]
        ratio = least[0] / least[-1]
        missed += ratio > NOISE
        counts, ms = "/".join(map(str, calls)), "/".join(f"{t:.2f}" for t in least)
        print(f"{case:44}{counts:>16}{ms:>20}{ratio:8.2f}{'  above' * (ratio > NOISE)}", flush=True)
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
