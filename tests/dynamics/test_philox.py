"""Philox: Random123's vectors, normals, and paths that depend on nothing but their place."""

from __future__ import annotations

import warnings

import pytest
import torch
from run_cases import F64, pair

import ctebm
from ctebm.dynamics import philox
from ctebm.dynamics.philox import PhiloxStream, philox4x32

CPU = torch.device("cpu")
ONES, PI = 2**32 - 1, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (PI, (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_known_vectors_of_random123(counter, key, words):
    found = philox4x32(tuple(torch.tensor([c]) for c in counter), key)
    assert " ".join(f"{int(word):08x}" for word in found) == words


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_normals_have_the_moments_of_a_normal(dtype):
    x = PhiloxStream(5, range(100), 0, 75, dtype, CPU).read(0, 200).double()
    n = x.numel()
    # four standard errors of mean, variance and fourth moment
    assert abs(float(x.mean())) < 4 / n**0.5
    assert abs(float(x.var()) - 1) < 4 * (2 / n) ** 0.5
    assert abs(float((x**4).mean()) - 3) < 4 * (96 / n) ** 0.5
    neighbours = (x[..., 1:] * x[..., :-1]).mean()
    assert abs(float(neighbours)) < 4 / n**0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_normal_depends_on_its_place_alone(dtype):
    whole = PhiloxStream(5, range(9), 0, 7, dtype, CPU).read(0, 40)
    one = PhiloxStream(5, [6], 0, 7, dtype, CPU)
    assert torch.equal(one.read(31, 4)[0], whole[6, 31:35])
    for further in (2**32, 2**33):  # steps beyond 32 bits are others
        far = PhiloxStream(5, [6], 0, 7, dtype, CPU).read(further + 1, 1)
        assert not torch.equal(far[0, 0], whole[6, 1])
    for other in (PhiloxStream(6, [6], 0, 7, dtype, CPU), PhiloxStream(5, [6], 1, 7, dtype, CPU)):
        assert not torch.equal(other.read(0, 1)[0], whole[6, :1])


def test_a_run_says_its_stream_and_shares_its_path():
    dynamics, start = ctebm.Dynamics(pair(), sigma=0.1), torch.zeros(4, 2)
    coarse, fine = (
        ctebm.simulate(dynamics, start, n_steps=n, eps=1.6 / n, seed=3, stream="philox")
        for n in (8, 16)
    )
    again = ctebm.simulate(dynamics, start, n_steps=8, eps=0.2, noise_of=fine)
    assert again.stream == "philox" and again.to_dataset().noise_stream == "philox"
    gap = (again.state[-1] - fine.state[-1]).abs().max()
    assert gap < 0.1 * (coarse.state[-1] - fine.state[-1]).abs().max()
    row = ctebm.simulate(
        dynamics, start[:1], n_steps=8, eps=0.2, seed=3, stream="philox", samples=[2]
    )
    torch.testing.assert_close(row.state[:, 0], coarse.state[:, 2], rtol=0, atol=1e-15)
    host = ctebm.simulate(dynamics, start, n_steps=8, eps=0.2, seed=3)
    assert host.stream == "host" and not torch.equal(host.state, coarse.state)


def test_an_unknown_stream_is_refused():
    dynamics = ctebm.Dynamics(pair(), sigma=0.1)
    with pytest.raises(ValueError, match="'host' or 'philox', got 'mt19937'"):
        ctebm.simulate(dynamics, torch.zeros(2), n_steps=1, eps=0.1, stream="mt19937")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_device_computes_the_same_normals(dtype):
    there = PhiloxStream(5, range(64), 0, 74, dtype, torch.device("cuda")).read(3, 5)
    here = PhiloxStream(5, range(64), 0, 74, dtype, CPU).read(3, 5)
    tolerance = 1e-13 if dtype == F64 else 2e-6
    torch.testing.assert_close(there.cpu(), here, rtol=tolerance, atol=tolerance)


def test_without_a_compiler_the_normals_are_the_same_and_this_is_said_once(monkeypatch):
    def compiled(function, **options):
        def fail(*arguments):
            raise RuntimeError("no compiler\nand more")

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    philox._compiled.cache_clear()
    stream = PhiloxStream(5, range(3), 0, 7, F64, CPU)
    expected = stream.read(0, 4)
    stream._normals = philox._compiled()
    with pytest.warns(UserWarning, match=r"about 25 times slower: no compiler$") as caught:
        assert torch.equal(stream.read(0, 4), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(stream.read(0, 4), expected)
    assert len(caught) == 1
    philox._compiled.cache_clear()
