"""Streams of noise: one a sample, the same whatever the batch, page, start or process."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ctebm.dynamics.noise import CHAPTER, BrownianSteps, fresh_seed

DTYPES = [torch.float64, torch.float32]


def path(count: int, samples=(0, 1, 2), n_units=5, seed=7, **options) -> Tensor:
    with BrownianSteps(seed, samples, n_units, **options) as brownian:
        return torch.stack([brownian.increment().clone() for _ in range(count)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=15, deadline=None)
@given(
    page=st.integers(1, CHAPTER + 7),
    first=st.integers(0, 2 * CHAPTER + 100),
    bounded=st.booleans(),
)
def test_path_depends_neither_on_the_page_nor_on_the_start(dtype, page, first, bounded):
    whole = path(first + 40, dtype=dtype)
    n_steps = 40 if bounded else None
    part = path(40, dtype=dtype, page=page, first=first, n_steps=n_steps)
    assert torch.equal(part, whole[first:])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_path_does_not_depend_on_the_batch(dtype):
    alone = path(100, samples=[0], dtype=dtype)
    for batch in (64, 1024):
        assert torch.equal(path(100, samples=range(batch), dtype=dtype)[:, :1], alone)
    tile = path(100, samples=[40, 3], dtype=dtype)
    whole = path(100, samples=range(64), dtype=dtype)
    assert torch.equal(tile, whole[:, [40, 3]])


def test_thread_and_no_thread_draw_the_same():
    ahead = path(CHAPTER + 300, n_units=50, samples=range(8), n_steps=CHAPTER + 300)
    inline = torch.cat(
        [path(1, n_units=50, samples=range(8), first=n, n_steps=1) for n in range(0, 1300, 97)]
    )
    assert torch.equal(ahead[0:1300:97], inline)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("m", [2, 3, 8])
def test_coarse_path_is_the_sum_of_the_fine_one(dtype, m):
    fine = path(40 * m, dtype=dtype)
    coarse = path(40, dtype=dtype, substeps=m, page=16)
    expected = fine.reshape(40, m, 3, 5).sum(1) / m**0.5
    torch.testing.assert_close(coarse, expected)
    later = path(10, dtype=dtype, substeps=m, first=30)
    assert torch.equal(later, coarse[30:])


def test_integrals_add_up_and_leave_the_increments_alone():
    n, m = 4000, 4
    with BrownianSteps(3, [0], 10, area=True) as brownian:
        W, U = (torch.stack(x) for x in zip(*(brownian(k, k + 1, return_U=True) for k in range(n)),
                                           strict=True))  # fmt: skip
    assert torch.equal(W, path(n, [0], 10, seed=3))
    # W and its integral over a unit step have covariance [[1, 1/2], [1/2, 1/3]]
    both = torch.stack([W.flatten(), U.flatten()])
    expected = np.array([[1, 1 / 2], [1 / 2, 1 / 3]])
    np.testing.assert_allclose(np.cov(both), expected, atol=5 * (2 / both.shape[1]) ** 0.5)
    with BrownianSteps(3, [0], 10, area=True, substeps=m) as brownian:
        Wc, Uc = brownian(0, 1, return_U=True)
    before = torch.cumsum(W[:m], 0) - W[:m]
    torch.testing.assert_close(Wc, W[:m].sum(0) / m**0.5)
    torch.testing.assert_close(Uc, (U[:m] + before).sum(0) / m**1.5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_increments_are_independent_standard_normals(dtype):
    # Bounds: |z| < 5 for each of the moments (p = 6e-7), Kolmogorov-Smirnov at p > 1e-6.
    steps = path(1100, samples=range(40), n_units=20, seed=11, dtype=dtype).double().numpy()
    n = steps.size
    assert stats.kstest(steps.ravel(), "norm").pvalue > 1e-6
    assert abs(steps.mean()) * n**0.5 < 5
    assert abs(steps.var() - 1) * (n / 2) ** 0.5 < 5
    neighbours = [
        (steps[1:], steps[:-1]),  # in time, over the end of a chapter too
        (steps[:, 1:], steps[:, :-1]),  # samples
        (steps[..., 1:], steps[..., :-1]),  # units
        (steps[: 1100 - CHAPTER], steps[CHAPTER:]),  # the same place in two chapters
    ]
    for a, b in neighbours:
        assert abs((a * b).mean()) * a.size**0.5 < 5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("intensity", [torch.tensor(0.3), torch.rand(64, 1)], ids=["one", "each"])
def test_intensity_multiplies_the_path_and_has_a_gradient(dtype, intensity):
    # wide enough that a thread draws
    options = {"samples": range(64), "n_units": 64, "n_steps": 40, "dtype": dtype}
    intensity = intensity.to(dtype).requires_grad_()
    plain = path(40, **options)
    scaled = path(40, **options, intensity=intensity)
    assert torch.equal(scaled, plain * intensity)
    found = torch.autograd.grad(scaled.sum(), intensity)[0]
    torch.testing.assert_close(found, plain.sum(0).sum_to_size(intensity.shape))
    with torch.no_grad():
        assert not path(40, **options, intensity=intensity).requires_grad
    both = {"samples": [0], "n_units": 2, "area": True}
    with (
        BrownianSteps(1, **both) as one,
        BrownianSteps(1, **both, intensity=torch.tensor(2.0)) as two,
    ):
        for x, y in zip(one(0, 1, return_U=True), two(0, 1, return_U=True), strict=True):
            torch.testing.assert_close(y, 2 * x)


def test_refuses_what_is_not_the_next_unit_step():
    brownian = BrownianSteps(1, [0], 2, n_steps=3)
    brownian(0.0, 1.0)
    for ta, tb in [(0, 1), (2, 3), (1, 1.5), (1, 3), (1.25, 2.25), (1, None)]:
        with pytest.raises(ValueError, match="expected"):
            brownian(ta, tb)
    with pytest.raises(ValueError, match="expected one unit step"):
        brownian(1, 2, return_U=True)
    brownian(1, 2)
    brownian(torch.tensor(2.0), torch.tensor(3.0))
    with pytest.raises(ValueError, match="no step after 3"):
        brownian(3, 4)


def test_seeds_and_dtypes_name_different_paths():
    paths = [path(20, seed=seed, dtype=dtype).double() for seed in (1, 2) for dtype in DTYPES]
    for i, a in enumerate(paths):
        for b in paths[:i]:
            assert (a - b).abs().min() > 0


def _child(queue) -> None:
    queue.put((fresh_seed(), path(3).numpy()))


def test_a_forked_process_has_fresh_seeds_and_the_same_named_path():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_child, args=(queue,)) for _ in range(2)]
    for child in children:
        child.start()
    answers = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert len({fresh_seed(), *(seed for seed, _ in answers)}) == 3
    for _, steps in answers:
        assert np.array_equal(steps, path(3).numpy())


def test_another_process_draws_the_same_named_path():
    code = (
        "import torch; torch.manual_seed(1)\n"
        "from ctebm.dynamics.noise import BrownianSteps as B\n"
        "b = B(7, [5], 3, torch.float32); print(b.increment().tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(path(1, [5], 3, dtype=torch.float32)[0].tolist())


def test_the_first_numbers_of_a_seed_stay_what_they_are():
    # Results name their seed; other numbers for it would be another experiment.
    double = path(1, [0], 3, dtype=torch.float64)[0, 0]
    single = path(1, [0], 3, dtype=torch.float32)[0, 0]
    np.testing.assert_allclose(double, [-1.8217894631, -0.2016375317, 1.2633364087], atol=1e-9)
    np.testing.assert_allclose(single, [0.6342, -0.4797, 0.5965], atol=6e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_device_does_not_change_the_path(dtype):
    assert torch.equal(path(50, dtype=dtype, device="cuda").cpu(), path(50, dtype=dtype))
