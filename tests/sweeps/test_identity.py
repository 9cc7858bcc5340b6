"""What makes two sweeps one."""

from __future__ import annotations

import functools

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
    assert changed == ["arguments is ((), [('b', 1)]) here and ((), [('b', 2)]) there"]


def test_points_that_differ_between_their_ends_differ():
    near = [Points.grid({"a": [*range(9), last, 99]}) for last in (10, 11)]
    (line,) = differences(of(points=near[0]), of(points=near[1]))
    assert line.startswith("points_sha256 is ")


def test_where_an_object_lies_in_memory_is_no_part_of_it():
    class Thing:
        pass

    assert of(functools.partial(one, b=Thing())) == of(functools.partial(one, b=Thing()))
