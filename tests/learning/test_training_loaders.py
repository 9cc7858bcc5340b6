"""Training on the batches of a DataLoader."""

import dataclasses

import numpy as np
import pytest
import torch
from learning_cases import PLAN, samples, small_network
from torch.utils.data import DataLoader, TensorDataset

import ctebm


def _pairs(n_batches=2, n=20):
    rates, labels = samples(n * n_batches)
    return [(rates[i : i + n], labels[i : i + n]) for i in range(0, n * n_batches, n)]


def test_a_data_loader_gives_its_own_batches():
    x, label = (torch.as_tensor(part) for part in samples(90))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x.float(), label), batch_size=16
    )
    steps, epochs = [], []
    found = ctebm.train(
        small_network(), loader, None, dataclasses.replace(PLAN, epochs=2),
        on_step=lambda step, numbers: steps.append((step, numbers)),
        on_epoch=lambda epoch, row: epochs.append((epoch, row["cost"])),
    )  # fmt: skip
    assert [step for step, _ in steps] == list(range(1, 13))
    assert steps[-1][1].keys() == {"error", "cost", "residual"}
    assert epochs == [(1, found.history["cost"][0]), (2, found.history["cost"][1])]
    seen = [numbers["cost"] * n for (_, numbers), n in zip(steps[:6], [16] * 5 + [10], strict=True)]
    assert sum(seen) / 90 == pytest.approx(found.history["cost"][0])
    assert found.to_dataset().attrs["data_digest"] == "DataLoader"
    assert found.predict(x).shape == (90,)


@pytest.mark.parametrize(
    ("batches", "match"),
    [
        ([], "an empty DataLoader"),
        ([(torch.rand(4, n), torch.tensor([0, 1, 2, 0])) for n in (12, 11)],
         r"batch 2: expected rates of shape \(sample, 12\), got \(4, 11\)"),
        ([(torch.rand(4, 12), torch.tensor([0, 1]))], "batch 1: expected one label a sample"),
        ([torch.rand(4, 12)], "expected batches of rates and labels, got Tensor as batch 1"),
        (iter([]), "gone through anew in each epoch"),
        (torch.rand(4, 12), "expected labels or targets of the samples, got None"),
    ],
    ids=["nothing", "another shape", "labels", "no pairs", "an iterator", "no labels"],
)  # fmt: skip
def test_batches_that_do_not_fit_are_refused(batches, match):
    with pytest.raises(ValueError, match=match):
        ctebm.train(small_network(), batches, None, PLAN)


class Drying:
    """Batches for a first look and two epochs, each gone through twice; afterwards others."""

    def __init__(self, after):
        x, label = samples(40)
        self.good, self.after, self.passes = [(x[:20], label[:20]), (x[20:], label[20:])], after, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.good if self.passes <= 5 else self.after)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ([], "expected one or more batches of samples, got an empty DataLoader"),
        ([(torch.rand(4, 11), torch.tensor([0, 1, 2, 0]))], "batch 1: expected rates of shape"),
        ([(torch.rand(4, 12), torch.rand(4, 3))], "batch 1: expected labels, as"),
        ([torch.rand(4, 12)], "expected batches of rates and labels, got Tensor as batch 1"),
    ],
    ids=["nothing", "another shape", "another kind", "no pairs"],
)
def test_a_loader_that_dries_up_stops_the_run_and_keeps_the_last_good_epoch(tmp_path, after, words):
    plan, path = dataclasses.replace(PLAN, epochs=5), tmp_path / "c.ckpt"
    found = ctebm.train(small_network(), Drying(after), None, plan, checkpoint=path)
    assert found.status == "out of samples" and len(found.history["cost"]) == 2
    assert found.message.startswith(f"in epoch 3: {words}")
    assert "; the weights of the epoch before are kept: mend the data" in found.message
    whole = ctebm.train(small_network(), Drying([]).good, None, dataclasses.replace(plan, epochs=2))
    for name, theirs in whole.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], theirs)
    with pytest.raises(FloatingPointError, match="in epoch 3"):
        found.raise_for_status()
    assert found.to_dataset().status == "out of samples"
    resumed = ctebm.train(small_network(), Drying([]), None, plan, checkpoint=path)
    assert len(resumed.history["cost"]) == 4  # two more until it dries up again
    np.testing.assert_array_equal(resumed.history["cost"][:2], whole.history["cost"])


def test_a_loader_that_can_be_gone_through_once_is_refused():
    once = Drying([])
    once.passes = 3
    with pytest.raises(ValueError, match="got an empty DataLoader"):
        ctebm.train(small_network(), once, None, PLAN)


def test_batches_do_not_change_from_labels_to_targets():
    pairs = _pairs()
    targets = np.full((20, 3), 0.1)
    with pytest.raises(ValueError, match="batch 2: expected labels, as the other"):
        ctebm.train(small_network(), [pairs[0], (pairs[1][0], targets)], None, PLAN)
    rates, labels = samples(40)
    with pytest.raises(ValueError, match=r"held_out: expected labels, .*, got targets"):
        ctebm.train(small_network(), rates, labels, PLAN, held_out=(rates[:20], targets))


def test_a_data_loader_has_its_own_labels():
    rates, labels = (torch.as_tensor(part) for part in samples(20))
    loader = DataLoader(TensorDataset(rates, labels), 10)
    with pytest.raises(ValueError, match="labels=None with a DataLoader"):
        ctebm.train(small_network(), loader, labels, PLAN)
