"""Tests of what units that are alike make of equilibria."""

import pytest
import torch
import zoo
from analytic import TANH, pair, random_dense
from cases import every_motion_and_network, states

from ctebm import find_fixed_points
from ctebm.equilibria.catalogue import Catalogue
from ctebm.equilibria.symmetries import Symmetries

SMALL = [name for name, net in every_motion_and_network().items() if not net.batch]


def generic(network, n=3):
    return states(network, (n,), seed=7, spread=0.1)  # between kinks


def orders(n):
    """Return every exchange of two of n units."""
    found = []
    for i in range(n):
        for j in range(i + 1, n):
            order = list(range(n))
            order[i], order[j] = j, i
            found.append(order)
    return found


def test_units_that_are_all_alike():
    net = zoo.dense(3 * zoo.off_diagonal(4), TANH)
    found = Symmetries.of(net, generic(net))
    assert found.orders.tolist() == orders(4)
    assert found.odd  # centred


def test_units_that_differ_a_little_are_not_alike():
    W = 3 * zoo.off_diagonal(4)
    W[0, 1] += 1e-9
    W[1, 0] += 1e-9
    net = zoo.dense(W, TANH)
    # 0 and 1 have the other weight, 2 and 3 have not
    assert Symmetries.of(net, generic(net)).orders.tolist() == [[1, 0, 2, 3], [0, 1, 3, 2]]


def test_random_couplings_have_none():
    net = random_dense(6, 1, TANH, 3.0)
    found = Symmetries.of(net, generic(net))
    assert found.orders.shape == (0, 6)
    assert found.images(generic(net)).shape == (3 * found.odd, 6)


@pytest.mark.parametrize("name", SMALL)
def test_an_image_moves_as_what_it_is_of(name):
    net = every_motion_and_network()[name]
    found = Symmetries.of(net, generic(net, 4))
    s = generic(net, 6)[4:]
    images, forces = found.images(s), found.images(net.force(s))
    torch.testing.assert_close(net.force(images), forces, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_five_inhibiting_units_have_81(seed):
    found = find_fixed_points(zoo.zoo()["inhibition-5-5-logistic"].network, seed=seed)
    assert len(found) == 81
    assert found.index_sum == 1


def test_one_of_each_kind_is_enough():
    net = zoo.zoo()["inhibition-5-5-logistic"].network
    every = find_fixed_points(net)
    catalogue = Catalogue(net, 1e-10)
    kinds = every.state.sort(-1).values.div(1e-6).round().unique(dim=0, return_inverse=True)[1]
    first = [int((kinds == k).nonzero()[0]) for k in kinds.unique()]
    catalogue.add(every.state[first])
    assert len(catalogue.states) < 20
    Symmetries.of(net, generic(net)).close(catalogue)
    assert len(catalogue.states) == 81


def test_images_of_one_sign_and_the_other():
    net = pair(8.0, TANH)
    found = Symmetries.of(net, generic(net))
    s = torch.tensor([[0.1, -0.3]], dtype=torch.float64)
    assert found.images(s).tolist() == [[-0.3, 0.1], [-0.1, 0.3]]
