"""The package as a whole: cheap to import, complete, documented, in order."""

import dataclasses
import inspect
import re
import subprocess
import sys
from functools import cached_property
from importlib import import_module
from pathlib import Path

import pytest

import ctebm
from ctebm.study import Settings

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in ROOT.glob("ctebm/**/*.py") if path.name != "__init__.py")
PUBLIC = [*ctebm.__all__, "open"]

MOST_LINES = 300  # of a module that does not say why it is longer
MOST_EXAMPLE_LINES = 8

# modules without a test module of their own, and why
TESTED_ELSEWHERE: dict[str, str] = {}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_import_does_not_load_torch():
    code = "import sys, ctebm; print([m for m in ('torch', 'xarray', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ctebm.no_such_name


def test_a_star_import_brings_no_module_and_leaves_open_alone():
    names: dict = {}
    exec("from ctebm import *", names)
    assert "open" not in names and names["save"] is ctebm.save
    assert not [name for name, thing in names.items() if inspect.ismodule(thing)]


@pytest.mark.parametrize("name", PUBLIC)
def test_no_module_hides_a_public_name(name):
    for path in MODULES:
        import_module(module_name(path))
    assert not inspect.ismodule(getattr(ctebm, name))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_long_module_says_why(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= MOST_LINES or any(line.startswith("# Long because") for line in lines[:40])


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_has_its_tests(path):
    inside = path.relative_to(ROOT / "ctebm")
    if str(inside) not in TESTED_ELSEWHERE:
        assert (ROOT / "tests" / inside.parent / f"test_{inside.name}").exists()


STUBS = sorted(ROOT.glob("ctebm/*/__init__.pyi"))


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.parent.name)
def test_a_wing_lists_its_modules(stub):
    modules = {path.stem for path in MODULES if path.parent == stub.parent}
    assert modules == set(re.findall(r"^from \. import (\w+) as \1$", stub.read_text(), re.M))


# Docstrings


def sections(doc: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by their titles."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", doc, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def heads(section: str) -> list[str]:
    """Return the names that a section describes."""
    lines = [line.split(" : ")[0] for line in section.splitlines() if line[:1].strip()]
    return [name.strip().lstrip("*") for line in lines for name in line.split(",")]


def callables() -> list:
    """Return name, thing and docstring of each public function, class and method."""
    found = []
    for name in PUBLIC:
        thing = getattr(ctebm, name)
        found.append((name, thing, inspect.getdoc(thing) or ""))
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            method = getattr(thing, member)
            called = inspect.isroutine(value) and not isinstance(value, cached_property)
            if called and not member.startswith("_"):
                doc = method.__doc__ and inspect.getdoc(method)
                if doc is not None:  # else an override, which inherits its docstring
                    found.append((f"{name}.{member}", method, doc))
    return found


CALLABLES = callables()
ids = [name for name, *_ in CALLABLES]


def sources(thing) -> list[str]:
    """Return the source of a function, or of what makes an object of a class."""
    if not inspect.isclass(thing):
        return [inspect.getsource(thing)]
    makers = [vars(thing).get(name) for name in ("__init__", "__post_init__")]
    made = dataclasses.is_dataclass(thing)
    return [inspect.getsource(m) for m in makers if m and not (made and m.__name__ == "__init__")]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_resolves_and_is_documented(name):
    thing = getattr(ctebm, name)
    assert inspect.getdoc(thing), f"ctebm.{name} has no docstring"
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        spoken_of = inspect.isroutine(value) or isinstance(value, property)
        if spoken_of and not member.startswith("_"):
            assert inspect.getdoc(getattr(thing, member)), f"{name}.{member} has no docstring"


@pytest.mark.parametrize("name, thing, doc", CALLABLES, ids=ids)
def test_docstrings_describe_the_signature(name, thing, doc):
    """Every parameter is described, and none that is not there; records describe attributes."""
    assert doc.splitlines()[0].endswith("."), f"the first line of {name} is no sentence"
    parameters = [p for p in inspect.signature(thing).parameters if p != "self"]
    if "Parameters" in sections(doc):
        assert set(heads(sections(doc)["Parameters"])) == set(parameters)
    elif inspect.isclass(thing) and parameters:
        assert "Attributes" in sections(doc)
    elif len(parameters) > 2:  # of one or two the sentence itself speaks
        pytest.fail(f"{name} has no section on its parameters")


@pytest.mark.parametrize("name, thing, doc", CALLABLES, ids=ids)
def test_docstrings_say_what_is_returned_and_raised(name, thing, doc):
    returned = inspect.signature(thing).return_annotation
    if not inspect.isclass(thing) and returned not in (None, "None"):
        assert "Returns" in sections(doc) or doc.startswith(("Return", "Yield"))
    if any(re.search(r"^ +raise \w", source, re.M) for source in sources(thing)):
        assert "Raises" in sections(doc) or re.search(r"\bor raise\b", doc)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_an_example(name):
    doc = inspect.getdoc(getattr(ctebm, name)) or ""
    code = [line for line in doc.splitlines() if line.lstrip().startswith((">>>", "..."))]
    assert 0 < len(code) <= MOST_EXAMPLE_LINES


# Records


def dataclasses_of(path: Path) -> list[type]:
    module = import_module(module_name(path))
    own = [value for value in vars(module).values() if inspect.isclass(value)]
    return [
        c for c in own
        if c.__module__ == module.__name__ and dataclasses.is_dataclass(c) and c.__name__[0] != "_"
    ]  # fmt: skip


RECORDS = [c for path in MODULES for c in dataclasses_of(path) if not issubclass(c, Settings)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda c: f"{c.__module__}.{c.__name__}")
def test_every_field_of_a_record_is_described(record):
    described = sections(inspect.getdoc(record) or "")
    names = [*heads(described.get("Attributes", "")), *heads(described.get("Parameters", ""))]
    fields = [f.name for f in dataclasses.fields(record) if not f.name.startswith("_")]
    bare = [name for name in fields if name not in names]
    assert not bare, f"{record.__name__} says nothing of {', '.join(bare)}"


WRITTEN = [getattr(ctebm, name) for name in PUBLIC if hasattr(getattr(ctebm, name), "to_dataset")]


@pytest.mark.parametrize("record", WRITTEN, ids=lambda c: c.__name__)
def test_a_record_is_frozen_and_says_how_it_went(record):
    assert record.__dataclass_params__.frozen and not record.__dataclass_params__.eq
    fields = {f.name for f in dataclasses.fields(record)}
    for name in ("status", "message", "raise_for_status"):
        assert name in fields or hasattr(record, name), f"{record.__name__} has no {name}"
