"""When a change arrives in each layer of a chain, and what rounding leaves of it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ctebm
from ctebm.early_inference.arrivals import along_paths, first_steps, rounding_floor


@pytest.fixture(scope="module")
def record():
    net = ctebm.LayeredNetwork.random([3, 4, 4, 2], ctebm.HardSigmoid(), gain=0.2, seed=1)
    return ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=[0.5, 0.1], n_steps=5)


def test_layers_move_one_after_another(record):
    assert first_steps(record) == [3, 2, 1]
    for i, n in enumerate(first_steps(record)):
        where = list(record.fixed.network.layers.values())[i]
        moved = record.displacement[..., where].abs().amax(-1)[0, 0]
        assert moved[n] > 1e-6
        assert bool((moved[:n] < 1e-15).all())


def test_a_law_gets_hops_and_steps(record):
    found = along_paths(record, lambda k, n, eps: k + 10 * n + 100 * eps)
    assert found.shape == (2, 6, 3)
    torch.testing.assert_close(found[1, 2], torch.tensor([2.0, 1, 0]).double() + 30)


def test_rounding_leaves_more_of_what_is_smaller(record):
    floor = rounding_floor(record)
    assert floor.shape == (1, 2, 3)
    assert bool((floor[:, :, 0] > floor[:, :, 2]).all())
    assert bool((floor[:, 1] > floor[:, 0]).all())
    rest = abs(record.coefficient[0, 0, 3, 0] / 0.5**3 - 1)
    assert rest <= max(float(floor[0, 0, 0]), np.finfo(float).eps * 8)


def test_the_rounding_floor_written_out(record):
    """Of n steps: each rounds a state and twice the signal, and adds its share of the residual."""
    floor, unit = rounding_floor(record), 2.0**-53
    for i, (where, k) in enumerate(
        zip(record.fixed.network.layers.values(), (2, 1, 0), strict=True)
    ):
        for j, eps in enumerate((0.5, 0.1)):
            n = k + 1
            signal = eps**n * float(record.chain[0, where].norm())
            size = float(record.fixed.state[0, where].norm())
            rest = float(record.fixed.residual[0]) * (where.stop - where.start) ** 0.5
            noise = n * (unit * (size + 2 * signal) + eps * rest)
            assert float(floor[0, j, i]) == pytest.approx(noise / signal, rel=1e-12)


def replaced(record, **changes):
    """A record that says other things of its run."""
    seen = {name: getattr(record, name) for name in (
        "order", "drive", "depth", "layers", "couplings", "step", "eps", "fixed", "chain",
        "displacement",
    )}  # fmt: skip
    return SimpleNamespace(**(seen | changes))


@pytest.mark.parametrize(("order", "lead"), [(1, 0), (2, 0), (4, 0), (1, 1), (2, 1), (0, 0)])
def test_first_steps_are_the_hops_over_those_of_a_step(record, order, lead):
    drive = SimpleNamespace(lead=lead, strength=1.0)
    said = replaced(record, order=order, drive=drive, depth=[5, math.inf, 1, 0])
    slow = [k if math.isinf(k) else math.ceil((k + 1 - lead) / order) if order else 0
            for k in said.depth]  # fmt: skip
    assert first_steps(said) == slow


def test_layers_without_a_path_have_none_of_the_law_and_those_with_several_are_unknown(record):
    lengths = {name: found for name, found in zip(record.layers, ({3}, set(), {1, 2}), strict=True)}
    step = record.step.clone()
    step[1, 4] = -1
    said = replaced(
        record, couplings=SimpleNamespace(lengths=lengths), depth=[2, math.inf, 0], step=step
    )
    found = along_paths(said, lambda k, n, eps: 1 + k + 10 * n)
    assert found[0, 2].tolist()[:2] == [23, 0] and bool(found[:, :, 2].isnan().all())
    assert bool(found[1, 4].isnan().all()) and found[0, 4, :2].tolist() == [43, 0]


def test_without_an_order_or_an_arrival_there_is_no_floor(record):
    assert bool(rounding_floor(replaced(record, order=0)).isnan().all())
    far = rounding_floor(replaced(record, depth=[math.inf, 1, 0]))
    assert far.shape == (1, 2, 3)
    assert bool(far[..., 0].isnan().all()) and not bool(far[..., 1:].isnan().any())
    strong = SimpleNamespace(lead=0, strength=-2.0)
    torch.testing.assert_close(rounding_floor(replaced(record, drive=strong)),
                               rounding_floor(record) / 2)  # fmt: skip
