"""Torch's default device, such as ``torch.set_default_device("cuda")``, moves nothing of ctebm's.

Tried with "meta", which holds no numbers: what lands there by mistake raises an error.
"""

import cases
import numpy as np
import pytest
import torch
from cases import F64

import ctebm

NET = cases.layered(ctebm.Tanh())
HARD = cases.layered(ctebm.HardSigmoid())
X, Y = torch.linspace(-0.4, 0.4, 15, dtype=F64).reshape(3, 5), torch.tensor([0.3, -0.2], dtype=F64)
FREE, HELD = NET.clamp({"x": X}), HARD.clamp({"x": X})
ONE = NET.clamp({"x": X[0]})
LARGE = ctebm.LayeredNetwork.random([5, 300, 300], ctebm.HardSigmoid(), gain=2.0).clamp({"x": X})
REST = ctebm.settle(FREE).state
SINGLE = FREE.to(torch.float32)
START = 0.1 * REST


def run(motion, start=START, sigma=0.0, **options):
    options = {"n_steps": 40, "eps": 0.1, "seed": 1 if sigma else None} | options
    return ctebm.simulate(ctebm.Dynamics(motion, sigma), start, **options).state


def adaptive(method, sigma=0.0, **options):
    return run(FREE, sigma=sigma, n_steps=None, eps=None, times=[0, 0.2], method=method, **options)


CALLS = {
    "euler": lambda: run(FREE),
    "kinks": lambda: run(HELD),
    "steady": lambda: run(FREE, n_steps=200, steady=1e-4),
    "rk4": lambda: run(FREE, method="rk4"),
    "noise": lambda: run(FREE, sigma=0.1),
    "noise in float32": lambda: run(SINGLE, START.float(), sigma=0.1),
    "philox": lambda: run(FREE, sigma=0.1, stream="philox"),
    "heun": lambda: run(FREE, sigma=0.1, method="heun"),
    "srk": lambda: run(FREE, sigma=0.1, method="srk"),
    "dopri8": lambda: adaptive("dopri8"),
    "dop853": lambda: adaptive("dop853"),
    "adaptive_srk": lambda: adaptive("adaptive_srk", 0.1, rtol=1e-2, atol=1e-2),
    "settle": lambda: ctebm.settle(FREE).state,
    "settle on kinks": lambda: ctebm.settle(HELD).state,
    "settle a chain": lambda: ctebm.settle(LARGE).state,
    "settle by the flow": lambda: ctebm.settle(HELD, path="flow").state,
    "find": lambda: ctebm.find_fixed_points(ONE, n_starts=20).state,
    "linearize": lambda: ctebm.linearize(FREE, REST).eigenvalues,
    "linearize without a matrix": lambda: ctebm.linearize(FREE, REST, dense=False).eigenvalues,
    "chain": lambda: ctebm.chain_gradient(FREE, REST, Y),
    "implicit": lambda: ctebm.implicit_gradient(FREE, REST, Y),
    "bptt": lambda: ctebm.bptt_gradient(FREE, REST, Y, eps=0.1, n_steps=3),
    "correspondence": lambda: ctebm.correspondence(NET, X, Y, eps=[0.1], n_steps=3).coefficient,
}


@pytest.mark.parametrize("name", CALLS)
def test_answers_are_the_same_whatever_device_torch_is_set_to(name):
    expected = CALLS[name]()
    with torch.device("meta"):
        found = CALLS[name]()
    np.testing.assert_array_equal(found, expected)


def test_parameters_without_numbers_are_refused():
    with torch.device("meta"), pytest.raises(ValueError, match="got meta, which torch is set to"):
        ctebm.DenseNetwork([[0.0]], [0.0], ctebm.Tanh())
