"""Kill, damage and race what ctebm writes, and count what is lost.

Saves, studies and trainings are killed at random moments with SIGKILL, SIGTERM and SIGHUP, files
and checkpoints are damaged, processes save one result at once, and public functions get arguments
that are none, which they must refuse in words of their own. A row of the table says what was tried
how often, and how often it went wrong; all goals are 0, and the exit code is 1 if one is missed.
Rows are printed as their part ends, and all of them again at the end. A try depends on the seed and
its number alone, so that a part that was stopped goes on from a try.

    python benchmarks/torture.py               # 200 kills, 500 damaged files, 2,000 calls
    python benchmarks/torture.py --kills 30 --files 60 --calls 200
    python benchmarks/torture.py --part calls --begin 1200
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import xarray as xr

import ctebm
from ctebm import study
from ctebm.dataset import variable
from ctebm.figures.panels import Panel, Series, panel_figure
from ctebm.learning.checkpoint import load_checkpoint, save_checkpoint
from ctebm.study import Progress, Verdict

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
EPOCHS = 60  # of a training that is killed
SLOWEST = 20.0  # seconds that an answer about a damaged file may take
Report = Callable[[int], None]
Tries = Iterable[tuple[int, np.random.Generator]]  # their numbers, each with numbers of its own


class Tally:
    """What was tried, and what went wrong with it."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def count(self, what: str, wrong: bool, detail: str = "") -> None:
        self.tried[what] += 1
        self.wrong[what] += wrong
        if wrong:
            print(f"WRONG: {what} {detail}", file=sys.stderr)

    def table(self) -> str:
        lines = [f"{'what':46}  tried  wrong  goal"]
        lines += [f"{w:46}  {n:5}  {self.wrong[w]:5}     0" for w, n in self.tried.items()]
        return "\n".join(lines)

    def __add__(self, other: Tally) -> Tally:
        both = Tally()
        both.tried, both.wrong = self.tried + other.tried, self.wrong + other.wrong
        return both


# Processes


def start(work: Callable[[Report], None]) -> tuple[int, int]:
    """Run `work` in a child; return its number and a pipe of what it reports."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    for number in (signal.SIGTERM, signal.SIGHUP):  # under nohup a child would outlive the second
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        work(lambda n: (os.write(writing, n.to_bytes(4, "big")), None)[1])
    finally:
        os._exit(0)


def reported(reading: int) -> list[int]:
    """Return what an ended child reported."""
    content = b""
    while part := os.read(reading, 2**16):
        content += part
    os.close(reading)
    return [int.from_bytes(content[i : i + 4], "big") for i in range(0, len(content), 4)]


def kill(work: Callable[[Report], None], number: int, delay: float) -> list[int]:
    """Send a child a signal some time after its first report; return its reports."""
    child, reading = start(work)
    first = os.read(reading, 4)
    time.sleep(delay)
    os.kill(child, number)
    os.waitpid(child, 0)
    return [int.from_bytes(first, "big"), *reported(reading)]


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


# What is killed


def result(n: int) -> xr.Dataset:
    """Return a dataset of which every part says which one it is."""
    numbers = np.full((40, 50), float(n))
    data = {f"v{i}": variable(("sample", "unit"), numbers + i, "numbers") for i in range(4)}
    return xr.Dataset(data, {"word": variable("sample", [str(n)] * 40, "words")}, {"n": n})


def which(dataset: xr.Dataset) -> int | None:
    """Return which dataset this is, or None if its parts disagree."""
    n = dataset.attrs.get("n", -1)
    return n if dataset.load().identical(plain(result(n))) else None


def plain(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords(word=dataset.word.astype(object))


def kill_saves(tally: Tally, tries: Tries) -> None:
    with TemporaryDirectory() as folder:  # children need not import the libraries
        for suffix in (".nc", ".zarr"):
            ctebm.save(result(0), Path(folder, f"r{suffix}"))
    for i, rng in tries:
        number = SIGNALS[i % 3]
        with TemporaryDirectory() as folder:
            path = Path(folder, f"r{('.nc', '.zarr')[i % 2]}")

            def work(report: Report, path: Path = path) -> None:
                for n in range(10**6):
                    ctebm.save(result(n), path, overwrite=True)
                    report(n)

            done = kill(work, number, rng.uniform(0, 0.3))
            if number != signal.SIGKILL:
                left = leftovers(path.parent)
                tally.count("leftovers of SIGTERM and SIGHUP", bool(left), str(left))
            try:
                with ctebm.open(path) as dataset:
                    found = which(dataset)
            except (OSError, ValueError) as error:
                found = None
                print(error, file=sys.stderr)
            lost = found is None or found < done[-1]
            tally.count(f"killed saves lost ({path.suffix})", lost, str((found, done[-1])))
            ctebm.save(result(0), path, overwrite=True)
            left = leftovers(path.parent)
            tally.count("leftovers after the next run", bool(left), str(left))


@dataclasses.dataclass(frozen=True)
class Settings(study.Settings):
    """A study of nothing."""


def run(settings: Settings, progress: Progress) -> xr.Dataset:
    return xr.Dataset({"a": variable("x", np.arange(3) * (1.0 + settings.seed), "a line")})


def draw(dataset: xr.Dataset):
    x = np.arange(3.0)
    return panel_figure([Panel("a line", "x", "a", [Series(x, dataset.a.values, "a", line=True)])])


def judge(dataset: xr.Dataset) -> list[Verdict]:
    return [Verdict.at_most("is zero at zero", float(dataset.a[0]), 0.0)]


def run_study(stem: Path, seed: int) -> None:
    words = ["--out", str(stem), "--seed", str(seed), "--overwrite", "--pdf"]
    study.main(Settings, run=run, draw=draw, judge=judge, args=words)


def figures_of(stem: Path) -> dict[str, bytes]:
    paths = {suffix: stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")}
    return {suffix: path.read_bytes() for suffix, path in paths.items() if path.exists()}


def kill_studies(tally: Tally, tries: Tries) -> None:
    with TemporaryDirectory() as folder:
        stem, shown, seconds = Path(folder, "s"), {}, 0.0
        for seed in (0, 1):
            begun = time.perf_counter()
            quietly(lambda seed=seed: run_study(stem, seed))
            seconds, shown[seed] = time.perf_counter() - begun, figures_of(stem)
        for i, rng in tries:
            quietly(lambda: run_study(stem, 0))
            left = leftovers(stem.parent)
            tally.count("leftovers after the next run", bool(left), str(left))

            def work(report: Report) -> None:
                report(0)
                run_study(stem, 1)

            kill(work, SIGNALS[i % 3], rng.uniform(0, 1.2 * seconds))
            with ctebm.open(f"{stem}.nc") as dataset:
                seed, slope = int(dataset.attrs["seed"]), float(dataset.a[1])
            tally.count("killed studies lost", slope != 1.0 + seed)
            other = not figures_of(stem).items() <= shown[seed].items()
            tally.count("figures beside other data", other)


def quietly(work: Callable[[], None]) -> None:
    child, reading = start(lambda report: work())
    os.waitpid(child, 0)
    os.close(reading)


def train(epochs: int, path: Path | None, report: Report | None = None) -> np.ndarray:
    """Train a small network; return its cost after each epoch."""
    rng = np.random.default_rng(0)
    net = ctebm.LayeredNetwork.random([6, 5, 3], ctebm.HardSigmoid(), gain=0.5, seed=1)
    plan = ctebm.Plan(epochs=epochs, batch=20, rate=0.01)
    said = None if report is None else lambda text: report(int(text.split(":")[0].split()[1]))
    found = ctebm.train(
        net, rng.uniform(size=(60, 6)), np.arange(60) % 3, plan, checkpoint=path, report=said
    )
    return found.history["cost"]


def kill_trainings(tally: Tally, tries: Tries) -> None:
    whole = train(EPOCHS + 2, None)
    for i, rng in tries:
        number = SIGNALS[i % 3]
        with TemporaryDirectory() as folder:
            path = Path(folder, "c.ckpt")

            def work(report, path=path):
                return train(EPOCHS, path, report)

            done = kill(work, number, rng.uniform(0, 0.5))
            if number != signal.SIGKILL:
                left = leftovers(path.parent)
                tally.count("leftovers of SIGTERM and SIGHUP", bool(left), str(left))
            # an epoch is reported before it is written
            epochs = len(train(0, path)) if path.exists() else 0
            resumed = train(epochs + 2, path)
            wrong = epochs < done[-1] - 1 or not np.array_equal(resumed, whole[: epochs + 2])
            tally.count(
                "killed trainings lost or resumed otherwise", wrong, str((epochs, done[-1]))
            )
            left = leftovers(path.parent)
            tally.count("leftovers after the next run", bool(left), str(left))


# What is damaged


def damaged(raw: bytes, rng: np.random.Generator, how: int) -> bytes:
    """Return a file with a bit or a block of it changed, cut or longer."""
    place, content = int(rng.integers(len(raw))), bytearray(raw)
    if how == 0:
        return raw[:place]
    if how == 1:
        return raw[:place] + bytes(rng.integers(0, 256, 8, dtype=np.uint8)) + raw[place:]
    if how == 2:
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    else:
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


def damage_files(tally: Tally, tries: Tries) -> None:
    with TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("r.nc", "r.zarr", "c.ckpt")]
        for path in paths[:2]:
            ctebm.save(result(3), path)
        for _ in range(2):
            save_checkpoint(paths[2], {"a": torch.arange(500.0)}, {"who": "torture"})
        slowest = 0.0
        for i, rng in tries:
            path = paths[i % 3]
            files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            chosen = files[int(rng.integers(len(files)))]
            raw = chosen.read_bytes()
            changed = damaged(raw, rng, int(rng.integers(8)))
            if path.is_dir() and i % 7 == 0:
                chosen.unlink()
            else:
                chosen.write_bytes(changed)
            begun = time.perf_counter()
            outcome = look(path)
            slowest = max(slowest, time.perf_counter() - begun)
            kind = path.suffix
            tally.count(f"damaged {kind} opened as other data", outcome == "other", chosen.name)
            tally.count(f"raw errors of damaged {kind}", outcome.startswith("raw"), outcome)
            chosen.write_bytes(raw)
        tally.count(f"answers in more than {SLOWEST:.0f} s", slowest > SLOWEST)
        print(f"slowest answer about a damaged file: {slowest:.2f} s", flush=True)


def look(path: Path) -> str:
    """Return what became of opening a damaged file: refused, right, other data, or a raw error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            if path.suffix == ".ckpt":
                content = load_checkpoint(path, {"who": "torture"})
                right = content is not None and torch.equal(content["a"], torch.arange(500.0))
            else:
                with ctebm.open(path) as dataset:
                    right = which(dataset) == 3
        return "right" if right else "other"
    except ValueError as error:
        return "refused" if str(path) in str(error) else f"raw {error!r}"
    except Exception as error:
        return f"raw {error!r}"


# Two at once


def race(tally: Tally, tries: Tries) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "c.ckpt")
        trainer, reading = start(lambda report: train(10**6, path, report))
        os.read(reading, 4)
        for i, _ in tries:
            race_of_saves(tally, Path(folder, f"{i}{('.nc', '.zarr')[i % 2]}"))
            try:
                train(1, path)
                told = False
            except BlockingIOError as error:
                told = f"process {trainer} on" in str(error)
            tally.count("two trainings on one checkpoint", not told)
        os.kill(trainer, signal.SIGKILL)
        os.waitpid(trainer, 0)
        os.close(reading)
        train(1, path)  # a dead process locks nothing


def race_of_saves(tally: Tally, path: Path) -> None:
    at = time.monotonic() + 0.05

    def work(report: Report) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        try:
            ctebm.save(result(os.getpid()), path)
            report(os.getpid())
        except FileExistsError:
            pass

    children = [start(work) for _ in range(2)]
    for child, _ in children:
        os.waitpid(child, 0)
    winners = [n for _, reading in children for n in reported(reading)]
    with ctebm.open(path) as dataset:
        wrong = len(winners) != 1 or which(dataset) != winners[0]
    tally.count("two saves of one result", wrong, str(winners))


# What is called wrongly


def call_wrongly(tally: Tally, tries: Tries) -> None:
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from abuse_cases import wrong_call

    slowest = 0.0, ""
    for i, rng in tries:
        begun = time.perf_counter()
        given, error = wrong_call(int(rng.integers(2**63)))
        slowest = max(slowest, (time.perf_counter() - begun, given))
        tally.count("raw errors of wrong calls", bool(error), f"{given} -> {error}")
        if (i + 1) % 100 == 0:
            print(f"{i + 1} wrong calls", flush=True)
    print(f"slowest wrong call: {slowest[0]:.1f} s, {slowest[1]}", flush=True)


PARTS: dict[str, Callable[[Tally, Tries], None]] = {
    "saves": kill_saves,
    "studies": kill_studies,
    "trainings": kill_trainings,
    "files": damage_files,
    "races": race,
    "calls": call_wrongly,
}


def tries(seed: int, part: str, begin: int, end: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield the numbers of tries; what is drawn for one depends on no other."""
    for i in range(begin, end):
        yield i, np.random.default_rng([seed, list(PARTS).index(part), i])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=200, help="5/8 saves, 1/8 studies, 1/4 trainings"
    )
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--races", type=int, default=24)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--begin", type=int, default=0, help="the first try of each part")
    choice = parser.parse_args()
    torch.set_num_threads(1)
    studies, trainings = choice.kills // 8, choice.kills // 4
    number = {"studies": studies, "trainings": trainings}
    number |= {"saves": choice.kills - studies - trainings}
    number |= {name: getattr(choice, name) for name in ("files", "races", "calls")}
    whole, since = Tally(), time.perf_counter()
    for part in choice.part:
        tally, begun = Tally(), time.perf_counter()
        if choice.begin < number[part]:
            PARTS[part](tally, tries(choice.seed, part, choice.begin, number[part]))
        whole += tally
        print(tally.table(), f"{part}: {time.perf_counter() - begun:.0f} s", sep="\n", flush=True)
    print(whole.table())
    print(f"seed {choice.seed}, {time.perf_counter() - since:.0f} s")
    return int(bool(whole.wrong.total()))


if __name__ == "__main__":
    raise SystemExit(main())
