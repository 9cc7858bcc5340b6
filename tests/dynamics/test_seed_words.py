"""Words that seed many generators at once: those of numpy's `SeedSequence`."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctebm.dynamics.seed_words import Words, seed_words


def one_by_one(seed, samples, key, n_words):
    sequences = [np.random.SeedSequence(seed, spawn_key=(i, *key)) for i in samples]
    return [each.generate_state(n_words, np.uint64).tolist() for each in sequences]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.one_of(st.integers(0, 3), st.integers(0, 2**160)),
    samples=st.lists(st.integers(0, 2**32 - 1), max_size=40),
    key=st.lists(st.integers(0, 2**70), max_size=3),
    n_words=st.integers(1, 6),
)
def test_words_are_those_of_numpy(seed, samples, key, n_words):
    words = seed_words(seed, samples, key, n_words)
    assert words.dtype == np.uint64
    assert words.tolist() == one_by_one(seed, samples, key, n_words)


def test_words_of_samples_of_more_than_32_bits_are_those_of_numpy():
    samples = [*range(30), 2**32 - 1, 2**32, 2**40 + 7]
    assert seed_words(5, samples, (1,), 3).tolist() == one_by_one(5, samples, (1,), 3)


def test_no_samples_have_no_words():
    assert seed_words(5, [], (1,), 3).shape == (0, 3)


def test_a_generator_is_seeded_with_known_words():
    sequence = np.random.SeedSequence(9, spawn_key=(2, 0))
    words = seed_words(9, range(30), [0], 3)[2]
    seed: Any = Words(words)
    known = np.random.SFC64(seed)
    assert known.random_raw(5).tolist() == np.random.SFC64(sequence).random_raw(5).tolist()
    with pytest.raises(ValueError, match="expected 3 words of 64 bits"):
        np.random.PCG64(seed)  # takes four
