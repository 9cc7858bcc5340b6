"""One step after another: the optimiser gets every gradient as its parameter lies in memory."""

import dataclasses

import numpy as np
import pytest
from learning_cases import PLAN, samples, small_network

import ctebm


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
@pytest.mark.parametrize("rule", [ctebm.Early(), ctebm.Symmetric(), ctebm.EquilibriumPropagation()])
def test_fused_optimisers_take_the_same_steps(rule, optimizer):
    """They read parameter and gradient number by number, whatever the strides."""
    plan = dataclasses.replace(PLAN, rule=rule, optimizer=optimizer, tied=False, epochs=1)
    plain, fused = (
        ctebm.train(small_network(), *samples(), dataclasses.replace(plan, options={"fused": on}))
        for on in (False, True)
    )
    for a, b in zip(plain.network.feedback, fused.network.feedback, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert not np.allclose(plain.network.feedback[1], small_network().weights[1])
