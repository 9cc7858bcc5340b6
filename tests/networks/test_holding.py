"""Networks that hold layers of their own: clamping, samples and the way back."""

import pytest
import torch

import ctebm
from ctebm.networks.holding import HoldingNetwork
from ctebm.networks.layout import consecutive

SIZES = {"x": 2, "h": 3, "y": 1}


class Chain(HoldingNetwork):
    """Each layer is pulled towards the sum of the one below."""

    def __init__(self):
        super().__init__(6, consecutive(SIZES))
        self._hold({})

    def _hold(self, held):
        self.held = held
        free = {name: n for name, n in SIZES.items() if name not in held}
        self.layers, self.n_units = consecutive(free), sum(free.values())

    def energy(self, s):
        x, h, y = (
            s[..., self.layers[name]] if name in self.layers else self.held[name] for name in SIZES
        )
        up = (h - x.sum(-1, keepdim=True)).square().sum(-1) / 2
        return up + (y - h.sum(-1, keepdim=True)).square().sum(-1) / 2


X = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]], dtype=torch.float64)


def test_held_layers_are_a_part_of_the_energy():
    free = Chain().clamp({"x": X})
    assert type(free) is Chain and list(free.layers) == ["h", "y"] and free.batch == (3,)
    rest = ctebm.settle(free)
    total = X.sum(-1)
    torch.testing.assert_close(rest.state[:, :3], total[:, None].expand(3, 3))
    torch.testing.assert_close(rest.state[:, 3], 3 * total)


def test_layers_are_held_one_after_another_and_the_whole_is_found_again():
    net = Chain()
    free = net.clamp({"x": X}).clamp({"y": [[4.0]]})
    assert list(free.layers) == ["h"] and free.held["y"].shape == (1, 1)
    whole, held = free.origin
    assert list(whole.layers) == ["x", "h", "y"] and set(held) == {"x", "y"}
    assert torch.equal(held["x"], X)
    same, nothing = net.origin
    assert same is net and nothing == {}
    assert net.held == {}  # clamping leaves the whole alone


def test_samples_are_rows_of_what_is_held():
    free = Chain().clamp({"x": X})
    few = free.samples(torch.Size([3]), torch.tensor([2, 0]))
    assert torch.equal(few.held["x"], X[[2, 0]])
    one = Chain().clamp({"x": X[0]})
    assert one.samples(torch.Size([3]), torch.tensor([1])) is one


def test_batches_that_do_not_fit_are_refused():
    y = [[1.0], [2.0]]
    with pytest.raises(ValueError, match=r"layer 'y' \(2,\) and network \(3,\)"):
        Chain().clamp({"x": X}).clamp({"y": y})
    with pytest.raises(ValueError, match=r"layer 'x' \(3,\) and layer 'y' \(2,\)"):
        Chain().clamp({"x": X, "y": y})
