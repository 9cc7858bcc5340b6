"""What the scripts in ``studies/`` share: settings, images, the problem, command line, verdicts.

A study puts a question to the claims of section 3 of the paper: it measures, holds each claim
against a number, and says whether it holds.
"""

from ctebm.study.activations import check_activation, parse_activation
from ctebm.study.frame import main
from ctebm.study.progress import Progress
from ctebm.study.settings import (
    Settings,
    check_eps,
    check_layers,
    check_positive,
    check_t_end,
    refuse_ignored,
)
from ctebm.study.verdict import Verdict

__all__ = [
    "Progress",
    "Settings",
    "Verdict",
    "check_activation",
    "check_eps",
    "check_layers",
    "check_positive",
    "check_t_end",
    "main",
    "parse_activation",
    "refuse_ignored",
]
