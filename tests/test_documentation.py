"""The glossary and the architecture page say what is in the code."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY, ARCHITECTURE = (
    (ROOT / "docs" / "explanation" / name).read_text()
    for name in ("glossary.md", "architecture.md")
)
FRONT_DOOR = (ROOT / "ctebm" / "__init__.pyi").read_text()
MODULES = sorted(path for path in ROOT.glob("ctebm/**/*.py") if path.parent.name != "ctebm")
MODULES.append(ROOT / "ctebm" / "dataset.py")


def find(module: str, path: str):
    """Return the attribute of a module, or fail; a field that is set later is None."""
    place = import_module(f"ctebm.{module}")
    first, *members = path.split(".")
    thing = getattr(place, first)
    home = getattr(thing, "__module__", None)
    assert home is None or home == place.__name__, f"{first} is defined in {home}"
    for member in members:
        declared = {name for c in thing.__mro__ for name in vars(c).get("__annotations__", {})}
        known = {*dir(thing), *declared, *inspect.signature(thing).parameters}
        assert member in known, f"{first} has no {member}"
        thing = getattr(thing, member, None)
    return thing


# The glossary


def glossary() -> list[tuple[str, str]]:
    """Return name and module of each line of the glossary's tables."""
    lines = [re.split(r" *(?<!\\)\| *", line)[1:-1] for line in GLOSSARY.splitlines()]
    return [
        (cells[1].strip("`"), cells[-1].strip("`"))
        for cells in lines
        if len(cells) == 6 and cells[-1].startswith("`")
    ]


@pytest.mark.parametrize("name, module", glossary(), ids=[name for name, _ in glossary()])
def test_every_name_is_where_the_glossary_says(name, module):
    path, argument = re.fullmatch(r"([\w.]+?)(?:\((\w+)\))?", name).groups()
    thing = find(module, path)
    if argument:
        assert argument in inspect.signature(thing).parameters


def test_every_line_of_the_glossary_is_read():
    table = [line for line in GLOSSARY.splitlines() if line.startswith("|")]
    assert len(glossary()) == len(table) - 2 * sum(line.startswith("|---") for line in table) > 60


# The architecture


def wing_of(path: Path) -> str:
    return path.relative_to(ROOT / "ctebm").parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the wings that a module imports, by whatever statement, its own left out."""
    public = re.findall(r"^from \.(\w+)[\w.]* import \w+ as (\w+)$", FRONT_DOOR, re.M)
    home = {name: wing for wing, name in public}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {home.get(p[1], p[1]) for p in parts if p[0] == "ctebm" and len(p) > 1}
    return found - {wing_of(path), "__version__"}


def test_the_arrows_are_the_imports():
    block = re.search(r"^imports +from\n(.*?)^```", ARCHITECTURE, re.M | re.S)
    assert block
    drawn = {line.split()[0]: set(line.split()[1:]) for line in block[1].splitlines()}
    real: dict[str, set[str]] = {}
    for path in MODULES:
        real.setdefault(wing_of(path), set()).update(imports(path))
    del real["dataset"]
    assert drawn == real


ROOMS = {
    wing: re.findall(r"^\| `(\w+)`", table, re.M)
    for wing, table in re.findall(r"^### `(\w+)`.*?\n\n(.*?)(?=^#|\Z)", ARCHITECTURE, re.M | re.S)
}


def test_every_module_is_on_the_page_once():
    listed = [(wing, name) for wing, names in ROOMS.items() for name in names]
    real = [(wing_of(path), path.stem) for path in MODULES if path.stem != "__init__"]
    assert sorted(listed) == sorted(real)


@pytest.mark.parametrize("wing", ROOMS)
def test_a_module_imports_from_above_it_on_the_page(wing):
    listed = ROOMS[wing]
    for module in listed[1:]:
        text = (ROOT / "ctebm" / wing / f"{module}.py").read_text()
        inner = re.findall(rf"^from ctebm\.{wing}(?:\.(\w+))? import (\w+)", text, re.M)
        above = listed[: listed.index(module)]
        assert all((path or name) in above for path, name in inner), module


PAPER = re.findall(r"^\* - (.+)\n  - `(\w+)/(\w+)\.py`\n  - `([\w.]+)`$", ARCHITECTURE, re.M)


@pytest.mark.parametrize("statement, wing, module, name", PAPER, ids=[p[0] for p in PAPER])
def test_every_equation_is_where_the_page_says(statement, wing, module, name):
    find(f"{wing}.{module}", name)


def test_the_equations_that_a_reader_looks_for_are_on_the_page():
    text = " ".join(statement for statement, *_ in PAPER)
    for label in ("eq. 6", "eq. 8", "eq. 10", "eq. 25", "eq. 26", "F4", "P7", "N3", "N5"):
        assert label in text
