"""Units in named layers, and samples in rows."""

import pytest
import torch

from ctebm.networks.layout import (
    broadcast,
    consecutive,
    covering,
    drop_units,
    layer_names,
    rows_of,
    size_of,
    without_layer,
)

LAYERS = {"x": slice(0, 3), "h1": slice(3, 4), "y": slice(4, 6)}


def test_layers_are_named_from_the_output():
    assert layer_names(2) == ["x", "y"]
    assert layer_names(5) == ["x", "h3", "h2", "h1", "y"]


def test_sizes_and_slices_are_the_same():
    sizes = {name: size_of(where) for name, where in LAYERS.items()}
    assert sizes == {"x": 3, "h1": 1, "y": 2}
    assert consecutive(sizes) == LAYERS and consecutive({}) == {}
    assert without_layer(LAYERS, "h1") == {"x": slice(0, 3), "y": slice(3, 5)}


def test_layers_cover_all_units():
    assert covering(LAYERS, 6) == covering(LAYERS, None) == LAYERS
    for n in (5, 7):
        with pytest.raises(ValueError, match=f"cover the {n} units"):
            covering(LAYERS, n)
    with pytest.raises(ValueError, match="cover all units"):
        covering({"x": slice(1, 3)}, None)
    for name in (None, 0, ("x", "y")):
        with pytest.raises(ValueError, match="names of layers as words"):
            covering({name: slice(0, 6)}, 6)


def test_units_are_dropped_in_the_middle():
    t = torch.arange(12).reshape(2, 6)
    assert drop_units(t, LAYERS["h1"]).tolist() == [[0, 1, 2, 4, 5], [6, 7, 8, 10, 11]]


def test_rows_of_a_parameter_that_is_broadcast():
    t, batch = torch.arange(6.0).reshape(3, 2), torch.Size((2, 3))
    assert rows_of(t, batch, torch.tensor([5, 0])).tolist() == [[4, 5], [0, 1]]
    assert rows_of(t, batch, torch.tensor(4)).tolist() == [2, 3]
    assert rows_of(t[0], batch, torch.tensor([5, 0])).tolist() == [0, 1]


def test_batches_broadcast_or_are_named():
    assert broadcast(a=torch.Size((3, 1)), b=torch.Size((4,))) == (3, 4)
    with pytest.raises(ValueError, match=r"batches of a \(3,\) and b \(1, 4\)"):
        broadcast(a=torch.Size((3,)), b=torch.Size((1, 4)))
