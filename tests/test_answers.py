"""What every public function answers, warns and reserves, and how often it asks its network.

All of it is held against a record.

Right answers have their own tests. This one notices what these can't: another default, another way
to the same answer, another number in a corner of a record. Where a change is meant to alter some,
``python tests/test_answers.py`` writes them anew, in tests/answers.json, and says which. What is on
record several kinds of processors agree on, so that another machine gives the same.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import xarray as xr
from abuse_cases import CALLS, skipped
from answer_cases import PROBLEMS

import ctebm
from ctebm.equilibria import search
from ctebm.networks.base import VectorField
from ctebm.networks.blocks import Blocks
from ctebm.networks.memory_limits import check_memory

FILE = Path(__file__).with_name("answers.json")
REFUSED = Path(__file__).with_name("refusals.json")
DEFAULTS = Path(__file__).with_name("defaults.json")
WRONG: list[Any] = [
    math.nan, math.inf, -1, 0, 2.5, "word", None, True, [], [[1.0, 2.0], [3.0, 4.0]], [0.1, 0.2],
    {"x": 1}, torch.zeros(7), np.zeros((2, 6, 5)),
]  # fmt: skip
SLACK = 0.02  # of a count, which rounding may move
# Processors that sum in another order; what they do not agree on is not on record.
KINDS: list[dict[str, str]] = [
    {},
    {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Prescott"},
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
]
NEAR, NOTHING = 1e-5, 1e-8  # how far numbers may lie apart, relative and absolute
METHODS = (
    "force", "pressure", "energy", "energy_and_force", "potential", "jacobian_product",
    "adjoint_product", "jacobian", "hessian_product", "hessian", "hessian_operator",
    "force_operator",
)  # fmt: skip


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count calls of every network's methods, the states they are given, and bytes reserved."""
    counts, inside = Counter(), [False]
    before = []

    def note(name: str, states: Any) -> None:
        counts[f"{name} calls"] += 1
        if isinstance(states, torch.Tensor):
            counts[f"{name} states"] += states.shape[:-1].numel()

    def wrapped(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **options: Any) -> Any:
            if inside[0]:
                return method(self, *args, **options)
            if name == "force_operator":
                return products(method(self), "force")
            inside[0] = True
            try:
                note(name, args[-1] if name == "current" else args[0])
                found = method(self, *args, **options)
            finally:
                inside[0] = False
            return products(found, "products") if name == "hessian_operator" else found

        call.__module__ = method.__module__  # those of ctebm are trusted more than one's own
        return call

    def products(operator: Callable[..., Any], name: str) -> Callable[..., Any]:
        if getattr(operator, "__name__", "") == "call":  # of a method that counts by itself
            return operator

        def call(v: Any) -> Any:
            if not inside[0]:
                note(name, v)
            return operator(v)

        return call

    kinds, names = {VectorField, Blocks}, (*METHODS, "current", "adjoint")
    while more := {sub for kind in kinds for sub in kind.__subclasses__()} - kinds:
        kinds |= more
    for kind in kinds:
        for name in names:
            method = vars(kind).get(name)
            if callable(method):
                before.append((kind, name, method))
                setattr(kind, name, wrapped(name, method))

    def reserve(what: str, n_bytes: int, *args: Any, **options: Any) -> None:
        check_memory(what, n_bytes, *args, **options)
        counts[f"bytes: {what}"] = max(n_bytes, counts[f"bytes: {what}"])

    for module in [m for name, m in sys.modules.items() if name.startswith("ctebm.")]:
        if getattr(module, "check_memory", None) is check_memory:
            before.append((module, "check_memory", check_memory))
            vars(module)["check_memory"] = reserve
    try:
        yield counts
    finally:
        for kind, name, method in before:
            setattr(kind, name, method)


def flat(found: Any, name: str = "answer") -> Iterator[tuple[str, Any]]:
    """Yield what an answer is made of: names, with arrays or words."""
    match found:
        case None | torch.dtype() | torch.device():
            return
        case str():
            yield name, found
        case torch.Tensor():
            found = found.detach().resolve_conj()
            yield name, (found if found.layout == torch.strided else found.to_dense()).cpu().numpy()
        case bool() | int() | float() | complex() | np.generic() | np.ndarray() | range():
            yield name, np.asarray(found)
        case xr.Dataset():
            for part, values in found.variables.items():
                yield f"{name}.{part}", values.values
        case xr.DataArray():
            yield name, found.values
        case Mapping():
            for key, part in found.items():
                yield from flat(part, f"{name}.{key}")
        case list() | tuple():
            for i, part in enumerate(found):
                yield from flat(part, f"{name}.{i}")
        case slice():
            yield from flat((found.start, found.stop), name)
        case VectorField():
            yield name, repr(found)
            yield from flat(found.state_dict(), name)
        case _ if hasattr(found, "to_dataset"):
            yield from flat(found.to_dataset(), name)
            yield from flat(said_of(found), name)
        case _ if dataclasses.is_dataclass(found):
            for field in dataclasses.fields(found):
                yield from flat(getattr(found, field.name), f"{name}.{field.name}")


def said_of(record: Any) -> dict[str, Any]:
    """Return what a record says of itself beside its fields: numbers, words and arrays."""
    kind, said = type(record), {}
    for name in dir(kind):
        part = inspect.getattr_static(kind, name)
        if name.startswith("_") or not isinstance(part, property | cached_property):
            continue
        try:
            value = getattr(record, name)
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
        plain = torch.Tensor | np.ndarray | str | float | int | list | dict
        said |= {name: value} if isinstance(value, plain) else {}
    return said


def summary(values: Any) -> Any:
    """Return words as they are, and of numbers how many there are and where they lie."""
    if isinstance(values, str):
        return values
    if values.dtype.kind in "OUS":
        return " ".join(map(str, values.ravel().tolist()))[:300]
    if values.dtype.kind == "c":
        values = np.stack([values.real, values.imag])
    x = np.asarray(values, float).ravel()
    known = x[np.isfinite(x)]
    size = abs(known)
    where = [known.mean(), size.mean(), size.max(), size[:3].sum()] if len(known) else []
    return [
        len(x),
        len(known),
        *(float(f"{number:.6g}") if abs(number) > NOTHING / 1e3 else 0.0 for number in where),
    ]


def answer(call: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of an answer, and the work that it took."""
    # searches are estimated where the machine is slow, which would count
    quick = mock.patch.object(search, "_may_be_long", lambda *a: False)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with counted() as counts, quick:
            try:
                found = call(**arguments)
            except ValueError as error:
                found = f"ValueError: {error}"
        parts = {name: summary(values) for name, values in flat(found) if "seconds" not in name}
    words = {str(w.message) for w in warned if issubclass(w.category, UserWarning)}
    words = {said for said in words if "will take about" not in said}  # on a slow machine
    parts["warnings"] = " | ".join(sorted(re.sub(r"\d[\d.e+-]*", "#", one) for one in words))
    return parts | {name: count for name, count in sorted(counts.items())}


def refusals(name: str) -> dict[str, list[str]]:
    """Return what a call says to wrong arguments, "" where it answers, by argument."""
    call, arguments = CALLS[name]
    said: dict[str, list[str]] = {}
    for argument in arguments:
        said[argument] = []
        for bad in WRONG:
            words = ""
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    if not skipped(name, argument, bad):
                        call(**arguments | {argument: bad})
                except Exception as error:
                    words = f"{type(error).__name__}: {error}"
            words = re.sub(r"0x[0-9a-f]+|[0-9.,]+(?= .?i?B\b)", "...", " ".join(words.split()))
            said[argument].append(words[:160])
    return said


def shown(default: Any) -> str:
    return getattr(default, "__qualname__", None) or repr(default)


def defaults() -> dict[str, dict[str, str]]:
    """Return the defaults of all functions, classes and methods of the package."""
    found = {}
    for module in pkgutil.walk_packages(ctebm.__path__, "ctebm."):
        if module.ispkg:
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if getattr(thing, "__module__", None) != module.name:
                continue
            callables = {f"{module.name}.{name}": thing}
            if inspect.isclass(thing):
                callables |= {
                    f"{module.name}.{name}.{method}": getattr(thing, method)
                    for method, value in vars(thing).items()
                    if inspect.isroutine(value) and not method.startswith("__")
                }
            for path, function in callables.items():
                with suppress(ValueError, TypeError):  # without a signature
                    given = inspect.signature(function).parameters.values()
                    known = {p.name: shown(p.default) for p in given if p.default is not p.empty}
                    found |= {path: known} if known else {}
    return found


def left_out(name: str) -> list[str]:
    """Return the arguments that a call need not be given; without a seed noise is another one."""
    call, arguments = CALLS[name]
    known = inspect.signature(call).parameters
    default = {a for a, p in known.items() if p.default not in (p.empty, None) or a != "seed"}
    return [
        a for a in arguments if a in default and known[a].default is not inspect.Parameter.empty
    ]


def answers(name: str) -> dict[str, dict[str, Any]]:
    """Return an answer, and what differs where an argument is left to its default."""
    if name in PROBLEMS:
        return {"": answer(PROBLEMS[name], {})}
    call, arguments = CALLS[name]
    given = answer(call, arguments)
    found = {"": given}
    for argument in left_out(name):
        without = answer(call, {k: v for k, v in arguments.items() if k != argument})
        found[argument] = {k: v for k, v in without.items() if differ(v, given.get(k))}
    return found


def differ(now: Any, before: Any) -> bool:
    """Return whether a part of an answer is not that of the record."""
    if isinstance(now, int) and isinstance(before, int):
        return abs(now - before) > max(1, SLACK * before)
    if isinstance(now, list) and isinstance(before, list):
        return len(now) != len(before) or not np.allclose(now, before, rtol=NEAR, atol=NOTHING)
    return now != before


assert not set(PROBLEMS) & set(CALLS)


def changed(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> list[str]:
    """Return which parts of an answer are not those of the record."""
    return [
        f"{argument and 'without ' + argument + ': '}{part}: now {now.get(argument, {}).get(part)},"
        f" was {before.get(argument, {}).get(part)}"
        for argument in now | before
        for part in before.get(argument, {})
        if differ(now.get(argument, {}).get(part), before.get(argument, {}).get(part))
    ]


# no record: what is drawn has its own, and what writes files
NAMES = [
    *PROBLEMS,
    *(n for n in CALLS if "figure" not in n and n not in (
        "portrait", "series", "panel", "panels", "study", "save", "open", "sweep", "field", "custom"
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def record():
    return json.loads(FILE.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_that_of_the_record(name, record):
    now, before = answers(name), record[name]
    off = changed(now, before)
    remedy = "if that is meant, run python tests/test_answers.py"
    assert not off and now.keys() == before.keys(), "\n".join([*off[:20], remedy])


def test_defaults_are_those_of_the_record():
    now, before = defaults(), json.loads(DEFAULTS.read_text())
    off = {
        path: f"now {now.get(path)}, was {before.get(path)}"
        for path in now | before
        if now.get(path) != before.get(path)
    }
    assert not off, f"{off}; if that is meant, run python tests/test_answers.py"


@pytest.fixture(scope="module")
def refused():
    return json.loads(REFUSED.read_text())


@pytest.mark.parametrize("name", [name for name in NAMES if name in CALLS])
def test_wrong_arguments_are_refused_in_the_words_of_the_record(name, refused):
    now, words = refusals(name), refused["words"]
    before = {argument: [words[i] for i in said] for argument, said in refused[name].items()}
    off = [
        f"{argument} = {bad!s:.30}: now {a!r}, was {b!r}"
        for argument in now
        for bad, a, b in zip(WRONG, now[argument], before.get(argument, WRONG), strict=True)
        if a != b
    ]
    remedy = "if that is meant, run python tests/test_answers.py"
    assert not off and now.keys() == before.keys(), "\n".join([*off[:20], remedy])


def asked() -> dict[str, Any]:
    """Return the answers to every call, and what each refuses."""
    torch.set_num_threads(1)
    said = {name: refusals(name) for name in NAMES if name in CALLS}
    return {"answers": {name: answers(name) for name in NAMES}, "refusals": said}


def agreed(kinds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the parts of an answer that all kinds of processors give."""
    first, *others = kinds
    return {
        argument: {
            part: value
            for part, value in parts.items()
            if not any(differ(kind[argument].get(part), value) for kind in others)
        }
        for argument, parts in first.items()
    }


def on_every_kind() -> list[dict[str, Any]]:
    """Return what processes say that compute as kinds of processors do."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.json" for i in range(len(KINDS))]
        running = [
            subprocess.Popen([sys.executable, __file__, str(file)], env=os.environ | kind)
            for file, kind in zip(files, KINDS, strict=True)
        ]
        if any(process.wait() for process in running):
            raise SystemExit("a process that asks has failed; see above.")
        return [json.loads(file.read_text()) for file in files]


def write_anew() -> None:
    """Write the records, and say which answers are new."""
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    said = on_every_kind()
    rows = []
    for name in NAMES:
        found = agreed([one["answers"][name] for one in said])
        if found != before.get(name):
            known = before.get(name, {})
            news = changed(found, known) or found.keys() != known.keys()
            print(f"{name} {'is new' if news else 'has gained parts'}")
            found = found if news else {a: found[a] | known[a] for a in found}
        rows.append(f"{json.dumps(name)}: {json.dumps(found)}")
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    refused = said[0]["refusals"]
    words = sorted({w for by in refused.values() for some in by.values() for w in some})
    number = {line: i for i, line in enumerate(words)}
    rows = ['"words": [\n' + ",\n".join(map(json.dumps, words)) + "\n]"]
    for name, by in refused.items():
        rows.append(
            f"{json.dumps(name)}: {json.dumps({a: [number[w] for w in by[a]] for a in by})}"
        )
    REFUSED.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    offered = [f"{json.dumps(path)}: {json.dumps(known)}" for path, known in defaults().items()]
    DEFAULTS.write_text("{\n" + ",\n".join(offered) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(json.dumps(asked()))
    else:
        write_anew()
