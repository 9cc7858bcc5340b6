"""The frame of studies: settings, command line, files and verdicts."""

from ctebm.study.frame import Progress, Settings, Verdict, main
from ctebm.study.settings import check_activation, parse_activation

__all__ = ["Progress", "Settings", "Verdict", "check_activation", "main", "parse_activation"]
