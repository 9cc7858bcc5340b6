r"""Words that seed the generators of many samples: numpy's `SeedSequence` on arrays.

To make a `SeedSequence` for each of a thousand samples takes longer than some ten steps of noise.
Its hash, after M. E. O'Neill, multiplies and shifts words of 32 bits, which arrays do as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

__all__ = ["Words", "seed_words"]

_POOL = 4  # words
_WORD = 2**32
_FEW = 16  # samples up to which they are faster one by one
# Where the constants of a hash begin, and what each is multiplied by to get the next.
_TAKE_IN, _GIVE_OUT = (0x43B0D7E5, 0x931E8875), (0x8B51F9DD, 0x58F38DED)
_LEFT, _RIGHT = 0xCA01F9DD, 0x4973F715  # of a mixture

Array = NDArray[np.uint32]


class Words(ISeedSequence):
    """Words that are known, for a generator of numpy's to be seeded with.

    Parameters
    ----------
    words : array of uint64
        As many as the generator asks for.
    """

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[np.uint64]:
        """Return the words."""
        if dtype is not np.uint64 or n_words != len(self._words):
            raise ValueError(f"expected {len(self._words)} words of 64 bits to be asked for.")
        return self._words


def seed_words(
    seed: int, samples: Sequence[int], key: Sequence[int], n_words: int
) -> NDArray[np.uint64]:
    """Return the words of ``SeedSequence(seed, spawn_key=(sample, *key))`` for each sample.

    Parameters
    ----------
    seed : int
        Root seed.
    samples : sequence of int
        The first number of each spawn key.
    key : sequence of int
        The other numbers, which are the same for all.
    n_words : int
        Words of 64 bits a sample.

    Returns
    -------
    array of uint64, (sample, word)

    Examples
    --------
    >>> import numpy as np
    >>> from ctebm.dynamics.seed_words import seed_words
    >>> one = np.random.SeedSequence(7, spawn_key=(5, 2)).generate_state(3, np.uint64)
    >>> seed_words(7, [4, 5], [2], 3)[1] == one
    array([ True,  True,  True])
    """
    if len(samples) < _FEW or max(samples) >= _WORD:  # which is two words
        sequences = [np.random.SeedSequence(seed, spawn_key=(i, *key)) for i in samples]
        states = [each.generate_state(n_words, np.uint64) for each in sequences]
        return np.array(states, np.uint64).reshape(-1, n_words)
    root = _words(seed)
    root += [_words(0)[0]] * (_POOL - len(root))
    entropy = [*root, np.array(samples, np.uint32), *(word for n in key for word in _words(n))]
    constants = _constants(*_TAKE_IN)
    pool = [_hash(word, constants) for word in entropy[:_POOL]]
    for i in range(_POOL):
        for j in range(_POOL):
            if i != j:
                pool[j] = _mixture(pool[j], _hash(pool[i], constants))
    for word in entropy[_POOL:]:
        pool = [_mixture(old, _hash(word, constants)) for old in pool]
    constants = _constants(*_GIVE_OUT)
    halves = [_hash(pool[i % _POOL], constants) for i in range(2 * n_words)]  # low ones first
    return np.stack(halves, -1).astype("<u4").view("<u8").astype(np.uint64)


def _words(n: int) -> list[Array]:
    """Return the words of a number, the lowest first."""
    words = [n % _WORD]
    while n := n // _WORD:
        words.append(n % _WORD)
    return [np.array([word], np.uint32) for word in words]


def _constants(first: int, factor: int) -> Iterator[tuple[int, int]]:
    """Yield constants of a hash, each with the one after it."""
    return pairwise(accumulate(repeat(factor), lambda a, b: a * b % _WORD, initial=first))


def _hash(word: Array, constants: Iterator[tuple[int, int]]) -> Array:
    added, factor = next(constants)
    word = (word ^ np.uint32(added)) * np.uint32(factor)
    return word ^ (word >> np.uint32(16))


def _mixture(a: Array, b: Array) -> Array:
    word = a * np.uint32(_LEFT) - b * np.uint32(_RIGHT)
    return word ^ (word >> np.uint32(16))
