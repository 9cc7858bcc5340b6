"""Two processes on one store: parts side by side, and nothing beside the whole."""

from __future__ import annotations

import pytest

import ctebm
from ctebm.files.lock import locked
from ctebm.sweeps import drivers
from ctebm.sweeps.drivers import driving

PARTS = [None, (0, 2), (1, 2), (2, 2), (0, 3)]


def share_tiles(one, other):
    """Return whether two drivers would compute a tile both."""
    if one is None or other is None or one[1] != other[1]:
        return True
    return one[0] % one[1] == other[0] % other[1]


@pytest.mark.parametrize("one", PARTS)
@pytest.mark.parametrize("other", PARTS)
def test_what_shares_tiles_is_refused(one, other, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers, "_PATIENCE", 0.0)
    path = tmp_path / "a store.zarr"
    with driving(path, one):
        if share_tiles(one, other):
            with pytest.raises(BlockingIOError, match="is in use by process"), driving(path, other):
                pass
        else:
            with driving(path, other):
                pass
    assert [*tmp_path.iterdir()] == []


def test_a_part_waits_for_another_that_only_asks(tmp_path, monkeypatch):
    path = tmp_path / "x.zarr"
    asking = locked(path)
    asking.__enter__()
    monkeypatch.setattr(drivers.time, "sleep", lambda _: asking.__exit__(None, None, None))
    with driving(path, (0, 2)):
        pass


def test_what_a_killed_part_left_is_no_hindrance(tmp_path):
    (tmp_path / ".x.zarr.0_of_2.lock").touch()
    with driving(tmp_path / "x.zarr"):
        pass
    assert [*tmp_path.iterdir()] == []


def test_a_sweep_beside_a_part_of_it_is_refused(tmp_path):
    out = tmp_path / "x.zarr"
    with driving(out, (0, 2)), pytest.raises(BlockingIOError, match=r"x\.zarr\.0_of_2 is in use"):
        ctebm.sweep(lambda a: {"n": a}, {"a": [1]}, out=out)
    assert not out.exists()
