"""Mutants of the package that its own tests do not notice.

``python benchmarks/mutation.py equilibria learning --n 40 --seed 1`` changes one operator, number,
condition or call of a module at a time, at places drawn with the seed, and runs the tests that
mirror the module and the examples in its docstrings. What these do not notice is tried once more
on other tests that hold the module: those that import it by its path, and of the contracts (over
every network, record, answer, device and want of memory) those that call the changed function.
Without wings it draws from the whole package. It prints a line for each mutant and the survivors
in a table, and exits with 1 where fewer than 90 % are killed. ``--part 0/2`` and ``--part 1/2``
share the same mutants between two processes. ``--tests tests --calls FILE`` tries the whole suite
in place of the contracts, half a minute of it; to note what it calls takes once as long as it does.

The tree is copied; nothing is written into it. Each mutant is a fork of one process that has loaded
the libraries, so that a mutant costs its tests alone, and the tests that run the changed line (or
the nearest to it) come first where a module has several mutants. A mutant is killed by a failing
test, by a crash, and by tests that take three times as long as they should. Annotations,
docstrings, decorators, errors' words, named constants of a module (tolerances, sizes of portions),
on which side of a named fraction a number counts that equals it to the last bit, and what no right
program notices (``strict``, ``stacklevel``) are left as they are.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import importlib
import json
import math
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, islice
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest
from mutants import Mutant, mutant_at, spots_of
from traces import Nearest, Trace, function_of

ROOT = Path(__file__).resolve().parents[1]
GOAL = 0.9  # of the mutants are killed
SLOWER, GRACE = 3.0, 20.0  # a mutant's tests may take so many times their time, and seconds more
LIMIT = 150.0  # seconds of tests whose time is not known
WAITING = 10.0  # times the limit in processor time that a mutant may wait for it
MOST = 30.0  # seconds of tests of contracts, and of other tests, that a mutant is tried on
TRACED = 10  # mutants of a module from which on it pays to look first which test runs which line
MEMORY = 24 * 2**30  # bytes of addresses that a mutant may take
CONTRACTS = (  # tests over the whole package
    "tests/test_answers.py", "tests/test_device.py", "tests/test_records.py",
    "tests/networks/test_contract.py",
)  # fmt: skip
COPIED = ("ctebm", "tests", "studies", "docs", "conftest.py", "pyproject.toml")


class Bench:
    """A copy of the tree in which mutants are tried."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.limits: dict[tuple[str, ...], float] = {}  # seconds that tests may take
        self.passed: dict[tuple[str, ...], bool] = {}  # whether tests pass without a change
        self.calls: dict[str, dict[str, float]] = {}  # tests of contracts and seconds, by function
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "_build")
                shutil.copytree(source, where / name, ignore=ignored)
            else:
                shutil.copy(source, where / name)
        # hashes, since a mutant may have the size and the second of what it replaces
        compileall.compile_dir(
            where / "ctebm", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH
        )
        _load_libraries()

    def tests_of(self, file: Path) -> list[str]:
        """Return what mirrors a module: its own examples, and its tests if there are any."""
        tests = Path("tests", *file.parts[1:-1], f"test_{file.stem}.py")
        return [str(path) for path in (file, tests) if (self.where / path).exists()]

    def others_of(self, file: Path) -> list[str]:
        """Return other tests that hold a module: those that import it."""
        found = (
            {"tests/test_memory.py"}
            if "check_memory(" in (self.where / file).read_text()
            else set()
        )
        whole, from_wing = ".".join(file.with_suffix("").parts), ".".join(file.parts[:-1])
        imports = re.compile(
            rf"from {re.escape(whole)} import|"
            rf"from {re.escape(from_wing)} import (\([^)]*|[^\n]*)\b{file.stem}\b"
        )
        for path in (self.where / "tests").rglob("test_*.py"):
            if imports.search(path.read_text()):
                found.add(str(path.relative_to(self.where)))
        return sorted(found - {*self.tests_of(file), *CONTRACTS})

    def know_calls(self, notes: Path, tests: Sequence[str] = CONTRACTS) -> None:
        """Read which functions tests call, noted first if there are no notes."""
        if not notes.exists():
            self._note_calls(notes, tests)
        lines, seconds = json.loads(notes.read_text())
        for test, ran in lines.items():
            for function in ran:
                self.calls.setdefault(function, {})[test] = seconds[test]
        print(f"{len(lines)} of {len(seconds)} tests of contracts are known", flush=True)

    def _note_calls(self, notes: Path, tests: Sequence[str]) -> None:
        """Note which functions tests call; those that fail are left out."""
        files = sorted((self.where / "ctebm").rglob("*.py"))
        before = {path: path.read_text() for path in files}
        try:
            for path, text in before.items():
                here = str(path.relative_to(self.where))
                path.write_text(Trace.marked(text, here, statements=False))
            self._end(list(tests), Trace(notes), 3600, more=["--maxfail=100"])
        finally:
            for path, text in before.items():
                path.write_text(text)

    def contracts_of(self, mutant: Mutant) -> list[str]:
        """Return the quickest tests of contracts that call a changed function, half a minute."""
        tree = ast.parse((self.where / mutant.file).read_text())
        line, own = function_of(tree, mutant.line), self.tests_of(mutant.file)
        chosen = {
            test: seconds
            for function, tests in self.calls.items()
            if function == f"{mutant.file}:{line}"
            or (line is None and function.startswith(f"{mutant.file}:"))
            for test, seconds in tests.items()
            if test.split("::")[0] not in own
        }
        quickest = sorted(chosen, key=chosen.__getitem__)
        until = accumulate(chosen[test] for test in quickest)
        return [test for test, seconds in zip(quickest, until, strict=True) if seconds < MOST]

    def trace(self, file: Path) -> tuple[str, float]:
        """Return how the tests of a module end as it is, the seconds they take; note its lines."""
        marked = Trace.marked((self.where / file).read_text(), str(file))
        return self._with(file, marked, self.tests_of(file), Trace(self._notes(file)), 600)

    def outcome(self, mutant: Mutant, tests: list[str]) -> tuple[str, float]:
        """Return how tests end where the module reads so, and the seconds they took."""
        file, plugin = mutant.file, Nearest(mutant.line, self._notes(mutant.file))
        key = tuple(tests)
        limit = self.limits.get(key, LIMIT)
        found = self._with(file, mutant.source, tests, plugin, limit)
        if found[0] == "too slow" and key not in self.limits:
            # whether it is the mutant or the tests
            same = (self.where / file).read_text()
            _, seconds = self._with(file, same, tests, plugin, 900)
            self.limits[key] = SLOWER * seconds + GRACE
            if self.limits[key] > limit:
                return self.outcome(mutant, tests)
        return found

    def elsewhere(self, mutant: Mutant, tests: list[str]) -> tuple[bool, float]:
        """Return whether other tests fail within the time that is spent on them, and that time."""
        plugin = Nearest(mutant.line, self._notes(mutant.file))
        found, seconds = self._with(mutant.file, mutant.source, tests, plugin, 2 * MOST)
        return found == "killed", seconds

    def passes(self, file: Path, tests: list[str]) -> bool:
        """Return whether tests pass where a module is as it is; say so if they don't."""
        if (key := tuple(tests)) not in self.passed:
            same = (self.where / file).read_text()
            found, _ = self._with(file, same, tests, Nearest(0, self._notes(file)), 900)
            self.passed[key] = found == "survived"
            if not self.passed[key]:
                print(f"left out, since they fail without a change: {', '.join(tests)}", flush=True)
        return self.passed[key]

    def _with(
        self, file: Path, source: str, tests: list[str], plugin: object, limit: float
    ) -> tuple[str, float]:
        path = self.where / file
        before = path.read_text()
        path.write_text(source)
        try:
            return self._end(tests, plugin, limit)
        finally:
            path.write_text(before)

    def _notes(self, file: Path) -> Path:
        return self.where / f"{'-'.join(file.parts)}.json"

    def _end(
        self, tests: list[str], plugin: object, limit: float, more: Sequence[str] = ("-x",)
    ) -> tuple[str, float]:
        """Return how tests end, and the processor time they took; more than the limit ends them."""
        start, before = time.monotonic(), _children()
        child = os.fork()
        if child == 0:
            _run_tests(self.where, [*more, *tests], plugin, math.ceil(limit))
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() - start > WAITING * limit:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.02)
        code = os.waitstatus_to_exitcode(ended[1])
        slow = code in (-signal.SIGXCPU, -signal.SIGKILL)
        outcome = "too slow" if slow else "survived" if code in (0, 5) else "killed"
        return outcome, _children() - before


def _children() -> float:
    """Return the processor time of ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _load_libraries() -> None:
    """Load what the package and its tests import, and forget the package."""
    import hypothesis
    import sybil  # noqa: F401

    import ctebm

    for module in pkgutil.walk_packages(ctebm.__path__, "ctebm."):
        importlib.import_module(module.name)
    # a slow machine kills no mutants, and every mutant sees the same examples
    hypothesis.settings.register_profile("mutants", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    for name in [name for name in sys.modules if name.split(".")[0] == "ctebm"]:
        del sys.modules[name]


def _run_tests(where: Path, tests: list[str], plugin: object, limit: int) -> None:
    """Run tests in this process, a child, for so many seconds of processor time, and end it."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    log = os.open(where / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(where)
    sys.path[:] = [str(where), *(path for path in sys.path if path not in ("", str(ROOT)))]
    quiet = ["-q", "-p", "no:cacheprovider"]
    code = 3
    try:
        code = int(pytest.main([*quiet, *tests], [plugin]))
    finally:
        os._exit(code)


def main() -> int:
    """Print what survives, and return 1 where too much does."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("wings", nargs="*", default=["."], help="as equilibria or networks/base")
    ask.add_argument("--n", type=int, default=40, help="mutants of each")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--part", default="0/1", help="I/N: of these every N-th from the I-th on")
    ask.add_argument("--tests", nargs="+", default=CONTRACTS, help="of all modules, as tests")
    ask.add_argument("--calls", type=Path, help="a file that keeps what these call")
    a = ask.parse_args()
    part, parts = map(int, a.part.split("/"))
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    os.environ.pop("PYTHONPATH", None)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT))
    survivors, counts = [], Counter()
    with tempfile.TemporaryDirectory() as where:
        bench = Bench(Path(where).resolve())
        bench.know_calls((a.calls or Path(where) / "calls.json").resolve(), a.tests)
        for wing in a.wings:
            for mutant, outcome, seconds in trial(bench, wing, a.n, a.seed, part, parts):
                counts[wing, outcome] += 1
                survivors += [mutant] if outcome == "survived" else []
                words = f"{mutant.file}:{mutant.line}  {mutant.before}  ->  {mutant.after}"
                print(f"{outcome:9} {seconds:5.1f} s  {words}", flush=True)
    print(f"\n{'survivor':44} change")
    for mutant in survivors:
        print(f"{mutant.file!s:>38}:{mutant.line:<5} {mutant.before}  ->  {mutant.after}")
        print(f"{'':45}in {(ROOT / mutant.file).read_text().splitlines()[mutant.line - 1].strip()}")
    print(f"\n{'wing':20} {'mutants':>7} {'by its own tests':>16} {'by others':>9} {'share':>6}")
    shares = []
    for wing in a.wings:
        own, others = counts[wing, "killed"] + counts[wing, "too slow"], counts[wing, "elsewhere"]
        n = own + others + counts[wing, "survived"]
        shares.append((own + others) / n if n else 0.0)
        print(f"{wing:20} {n:7} {own:16} {others:9} {shares[-1]:6.2f}")
    return int(min(shares) < GOAL)


def trial(
    bench: Bench, wing: str, n: int, seed: int, part: int = 0, parts: int = 1
) -> Iterator[tuple[Mutant, str, float]]:
    """Yield mutants of a wing, drawn with the seed, with what came of each; or a part of them."""
    here = bench.where / "ctebm" / wing
    files = sorted(here.rglob("*.py")) if here.is_dir() else [here.with_suffix(".py")]
    spots = [spot for file in files if file.stem != "__init__" for spot in spots_of(file)]
    random.Random(seed).shuffle(spots)
    chosen = list(islice(filter(None, (mutant_at(*spot) for spot in spots)), n))[part::parts]
    times = Counter(mutant.file for mutant in chosen)
    traced: set[Path] = set()
    broken: set[Path] = set()
    for found in chosen:
        mutant = replace(found, file=found.file.relative_to(bench.where))
        file, tests = mutant.file, bench.tests_of(mutant.file)
        if file not in traced and times[found.file] >= TRACED:
            outcome, seconds = bench.trace(file)
            if outcome != "survived":
                print(f"left out, since its tests fail without a change: {file}", flush=True)
                print((bench.where / "log.txt").read_text()[-2000:])
                broken.add(file)
            traced.add(file)
            bench.limits[tuple(tests)] = SLOWER * seconds + GRACE
        if file in broken:
            continue
        outcome, seconds = bench.outcome(mutant, tests)
        if outcome == "survived" and (contracts := bench.contracts_of(mutant)):
            noticed, more = bench.elsewhere(mutant, contracts)
            outcome, seconds = "elsewhere" if noticed else outcome, seconds + more
        if outcome == "survived" and (others := bench.others_of(file)):
            noticed, more = bench.elsewhere(mutant, others)
            noticed = noticed and bench.passes(file, others)
            outcome, seconds = "elsewhere" if noticed else outcome, seconds + more
        yield mutant, outcome, seconds


if __name__ == "__main__":
    raise SystemExit(main())
