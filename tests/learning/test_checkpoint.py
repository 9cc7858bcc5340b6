"""Checkpoints: whole or not there, with the one before kept."""

import dataclasses

import pytest
import torch
from learning_cases import PLAN, same_weights, samples, small_network

import ctebm
from ctebm.learning.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    path = tmp_path / "c.ckpt"
    ctebm.train(small_network(), *samples(), dataclasses.replace(PLAN, epochs=2), checkpoint=path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[:500], "other": b"hello"}.get(damage, bytes(content)))
    with pytest.warns(UserWarning, match="going on from the checkpoint before it"):
        resumed = ctebm.train(small_network(), *samples(), PLAN, checkpoint=path)
    assert same_weights(resumed, ctebm.train(small_network(), *samples(), PLAN))


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    (tmp_path / "c.ckpt").write_bytes(b"hello")
    with pytest.raises(ValueError, match="delete it to begin anew"):
        load_checkpoint(tmp_path / "c.ckpt", {})
    assert load_checkpoint(tmp_path / "none.ckpt", {}) is None


def test_a_checkpoint_holds_what_it_was_given(tmp_path):
    save_checkpoint(
        tmp_path / "a" / "c.ckpt", {"t": torch.arange(3), "n": [1, None]}, {"k": (1, 2)}
    )
    content = load_checkpoint(tmp_path / "a" / "c.ckpt", {"k": (1, 2)})
    assert content is not None
    assert content["t"].tolist() == [0, 1, 2]
    assert content["n"] == [1, None]
