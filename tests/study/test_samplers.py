"""The dynamics that are compared: their noise, and means with errors that hold."""

import pytest
import torch

import ctebm
from ctebm.study.record import labelled
from ctebm.study.samplers import (
    DYNAMICS,
    EULER,
    FIXED,
    MALA,
    SCALED,
    held,
    listed,
    motion,
    off_law,
    pair,
    visited,
)


@pytest.mark.parametrize(
    "name, sigma, noise",
    [(EULER, 0.5, "langevin"), (MALA, 0.5, "langevin"), (FIXED, 0.5, "synaptic"),
     (SCALED, 0.5 / 0.2**0.5, "synaptic")],
)  # fmt: skip
def test_noise_stands_for_one_intensity(name, sigma, noise):
    found = motion(name, pair(3.0, ctebm.Tanh()), 0.5, 0.2)
    assert found.noise == noise and float(found.sigma) == pytest.approx(sigma, rel=1e-14)


def test_a_pair_is_centred_unless_it_has_a_bias():
    centred, biased = pair(3.0, ctebm.Tanh()), pair(0.5, ctebm.HardSigmoid(), 0.5)
    assert float(centred.force(torch.zeros(2, dtype=torch.float64)).abs().max()) == 0
    assert biased.bias.tolist() == [0.5, 0.5] and biased.weight.tolist() == [[0, 0.5], [0.5, 0]]


@pytest.mark.parametrize("name, variance", [(EULER, 0.198278), (MALA, 0.168608867)])
def test_means_are_those_of_known_laws(name, variance):
    mean, error, found = visited(
        name, pair(3.0, ctebm.Tanh()), 0.5, 0.4, torch.zeros(400, 2, dtype=torch.float64),
        lambda s: s.square().mean(-1), n_steps=500, burn_in=60, seed=1,
    )  # fmt: skip
    assert abs(float(mean) - variance) < 4 * float(error) < 0.05 * variance
    assert found.every == 1 and found.method == ("mala" if name == MALA else "euler")


def test_the_worst_of_the_chosen_measurements_counts():
    data = labelled(
        held("x", ["dynamics"], [1.0, 2.0, 3.0, 4.0], [0.5] * 4, [1.0, 1.0, 3.0, 3.5], "a number"),
        {}, {"dynamics": ("dynamics", list(DYNAMICS), "dynamics")},
    )  # fmt: skip
    assert off_law(data, "x") == 2 and off_law(data, "x", dynamics=SCALED) == 1
    assert data.x_law.attrs["long_name"] == "the same, from the law"


def test_values_are_listed_with_their_places():
    assert listed([0.123, 4], [0.05, 2.0]) == "0.12 at 0.05, 4 at 2"
