"""What a loop says of itself."""

from __future__ import annotations

import time

import pytest

from ctebm import study


def test_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(study.Progress()(range(10), "settling")) == list(range(10))
    assert capsys.readouterr().err.splitlines() == [
        "settling: 2 of 10 after 12 s",
        "settling: 5 of 10 after 24 s",
        "settling: 8 of 10 after 36 s",
        "settling: done in 44.0 s",
    ]


def test_without_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(study.Progress()(iter("ab"), "steps")) == ["a", "b"]
    assert "steps: done" in capsys.readouterr().err


def test_a_note_stands_beside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    seen: list[int] = []
    for i in study.Progress()(range(5), "epoch 1", note=lambda: f"error {len(seen)} %"):
        seen.append(i)
    assert "epoch 1: 3 of 5 after 24 s, error 3 %" in capsys.readouterr().err
