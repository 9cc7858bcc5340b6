"""Free memory and the refusal of what does not fit it."""

import pytest

from ctebm.networks.memory import check_memory, free_memory


def test_what_fits_passes_and_what_does_not_is_refused_with_both_numbers():
    free = free_memory()
    assert 2**20 < free < 2**50
    check_memory("a number", 8, "use less")
    with pytest.raises(ValueError, match=r"a matrix takes about 1.05e\+06 GiB, of which .* GiB"):
        check_memory("a matrix", 2**50, "use products")
