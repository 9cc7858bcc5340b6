"""A number that a page quotes is the number that its command makes."""

from __future__ import annotations

import json
import re

import collapse
import pytest
from quoted_numbers import FILE, QUOTES, ROOT, Quote, command, result, settings_of

import ctebm
from ctebm.learning.plastic_layers import PlasticNetwork
from ctebm.learning.trainer import Trainer
from ctebm.study.images import load_images
from ctebm.study.learning_runs import N_PUSHED, last_push, split

MADE = json.loads(FILE.read_text())


def quoted(quote: Quote) -> str:
    """Return the number as it stands on the page, once."""
    text = re.sub(r"\s+", " ", (ROOT / quote.page).read_text(encoding="utf-8"))
    found = re.findall(quote.pattern, text)
    assert len(found) == 1, (quote.page, quote.pattern, found)
    return found[0]


def last_digit(text: str) -> float:
    """Return the unit of the last digit of a number in words."""
    mantissa, _, power = text.partition("e")
    return 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))


@pytest.mark.parametrize("quote", QUOTES, ids=lambda q: f"{q.study}: {q.pattern}")
def test_a_page_has_the_number_of_the_study(quote: Quote) -> None:
    text = quoted(quote)
    value = MADE[command(quote)]["values"][quote.pattern]
    assert abs(float(text) - value) <= 0.5001 * last_digit(text), (text, value)


@pytest.mark.parametrize("line", MADE)
def test_a_study_still_has_the_settings_of_its_numbers(line: str) -> None:
    quote = next(quote for quote in QUOTES if command(quote) == line)
    assert str(settings_of(quote)) == MADE[line]["settings"], "run python tests/quoted_numbers.py"


def test_a_number_that_changed_is_noticed() -> None:
    assert last_digit("0.12") == 0.01 and last_digit("14") == 1 and last_digit("6e-7") == 1e-7


def test_the_main_study_makes_its_number_now() -> None:
    (quote,) = [quote for quote in QUOTES if quote.study == "epsilon"]
    value = float(quote.value(result(quote)))
    assert value == pytest.approx(MADE[command(quote)]["values"][quote.pattern], rel=1e-6)


def test_the_push_of_the_naive_network_is_what_the_theory_page_says() -> None:
    """One step of gradient descent, written out, beside the formula."""
    settings = collapse.Settings()
    data = split(load_images())
    net = collapse._network(settings, data, collapse.KINKS[0], 3, collapse.NAIVE)
    x, label = (of[:N_PUSHED] for of in data.train)
    target = Trainer(net, ctebm.Plan()).targets[label]
    plastic = PlasticNetwork(net)
    rest = plastic.settle(net.state(x), tol=1e-6)
    slope = ctebm.Chain().gradient(plastic, rest, target)
    rates = [net.activation(s) for s in rest.states]
    below = -(rates[2] @ slope.weights[2] + slope.biases[2]).mean(0)
    above = -(rates[4] @ slope.weights[3].T).mean(0)
    moved = [float(d.square().mean().sqrt()) for d in (below, above, below + above)]
    values = [last_push(net, data, [1.0] * 4), *moved]
    page = re.sub(r"\s+", " ", (ROOT / "docs/explanation/theory.md").read_text())
    (found,) = re.findall(
        r"it gives ([\d.]+) for the last hidden layer; the current from below moves by ([\d.]+), "
        r"that from above by ([\d.]+), and both together by ([\d.]+)\.", page
    )  # fmt: skip
    assert [f"{value:.2f}" for value in values] == list(found)
