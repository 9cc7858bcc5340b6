"""Checkpoints: whole or not there, with the one before kept."""

import dataclasses
import hashlib
import io
import json
import os
import resource
from pathlib import Path

import numpy as np
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


def holds(path):
    """Return the number in a checkpoint of these tests, or None if it is not whole."""
    try:
        content = load_checkpoint(path, {})
    except ValueError:
        return None
    return content and content["n"]


def save_two(path):
    for n in (1, 2):
        save_checkpoint(path, {"n": n}, {})


def damage(path):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_there_is_a_whole_one_under_its_name_at_any_moment(tmp_path, monkeypatch):
    path, previous = tmp_path / "c.ckpt", tmp_path / "c.ckpt.previous"
    save_two(path)
    seen, sync = [], os.fsync

    def look(descriptor):
        (tmp_path / "copy").write_bytes(path.read_bytes())
        seen.append((holds(tmp_path / "copy"), holds(previous)))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    save_checkpoint(path, {"n": 3}, {})
    assert seen[0] == (2, 1) and seen[-1] == (3, 2)
    assert set(seen) <= {(2, 1), (2, 2), (3, 2)}
    assert {p.name for p in tmp_path.iterdir()} == {"c.ckpt", "c.ckpt.previous", "copy"}


def test_a_damaged_one_does_not_take_the_place_of_the_good_one_before_it(tmp_path):
    path, previous = tmp_path / "c.ckpt", tmp_path / "c.ckpt.previous"
    save_two(path)
    damage(path)
    save_checkpoint(path, {"n": 3}, {})
    assert (holds(path), holds(previous)) == (3, 1)


def test_without_hard_links_the_one_before_is_a_copy(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("no hard links")

    monkeypatch.setattr(os, "link", no_links)
    save_two(tmp_path / "c.ckpt")
    assert (holds(tmp_path / "c.ckpt"), holds(tmp_path / "c.ckpt.previous")) == (2, 1)


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch" / "c.ckpt")
    save_two(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert holds(tmp_path / "link") == holds(tmp_path / "scratch" / "c.ckpt") == 2
    damage(tmp_path / "link")
    with pytest.warns(UserWarning, match="going on"):
        assert holds(tmp_path / "link") == 1


def test_what_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    save_two(tmp_path / "c.ckpt")

    def forbidden(self):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", forbidden)
        with pytest.raises(OSError, match=r"can't be read \(Permission denied\); make it readable"):
            load_checkpoint(tmp_path / "c.ckpt", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        load_checkpoint(tmp_path / "folder", {})


def test_a_pipe_is_no_checkpoint(tmp_path):
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"can't be read \(it is no file\); make it readable, or"):
        load_checkpoint(tmp_path / "pipe", {})


def test_a_full_disk_is_said_and_the_one_before_kept(tmp_path):
    save_two(tmp_path / "c.ckpt")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"can't write the checkpoint .* the one before is kept"):
            save_checkpoint(tmp_path / "c.ckpt", {"n": torch.zeros(5000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (holds(tmp_path / "c.ckpt"), holds(tmp_path / "c.ckpt.previous")) == (2, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.ckpt", "c.ckpt.previous"]


@pytest.mark.parametrize("content", [{"n": 1}, [1], {"identity": "no json"}, {"identity": 3}])
def test_what_belongs_to_no_training_is_refused(tmp_path, content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest().encode()
    path = tmp_path / "c.ckpt"
    path.write_bytes(b"ctebm checkpoint " + digest + b"\n" + buffer.getvalue())
    with pytest.raises(ValueError, match="delete it to begin anew"):
        load_checkpoint(path, {})


def test_a_checkpoint_that_lacks_a_part_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "c.ckpt"
    content = ctebm.learning.trainer.Trainer.content
    with monkeypatch.context() as patch:
        patch.setattr(
            ctebm.learning.trainer.Trainer,
            "content",
            lambda self: {k: v for k, v in content(self).items() if k != "kept"},
        )
        plan = dataclasses.replace(PLAN, epochs=1)
        ctebm.train(small_network(), *samples(), plan, checkpoint=path)
    with pytest.raises(ValueError, match="lacks kept of a training"):
        ctebm.train(small_network(), *samples(), PLAN, checkpoint=path)


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_training_goes_on_from_a_checkpoint_of_an_earlier_version(tmp_path, epochs):
    path, counted = tmp_path / "training.ckpt", ["nudged_residual", "nudged_unsettled"]
    plan = dataclasses.replace(PLAN, rule=ctebm.EquilibriumPropagation(), epochs=epochs)
    whole = ctebm.train(small_network(), *samples(), plan)
    ctebm.train(small_network(), *samples(), dataclasses.replace(plan, epochs=2), checkpoint=path)
    content = torch.load(io.BytesIO(path.read_bytes().partition(b"\n")[2]), weights_only=True)
    for row in content["history"]:
        for name in counted:
            del row[name]
    save_checkpoint(path, content, json.loads(content.pop("identity")))
    found = ctebm.train(small_network(), *samples(), plan, checkpoint=path)
    assert same_weights(found, whole)
    assert found.history.keys() == whole.history.keys()
    for name in counted:
        assert not np.isnan(whole.history[name]).any()
        assert np.isnan(found.history[name][:2]).all()
        np.testing.assert_array_equal(found.history[name][2:], whole.history[name][2:])
        assert "an earlier version" in found.to_dataset()[name].long_name


@pytest.mark.parametrize("now", [{"k": 2}, {}, {"k": 1, "l": 3}])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, now):
    save_checkpoint(tmp_path / "c.ckpt", {}, {"k": 1})
    with pytest.raises(ValueError, match=r"was made with . = .*, now it is .*; give the same"):
        load_checkpoint(tmp_path / "c.ckpt", now)
