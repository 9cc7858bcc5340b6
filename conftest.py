"""Settings for every test, and the code blocks of README, documentation and docstrings as tests."""

import os
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

import pytest
import torch
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

# No test opens a window, on a machine with a display either.
os.environ.setdefault("MPLBACKEND", "Agg")

# One thread: results do not depend on the machine's cores, and small matrices are faster so.
torch.set_num_threads(1)

_pages = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"])
_docstrings = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)],
    patterns=["ctebm/**/*.py"],
    document_types={".py": PythonDocStringDocument},
)

pytest_collect_file = (_pages + _docstrings).pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of cases that differ from process to process, which no two workers share."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} names a place in memory; give it ids of words.")
