"""What is looked at between epochs."""

import math

import pytest
import torch
from learning_cases import settled, small_network

import ctebm
from ctebm import PlasticNetwork
from ctebm.learning.probe import REFERENCES, kink_shares, probe


def test_shares_at_kinks_count_units_and_samples():
    network = small_network((12, 4, 3))
    plastic = PlasticNetwork(network)
    rest = plastic.settle(torch.zeros(2, 12, dtype=torch.float64), tol=1e-9)
    low, high = 0.5 * torch.eye(2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64)
    low[:, 3] = -0.5
    rest.states[1].copy_(low)  # one unit each at the upper kink, another at the lower in both
    still = [torch.zeros_like(s) for s in rest.states]
    shares = kink_shares(plastic, rest, still)
    assert shares == {"pinned": [0.5], "dead": [0.25], "crossed": 0.0}
    high[1, 2] = 0.5
    assert kink_shares(plastic, rest, [still[0], high, still[2]])["crossed"] == 0.5


def _cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("tied", [True, False])
def test_a_rule_stands_beside_each_reference_that_has_a_meaning_of_its_own(tied):
    plastic, found, target = settled(tied=tied)
    if not tied:
        for V in plastic.feedback:
            V += 0.1 * torch.randn(V.shape, generator=torch.Generator().manual_seed(1)).double()
    x, rule = found.states[0], ctebm.Early(eps=0.3, n_steps=4)
    looked = probe(plastic, rule, x, target)
    equilibrium = plastic.settle(x, tol=1e-9, max_sweeps=2000)
    mine = rule.gradient(plastic, equilibrium, target).weights
    for name, row in zip(REFERENCES, looked["alignment"], strict=True):
        if tied and name == "chain_feedback":
            assert len(row) == 3 and all(math.isnan(c) for c in row)
            continue
        theirs = REFERENCES[name].gradient(plastic, equilibrium, target).weights
        expected = [_cosine(a, b) for a, b in zip(mine, theirs, strict=True)]
        assert row == pytest.approx(expected, abs=1e-9)
        assert (min(row) > 0.9) == (tied or name == "chain_feedback")
    assert math.isnan(looked["symmetry"][0])
    expected = [_cosine(W, V) for W, V in zip(plastic.weights, plastic.feedback, strict=True)]
    assert looked["symmetry"][1:] == pytest.approx(expected[1:], abs=1e-12)
    assert (min(expected) > 0.9999) == tied


def test_crossings_are_those_of_the_motion_that_the_rule_reads():
    plastic, found, target = settled(gain=1.0)
    x, target = found.states[0], 3 * target
    for rule, steps in ((ctebm.Early(eps=0.9, n_steps=9), (0.9, 9)), (ctebm.Chain(), (0.1, None))):
        equilibrium = plastic.settle(x, tol=1e-9, max_sweeps=2000)
        change = plastic.drive(equilibrium, target, eps=steps[0], n_steps=steps[1])
        expected = kink_shares(plastic, equilibrium, change)
        looked = probe(plastic, rule, x, target)
        assert {name: looked[name] for name in expected} == expected


def test_there_are_no_kinks_in_smooth_rates():
    plastic, found, _ = settled(ctebm.Tanh())
    shares = kink_shares(plastic, found, [10 * torch.ones_like(s) for s in found.states])
    assert shares == {"pinned": [0.0, 0.0], "dead": [0.0, 0.0], "crossed": 0.0}


def test_a_reference_that_is_unknown_has_no_cosine():
    """Layers that are coupled past others and within have no chain gradient, but the others."""
    sizes = {"x": 3, "h2": 4, "h1": 3, "y": 2}
    pairs = [("x", "h2"), ("h2", "h1"), ("h1", "y"), ("h2", "y"), ("h1", "h1")]
    net = ctebm.LayerGraph.random(sizes, pairs, ctebm.Tanh(), gain=0.5, seed=1)
    x, target = torch.rand(5, 3).double() / 2, torch.rand(5, 2).double() / 2
    looked = probe(ctebm.learning.plastic_field.plastic(net), ctebm.Implicit(), x, target)
    rows = dict(zip(REFERENCES, looked["alignment"], strict=True))
    known = {name: [math.isfinite(c) for c in row] for name, row in rows.items()}
    assert not any(known["chain"]) and not any(known["chain_feedback"])
    assert all(known["implicit"]) and all(known["bptt"])
    assert rows["implicit"] == pytest.approx([1.0] * len(rows["implicit"]))
