"""The record of a correspondence: its outcomes, its laws, and what rounding hides."""

import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from cases import measured

import ctebm
from ctebm.early_inference.record import Correspondence

HARD = ctebm.HardSigmoid()


def test_an_output_pulled_out_of_the_box_sends_nothing_and_says_so():
    net = ctebm.LayeredNetwork([[[0.1]], [[0.3]]], [[0.0], [0.0], [2.0]], HARD)
    record = ctebm.correspondence(net, [[0.0], [0.0]], [[0.2], [0.9]], [0.2], n_steps=8)
    assert record.status.tolist() == [0, 2]
    assert (
        record.message[0] == "" and "pinned at a kink and pulled further out" in record.message[1]
    )
    assert (record.chain[1, 0] == 0) and (record.displacement[1, 0, :, 0].abs() < 1e-15).all()
    assert record.chain[0, 0] != 0
    weak = ctebm.correspondence(net, [[0.0]], [[0.2]], [0.2], n_steps=8, drive="nudge", beta=1e-3)
    assert "weak nudge" in weak.message[0] and (weak.displacement.abs() < 1e-12).all()
    with pytest.raises(RuntimeError, match=r"sample 1: outputs .* no gradient comes back"):
        record.raise_for_status()


def test_a_sample_without_equilibrium_is_reported_and_the_others_measured(monkeypatch):
    def settle_but_one(*args, **options):
        fixed = ctebm.settle(*args, **options)
        lost = torch.arange(len(fixed.converged)) == 1
        return replace(
            fixed,
            status=fixed.status | lost,
            message=["sample 1 was lost" if one else "" for one in lost],
        )

    monkeypatch.setattr("ctebm.early_inference.measurement.settle", settle_but_one)
    record = measured(eps=[0.1])
    assert torch.isnan(record.displacement[1]).all()
    assert torch.isfinite(record.displacement[[0, 2, 3, 4, 5]]).all()
    data = record.to_dataset()
    assert data.attrs["n_failed"] == 1 and "sample 1 was lost" in str(data.message[1].values)
    assert record.status.tolist() == data.status.values.tolist() == [0, 1, 0, 0, 0, 0]
    with pytest.raises(RuntimeError, match="sample 1 was lost"):
        record.raise_for_status()


class Runaway(ctebm.VectorField):
    """Rests at 0, and leaves the finite numbers where the output is pushed up."""

    def force(self, s):
        h, y = s[..., :1], s[..., 1:]
        return torch.cat([torch.sinh(30 * h) - 31 * h + y, -y], -1)


def test_a_motion_that_leaves_the_finite_numbers_is_reported():
    net = Runaway(2, {"h1": slice(0, 1), "y": slice(1, 2)})
    targets = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
    record = ctebm.correspondence(net, None, targets, [0.5], n_steps=20)
    assert record.fixed.converged.all() and record.status.tolist() == [0, 3]
    assert (record.displacement[0] == 0).all()
    assert "sample 1 left the finite numbers" in record.message[1] and record.message[0] == ""
    assert record.to_dataset().attrs["n_failed"] == 1


def test_a_fine_record_is_returned_and_describes_every_field():
    record = measured(eps=[0.1], n_steps=3)
    assert record.raise_for_status() is record
    assert record == record and record != replace(record)
    heads = re.findall(r"^    ([\w, ]+) : ", Correspondence.__doc__, re.M)
    assert [name for head in heads for name in head.split(", ")] == [f.name for f in fields(record)]


def test_laws_are_read_at_the_saved_steps_and_depths():
    record = measured(eps=[0.5, 0.1], t_end=2.0, drive="clamp")
    seen = record.by_depth(lambda k, n, eps: 100 * k + n + eps / 10)
    for e, (eps, steps) in enumerate(zip(record.eps, record.step, strict=True)):
        known = steps >= 0
        for layer, k in enumerate(record.depth):
            expected = 100 * (k - 1) + steps[known] + float(eps) / 10
            np.testing.assert_allclose(seen[e, known, layer], expected)
        assert torch.isnan(seen[e, ~known]).all()
    assert (record.step < 0).any()


def test_float32_says_what_it_cannot_see():
    net = ctebm.LayeredNetwork.random((5, 6, 6, 3), HARD, gain=0.3, seed=4, dtype=torch.float32)
    record = ctebm.correspondence(
        net, torch.zeros(2, 5), torch.full((2, 3), 0.3), [5e-4], n_steps=5, tol=2e-6
    )
    assert (record.rounding_floor[:, 0, record.depth.index(2)] > 1).all()
    exact = measured(eps=[0.5])
    assert (exact.rounding_floor < 1e-8).all()


@pytest.mark.parametrize(
    "options, lead, strength",
    [({}, 0, 1.0), ({"drive": "clamp"}, 1, 1.0), ({"drive": "nudge", "beta": -0.01}, 0, 0.01)],
)
def test_the_rounding_floor_is_roundings_of_states_over_the_signal(options, lead, strength):
    record = measured(eps=[0.2], n_steps=4, **options)
    unit, n_units = 2.0**-53, [6, 4, 3]
    floor = record.rounding_floor[:, 0]
    for layer, (k, where) in enumerate(
        zip(record.depth, record.fixed.network.layers.values(), strict=True)
    ):
        n = max(k + 1 - lead, 1)
        signal = 0.2 ** (k + 1 - lead) * record.chain[:, where].norm(dim=-1)
        if k + 1 - lead == 0:
            signal = record.chain[:, where].norm(dim=-1)  # there from the first moment on
        residual = record.fixed.residual * n_units[layer] ** 0.5
        noise = n * (
            unit * (record.fixed.state[:, where].norm(dim=-1) + 2 * signal) + 0.2 * residual
        )
        torch.testing.assert_close(floor[:, layer], noise / (signal * strength))


def test_layers_first_move_when_the_solver_can_have_reached_them():
    expected = {"euler": [3, 2, 1], "midpoint": [2, 1, 1], "rk4": [1, 1, 1]}
    for method, steps in expected.items():
        record = measured(ctebm.Tanh(), eps=[0.1], n_steps=5, method=method)
        assert record.first_arrival == steps
        for layer, (n, where) in enumerate(
            zip(steps, record.fixed.network.layers.values(), strict=True)
        ):
            moved = record.displacement[:, 0, :, where].abs().amax((0, -1))
            assert moved[n] > 1e-9 and (n == 0 or moved[n - 1] < 1e-12), layer
    adaptive = measured(ctebm.Tanh(), eps=[0.1], n_steps=5, method="dopri5")
    assert adaptive.order == 0 and adaptive.first_arrival == [0, 0, 0]
    assert adaptive.rounding_floor.shape == (6, 1, 3) and adaptive.rounding_floor.isnan().all()
    clamped = measured(ctebm.Tanh(), eps=[0.1], n_steps=5, drive="clamp")
    assert clamped.first_arrival == [2, 1, 0]


def test_a_sample_of_noisy_runs_has_its_own_intervals():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), gain=0.5, seed=1)
    x, y = torch.linspace(0, 0.5, 12).reshape(4, 3), torch.linspace(0.1, 0.5, 8).reshape(4, 2)
    record = ctebm.correspondence(
        net, x, y, [0.5], n_steps=3, sigma=0.1, replicates=4, seed=1, intervals=True
    )
    for name in ("coefficient_interval", "cosine_interval"):
        whole = getattr(record, name)
        assert whole.shape[:2] == (2, 4)
        for i in range(4):
            part = getattr(record[[i]], name)
            torch.testing.assert_close(part, whole[:, [i]], equal_nan=True)
