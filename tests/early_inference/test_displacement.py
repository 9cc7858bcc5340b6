"""What a drive moves, with noise and without: baselines, crossings, intervals over replicates."""

import pytest
import torch
from cases import measured, settled

import ctebm
from ctebm.early_inference import displacement
from ctebm.early_inference.displacement import DrivenRun
from ctebm.early_inference.drive import Clamp, Nudge, Replace
from ctebm.early_inference.schedule import Replicates


def layers(record):
    return list(record.fixed.network.layers.values())


CLAMPED = {"eps": [0.1], "n_steps": 10, "save_all": True, "tol": 2e-15, "drive": "clamp"}


def test_held_twins_cancel_noise_under_a_nudge():
    """N5: additive noise, paired with a run nudged to its own equilibrium."""
    for points in (1, 2):
        options = {"eps": [0.1], "n_steps": 10, "save_all": True, "tol": 2e-15, "drive": "nudge",
                   "beta": 0.2, "points": points}  # fmt: skip
        quiet = measured(**options)
        noisy = measured(**options, sigma=0.02, replicates=3, baseline="held", seed=1)
        assert (noisy.first_crossing == -1).all()
        gap = (noisy.displacement - quiet.displacement).abs().max()
        assert gap < 2e-14
        free = measured(**options, sigma=0.02, replicates=3, baseline="undriven", seed=1)
        assert (free.displacement - quiet.displacement).abs().max() > 1e-6


@pytest.mark.parametrize("noise", ["langevin", "synaptic"])
def test_held_twins_cancel_noise_under_a_clamp(noise):
    """At every step against a twin that is clamped too, else up to the first arrival.

    Synaptic noise on the twin's output is inside the rates, and thereby there one step earlier.
    """
    quiet = measured(**CLAMPED)
    options = {"sigma": 0.02, "noise": noise, "replicates": 3, "seed": 1}
    noisy = measured(**CLAMPED, **options, baseline="held")
    assert (noisy.first_crossing == -1).all()
    assert (noisy.displacement - quiet.displacement).abs().max() < 2e-14
    free = measured(**CLAMPED, **options, baseline="undriven")
    gap = (free.displacement - quiet.displacement)[:, 0].abs()
    for where, k, n in zip(layers(quiet), quiet.depth, quiet.first_arrival, strict=True):
        if k > 0:
            last = n if noise == "langevin" else n - 1
            assert gap[:, : last + 1, where].max() < 2e-14 < 1e-5 < gap[:, -1, where].max()


def test_a_clamped_output_stays_put_and_the_others_fluctuate_around_it():
    """Mean and covariance are those of the network with its output clamped, after settling."""
    options = {**CLAMPED, "n_steps": 100, "save_all": False}
    noisy = measured(**options, sigma=0.01, replicates=600, baseline="equilibrium", seed=1)
    quiet = measured(**options)
    y = quiet.fixed.network.layers["y"]
    pull = quiet.target - quiet.fixed.state[:, y]
    assert (noisy.displacement[:, 0, :, y] - pull[:, None]).abs().max() < 1e-15
    assert (noisy.standard_error[..., y] < 1e-15).all()
    held = quiet.fixed.network.clamp({"y": quiet.target})
    linear = ctebm.linearize(held, ctebm.settle(held).state)
    variance = linear.covariance(0.01, eps=0.1).diagonal(dim1=-2, dim2=-1)
    off = (noisy.displacement - quiet.displacement)[:, 0, -1, : y.start]
    assert (off / (variance / 600).sqrt()).abs().max() < 4.5  # 60 standard normal numbers
    measured_variance = 600 * noisy.standard_error[:, 0, -1, : y.start].square()
    # a variance from 600 normal samples has a relative standard error of sqrt(2/600)
    assert (measured_variance / variance - 1).abs().max() < 4.5 * (2 / 600) ** 0.5


@pytest.mark.parametrize("baseline, last", [("undriven", 0), ("held", 10)])
def test_common_noise_cancels_in_the_linear_regime(baseline, last):
    """Up to the first arrival against the undriven network, at every step against a held twin."""
    quiet = measured(eps=[0.1], n_steps=10, save_all=True, tol=2e-15)
    noisy = measured(
        eps=[0.1],
        n_steps=10,
        save_all=True,
        tol=2e-15,
        sigma=0.02,
        replicates=3,
        baseline=baseline,
        seed=1,
    )
    assert (noisy.first_crossing == -1).all()
    for layer, k in enumerate(quiet.depth):
        where = list(quiet.fixed.network.layers.values())[layer]
        end = max(k + 1, last)
        gap = (noisy.displacement - quiet.displacement)[:, 0, : end + 1, where].abs().max()
        assert gap < 1e-14
        if end == k + 1:
            late = (noisy.displacement - quiet.displacement)[:, 0, end + 1, where].abs().max()
            assert late > 1e-8 or k == 0


def test_synaptic_noise_has_the_quiet_run_as_its_mean():
    quiet = measured(eps=[0.2], n_steps=6, save_all=True)
    noisy = measured(eps=[0.2], n_steps=6, save_all=True, sigma=0.02, noise="synaptic",
                     replicates=400, baseline="held", seed=2)  # fmt: skip
    assert (noisy.first_crossing == -1).all()
    gap = (noisy.displacement - quiet.displacement).abs()
    assert gap.max() < 1e-13  # the noise inside the pressure cancels in pairs as well
    alone = measured(eps=[0.2], n_steps=6, save_all=True, sigma=0.02, noise="synaptic",
                     replicates=400, baseline="equilibrium", seed=2)  # fmt: skip
    z = ((alone.displacement - quiet.displacement) / alone.standard_error)[:, 0, 2:]
    z = z[..., : quiet.fixed.network.layers["y"].start]
    assert alone.standard_error[:, 0, 2:].max() > 1e-5
    assert z.abs().max() < 5 and 0.5 < z.std() < 1.6  # of correlated units and steps


def test_intervals_bracket_the_mean_over_replicates():
    record = measured(eps=[0.1], n_steps=6, sigma=0.01, replicates=12, intervals=True, seed=3,
                      baseline="equilibrium")  # fmt: skip
    low, high = record.coefficient_interval
    assert low.shape == record.coefficient.shape
    inside = (low <= record.coefficient) & (record.coefficient <= high)
    assert inside[:, :, 1:].float().mean() > 0.99
    assert (record.cosine_interval[0] <= record.cosine_interval[1])[:, :, 1:].all()
    data = record.to_dataset()
    assert data.coefficient_interval.dims == ("bound", "sample", "eps", "save", "layer")


def test_a_displacement_is_driven_steps_minus_the_equilibrium():
    net, fixed, target = settled(ctebm.HardSigmoid(), gain=1.2)
    run = DrivenRun(net, fixed.state, target, Replace(), "euler", Replicates())
    moved = run.displacement(0.3, [0, 2, 7])
    driven, s, states = ctebm.Dynamics(net, drive=target), fixed.state, [fixed.state]
    for _ in range(7):
        s = driven.box(s).project(s + 0.3 * driven.f(0, s))
        states.append(s)
    expected = torch.stack([states[n] for n in (0, 2, 7)]) - fixed.state
    torch.testing.assert_close(moved.mean, expected, rtol=0, atol=1e-15)
    assert moved.standard_error is None and moved.seed is None


def test_crossings_are_seen_in_runs_of_any_length(monkeypatch):
    """Whether all states are kept at a time or the fewest."""
    net, fixed, target = settled(ctebm.HardSigmoid(), gain=1.2)
    run = DrivenRun(net, fixed.state, target, Replace(), "euler", Replicates())
    whole = run.displacement(0.02, [0, 5, 90])
    monkeypatch.setattr(displacement, "_KEPT_NUMBERS", 1)
    parts = run.displacement(0.02, [0, 5, 90])
    assert (whole.crossings.step > displacement._SHORTEST_SPAN).any()
    assert torch.equal(whole.crossings.step, parts.crossings.step)
    assert torch.equal(whole.crossings.unit, parts.crossings.unit)
    assert torch.equal(whole.mean, parts.mean)


def test_a_clamp_beyond_a_kink_has_crossed_it_at_once():
    net, fixed, target = settled(ctebm.HardSigmoid(), gain=0.3)
    target[3, 1] = 0.8
    run = DrivenRun(net, fixed.state, target, Clamp(), "euler", Replicates())
    found = run.displacement(0.1, [0, 1]).crossings
    y = net.layers["y"].start
    assert (found.step[3], found.unit[3], found.direction[3]) == (0, y + 1, 1)
    assert (found.step == -1).sum() == len(target) - 1


def test_both_signs_of_a_nudge_share_their_noise():
    net, fixed, target = settled(ctebm.Tanh())
    noisy = Replicates(0.05, n=3, baseline="equilibrium", seed=3)
    run = DrivenRun(net, fixed.state, target, Nudge(0.1, points=2), "euler", noisy)
    moved = run.displacement(0.1, [0, 1], seed=3)
    assert moved.seed == 3
    assert moved.standard_error[1].max() < 1e-13  # the first step's noise is no response


def test_complex_nudges_together_give_the_response_for_unit_strength():
    """With an error of the fourth order in beta (Laborieux & Zenke 2022)."""
    net, fixed, target = settled(ctebm.Tanh())
    errors = []
    for beta in (0.2, 0.1):
        run = DrivenRun(net, fixed.state, target, Nudge(beta, points=4), "euler", Replicates())
        moved = run.displacement(0.1, [0, 1, 5, 20])
        assert not moved.mean.is_complex()
        errors.append(float((moved.mean - moved.linear_response).abs().max()))
    assert float(moved.linear_response.abs().max()) > 0.01
    assert errors[1] < 2e-6 and 12 < errors[0] / errors[1] < 20


def test_one_noisy_run_has_no_error_of_its_mean():
    net, fixed, target = settled(ctebm.Tanh())
    noisy = Replicates(0.05, n=1, baseline="equilibrium")
    moved = DrivenRun(net, fixed.state, target, Replace(), "euler", noisy).displacement(
        0.1, [0, 3], seed=5
    )
    again = ctebm.simulate(
        ctebm.Dynamics(net, sigma=0.05, drive=target), fixed.state, n_steps=3, eps=0.1, seed=5
    )
    assert moved.standard_error is not None and moved.standard_error.isnan().all()
    torch.testing.assert_close(moved.mean[-1], again.state[-1] - fixed.state)


def test_standard_errors_are_those_of_independent_runs():
    net, fixed, target = settled(ctebm.Tanh())
    noisy = Replicates(0.05, n=5, baseline="equilibrium")
    run = DrivenRun(net, fixed.state, target, Replace(), "euler", noisy)
    moved = run.displacement(0.1, [0, 2, 3], seed=5)
    many = ctebm.simulate(
        ctebm.Dynamics(net, sigma=0.05, drive=target), fixed.state.expand(5, *fixed.state.shape),
        n_steps=3, eps=0.1, seed=5,
    ).state[[0, 2, 3]]  # fmt: skip
    torch.testing.assert_close(moved.mean, many.mean(1) - fixed.state)
    torch.testing.assert_close(moved.standard_error, many.std(1) / 5**0.5)


def test_adaptive_steps_give_the_displacement_of_fine_ones():
    net, fixed, target = settled(ctebm.Tanh(), gain=0.3)
    found, fine = (
        DrivenRun(net, fixed.state, target, Replace(), method, Replicates())
        for method in ("dopri5", "rk4")
    )
    ends = found.displacement(0.1, [0, 5]), fine.displacement(0.005, [0, 100])
    torch.testing.assert_close(ends[0].mean[-1], ends[1].mean[-1], rtol=1e-4, atol=1e-7)
    kinked, fixed, target = settled(ctebm.HardSigmoid(), gain=0.3)
    with pytest.raises(ValueError, match="dopri5 stalls where units chatter around the kinks"):
        run = DrivenRun(kinked, fixed.state, target, Replace(), "dopri5", Replicates())
        run.displacement(0.1, [0, 5])


def test_complex_nudges_are_held_to_the_strip_in_which_rates_are_analytic(monkeypatch):
    """At the largest imaginary part of each strength, and what is refused there is refused."""
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=1)
    asked, options = [], {"eps": 0.1, "n_steps": 3, "drive": "nudge", "beta": 0.1, "points": 4}
    monkeypatch.setattr(displacement, "check_analytic_strip", lambda *of: asked.append(of[1:]))
    ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], **options)
    assert asked and all(0 < height < 0.1 for height, _ in asked)
    assert all(abs(strength) == pytest.approx(0.1) for _, strength in asked)

    def refused(*_):
        raise ValueError("beyond the strip")

    monkeypatch.setattr(displacement, "check_analytic_strip", refused)
    with pytest.raises(ValueError, match="beyond the strip"):
        ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], **options)
