"""Sphinx configuration."""

import re
import tomllib
from pathlib import Path

from sphinx.ext import autosummary

import ctebm

project = "ctebm"
author = "the ctebm developers"
copyright = "2026, the ctebm developers"
release = ctebm.__version__
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
exclude_patterns = ["_build"]

# Pages: Markdown with mathematics; a page that starts with `file_format: mystnb` is executed.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

# Reference: what the __all__ of each module names; docstrings give types and shapes.
autosummary_generate = False
autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.", "eqs.")  # which end no sentence
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

# Words of a shape, such as (batch, unit), are taken for references to attributes of that name.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"ctebm {release}"
html_static_path = ["_static"]


def write_reference():
    """Write a page for each module and the table of public names, in the order of the flow."""
    root, pages = Path(__file__).parents[1], Path(__file__).parent / "reference" / "generated"
    pages.mkdir(exist_ok=True)
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    flow = re.findall(r"\w+", " ".join(contracts["contracts"][0]["layers"]))[::-1]
    present = {path.stem for path in (root / "ctebm").glob("[!_]*.py")}
    modules = sorted(present, key=lambda name: flow.index(name) if name in flow else len(flow))
    for name in modules:
        directive = f".. automodule:: ctebm.{name}\n   :members:\n   :show-inheritance:"
        page = f"# ctebm.{name}\n\n```{{eval-rst}}\n{directive}\n```\n"
        _write(pages / f"{name}.md", page)
    names = [f"   ctebm.{room}.{name}" for room, names in ctebm._ROOMS.items() for name in names]
    table = "\n".join([".. autosummary::", "   :nosignatures:", "", *names])
    _write(pages / "names.txt", f"```{{eval-rst}}\n{table}\n```\n")
    entries = "\n".join(f"generated/{name}" for name in modules)
    _write(pages / "modules.txt", f"```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n")


def _write(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def escape_shapes(app, what, name, obj, options, lines):
    """Keep the star of ``*batch`` in a shape outside code from starting an emphasis."""
    lines[:] = [
        "``".join(
            part if i % 2 else re.sub(r"(?<!\\)\*(?=batch|unit|,)", r"\\*", part)
            for i, part in enumerate(line.split("``"))
        )
        for line in lines
    ]


def setup(app):
    write_reference()
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)  # before napoleon
