"""What makes two sweeps one."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from cases import every_motion, every_network

import ctebm
from ctebm.sweeps.identity import _is_own, differences, identity
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
    twice = isinstance(first.get("arguments"), str) and callable(pair[0])  # as code too
    assert 1 <= len(differences(first, second)) <= 1 + twice


def test_defaults_and_data_of_the_module_are_parts_of_a_function(monkeypatch):
    def with_default(value):
        def function(a, b=value, *, c=value):
            return {"sum": a + b + c}

        return function

    assert len(differences(of(with_default(1)), of(with_default(2)))) == 2
    before = of(scaled)
    monkeypatch.setitem(scaled.__globals__, "SCALE", 2.0)
    assert differences(before, of(scaled)) == ["captured.SCALE is 1.0 here and 2.0 there"]


def helper(a):
    return a * SCALE


class Holder:
    def __call__(self, a):
        return helper(a)

    @property
    def scale(self):
        return SCALE


holder = Holder()
partly = functools.partial(helper)
once = functools.lru_cache(helper)


@pytest.mark.parametrize(
    "function",
    [
        lambda a: {"sum": sum(a * SCALE for _ in range(2))},
        lambda a: {"sum": (lambda: a * SCALE)()},
        lambda a: {"sum": helper(a)},
        lambda a: {"sum": (lambda: helper(a))()},
        lambda a: {"sum": partly(a)},
        lambda a: {"sum": once(a)},
        lambda a: {"sum": holder(a)},
        lambda a: {"sum": Holder().scale},
        holder,
        holder.__call__,
        functools.partial(holder),
        lambda a, of=helper: {"sum": of(a)},
    ],
)
def test_what_helpers_name_is_a_part_of_a_function(monkeypatch, function):
    before = of(function)
    assert of(function) == before
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    lines = differences(of(function), before)
    told = any(".captured.SCALE is 2.0 here and 1.0 there" in f".{line}" for line in lines)
    assert told or (len(lines) == 1 and lines[0].startswith("captured.partly is partial("))


def test_code_of_helpers_is_a_part_of_a_function(monkeypatch):
    def function(a):
        return {"sum": helper(a)}

    before = of(function)
    monkeypatch.setitem(globals(), "helper", other)
    assert differences(of(function), before)

    def typed(source):
        names: dict[str, object] = {"__name__": "typed"}
        exec(f"def function(a):\n    return (lambda: {source})()", names)
        return names["function"]

    assert of(typed("2 * a")) == of(typed("2 * a"))
    assert differences(of(typed("2 * a")), of(typed("3 * a")))


def test_a_model_of_the_module_is_a_part_of_a_function(monkeypatch):
    before = of(modelled)
    with torch.no_grad():
        monkeypatch.setattr(MODEL, "weight", torch.nn.Parameter(MODEL.weight + 1))
    (line,) = differences(of(modelled), before)
    assert line.startswith("captured.MODEL is Linear")


MODEL = torch.nn.Linear(2, 1)


def modelled(a):
    return {"sum": float(MODEL(torch.ones(2)))}


def test_which_function_of_a_library_is_a_part_of_a_function(monkeypatch):
    before = of(curved)
    monkeypatch.setitem(globals(), "curve", torch.nn.functional.silu)
    (line,) = differences(of(curved), before)
    assert line == (
        "captured.curve is 'torch.nn.functional.silu' here and 'torch.nn.functional.softsign' there"
    )


curve = torch.nn.functional.softsign


def curved(a):
    return {"sum": float(curve(torch.tensor(a)))}


mine: Any = None


def test_what_a_function_takes_from_another_module_of_the_user_is_a_part_of_it(monkeypatch):
    other_module: Any = ModuleType("mine")
    exec("scale = 1.0\ndef helper(a):\n    return a * scale", vars(other_module))
    monkeypatch.setitem(globals(), "mine", other_module)
    names = {lambda a: {"sum": a * mine.scale}: "captured.mine.scale"}
    names[lambda a: {"sum": mine.helper(a)}] = "code.mine.helper.captured.scale"
    before = [of(function) for function in names]
    other_module.scale = 2.0
    lines = [differences(of(f), b) for f, b in zip(names, before, strict=True)]
    assert lines == [[f"{name} is 2.0 here and 1.0 there"] for name in names.values()]


def test_attributes_of_a_function_are_a_part_of_it():
    def function(a):
        return {"sum": a * vars(function)["scale"]}

    vars(function)["scale"] = 1.0
    before = of(function)
    vars(function)["scale"] = 2.0
    assert differences(of(function), before)


def test_iterators_that_a_function_holds_are_a_part_of_it():
    assert of(within(iter([1, 2]))) == of(within(iter([1, 2])))
    assert differences(of(within(iter([1, 2]))), of(within(iter([1, 3]))))


def test_many_helpers_that_call_each_other_are_told_once():
    names: dict[str, object] = {"__name__": "many"}
    calls = " + ".join(f"h{i}(a)" for i in range(30))
    for i in range(30):
        exec(f"def h{i}(a):\n    return {calls}", names)
    assert len(of(names["h0"])["code"]) == 29


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


def test_code_of_the_user_is_that_of_no_library():
    """Data are not code, nor is code of Python, of this package or of a library the user's."""

    def own():
        return 1

    for value in (3, "word", [1], None, np.zeros(2), np, np.sin, math, math.sin, len, ctebm,
                  ctebm.settle, ctebm.Tanh, ctebm.Tanh(), functools.partial(own)):  # fmt: skip
        assert not _is_own(value), value
    for value in (own, type("Own", (), {"__module__": "mine"}), ModuleType("mine")):
        assert _is_own(value), value
    nameless = ModuleType("x")
    nameless.__name__ = 3
    assert not _is_own(nameless)
