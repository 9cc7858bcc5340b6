"""A number that a page quotes is the number that its command makes."""

from __future__ import annotations

import json
import re

import pytest
from quoted_numbers import FILE, QUOTES, ROOT, Quote, command, result, settings_of

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
