"""Streams of normals: one a sample, the same whatever the batch, block, start or process."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from run_cases import path
from scipy import stats

from ctebm.dynamics import streams
from ctebm.dynamics.noise import BrownianSteps
from ctebm.dynamics.streams import SUBSTREAM, Blocks, Streams, fresh_seed

DTYPES = [torch.float64, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=15, deadline=None)
@given(
    block=st.integers(1, SUBSTREAM + 7),
    first=st.integers(0, 2 * SUBSTREAM + 100),
    bounded=st.booleans(),
)
def test_path_depends_neither_on_the_block_nor_on_the_start(dtype, block, first, bounded):
    whole = path(first + 40, dtype=dtype)
    n_steps = 40 if bounded else None
    part = path(40, dtype=dtype, block=block, first=first, n_steps=n_steps)
    assert torch.equal(part, whole[first:])


@pytest.mark.parametrize("n_units, steps", [(1, 16), (6, 8), (522, 8), (784, 1)])
def test_steps_that_fill_whole_draws_of_the_twister_are_those_of_long_draws(n_units, steps):
    assert Streams(0, [0], (), n_units, torch.float32).grain == steps
    long = path(64, n_units=n_units, samples=[3], dtype=torch.float32, block=64)
    short = path(64, n_units=n_units, samples=[3], dtype=torch.float32, block=1)
    assert torch.equal(short, long)


@pytest.mark.parametrize("n_samples, most", [(1, 2**22), (10**4, 2**25), (10**7, 8 * 10**7)])
def test_blocks_are_bounded_in_bytes_but_hold_a_step(n_samples, most):
    class Sizes:
        ahead, grain, few, width = False, 1, SUBSTREAM, n_samples
        largest = 0

        def read(self, step, size):
            self.largest = max(self.largest, size)
            return torch.zeros(()).expand(self.width, size, 1)

    sizes = Sizes()
    blocks = Blocks(sizes, torch.float64, torch.device("meta"), 0, None, None, None)
    for _ in range(3000):
        blocks.next()
    assert 1 <= sizes.largest <= SUBSTREAM
    assert 8 * n_samples * sizes.largest <= most


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_path_does_not_depend_on_the_batch(dtype):
    alone = path(100, samples=[0], dtype=dtype)
    for batch in (64, 1024):
        assert torch.equal(path(100, samples=range(batch), dtype=dtype)[:, :1], alone)
    tile = path(100, samples=[40, 3], dtype=dtype)
    whole = path(100, samples=range(64), dtype=dtype)
    assert torch.equal(tile, whole[:, [40, 3]])


def test_thread_and_no_thread_draw_the_same():
    ahead = path(SUBSTREAM + 300, n_units=50, samples=range(8), n_steps=SUBSTREAM + 300)
    inline = torch.cat(
        [path(1, n_units=50, samples=range(8), first=n, n_steps=1) for n in range(0, 1300, 97)]
    )
    assert torch.equal(ahead[0:1300:97], inline)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("least", [0, 2**19])
def test_memory_that_is_used_again_holds_the_same_numbers(
    dtype, substeps, inference, least, monkeypatch
):
    """Blocks of 64 x 50 units are drawn by a thread, and the run has many of them."""
    monkeypatch.setattr(streams, "_REUSED_BYTES", least)
    options = {"samples": range(64), "n_units": 50, "dtype": dtype, "substeps": substeps}
    own = path(400, **options, n_steps=400)
    options |= {"n_steps": 400, "intensity": torch.ones((), dtype=dtype)}
    with torch.inference_mode(inference), torch.no_grad(), BrownianSteps(7, **options) as b:
        reused = torch.stack([b.increment().clone() for _ in range(400)])
    assert torch.equal(reused, own)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_large_block_is_overwritten_by_the_next_but_one(dtype, monkeypatch):
    monkeypatch.setattr(streams, "_REUSED_BYTES", 16 * 6 * dtype.itemsize)
    both = Streams(0, [0, 1], (), 3, dtype, reused=True)
    first, second = both.read(0, 16), both.read(16, 16)
    kept = second.clone()
    third = both.read(32, 16)
    assert third.data_ptr() == first.data_ptr() and torch.equal(second, kept)
    assert both.read(48, 16).data_ptr() == second.data_ptr()
    longer = both.read(64, 32)  # in place of the third, in more memory
    plain = Streams(0, [0, 1], (), 3, dtype)
    assert torch.equal(longer, torch.cat([plain.read(n, 16) for n in range(0, 96, 16)], 1)[:, 64:])


@pytest.mark.parametrize("reused", [False, True])
def test_small_blocks_have_memory_of_their_own(reused):
    both = Streams(0, [0, 1], (), 3, torch.float64, reused=reused)
    blocks = [both.read(n, 16) for n in range(0, 64, 16)]
    assert len({block.data_ptr() for block in blocks}) == 4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_increments_that_a_graph_keeps_have_memory_of_their_own(dtype):
    with BrownianSteps(7, [0], 40, dtype, block=8) as b:
        kept = [b.increment() for _ in range(64)]
    assert torch.equal(torch.stack(kept), path(64, [0], 40, dtype=dtype))


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
        (steps[: 1100 - SUBSTREAM], steps[SUBSTREAM:]),  # the same place in two chapters
    ]
    for a, b in neighbours:
        assert abs((a * b).mean()) * a.size**0.5 < 5


class Counting:
    """Streams of step numbers that note how many steps each read asks for."""

    def __init__(self, width: int, grain: int = 1, ahead: bool = False) -> None:
        self.width, self.grain, self.ahead, self.few = width, grain, ahead, 16
        self.read_from: list[tuple[int, int]] = []

    def read(self, step: int, size: int) -> torch.Tensor:
        self.read_from.append((step, size))
        return torch.arange(step, step + size, dtype=torch.float64).reshape(1, size, 1)


@pytest.mark.parametrize("ahead", [False, True])
def test_blocks_grow_to_a_size_that_stays_in_the_cache(ahead):
    """A block is short at first, doubles, ends with its substream, and holds at most 4 MiB.

    It is shortest where a thread draws the later ones meanwhile.
    """
    streams = Counting(width=4096, ahead=ahead)
    blocks = Blocks(streams, torch.float64, torch.device("cpu"), 1000, 300, None, None)
    assert [float(blocks.next()) for _ in range(300)] == [*range(1000, 1300)]
    with pytest.raises(ValueError, match="expected no step after 1300"):
        blocks.next()
    blocks.close()
    few = [(1000, 4), (1004, 8), (1012, 12), (1024, 32), (1056, 64), (1120, 128), (1248, 52)]
    some = [(1000, 16), (1016, 8), (1024, 64), (1088, 128), (1216, 84)]
    assert streams.read_from == (few if ahead else some)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_have_as_many_bytes_in_each_dtype(dtype):
    streams = Counting(width=4096)
    blocks = Blocks(streams, dtype, torch.device("cpu"), 0, 1000, None, None)
    for _ in range(1000):
        blocks.next()
    largest = max(size for _, size in streams.read_from)
    assert 4096 * largest * dtype.itemsize == 2**22


@pytest.mark.parametrize("few, a_step, steps", [
    (28, 2**16, 64),  # 4 MiB
    (28, 2**19, 28),  # a few steps, though they are larger
    (28, 2**22, 8),  # as many as 32 MiB hold
    (28, 2**30, 1),
])  # fmt: skip
def test_a_block_of_large_steps_holds_a_few_if_they_fit(few, a_step, steps):
    streams = Counting(width=a_step // 8)
    streams.few = few
    blocks = Blocks(streams, torch.float64, torch.device("cpu"), 0, 200, None, None)
    for _ in range(200):
        blocks.next()
    assert max(size for _, size in streams.read_from) == steps


@pytest.mark.parametrize("n_units, few", [(74, 28), (522, 4), (2048, 1), (5000, 1), (0, 2048)])
def test_a_few_steps_make_one_call_worthwhile(n_units, few):
    assert Streams(0, [0], (), n_units, torch.float64).few == few


def test_blocks_begin_and_end_at_whole_grains():
    streams, half = Counting(width=1, grain=16), torch.tensor([[0.5]], dtype=torch.float64)
    blocks = Blocks(streams, torch.float64, torch.device("cpu"), 35, 20, half, 10)
    assert [float(blocks.next()) for _ in range(20)] == [n / 2 for n in range(35, 55)]
    assert streams.read_from == [(32, 16), (48, 16)]


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


def test_normals_are_scaled_and_their_gradient_goes_to_the_scale():
    for half in (torch.tensor([[0.5]]).double(), torch.tensor([[0.5]]).double().requires_grad_()):
        blocks = Blocks(Counting(1), torch.float64, torch.device("cpu"), 0, 10, half, None)
        steps = torch.cat([blocks.next() for _ in range(10)])
        assert steps.flatten().tolist() == [n / 2 for n in range(10)]
        if half.requires_grad:
            (slope,) = torch.autograd.grad(steps.sum(), half)
            assert float(slope) == sum(range(10))
