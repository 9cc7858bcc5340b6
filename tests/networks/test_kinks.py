"""Facts of the box between two kinks."""

import pytest
import torch

from ctebm.networks.kinks import Box

BOX = Box(-0.3, 0.7)
INF = torch.inf
DTYPES = [torch.float64, torch.float32]


def test_a_box_contains_its_kinks():
    s = torch.tensor([-0.4, -0.3, 0.0, 0.7, 0.8, torch.nan], dtype=torch.float64)
    assert BOX.contains(s).tolist() == [False, True, True, True, False, False]
    assert BOX.inside(s).tolist() == [False, False, True, False, False, False]


def test_the_box_around_a_box_and_states_contains_both():
    s = torch.tensor([[-0.4, 0.0], [2.0, 0.7]], dtype=torch.float64)
    low, high = BOX.including(s)
    assert low.tolist() == [[-0.4, -0.3], [-0.3, -0.3]]
    assert high.tolist() == [[0.7, 0.7], [2.0, 0.7]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_only_a_rounding_error_is_put_on_a_kink(dtype):
    kinks = torch.tensor([-0.3, 0.7], dtype=dtype)
    ulp = torch.finfo(dtype).eps
    for off in (-2 * ulp, 0, 2 * ulp):
        assert torch.equal(BOX.on_kinks(kinks + off), kinks)
    for off in (-8 * ulp, 8 * ulp, 0.1):
        assert torch.equal(BOX.on_kinks(kinks + off), kinks + off)
    free = Box(torch.tensor([-0.3, -INF]), torch.tensor([INF, 0.7]))
    s = torch.tensor([[0.7, -0.3], [INF, torch.nan]], dtype=dtype)
    torch.testing.assert_close(free.on_kinks(s), s, rtol=0, atol=0, equal_nan=True)


def test_rounding_is_relative_to_a_large_kink():
    kinks = torch.tensor([-300.0, 500.0], dtype=torch.float64)
    box, off = Box(kinks[0], kinks[1]), 1e-13  # two units in the last place
    assert torch.equal(box.on_kinks(kinks + off), kinks)
    assert torch.equal(box.on_kinks(kinks + 1e-9), kinks + 1e-9)


def test_a_kink_is_one_number_or_one_for_each_unit():
    s = torch.tensor([[-2.0, 0.0, 2.0]], dtype=torch.float64)
    low = torch.tensor([-1.0, -INF, 1.0], dtype=torch.float64)
    for high in (1.5, torch.tensor([1.5, 1.5, 1.5], dtype=torch.float64)):
        box = Box(low, high)
        assert box.project(s).tolist() == [[-1.0, 0.0, 1.5]]
        assert box.of_units(torch.tensor([2, 0])).project(s[:, [2, 0]]).tolist() == [[1.5, -1.0]]
        assert box.side(s).tolist() == [[-1, 0, 1]]
        assert [kinks.tolist() for kinks in box.each(s)] == [low.tolist(), [1.5] * 3]
        assert box.margin(s, torch.full_like(s, -0.2)).tolist() == [[0.2, 1.5, -0.5]]


def test_a_unit_is_held_at_a_kink_by_a_force_that_does_not_lead_back():
    s = torch.tensor([-0.4, -0.3, -0.3, -0.3, 0.2, 0.7, 0.7, 0.7, 0.8], dtype=torch.float64)
    f = torch.tensor([-1.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 1.0], dtype=torch.float64)
    held = [True, True, True, False, False, True, True, False, True]
    out = [True, True, False, False, False, True, False, False, True]
    assert BOX.pinned(s, f).tolist() == held
    assert BOX.pulled_out(s, f).tolist() == out
    assert BOX.side(s).tolist() == [-1, -1, -1, -1, 0, 1, 1, 1, 1]
    inside = BOX.residual(s[3:8], f[3:8])
    assert inside.tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0, -1.0])
    expected = [1.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 1.0]
    assert BOX.margin(s, f).tolist() == pytest.approx(expected)
