"""What a class of one's own keeps, by name."""

import numpy as np
import torch

import ctebm
from ctebm.networks.attributes import class_name, own_dataset


class Mixed(ctebm.VectorField):
    """Tensors, numbers and words in every place where a class may have them."""

    gain = 2.5
    table = torch.arange(3.0)

    def __init__(self):
        super().__init__(2)
        self.rho = ctebm.Logistic(gain=3.0)
        self.box = ctebm.Box(-1.0, 1.0)
        self.blocks = {"a b": [torch.ones(2), None, 7], "word": "tied"}
        self.array = np.eye(2)
        self.module = torch.nn.Linear(2, 2)
        self.inner = ctebm.DenseNetwork([[0, 1], [1, 0]], [0, 0], self.rho)
        self.a_b = 1
        self.solve, self._hidden = len, torch.zeros(4)

    def force(self, s):
        return -s


def test_everything_that_can_be_written_is_and_the_rest_is_named():
    dataset = own_dataset(Mixed(), set())
    numbers = {str(n): v.item() for n, v in dataset.variables.items() if v.ndim == 0}
    assert numbers == {
        "parameter_gain": 2.5, "parameter_rho_class": "Logistic", "parameter_rho_gain": 3.0,
        "parameter_rho_centre": 0.0, "parameter_inner_activation_centre": 0.0,
        "parameter_box_low": -1.0, "parameter_box_high": 1.0, "parameter_blocks_a_b_2": 7,
        "parameter_blocks_word": "tied", "parameter_inner_class": "DenseNetwork",
        "parameter_inner_activation_class": "Logistic", "parameter_inner_activation_gain": 3.0,
        "parameter_inner_constant": 0.0, "parameter_a_b": 1,
    }  # fmt: skip
    shapes = {str(n)[10:]: v.shape for n, v in dataset.variables.items() if v.ndim}
    assert shapes == {
        "table": (3,), "blocks_a_b_0": (2,), "array": (2, 2), "module_weight": (2, 2),
        "module_bias": (2,), "inner_weight": (2, 2), "inner_bias": (2,), "_hidden": (4,),
    }  # fmt: skip
    assert dataset.not_recorded == "solve (builtin_function_or_method)"


def test_two_ways_to_one_name_are_both_kept():
    net = Mixed()
    net.same = {"x-y": 1.0, "x y": 2.0}
    dataset = own_dataset(net, set())
    assert (dataset.parameter_same_x_y, dataset.parameter_same_x_y_) == (1.0, 2.0)


def test_a_class_is_told_with_its_module_unless_it_is_ours():
    assert class_name(ctebm.Tanh()) == "Tanh"
    assert class_name(Mixed()).endswith("test_attributes.Mixed")
