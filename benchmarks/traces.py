"""Which lines of a module each test runs, and which tests run the lines nearest to a place."""

from __future__ import annotations

import ast
import builtins
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


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
