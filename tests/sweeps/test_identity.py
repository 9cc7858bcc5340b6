"""What makes two sweeps one."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from cases import every_motion, every_network

import ctebm
from ctebm.sweeps.identity import differences, identity
from ctebm.sweeps.points import Points

GRID = Points.grid({"a": [1, 2]})


def one(a, b=0):
    return {"sum": a + b}


def other(a, b=0):
    return {"sum": a - b}


def of(function=one, points=GRID, threads=1, **settings):
    return identity(function, points, threads, settings)


def test_the_same_is_the_same():
    assert differences(of(gain=1), of(gain=1)) == []
    assert of(functools.partial(one, b=object)) == of(functools.partial(one, b=object))


def test_every_difference_is_shown():
    assert differences(of(gain=1), of(gain=2)) == ["settings.gain is 1 here and 2 there"]
    assert differences(of(), of(points=Points.grid({"a": [1, 3]}))) == [
        "points.a is 1, 2 here and 1, 3 there"
    ]
    assert differences(of(threads=2), of()) == ["threads is 2 here and 1 there"]
    assert differences(of(), of(other))[0].startswith("function is ")
    changed = differences(of(functools.partial(one, b=1)), of(functools.partial(one, b=2)))
    assert changed == [
        "arguments is tuple(tuple(), list(tuple('b', 1))) here and "
        "tuple(tuple(), list(tuple('b', 2))) there"
    ]


def test_points_that_differ_between_their_ends_differ():
    near = [Points.grid({"a": [*range(9), last, 99]}) for last in (10, 11)]
    (line,) = differences(of(points=near[0]), of(points=near[1]))
    assert line.startswith("points_sha256 is ")


def test_where_an_object_lies_in_memory_is_no_part_of_it():
    class Thing:
        pass

    assert of(functools.partial(one, b=Thing())) == of(functools.partial(one, b=Thing()))


def within(value):
    def function(a):
        return {"sum": a + value}

    return function


SCALE = 1.0


def scaled(a):
    return {"sum": a * SCALE}


class Kept:
    def __init__(self, value):
        self.value = value

    def __call__(self, a):
        return {"sum": a + self.value}

    def method(self, a):
        return {"sum": a + self.value}


LONG = np.arange(5000.0)
CHANGED = np.where(LONG == 2500, -1, LONG)


@pytest.mark.parametrize(
    "pair",
    [(2, 3), (LONG, CHANGED), ([{"x": LONG}], [{"x": CHANGED}]), ({1, 2}, {1, 3}),
     (torch.tensor(LONG), torch.tensor(CHANGED)), (within(1), within(2)),
     (torch.tensor(LONG).to_sparse(), torch.tensor(CHANGED).to_sparse())],
)  # fmt: skip
@pytest.mark.parametrize(
    "made", [within, Kept, lambda v: Kept(v).method, lambda v: functools.partial(one, b=v)]
)
def test_what_a_function_brings_along_is_a_part_of_it(made, pair):
    first, second = (of(made(value)) for value in pair)
    assert differences(first, first) == [] and first == of(made(pair[0]))
    assert len(differences(first, second)) == 1


def test_defaults_and_data_of_the_module_are_parts_of_a_function(monkeypatch):
    def with_default(value):
        def function(a, b=value, *, c=value):
            return {"sum": a + b + c}

        return function

    assert len(differences(of(with_default(1)), of(with_default(2)))) == 2
    before = of(scaled)
    monkeypatch.setitem(scaled.__globals__, "SCALE", 2.0)
    assert differences(before, of(scaled)) == ["captured.SCALE is 1.0 here and 2.0 there"]


def test_what_is_within_itself_has_an_end():
    ring: list[object] = [1]
    ring.append(ring)

    def recursive(a):
        return {"sum": recursive(a - 1) if a else ring}

    assert of(recursive) == of(recursive)


MOTIONS = every_network() | every_motion()


@pytest.mark.parametrize("name", MOTIONS)
def test_a_network_that_was_used_is_the_same(name):
    net = MOTIONS[name]
    before = of(within(net))
    s = torch.zeros(*(net.batch or (2,)), net.n_units or 3, dtype=torch.float64)
    net.force(s)
    net.jacobian_product(s, s)
    if isinstance(net, ctebm.Network):
        net.energy(s)
        net.hessian(s)
    assert of(within(net)) == before
