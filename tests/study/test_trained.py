"""Networks that training left in a file, for the studies that measure them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ctebm
from ctebm.networks.parameters import network_dataset
from ctebm.study.image_settings import ImageSettings
from ctebm.study.images import load_images
from ctebm.study.trained import activation_names, trained_network

DIGITS = load_images(n_samples=2)


def saved(network, folder: Path) -> Path:
    ctebm.save(network_dataset(network), folder / "net.nc")
    return folder / "net.nc"


def layers(*sizes: int, activation=None) -> ctebm.LayeredNetwork:
    return ctebm.LayeredNetwork.random(sizes, activation or ctebm.HardSigmoid(), seed=3)


def test_without_a_path_there_is_no_network() -> None:
    assert trained_network(None, DIGITS, torch.float64) is None


def test_the_network_comes_back_in_the_dtype_that_is_asked_for(tmp_path: Path) -> None:
    network = layers(64, 7, 10)
    found = trained_network(saved(network, tmp_path), DIGITS, torch.float32)
    assert found is not None and found.dtype == torch.float32
    assert torch.equal(found.dense_weight(), network.dense_weight().float())


@pytest.mark.parametrize(
    "network, words",
    [
        (layers(64, 10), "goes from 64 inputs straight to 10 outputs; a study needs a hidden"),
        (layers(63, 7, 10), "64 pixels.*63"),
        (layers(64, 7, 9), "10 classes.*9"),
        (ctebm.FeedbackNetwork.scaled(layers(64, 7, 10), 0.5), "train without --separate"),
    ],
    ids=["no-hidden-layer", "pixels", "classes", "feedback"],
)
def test_networks_that_no_study_can_measure_are_refused(tmp_path: Path, network, words) -> None:
    with pytest.raises(ValueError, match=words):
        trained_network(saved(network, tmp_path), DIGITS, torch.float64)


def test_a_file_without_a_network_is_refused(tmp_path: Path) -> None:
    ctebm.save(network_dataset(layers(64, 7, 10))[["bias_0"]], tmp_path / "net.nc")
    with pytest.raises(ValueError, match=r"net\.nc holds no trained network: .* got no weights"):
        trained_network(tmp_path / "net.nc", DIGITS, torch.float64)


def test_the_activation_is_that_of_the_file(tmp_path: Path) -> None:
    path = saved(layers(64, 7, 10, activation=ctebm.Tanh()), tmp_path)
    assert activation_names(ImageSettings(), ["logistic"]) == ["logistic"]
    assert activation_names(ImageSettings(weights=path), ["logistic"]) == ["Tanh()"]
