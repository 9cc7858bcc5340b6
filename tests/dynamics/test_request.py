"""What has no meaning is refused, and a start is what it says."""

from __future__ import annotations

import pytest
import torch
from run_cases import F64, layered, pair

import ctebm
from ctebm.dynamics import request


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"times": [0, 0.05, 0.1], "eps": 0.1}, "whole multiples"),
        ({"times": [0, 1], "eps": 0.3}, "whole multiples"),
        ({"times": [0, 1], "eps": 2.0}, "whole multiples"),
        ({"times": [0, 1], "eps": [0.1, 0.2]}, "one eps with times"),
        ({"times": [0, 1]}, "give eps"),
        ({"times": 1.0, "eps": 0.1}, "two or more"),
        ({"times": [1.0], "eps": 0.1}, "two or more"),
        ({"times": [0, 1, 1], "eps": 0.1}, "increasing"),
        ({"times": [1, 0], "eps": 0.1}, "increasing"),
        ({"times": [0, float("inf")], "eps": 0.1}, "finite"),
        ({"times": [0, 1], "eps": 0.1, "save_every": 5}, "n_steps only"),
        ({"n_steps": 5, "times": [0, 1], "eps": 0.1}, "n_steps and times"),
        ({"eps": 0.1}, "none of them"),
        ({"n_steps": 5}, "give eps"),
        ({"n_steps": 5, "eps": 0.0}, "eps > 0"),
        ({"n_steps": 5, "eps": -0.1}, "eps > 0"),
        ({"n_steps": 5, "eps": float("nan")}, "eps > 0"),
        ({"n_steps": 5, "eps": float("inf")}, "eps > 0"),
        ({"n_steps": 0, "eps": 0.1}, "n_steps"),
        ({"n_steps": 2.5, "eps": 0.1}, "n_steps"),
        ({"n_steps": 5, "eps": 0.1, "save_every": 0}, "save_every"),
        ({"n_steps": 5, "eps": 0.1, "save_steps": [7]}, "save_steps up to"),
        ({"n_steps": 5, "eps": 0.1, "save_steps": [2], "save_every": 2}, "got both"),
        ({"n_steps": 5, "eps": 0.1, "method": "eular"}, "did you mean 'euler'"),
        ({"n_steps": 5, "eps": 0.1, "method": "srk"}, "is for noise"),
        ({"n_steps": 5, "eps": 0.1, "samples": [0, 1]}, "one a row"),
        ({"n_steps": 5, "eps": 0.1, "samples": [2**53]}, "0 <= samples <= 9.0072e"),
        ({"n_steps": 5, "eps": 0.1, "samples": [2**32], "stream": "philox"}, "4.29497e"),
        ({"n_steps": 5, "eps": 0.1, "noise_of": 3}, "record of a run, got int"),
        ({"n_steps": 5, "eps": 0.1, "observe": 3}, "observe to name functions"),
        ({"n_steps": 5, "eps": 0.1, "observe": {"a": type}}, "that returns numbers, got"),
        ({"n_steps": 5, "eps": 0.1, "callback": 3}, "as a function, got 3"),
        ({"n_steps": 5, "eps": 0.1, "rtol": 1e-3}, "whatever their error, got rtol;"),
        ({"n_steps": 5, "eps": 0.1, "atol": 1.0, "max_evaluations": 9}, "got atol and max_ev"),
        ({"n_steps": 5, "eps": 0.1, "threads": 0}, "threads"),
        ({"n_steps": 5, "eps": 0.1, "first_step": -1}, "first_step"),
        ({"n_steps": 5, "eps": 0.1, "steady": 0.0}, "steady"),
        ({"n_steps": 10**12, "eps": 0.1, "save_steps": range(10**12)}, "GiB"),
        ({"n_steps": 5, "eps": 0.1, "method": "dopri5"}, "chooses its own steps"),
        ({"times": [0, 1], "method": "dopri5"}, "SmoothHardSigmoid"),
        ({"times": [0, 1], "method": "dopri5", "stream": "philox"}, "got stream"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused(options, sentence):
    if options.get("n_steps") == 10**12:
        options = {"n_steps": 2**22, "eps": 0.1}
        start = torch.zeros(2**18, 2)
    else:
        start = torch.zeros(2)
    with pytest.raises(ValueError, match=sentence):
        ctebm.simulate(ctebm.Dynamics(pair()), start, **options)


def test_a_misspelt_keyword_is_refused():
    with pytest.raises(TypeError, match="n_step"):
        ctebm.simulate(ctebm.Dynamics(pair()), torch.zeros(2), n_step=5, eps=0.1)


def test_a_start_that_is_not_finite_names_its_row():
    start = torch.zeros(3, 2)
    start[1, 0] = torch.nan
    with pytest.raises(ValueError, match="sample 1"):
        ctebm.simulate(ctebm.Dynamics(pair()), start, n_steps=5, eps=0.1)


def test_a_start_that_is_not_contiguous():
    start = torch.rand(2, 4, dtype=F64).mT
    for sigma in (0.0, 0.1):
        dynamics = ctebm.Dynamics(pair(), sigma)
        a = ctebm.simulate(dynamics, start, n_steps=9, eps=0.1, seed=1)
        b = ctebm.simulate(dynamics, start.contiguous(), n_steps=9, eps=0.1, seed=1)
        assert torch.equal(a.state, b.state)


@pytest.mark.parametrize("n_steps", [10**12, 10**30, 10**308])
def test_too_many_saves_are_refused_before_they_are_listed(n_steps):
    import resource
    import time

    asked = [{}, {"observe": {"energy": pair().energy}}]
    if n_steps < 2**63:
        asked.append({"save_steps": range(n_steps)})
    for options in asked:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        with pytest.raises(ValueError, match=r"GiB.*save fewer"):
            ctebm.simulate(pair(), torch.zeros(2), n_steps=n_steps, eps=0.1, **options)
        assert time.perf_counter() - start < 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**14  # KiB
    phases = [ctebm.Phase("a", pair(), n_steps), ctebm.Phase("b", pair(), 2)]
    with pytest.raises(ValueError, match="GiB"):
        ctebm.simulate(phases, torch.zeros(2), eps=0.1)


def test_a_network_and_the_record_of_its_equilibria_are_taken_for_dynamics_and_state():
    net = layered()
    rest = ctebm.settle(net)
    options = {"n_steps": 3, "eps": 0.1}
    run = ctebm.simulate(net, rest, **options)
    assert torch.equal(run.state, ctebm.simulate(ctebm.Dynamics(net), rest.state, **options).state)
    torch.testing.assert_close(run.state[-1], rest.state, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=r"run\.state\[-1\]"):
        ctebm.simulate(net, run, **options)


def test_batches_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"got \(3,\), \(\), \(4,\)"):
        ctebm.simulate(layered(4), torch.zeros(3, 14), n_steps=3, eps=0.1)
    eps = torch.tensor([0.1, 0.2, 0.3])
    assert ctebm.simulate(pair(), torch.zeros(2), n_steps=3, eps=eps).state.shape == (4, 3, 2)


def test_a_motion_without_noise_in_a_noisy_run_needs_a_method_for_it():
    phases = [ctebm.Phase("a", ctebm.Dynamics(pair(), 0.1), 3), ctebm.Phase("b", pair(), 3)]
    with pytest.raises(ValueError, match="srk is for noise"):
        ctebm.simulate(phases, torch.zeros(2), eps=0.1, method="srk")


def test_the_map_with_synaptic_noise_has_one_method():
    dynamics = ctebm.Dynamics(pair(), 0.1, noise="synaptic")
    with pytest.raises(ValueError, match="Euler"):
        ctebm.simulate(dynamics, torch.zeros(2), n_steps=3, eps=0.1, method="heun")


@pytest.mark.parametrize(
    "option", [{"eps": 0.1}, {"save_every": 2}, {"first_step": 3}, {"callback": print}], ids=str
)
def test_an_adaptive_method_names_the_option_it_does_not_take(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        ctebm.simulate(layered(), torch.zeros(14), times=[0, 1], method="dopri5", **option)
    with pytest.raises(ValueError, match="none"):
        ctebm.simulate(layered(), torch.zeros(14), method="dopri5")


def test_what_a_run_keeps_is_estimated_before_its_first_step(monkeypatch):
    asked = []
    monkeypatch.setattr(request, "check_memory", lambda what, n_bytes, *_: asked.append(n_bytes))
    smooth = ctebm.Dynamics(layered(1))  # 14 units

    def estimate(samples=3, **options):
        options = {"eps": 0.1} | options
        ctebm.simulate(smooth, torch.zeros(samples, 14), **options)
        return asked.pop()

    a_state, a_save = 3 * 14 * 8, 128 + 16
    by_steps = estimate(n_steps=10) - a_state * 11 - a_save * 11
    assert 0 <= by_steps <= 2 * (a_state + a_save)  # the ends may be counted twice
    assert estimate(times=[0, 0.2, 1]) == 3 * (a_state + a_save)
    assert estimate(times=[0, 0.2, 1], eps=None, method="dopri5") == 3 * (a_state + a_save)
    observe = {"first": lambda s: s[0, 0], "last": lambda s: s[0, -1]}
    assert estimate(times=[0, 0.2, 1], observe=observe) == 3 * (a_save + 2 * 600)
    own = estimate(n_steps=10, eps=torch.tensor([0.1, 0.2, 0.1]))
    assert own - a_state * 11 - a_save * 11 - by_steps == (11 + by_steps // (a_state + a_save)) * 32
    kept = estimate(times=[0, 0.2, 1], differentiable=True) - 3 * (a_state + a_save)
    assert kept == 6 * 10 * a_state
    kept = estimate(times=[0, 0.2, 1], differentiable=True, method="rk4") - 3 * (a_state + a_save)
    assert kept == 6 * 10 * 4 * a_state


FORCES = {
    "one for all units": (lambda s: -s[..., :1], r"shape \(3, 2\), .*, got \(3, 1\)"),
    "one for all samples": (lambda s: -s[0], r"shape \(3, 2\), .*, got \(2,\)"),
    "in single precision": (lambda s: -s.float(), "in float64, as the state is, got float32"),
    "complex": (lambda s: -s * 1j, "in float64, as the state is, got complex128"),
    "none": (lambda s: None, "got NoneType"),
}


@pytest.mark.parametrize("sigma", [0.0, 0.1])
@pytest.mark.parametrize("clamped", [False, True])
@pytest.mark.parametrize("name", FORCES)
def test_a_force_of_one_s_own_that_is_none_is_refused(name, clamped, sigma):
    force, sentence = FORCES[name]

    class Own(ctebm.VectorField):
        def force(self, s):
            return force(s)

    net = Own(2)
    if clamped:
        if name != "in single precision":
            return  # what is left of it has another shape, or its whole fails
        net = Own(3, {"x": slice(0, 1), "y": slice(1, 3)}).clamp({"x": [0.1]})
    start = torch.zeros(3, 2, dtype=F64)
    for function in (
        lambda: ctebm.simulate(ctebm.Dynamics(net, sigma), start, n_steps=2, eps=0.1),
        lambda: ctebm.settle(net, start),
        lambda: ctebm.linearize(net, start),
    ):
        with pytest.raises(ValueError, match=sentence):
            function()
