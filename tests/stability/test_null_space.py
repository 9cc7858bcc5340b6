"""Null spaces that are known, of one direction and of several."""

import math

import torch
import zoo
from analytic import HARD, TANH

from ctebm import AsymmetricNetwork
from ctebm.stability.curve import Curve, Point
from ctebm.stability.null_space import across, null_vectors


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def at_rest(n, p=0.0, *pinned):
    held = torch.zeros(n, dtype=torch.bool)
    held[list(pinned)] = True
    return Point(torch.zeros(n, dtype=torch.float64), p, held)


def test_null_vectors_without_an_energy():
    """J = [[0, 1], [0, -1]]: right null vector (1, 0), left (1, 1)."""
    W = [[1, 1], [0, 0]]
    curve = Curve(lambda p: AsymmetricNetwork(W, [p, 0], HARD).centred(), 1.0, 1e-12)
    (v,), (w,) = null_vectors(curve, at_rest(2))
    side = float(v[0].sign())
    torch.testing.assert_close(side * v, tensor(1, 0))
    torch.testing.assert_close(side * w, tensor(1, 1) / math.sqrt(2))


def test_of_several_the_first_is_one_units_share():
    """Inhibited by each other, three units may go any way on which their sum stays."""
    curve = Curve(lambda w: zoo.inhibition(3, -w, TANH), 1.0, 1e-12)
    v, w = null_vectors(curve, at_rest(3, 4.0))
    assert v is w
    torch.testing.assert_close(v @ v.mT, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(v.sum(1), tensor(0, 0))
    torch.testing.assert_close(v[0], tensor(2, -1, -1) / math.sqrt(6))


def test_across_a_symmetry():
    """What is left of a tangent is across the null space, unless that is nothing."""
    curve = Curve(lambda w: zoo.inhibition(3, -w, TANH), 1.0, 1e-12)
    point, t = at_rest(3, 4.0), tensor(0, 1, 1, 1) / math.sqrt(3)
    assert across(curve, point, t, 0) is t
    torch.testing.assert_close(across(curve, point, t, 2), tensor(2, 2, 2, 3) / math.sqrt(21))
    arm = tensor(0, 1, -1, 0) / math.sqrt(2)
    assert across(curve, point, arm, 2) is arm


def test_pinned_units_have_no_share():
    curve = Curve(lambda w: zoo.inhibition(3, -w), 1.0, 1e-12)
    v, _ = null_vectors(curve, at_rest(3, 1.0, 2))
    torch.testing.assert_close(v, tensor(1, -1, 0)[None] / math.sqrt(2))
