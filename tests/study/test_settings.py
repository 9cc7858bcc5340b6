"""Settings that every study has, and the checks that several make."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctebm.study import Settings, check_eps, check_layers, check_positive
from ctebm.study.settings import check_device

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("out", ["a/b.1", "a/b.1.nc", "a/b.1.png", "a/b.1.pdf"])
def test_output(out: str) -> None:
    assert Settings(out=Path(out)).output(".nc") == Path("a/b.1.nc")


@pytest.mark.parametrize("eps", [1.0, 0.1, 1e-9, (0.1,), (0.5, 0.1)])
def test_step_sizes_are_accepted(eps: float | tuple[float, ...]) -> None:
    check_eps(eps)


@pytest.mark.parametrize("eps", [0.0, -0.1, 1.5, NAN, INF, (), (0.1, 0.0), (0.1, NAN)])
def test_step_sizes_outside_0_to_1_are_refused(eps: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="--eps needs 0 < eps <= 1, got"):
        check_eps(eps)


def test_too_few_step_sizes_and_repeated_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="--eps needs 3 or more of 0 < eps <= 1"):
        check_eps((0.1, 0.2, 0.1), 3)
    with pytest.raises(ValueError, match="different steps"):
        check_eps((0.1, 0.2, 0.1))
    with pytest.raises(ValueError, match=r"0 < eps <= 0\.1"):
        check_eps(0.2, upper=0.1)


@pytest.mark.parametrize("values", [0.0, -1.0, NAN, INF, (), (1.0, 0.0)])
def test_what_must_be_positive(values: float | tuple[float, ...]) -> None:
    check_positive("--gain", 1e-9)
    check_positive("--gain", (1.0, 2.0))
    with pytest.raises(ValueError, match="--gain must be > 0, got"):
        check_positive("--gain", values)


@pytest.mark.parametrize("sizes", [(), (64, 10), (64, 0, 10), (64, -1, 10)])
def test_layers(sizes: tuple[int, ...]) -> None:
    check_layers((64, 1, 10))
    with pytest.raises(
        ValueError, match=r"--sizes needs (input, hidden and output|1 or more units)"
    ):
        check_layers(sizes)


@pytest.mark.parametrize(
    ("cards", "device", "there"),
    [
        (0, "cpu", True), (0, "cuda", False), (0, "cuda:0", False),
        (2, "cuda", True), (2, "cuda:1", True), (2, "cuda:2", False),
    ],
)  # fmt: skip
def test_a_device_is_one_of_those_that_torch_sees(cards, device, there, monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    if there:
        check_device(device)
    else:
        with pytest.raises(ValueError, match=f"--device {device} .*torch sees {cards} CUDA"):
            check_device(device)
