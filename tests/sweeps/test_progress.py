"""How far a sweep is, on a terminal, in a log, in a closed pipe."""

from __future__ import annotations

import sys

from ctebm.sweeps import progress as module
from ctebm.sweeps.progress import SweepProgress


def test_a_line_a_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with SweepProgress(100, done=10) as progress:
        for now[0] in (30.0, 61.0, 62.0, 125.0):
            progress.advance(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "points: 50 of 100 after 61 s", "points: 90 of 100 after 125 s",
        "points: 90 of 100 after 125 s",
    ]  # fmt: skip


def test_one_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with SweepProgress(4) as progress:
        progress.advance(4)
    assert "100%" in capsys.readouterr().err


def test_a_closed_pipe_ends_the_words_alone(monkeypatch):
    class Closed:
        def isatty(self):
            return False

        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with SweepProgress(1) as progress:
        progress.say("hello")
        progress.advance(1)
    assert progress.quiet and progress.done == 1
