"""Facts of the box between two kinks."""

import pytest
import torch

from ctebm.networks.kinks import Box, Kinks

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


def test_kinks_inside_a_range_have_cells_and_two_sides():
    kinks = Kinks(torch.tensor([[0.0, 1.0, torch.inf], [2.0, torch.inf, torch.inf]]))
    s = torch.tensor([[0.0, 1.0, 5.0], [1.5, 0.5, -3.0], [2.0, 7.0, 0.0]])
    assert kinks.on(s).tolist() == [[True, True, False], [False] * 3, [True, False, False]]
    assert kinks.below(s).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    low, high = kinks.cell(kinks.below(s), s)
    inf = torch.inf
    assert low.tolist() == [[-inf, -inf, -inf], [0.0, -inf, -inf], [0.0, 1.0, -inf]]
    assert high.tolist() == [[0.0, 1.0, inf], [2.0, 1.0, inf], [2.0, inf, inf]]
    up, down = kinks.beside(s, 1), kinks.beside(s, -1)
    assert torch.equal(up > s, kinks.on(s)) and torch.equal(down < s, kinks.on(s))
    assert float((up - down).max()) < 1e-6
    assert kinks.distance(s).tolist() == [[0.0, 0.0, inf], [0.5, 0.5, inf], [0.0, 6.0, inf]]
    assert kinks.of_units(torch.tensor([1])).on(s[:, 1:2])[:, 0].tolist() == [True, False, False]


def test_a_motion_slides_on_a_kink_or_leaves_it_by_the_side_that_leads_away():
    s = torch.zeros(4)
    below = torch.tensor([1.0, -1.0, -1.0, 1.0])
    above = torch.tensor([-2.0, -2.0, 2.0, 2.0])
    kinks, f = Kinks(0.0), torch.full((4,), 9.0)
    assert kinks.pinned(s, below, above).tolist() == [True, False, False, False]
    assert kinks.sliding(s, f, below, above).tolist() == [0.0, -1.0, 2.0, 2.0]
    assert torch.equal(kinks.sliding(s + 0.1, f, below, above), f)


def test_how_far_the_nearer_kink_is():
    s = torch.tensor([-0.3, -0.1, 0.6, 0.7, 0.9], dtype=torch.float64)
    assert BOX.distance(s).tolist() == pytest.approx([0.0, 0.2, 0.1, 0.0, -0.2])
