"""What is looked at between epochs."""

import torch
from learning_cases import small_network

from ctebm import PlasticNetwork
from ctebm.learning.probe import kink_shares


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
