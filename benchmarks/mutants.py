"""What may change in a module, one operator, number, condition or call at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

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
