"""Every public function with an argument that is none: it returns, or refuses in its own words."""

from __future__ import annotations

import inspect

import pytest
from abuse_cases import BAD, CALLS, outcome, skipped, wrong_call

import ctebm


def test_every_public_function_is_called_wrongly():
    called = {call for call, _ in CALLS.values()}
    functions = {n for n in dir(ctebm) if inspect.isfunction(getattr(ctebm, n))}
    by_a_lambda = {"save", "open"}
    assert {n for n in functions if getattr(ctebm, n) not in called} <= by_a_lambda


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_refused_in_words(name):
    call, arguments = CALLS[name]
    assert outcome(call, arguments) == ""
    raw = {}
    for argument in arguments:
        for bad in BAD:
            if skipped(name, argument, bad):
                continue
            found = outcome(call, arguments | {argument: bad})
            if found:
                raw[f"{argument}={bad!r:.40}"] = found
    assert not raw, "\n" + "\n".join(f"{given}: {error}" for given, error in raw.items())


@pytest.mark.slow
def test_two_wrong_arguments_are_refused_in_words():
    said = dict(map(wrong_call, range(500)))
    assert not (raw := {given: error for given, error in said.items() if error}), raw
