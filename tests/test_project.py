"""The package as a whole: cheap to import, complete and documented."""

import inspect
import re
import subprocess
import sys
from functools import cached_property
from importlib import import_module
from pathlib import Path

import pytest

import ctebm

ROOT = Path(__file__).parent.parent


def test_import_does_not_load_torch():
    code = "import sys, ctebm; print([m for m in ('torch', 'xarray', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [*ctebm.__all__, "open"])
def test_public_name_resolves_and_is_documented(name):
    thing = getattr(ctebm, name)
    assert inspect.getdoc(thing), f"ctebm.{name} has no docstring"
    if inspect.isclass(thing):
        bare = [
            member
            for member, value in vars(thing).items()
            if not member.startswith("_")
            and (inspect.isroutine(value) or isinstance(value, property))
            and not inspect.getdoc(getattr(thing, member))
        ]
        assert not bare, f"ctebm.{name} has methods without a docstring: {bare}"


def documented(doc, section="Parameters"):
    """Return the names in a section of a numpydoc docstring."""
    found = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", doc, re.M | re.S)
    lines = found[1].splitlines() if found else []
    heads = [line.split(" : ")[0] for line in lines if line and not line.startswith(" ")]
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def described():
    """Yield each public function, class and method with parameters, and its docstring."""
    for name in [*ctebm.__all__, "open"]:
        thing = getattr(ctebm, name)
        yield name, thing, inspect.getdoc(thing)
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            if member.startswith("_") or isinstance(value, cached_property):
                continue
            if inspect.isroutine(value):
                method = getattr(thing, member)
                yield f"{name}.{member}", method, method.__doc__ and inspect.getdoc(method)


@pytest.mark.parametrize("name, thing, doc", described(), ids=[d[0] for d in described()])
def test_docstrings_describe_the_signature(name, thing, doc):
    """Every parameter is described, and none that is not there; records describe attributes."""
    if doc is None:
        return  # an override, which inherits its docstring
    parameters = [p for p in inspect.signature(thing).parameters if p != "self"]
    if "Parameters\n---" in doc:
        assert set(documented(doc)) == set(parameters)
    elif inspect.isclass(thing) and parameters:
        assert "Attributes\n---" in doc
    elif len(parameters) > 2:  # of one or two the sentence itself speaks
        pytest.fail(f"{name} has no section on its parameters")
    raises = inspect.isfunction(thing) and re.search(r"^ +raise ", inspect.getsource(thing), re.M)
    if raises and "Parameters\n---" in doc:
        assert "Raises\n---" in doc, f"{name} does not say what it raises"
    assert doc.splitlines()[0].endswith("."), f"the first line of {name} is no sentence"


@pytest.mark.parametrize("name", [*ctebm.__all__, "open"])
def test_no_module_hides_a_public_name(name):
    for module in ROOT.glob("ctebm/**/[!_]*.py"):
        import_module(".".join(module.relative_to(ROOT).with_suffix("").parts))
    assert not inspect.ismodule(getattr(ctebm, name))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        ctebm.no_such_name  # noqa: B018
