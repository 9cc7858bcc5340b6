"""Errors as coordinates: there and back, and the Hessian that makes them worth it."""

import cases
import pytest
import torch
from cases import every_motion_and_network
from network_contract import check

import ctebm
from ctebm.networks.error_coordinates import ErrorCoordinates

NETWORKS = {k: n for k, n in cases.every_network().items()
            if isinstance(n, ctebm.PredictiveNetwork) and n.kinks is None}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_states_and_errors_lead_back_to_each_other(name):
    net = NETWORKS[name]
    errors = ErrorCoordinates(net)
    s = cases.states(net, (3, *net.batch))
    torch.testing.assert_close(errors.states(errors.errors(s)), s, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(errors.energy(errors.errors(s)), net.energy(s))


def test_the_hessian_of_a_nudged_linear_network_is_one_plus_the_nudge():
    net = ctebm.PredictiveNetwork.random([3, 5, 6, 2], ctebm.Identity(), seed=1)
    free = net.clamp({"x": [0.1, -0.2, 0.3]})
    errors = ErrorCoordinates(free.nudged([0.5, -0.5], 0.7))
    e = torch.zeros(13, dtype=torch.float64)
    J = torch.func.jacrev(ErrorCoordinates(free).states)(e)[free.layers["y"]]
    expected = torch.eye(13, dtype=torch.float64) + 0.7 * J.mT @ J
    torch.testing.assert_close(errors.hessian(e), expected, rtol=1e-12, atol=1e-13)


def test_a_free_chain_rests_at_errors_of_0():
    free = NETWORKS["clamped-predictive"]
    errors = ErrorCoordinates(free)
    assert not errors.force(torch.zeros(9, dtype=torch.float64)).any()
    torch.testing.assert_close(errors.states(torch.zeros(9, dtype=torch.float64)),
                               free.first_guess())  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "errors-of-clamped-predictive",
        "errors-of-nudged-predictive",
        "errors-of-batch-nudged-predictive",
        "errors-of-parted-predictive",
    ],
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])


def test_rates_with_kinks_are_refused():
    net = ctebm.PredictiveNetwork.random([3, 4, 2], ctebm.ReLU(), seed=0)
    with pytest.raises(ValueError, match=r"smooth rates, got ReLU.*settle the network itself"):
        ErrorCoordinates(net.clamp({"x": [0.1, 0.2, 0.3]}))
