"""What signal and noise predict, entry by entry."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import ctebm
from ctebm.study.noise_prediction import predicted_runs

SIGMA, REPLICATES = 0.02, 7


def test_every_entry_is_signal_against_noise() -> None:
    net = ctebm.LayeredNetwork.random((6, 5, 4, 3), ctebm.HardSigmoid(), gain=1.0, seed=1)
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, n, generator=draw, dtype=torch.float64) - 0.5 for n in (6, 3))
    quiet = ctebm.correspondence(net, x, y, (0.5, 0.1), t_end=3)
    assert quiet.fixed.pinned.any(), "this test wants pinned units"
    found, compared = predicted_runs(quiet, SIGMA, REPLICATES), 0
    layers = list(quiet.fixed.network.layers.values())
    for sample, e, save, layer in itertools.product(
        range(2), range(2), range(quiet.step.shape[1]), range(3)
    ):
        n, eps, w = int(quiet.step[e, save]), float(quiet.eps[e]), layers[layer]
        moved, g = quiet.displacement[sample, e, save, w], quiet.chain[sample, w]
        size = float(moved.norm())
        if n < quiet.depth[layer] + 1 or size == 0 or not g.any():
            continue  # nothing has arrived, or nothing will
        variance = SIGMA**2 * eps * sum((1 - eps) ** (2 * j) for j in range(n))
        needed = int(quiet.responsive[sample, w].sum()) * variance / size**2
        cosine = -float(moved @ g) / (size * float(g.norm()))
        at = (sample, e, save, layer)
        assert float(found["replicates_needed"][at]) == pytest.approx(needed)
        expected = cosine / math.sqrt(1 + needed / REPLICATES)
        assert float(found["predicted"][at]) == pytest.approx(expected)
        compared += 1
    assert compared > 50
