"""What a rule returns: gradients by the names of parameters."""

import torch

from ctebm.learning.plastic import WeightGradient


def test_gradients_of_layers_are_called_by_their_place():
    weights, biases = [torch.ones(3, 2), torch.ones(2, 4)], [torch.zeros(2), torch.zeros(4)]
    found = WeightGradient.of_layers(weights, biases, weights[::-1])
    assert list(found.by_name) == [
        "weights.0", "weights.1", "biases.1", "biases.2", "feedback.0", "feedback.1",
    ]  # fmt: skip
    assert all(a is b for a, b in zip(found.weights, weights, strict=True))
    assert all(a is b for a, b in zip(found.biases, biases, strict=True))
    assert found.feedback[0] is weights[1]


def test_words_of_other_parameters_are_not_taken_for_weights():
    found = WeightGradient({"weights_of_mine.0": torch.ones(1), "W": torch.ones(1)})
    assert found.weights == [] and found.biases == [] and found.feedback == []
