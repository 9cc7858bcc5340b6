"""Sphinx configuration."""

import importlib
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
html_css_files = ["style.css"]


def write_reference():
    """Write a page for each wing and the table of public names, in the order of the flow."""
    root, pages = Path(__file__).parents[1], Path(__file__).parent / "reference" / "generated"
    pages.mkdir(exist_ok=True)
    front_door = (root / "ctebm" / "__init__.pyi").read_text()
    wings = re.findall(r"^from \. import (\w+) as", front_door, re.M)
    for wing in wings:
        modules = [f"ctebm.{wing}", *(f"ctebm.{wing}.{name}" for name in order_inside(root, wing))]
        sections = [
            f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n"
            "   :show-inheritance:\n```\n"
            for name in (modules[1:] or modules)
        ]
        doc = importlib.import_module(f"ctebm.{wing}").__doc__ if modules[1:] else ""
        _write(pages / f"{wing}.md", "\n".join([f"# ctebm.{wing}\n\n{doc or ''}\n", *sections]))
    names = re.findall(r"^from \.([\w.]+) import (\w+) as", front_door, re.M)
    table = [".. autosummary::", "   :nosignatures:", ""]
    table += [f"   ~ctebm.{module}.{name}" for module, name in names]
    _write(pages / "names.txt", "```{eval-rst}\n" + "\n".join(table) + "\n```\n")
    entries = "\n".join(f"generated/{wing}" for wing in wings)
    _write(pages / "modules.txt", f"```{{toctree}}\n:maxdepth: 2\n\n{entries}\n```\n")


def order_inside(root, wing):
    """Return the modules of a wing, from the left of its flow to the right."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    flow = [
        re.findall(r"\w+", " ".join(contract["layers"]))[::-1]
        for contract in contracts["contracts"]
        if contract.get("containers") == [f"ctebm.{wing}"]
    ]
    present = sorted(path.stem for path in (root / "ctebm" / wing).glob("[!_]*.py"))
    return sorted(present, key=flow[0].index) if flow else present


def _write(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def escape_shapes(app, what, name, obj, options, lines):
    """Keep the star of ``*batch`` in a shape outside code from starting an emphasis."""
    lines[:] = [
        "``".join(
            part if i % 2 else re.sub(r"(?<!\\)\*(?=batch|unit)|(?<=\()\*(?=,)", r"\\*", part)
            for i, part in enumerate(line.split("``"))
        )
        for line in lines
    ]


def skip_fields(app, what, name, obj, skip, options):
    """Leave out the members of a NamedTuple, which its section on attributes describes."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    write_reference()
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)  # before napoleon
