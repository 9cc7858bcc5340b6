"""The problem that studies share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ctebm
from ctebm.networks.parameters import network_dataset
from ctebm.study.image_settings import ImageSettings, gains_to_compare
from ctebm.study.images import load_images
from ctebm.study.problem import images_problem, problem_of, reachable, study_images
from ctebm.study.trained import activation_names


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a network of 64 inputs and 10 outputs."""
    net = ctebm.LayeredNetwork.random((64, 7, 10), ctebm.HardSigmoid(lower=-0.4), seed=3)
    ctebm.save(network_dataset(net), tmp_path / "net.nc")
    return tmp_path / "net.nc"


def test_random_weights_rest_in_the_middle_on_average() -> None:
    problem = images_problem(ImageSettings(n_samples=8, seed=2), (9, 8), "hard-sigmoid", 0.25)
    assert problem.hidden == [9, 8]
    rates = problem.images.input.mean(0)
    W = problem.network.weights[0]
    np.testing.assert_allclose(
        problem.network.biases[1],
        -(rates @ W.numpy() + problem.network.weights[1].numpy().sum(1) / 2),
    )
    other = images_problem(ImageSettings(n_samples=8, seed=2), (9, 8), "hard-sigmoid", 0.25, seed=4)
    assert not torch.equal(other.network.weights[0], W)


@pytest.mark.parametrize("activation", ["hard-sigmoid", "tanh"])
def test_targets_lie_inside_the_kinks(activation: str) -> None:
    problem = images_problem(ImageSettings(n_samples=4), (5,), activation, 0.25)
    rates = problem.network.activation(problem.target)
    hot = np.eye(10)[problem.images.label]
    np.testing.assert_allclose(rates, np.where(hot, 0.9, 0.1), atol=1e-12)
    back = problem.network.activation(problem.x)
    np.testing.assert_allclose(back, reachable(problem.images.input, problem.network.activation)[0])


def test_a_file_takes_the_place_of_random_weights(file: Path) -> None:
    settings = ImageSettings(weights=file, n_samples=2)
    problem = images_problem(settings, (1, 2, 3), "tanh", 99.0)
    assert problem.hidden == [7]
    assert problem.network.activation == ctebm.HardSigmoid(lower=-0.4)
    assert activation_names(settings, ["tanh"]) == ["HardSigmoid(lower=-0.4)"]
    assert gains_to_compare(settings, (0.1, 0.2)) == (1.0,)


def test_layers_have_to_fit_the_images() -> None:
    settings = ImageSettings(n_samples=2)
    with pytest.raises(ValueError, match="has 64 pixels but --sizes begins with 63"):
        problem_of(settings, study_images(settings), (63, 5, 10), "tanh", 1.0)
    with pytest.raises(ValueError, match="has 10 classes but --sizes ends with 9"):
        load_images(n_samples=2).check_sizes((64, 5, 9), "change it")
