"""Settings for every test, and the code blocks of README, documentation and docstrings as tests."""

import os
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

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
