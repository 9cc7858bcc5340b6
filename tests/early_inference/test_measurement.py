"""Section 3 of the paper: what moves, how much, in which direction, and until when."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import measured, settled

import ctebm
from ctebm.early_inference.plan import saved_steps

HARD = ctebm.HardSigmoid()


def independent(record, eps, n_steps):
    """Drive the saved network in plain numpy, layer by layer, from the saved equilibrium."""
    data = record.to_dataset()
    W = [data[f"weight_{i}"].values for i in range(len(record.network.weights))]
    b = [data[f"bias_{i}"].values for i in range(len(W) + 1)]
    low, high = json_kinks(data)
    layer_of_unit = data.layer_of_unit.values
    h = [data.input.values] + [
        data.fixed_point.values[:, layer_of_unit == name] for name in data.layer_name.values
    ]
    out = []
    for _ in range(n_steps + 1):
        out.append(np.concatenate(h[1:], -1) - data.fixed_point.values)
        r = [np.clip(s - low, 0, 1) for s in h]
        new = [h[0]]
        for i in range(1, len(h)):
            current = b[i] + r[i - 1] @ W[i - 1]
            if i < len(h) - 1:
                current = current + r[i + 1] @ W[i].T
                new.append(np.clip(h[i] + eps * (current - h[i]), low, high))
            else:
                new.append(h[i] + eps * (data.target.values - h[i]))
        h = new
    return np.stack(out)


def json_kinks(data):
    import json

    low = json.loads(data.attrs["activation_parameters"])["lower"]
    return low, low + 1


@pytest.mark.parametrize("sizes", [(5, 4, 3), (5, 6, 4, 3), (4, 5, 5, 5, 3), (4, 5, 5, 4, 4, 4, 3)])
@pytest.mark.parametrize("gain", [0.3, 1.5])
def test_displacement_is_that_of_an_independent_implementation(sizes, gain):
    """Smooth inside the kinks, and kinked, at several depths."""
    record = measured(sizes=sizes, gain=gain, eps=[0.25], n_steps=20, save_all=True)
    expected = independent(record, 0.25, 20).swapaxes(0, 1)
    np.testing.assert_allclose(record.displacement[:, 0].numpy(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sizes", [(5, 6, 3), (5, 6, 4, 3), (5, 6, 6, 4, 3)])
def test_first_arrivals_are_the_chain_gradient_to_rounding(sizes):
    """P1 and P2: exact at steps k + 1 and k + 2, with cosine 1; not a step later."""
    record = measured(sizes=sizes)
    assert (record.first_crossing == -1).all() and not record.fixed.pinned.any()
    floor = record.rounding_floor
    n_hidden = len(sizes) - 2
    for layer, k in enumerate(record.depth):
        for n in (k + 1, k + 2):
            off = (record.coefficient[:, :, n, layer] / record.law[:, n, layer] - 1).abs()
            assert (off <= 3 * floor[:, :, layer]).all()
            assert (record.tangent[:, :, n, layer].abs() <= 3 * floor[:, :, layer]).all()
        assert (record.coefficient[:, :, : k + 1, layer].abs() < 1e-10).all()
        later = record.tangent[:, 0, k + 3, layer].abs()
        if k > 0 and n_hidden > 1:
            assert (later > 100 * floor[:, 0, layer]).all()
        else:
            assert (later <= 3 * floor[:, 0, layer]).all()


def test_the_comparison_would_notice_a_wrong_law():
    """The check above fails for the paper's eps^(k+2), and for a gradient with a wrong sign."""
    record = measured()
    k = 1
    layer, n = record.depth.index(k), k + 1
    wrong = record.eps ** (k + 2)
    off = (record.coefficient[:, :, n, layer] / wrong - 1).abs()
    assert (off > 1e6 * record.rounding_floor[:, :, layer]).all()
    turned = replace(record, chain=-record.chain)
    assert (turned.cosine(turned.chain)[:, :, n, layer] < -0.99).all()


def test_one_hidden_layer_follows_the_binomial_law_for_ever():
    record = measured(sizes=(5, 6, 3))
    known = torch.isfinite(record.law) & (record.law > 0)
    ratio = record.coefficient / record.law
    assert (ratio[:, known] - 1).abs().max() < 1e-9


def test_motion_is_the_linear_response_until_a_kink():
    record = measured(gain=1.0, eps=(0.2, 0.05))
    crossing = record.first_crossing
    assert (crossing > 0).any()
    step = record.step[None].expand(len(crossing), -1, -1)
    before = (step > 0) & ((crossing < 0)[..., None] | (step < crossing[..., None]))
    after = (step > 0) & (crossing > 0)[..., None] & (step > crossing[..., None])
    error = record.linear_error
    for layer, k in enumerate(record.depth):
        seen = before & (step > k) & torch.isfinite(error[..., layer])  # NaN: nothing moves
        assert seen.sum() > 20
        floor = record.rounding_floor[..., layer][..., None].expand_as(error[..., layer])
        assert (error[..., layer][seen] <= 5 * floor[seen]).all()
    assert error[..., 0][after].nan_to_num(0).max() > 1e-4


@pytest.mark.parametrize("method", ["heun", "midpoint", "rk4"])
def test_other_solvers_cross_as_many_layers_as_they_have_stages(method):
    record = measured(sizes=(5, 6, 5, 4, 4, 3), method=method, eps=[0.2], n_steps=8)
    stages = ctebm.dynamics.methods.METHODS[method].stages
    for layer, k in enumerate(record.depth):
        moved = (
            record.displacement[:, 0, 1, list(record.fixed.network.layers.values())[layer]]
            .abs()
            .amax(-1)
            > 1e-12
        )
        assert moved.all() if k < stages else not moved.any()
        n = -(-(k + 1) // stages)
        if stages * n < k + 3:  # nothing can have come back yet
            off = (record.coefficient[:, 0, n, layer] / record.law[0, n, layer] - 1).abs()
            assert (off <= 5 * record.rounding_floor[:, 0, layer]).all()


def test_an_adaptive_solver_follows_the_continuous_law():
    record = measured(ctebm.SmoothHardSigmoid(width=0.02), sizes=(5, 6, 3), method="dopri5")
    later = record.time[2] > 0.2
    ratio = (record.coefficient / record.law)[:, 2][:, later]
    assert (ratio - 1).abs().max() < 1e-4


@pytest.mark.parametrize("rho", [ctebm.Tanh(), ctebm.Logistic(), ctebm.SmoothHardSigmoid()])
def test_remainder_of_a_smooth_rate_is_of_order_eps(rho):
    net, fixed, target = settled(rho, gain=1.5)
    eps = np.array([4e-3, 2e-3, 1e-3])
    record = ctebm.correspondence(net, None, target, eps, n_steps=3, start=fixed.state, tol=1e-14)
    layer = record.depth.index(1)
    off = record.coefficient[:, :, 2, layer] / record.law[:, 2, layer] - 1
    error = torch.hypot(off, record.tangent[:, :, 2, layer]).norm(dim=0)
    slope = np.polyfit(np.log(eps), np.log(error.numpy()), 1)[0]
    assert slope == pytest.approx(1, abs=0.02)


def test_size_at_first_arrival_against_the_flow():
    """The direction converges as eps -> 0, the size at first arrival never does."""
    record = measured(sizes=(5, 6, 6, 6, 3), eps=[0.01], n_steps=8)
    flow = ctebm.continuous_coefficient
    for layer, (k, limit) in enumerate(zip(record.depth, [0.09375, 2 / 9, 1 / 2, 1], strict=True)):
        ratio = record.coefficient[:, 0, k + 1, layer] / float(flow(k, (k + 1) * 0.01))
        assert ratio.numpy() == pytest.approx(limit, rel=0.05)


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


def test_float32_says_what_it_cannot_see():
    net = ctebm.LayeredNetwork.random((5, 6, 6, 3), HARD, gain=0.3, seed=4, dtype=torch.float32)
    record = ctebm.correspondence(
        net, torch.zeros(2, 5), torch.full((2, 3), 0.3), [5e-4], n_steps=5, tol=2e-6
    )
    assert (record.rounding_floor[:, 0, record.depth.index(2)] > 1).all()
    exact = measured(eps=[0.5])
    assert (exact.rounding_floor < 1e-8).all()


def test_a_sample_without_equilibrium_is_reported_and_the_others_measured(monkeypatch):
    def settle_but_one(*args, **options):
        fixed = ctebm.settle(*args, **options)
        lost = torch.arange(len(fixed.converged)) == 1
        return replace(
            fixed,
            converged=fixed.converged & ~lost,
            message=["sample 1 was lost" if one else "" for one in lost],
        )

    monkeypatch.setattr("ctebm.early_inference.measurement.settle", settle_but_one)
    record = measured(eps=[0.1])
    assert torch.isnan(record.displacement[1]).all()
    assert torch.isfinite(record.displacement[[0, 2, 3, 4, 5]]).all()
    data = record.to_dataset()
    assert data.attrs["n_failed"] == 1 and "sample 1 was lost" in data.attrs["messages"]


def test_saved_steps_keep_every_early_one():
    steps = saved_steps(deepest=2, n_steps=800)
    assert steps[:6] == [0, 1, 2, 3, 4, 5] and steps[-1] == 800
    assert len(steps) <= 48 and steps == sorted(set(steps))
    assert saved_steps(deepest=2, n_steps=3) == [0, 1, 2, 3]
    ratio = np.diff(np.log(steps[20:]))
    assert ratio.max() < 1.5 * ratio.mean()


def test_dataset_holds_everything_by_name(tmp_path):
    record = measured()
    data = record.to_dataset()
    assert set(data.dims) >= {"sample", "eps", "save", "layer", "unit"}
    for name, item in data.variables.items():
        assert item.attrs["long_name"], name
        assert item.attrs["units"], name
    path = tmp_path / "correspondence.nc"
    ctebm.save(data, path)
    with ctebm.open(path) as back:
        for name in data.variables:
            np.testing.assert_array_equal(back[name].values, data[name].values)
        assert back.attrs["activation"] == "HardSigmoid"
    run = data.isel(eps=2)
    np.testing.assert_allclose(run.time, run.step.where(run.step >= 0) * 0.02)
    for layer, name in enumerate(data.layer_name.values):
        d = data.displacement.isel(unit=np.flatnonzero(data.layer_of_unit.values == name))
        g = data.chain_gradient.isel(unit=np.flatnonzero(data.layer_of_unit.values == name))
        coefficient = -(d * g).sum("unit", skipna=False) / (g**2).sum("unit")
        np.testing.assert_allclose(data.coefficient.isel(layer=layer), coefficient, rtol=1e-9)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"eps": [0.0]}, "0 < eps <= 1"),
        ({"eps": [1.5]}, "0 < eps <= 1"),
        ({"eps": [np.nan]}, "0 < eps <= 1"),
        ({"eps": []}, "0 < eps <= 1"),
        ({"replicates": 4}, "sigma > 0"),
        ({"sigma": -1.0}, "sigma >= 0"),
        ({"method": "eulr"}, "did you mean 'euler'"),
        ({"method": "dopri5"}, "stalls where units chatter"),
        ({"baseline": "free"}, "expected baseline"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        measured(**options)


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


def test_a_given_equilibrium_is_taken_as_it_is():
    settled_here = measured(eps=[0.1], n_steps=4)
    again = measured(eps=[0.1], n_steps=4, state=settled_here.fixed.state)
    torch.testing.assert_close(again.displacement, settled_here.displacement)
    with pytest.raises(ValueError, match="got both"):
        measured(state=settled_here.fixed.state, start=settled_here.fixed.state)


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
