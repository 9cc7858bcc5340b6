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
import builtins
import compileall
import copy
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
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

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

OTHER_OPERATOR: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_PAIRS = ("min max", "any all", "amin amax", "minimum maximum", "floor ceil", "argmin argmax")
OTHER_NAME = {a: b for pair in _PAIRS for a, b in (pair.split(), pair.split()[::-1])}
WITHOUT = {"abs", "clamp", "square", "sqrt", "neg", "flip", "cumsum", "mT", "conj"}


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    file: Path
    line: int
    before: str
    after: str
    source: str


def fractions(tree: ast.Module) -> set[str]:
    """Return the names of a module's constants that are no whole numbers."""
    names = set()
    for step in tree.body:
        match step:
            case ast.Assign(targets=[target], value=value):
                pairs = [(target, value)]
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    pairs = list(zip(target.elts, value.elts, strict=False))
                names |= {
                    t.id for t, v in pairs
                    if isinstance(t, ast.Name) and t.id.isupper()
                    and any(isinstance(n, ast.Constant) and isinstance(n.value, float)
                            for n in ast.walk(v))
                }  # fmt: skip
    return names


def places(node: ast.AST, tied: set[str] | None = None) -> Iterator[ast.AST]:
    """Yield the nodes of a module that may change."""
    if tied is None:
        tied = fractions(node) if isinstance(node, ast.Module) else set()
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Expr(value=ast.Constant()):
            return
        case ast.keyword(arg="strict" | "stacklevel"):
            return
        case ast.FunctionDef() | ast.ClassDef():
            inside = [*node.body]
            if isinstance(node, ast.FunctionDef):
                inside += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        case ast.AnnAssign():
            inside = [node.value] if node.value else []
        case ast.Module():
            named = ast.Assign | ast.AnnAssign | ast.If  # constants, and imports for types
            inside = [part for part in node.body if not isinstance(part, named)]
        case _:
            inside = list(ast.iter_child_nodes(node))
    if not (isinstance(node, ast.Module) or _tie(node, tied)):
        yield node
    for part in inside:
        yield from places(part, tied)


def _tie(node: ast.AST, tied: set[str]) -> bool:
    """Return whether a change would move a number that equals a named fraction, and no other."""
    match node:
        case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()]):
            return any(isinstance(n, ast.Name) and n.id in tied for n in ast.walk(node))
    return False


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node may become."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if (
            type(op) in OTHER_OPERATOR
        ):
            yield _with(node, op=OTHER_OPERATOR[type(op)]())
        case ast.Compare(ops=[op, *more]) if type(op) in OTHER_OPERATOR:
            yield _with(node, ops=[OTHER_OPERATOR[type(op)](), *more])
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return  # the number itself changes
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not _flips(test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Attribute(attr=name) if name in OTHER_NAME:
            yield _with(node, attr=OTHER_NAME[name])
        case ast.Name(id=name) if name in OTHER_NAME:
            yield _with(node, id=OTHER_NAME[name])
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in WITHOUT:
            if not (isinstance(value, ast.Name) and value.id in ("torch", "np", "math")):
                yield value
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()


def _flips(test: ast.AST) -> bool:
    """Return whether a condition is negated by another change already."""
    kinds = ast.Is | ast.IsNot | ast.Eq | ast.NotEq | ast.In | ast.NotIn
    match test:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[op]):
            return isinstance(op, kinds)
    return False


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def spots_of(file: Path) -> list[tuple[Path, int, int]]:
    """Return the module, place and kind of every change of it."""
    kinds = [len(list(changes(node))) for node in places(ast.parse(file.read_text()))]
    return [(file, place, kind) for place, n in enumerate(kinds) for kind in range(n)]


def mutant_at(file: Path, place: int, kind: int) -> Mutant | None:
    """Return a mutant, None if its text is that of its module."""
    text = file.read_text()
    tree = ast.parse(text)
    old = next(islice(places(tree), place, None))
    new = next(islice(changes(old), kind, None))
    line, before, after = getattr(old, "lineno", 0), _words(old), _words(new)
    source = ast.unparse(ast.fix_missing_locations(_Replace(old, new).visit(tree)))
    if source == ast.unparse(ast.parse(text)):
        return None
    return Mutant(file, line, before, after, source)


def _words(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
    return " ".join(ast.unparse(node).split())


class _Marked(ast.NodeTransformer):
    """Lets functions, or every statement within them, note their lines."""

    def __init__(self, file: str, statements: bool) -> None:
        self.file, self.statements = file, statements

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.FunctionDef):
            first = ast.get_docstring(node) is not None
            node.body[first:first] = [self._mark(node)]
        if self.statements and not isinstance(node, ast.Module | ast.ClassDef):
            for part in ("body", "orelse", "finalbody"):
                inside = getattr(node, part, None)
                if isinstance(inside, list):
                    first = (
                        isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None
                    )
                    marked = [line for step in inside[first:] for line in (self._mark(step), step)]
                    setattr(node, part, inside[:first] + marked)
        return node

    def _mark(self, step: ast.AST) -> ast.stmt:
        said = f"{self.file}:{getattr(step, 'lineno', 0)}"
        return ast.parse(f"{Trace.NAME}.add({said!r})").body[0]


def function_of(tree: ast.Module, line: int) -> int | None:
    """Return the line at which the innermost function around a line begins, None outside of any."""
    found = [
        node.lineno for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]  # fmt: skip
    return max(found, default=None)


class Trace:
    """Notes which lines of marked modules each test runs, for how long, and whether it fails."""

    NAME = "lines_that_ran"

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self.lines: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @classmethod
    def marked(cls, source: str, file: str, *, statements: bool = True) -> str:
        """Return a module whose functions note the lines that run."""
        tree = _Marked(file, statements).visit(ast.parse(source))
        # whatever process runs it
        known = ast.parse(f"{cls.NAME} = getattr(__import__('builtins'), {cls.NAME!r}, set())")
        after = [
            i + 1 for i, step in enumerate(tree.body)
            if isinstance(step, ast.ImportFrom) and step.module == "__future__"
        ]  # fmt: skip
        place = max(after, default=int(ast.get_docstring(tree) is not None))
        tree.body[place:place] = known.body
        return ast.unparse(ast.fix_missing_locations(tree))

    def pytest_configure(self) -> None:
        setattr(builtins, self.NAME, set())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        ran: set[str] = getattr(builtins, self.NAME)
        ran.clear()
        start = time.process_time()
        try:
            return (yield)
        finally:
            self.lines[item.nodeid] = sorted(ran)
            self.seconds[item.nodeid] = time.process_time() - start

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        for test in self.failed:
            self.lines.pop(test, None)
        self.notes.write_text(json.dumps([self.lines, self.seconds]))


class Nearest:
    """Puts the tests first that run the lines nearest to a place, the quickest of these first."""

    def __init__(self, line: int, notes: Path) -> None:
        self.line = line
        lines, self.seconds = json.loads(notes.read_text()) if notes.exists() else ({}, {})
        self.lines = {test: [int(at.split(":")[1]) for at in ran] for test, ran in lines.items()}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=self.distance)

    def distance(self, item: pytest.Item) -> tuple[float, float]:
        steps = [abs(self.line - line) for line in self.lines.get(item.nodeid, [])]
        return min(steps, default=float("inf")), self.seconds.get(item.nodeid, 0.0)


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
