"""The package as a whole: cheap to import, complete and documented."""

import inspect
import subprocess
import sys
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


@pytest.mark.parametrize("name", ctebm.__all__)
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


@pytest.mark.parametrize("name", ctebm.__all__)
def test_no_module_hides_a_public_name(name):
    for module in ROOT.glob("ctebm/[!_]*.py"):
        import_module(f"ctebm.{module.stem}")
    assert not inspect.ismodule(getattr(ctebm, name))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        ctebm.no_such_name  # noqa: B018
