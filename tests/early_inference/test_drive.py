"""The drives: where they agree, where they part, and what a nudge of finite strength costs."""

import warnings

import numpy as np
import pytest
import torch
from cases import measured

import ctebm
from ctebm.early_inference.drive import Drive
from ctebm.early_inference.driven import ComplexNudge, HeldOutput
from ctebm.early_inference.metrics import fit_exponent

HARD = ctebm.HardSigmoid()
layers = lambda record: list(record.fixed.network.layers.values())  # noqa: E731


@pytest.mark.parametrize("drive, beta", [("nudge", 0.7), ("nudge", -0.2), ("clamp", None)])
def test_all_drives_send_the_chain_gradient_at_first_arrival(drive, beta):
    """A nudge of any strength as the paper's drive; a clamp one step and one power of eps ahead."""
    record = measured(eps=[0.2], n_steps=6, drive=drive, beta=beta)
    assert (record.first_crossing == -1).all()
    floor = record.rounding_floor[:, 0]
    lead = int(drive == "clamp")
    for layer, (k, n) in enumerate(zip(record.depth, record.first_arrival, strict=True)):
        assert n == k + 1 - lead
        arrived = record.coefficient[:, 0, n, layer] / 0.2 ** (k + 1 - lead)
        assert (arrived - 1).abs().max() <= 5 * floor[:, layer].max() + 1e-15
        assert record.tangent[:, 0, n, layer].abs().max() <= 5 * floor[:, layer].max() + 1e-15
        if n > 0:
            assert (record.displacement[:, 0, n - 1, layers(record)[layer]].abs() < 1e-15).all()


def test_drives_part_after_the_first_arrival():
    """The leak of the output, beta and the clamp act one step later; feedback to it only then."""
    runs = {
        name: measured(eps=[0.2], n_steps=8, save_all=True, drive=kind, beta=beta)
        for name, kind, beta in [
            ("replace", "replace", None), ("weak", "nudge", 1e-6), ("strong", "nudge", 0.5),
            ("clamp", "clamp", None),
        ]
    }  # fmt: skip
    where = runs["replace"].fixed.network.layers["h1"]
    moved = {name: run.displacement[:, 0, :, where] for name, run in runs.items()}
    gap = (moved["weak"] - moved["replace"]).norm(dim=-1) / moved["replace"].norm(dim=-1)
    assert gap[:, 2:4].max() < 1e-5  # y feels h1 from step 3 on, and h1 feels that in step 4
    assert gap[:, 4].min() > 1e-4
    strong = (moved["strong"] - moved["replace"]).norm(dim=-1) / moved["replace"].norm(dim=-1)
    assert strong[:, 2].max() < 1e-12 < 1e-2 < strong[:, 3].min()
    torch.testing.assert_close(
        moved["clamp"][:, 1], moved["replace"][:, 2] / 0.2, rtol=1e-9, atol=0
    )


def test_clamp_and_replacement_tend_to_the_same_end():
    ends = [
        measured(eps=[0.2], t_end=60.0, drive=d).displacement[:, 0, -1]
        for d in ("replace", "clamp")
    ]
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("points", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "rho, gain",
    [(ctebm.Tanh(), 1.0), (ctebm.Logistic(), 0.6), (ctebm.SmoothHardSigmoid(width=0.3), 1.0)],
    ids=["tanh", "logistic", "smooth-hard"],
)
def test_error_of_a_nudge_is_of_the_order_of_its_points(rho, gain, points):
    """Against the limit of weak nudging, over the whole motion."""
    options = {"gain": gain, "eps": [0.2], "t_end": 6.0, "drive": "nudge"}
    errors, sizes = [], np.array([0.4, 0.2, 0.1])
    exact = measured(rho, **options, beta=1e-3, points=4)
    for beta in sizes:
        run = measured(rho, **options, beta=beta, points=points)
        errors.append(float((run.displacement - exact.displacement).norm()))
    assert errors[0] > 1e-9
    assert fit_exponent(sizes[1:], errors[1:]).slope == pytest.approx(points, rel=0.12)


def test_a_complex_nudge_past_the_singularities_of_the_rate_is_warned_of():
    options = {"eps": [0.2], "t_end": 4.0, "drive": "nudge", "points": 3}
    narrow = ctebm.SmoothHardSigmoid(width=0.02)
    with pytest.warns(UserWarning, match="beyond the singularities of SmoothHardSigmoid"):
        measured(narrow, beta=0.8, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(narrow, beta=0.02, **options)


@pytest.mark.parametrize(
    "rho, gain, method", [(HARD, 0.3, "euler"), (ctebm.Tanh(), 1.0, "euler"), (HARD, 1.3, "heun")]
)
def test_a_weak_nudge_is_the_linear_response(rho, gain, method):
    run = measured(rho, gain=gain, eps=[0.2], drive="nudge", beta=1e-6, points=2, method=method,
                   t_end=4.0)  # fmt: skip
    calm = run.first_crossing[:, 0] < 0
    assert calm.any()
    moved, linear = run.displacement[calm, 0], run.linear_response[calm, 0]
    torch.testing.assert_close(moved, linear, rtol=1e-6, atol=2e-10)


@pytest.mark.parametrize("rho, gain", [(HARD, 0.4), (HARD, 1.2), (ctebm.Tanh(), 1.5),
                                       (ctebm.Logistic(), 0.6)])  # fmt: skip
def test_nudged_steps_are_back_propagation_through_time(rho, gain):
    """P4: every layer and step, relative error at most 1e-5 above what rounding hides."""
    eps, beta, n_steps = 0.3, 1e-6, 12
    run = measured(rho, gain=gain, eps=[eps], n_steps=n_steps, save_all=True, drive="nudge",
                   beta=beta, points=2)  # fmt: skip
    step = -run.displacement.diff(dim=2)[:, 0] / eps
    net = run.fixed.network
    bptt = ctebm.bptt_gradient(
        net, run.fixed.state, run.target, eps=eps, n_steps=n_steps, every_step=True
    )
    hidden = 4e-16 / (eps * beta)
    for where in layers(run):
        expected = bptt[:n_steps, :, where].transpose(0, 1)
        error = (step[..., where] - expected).norm(dim=-1)
        assert (error <= 1e-5 * expected.norm(dim=-1) + hidden).all()
    assert float((step - bptt[:n_steps].transpose(0, 1)).norm() / bptt.norm()) < 1e-7


def test_asymmetric_weights_break_the_correspondence_with_bptt():
    """Nudging moves by J, BPTT by its transpose."""
    symmetric = ctebm.LayeredNetwork.random((5, 6, 6, 3), ctebm.Tanh(), gain=1.0, seed=4)
    errors = []
    for degrees in (0.0, 30.0, 90.0, 180.0):
        net = ctebm.FeedbackNetwork.at_angle(symmetric, degrees, seed=1)
        W, V = net.weights[1], net.feedback[1]
        cosine = float((W * V).sum() / (W.norm() * V.norm()))
        assert cosine == pytest.approx(np.cos(np.radians(degrees)), abs=1e-12)
        x = torch.full((2, 5), 0.2, dtype=torch.float64)
        clamped = net.clamp({"x": x})
        s = ctebm.settle(clamped, tol=1e-13).raise_for_status().state
        target = torch.full((2, 3), 0.3, dtype=torch.float64)
        run = ctebm.correspondence(
            net, x, target, [0.2], state=s, n_steps=8, save_all=True, drive="nudge", beta=1e-3,
            points=2,
        )  # fmt: skip
        bptt = 0.2 * ctebm.bptt_gradient(
            clamped, s, target, eps=0.2, n_steps=7, every_step=True
        ).sum(0)
        errors.append(float((run.displacement[:, 0, -1] + bptt).norm() / bptt.norm()))
    assert errors[0] < 1e-6
    assert np.all(np.diff(errors) > 0.02)


def test_complex_motion_of_a_real_strength_is_the_real_motion():
    net = ctebm.LayeredNetwork.random((5, 6, 3), ctebm.Tanh(), gain=1.0, seed=4).clamp(
        {"x": torch.zeros(2, 5)}
    )
    s = torch.randn(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.full((2, 3), 0.3, dtype=torch.float64)
    f = ComplexNudge(net, target, 0.2 + 0j).force(torch.cat([s, torch.zeros_like(s)], -1))
    real = ctebm.Dynamics(net, nudge=target, beta=0.2).f(0, s)
    torch.testing.assert_close(f, torch.cat([real, torch.zeros_like(s)], -1))


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


CLAMPED = {"eps": [0.1], "n_steps": 10, "save_all": True, "tol": 2e-15, "drive": "clamp"}


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


def test_a_network_that_sees_its_output_held_is_that_network():
    net = ctebm.LayeredNetwork.random((5, 6, 3), ctebm.Tanh(), gain=1.0, seed=4).clamp(
        {"x": torch.zeros(2, 5)}
    )
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(2, 9, generator=draw, dtype=torch.float64)
    target = torch.randn(2, 3, generator=draw, dtype=torch.float64)
    held, clamped = HeldOutput(net, target), net.clamp({"y": target})
    torch.testing.assert_close(held.pressure(s)[:, :6], clamped.pressure(s[:, :6]))
    torch.testing.assert_close(held.jacobian(s), ctebm.VectorField.jacobian(held, s))
    second = held.samples(torch.Size((2,)), torch.tensor(1))
    torch.testing.assert_close(second.force(s[1]), held.force(s)[1])
    assert held.batch == (2,)
    assert not hasattr(held, "energy")


def test_an_output_pulled_out_of_the_box_sends_nothing_and_says_so():
    net = ctebm.LayeredNetwork([[[0.1]], [[0.3]]], [[0.0], [0.0], [2.0]], HARD)
    record = ctebm.correspondence(net, [[0.0], [0.0]], [[0.2], [0.9]], [0.2], n_steps=8)
    assert (
        record.message[0] == "" and "pinned at a kink and pulled further out" in record.message[1]
    )
    assert (record.chain[1, 0] == 0) and (record.displacement[1, 0, :, 0].abs() < 1e-15).all()
    assert record.chain[0, 0] != 0
    weak = ctebm.correspondence(net, [[0.0]], [[0.2]], [0.2], n_steps=8, drive="nudge", beta=1e-3)
    assert "weak nudge" in weak.message[0] and (weak.displacement.abs() < 1e-12).all()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"drive": "push"}, "expected a drive replace, nudge, clamp, got 'push'"),
        ({"drive": "nudge"}, "finite beta other than 0"),
        ({"drive": "nudge", "beta": 0.0}, "without strength it moves nothing"),
        ({"drive": "nudge", "beta": float("nan")}, "finite beta"),
        ({"beta": 0.1}, "with drive='nudge' only"),
        ({"drive": "clamp", "points": 2}, "with drive='nudge' only"),
        ({"drive": "nudge", "beta": 0.1, "points": 0}, "points >= 1"),
        ({"drive": "nudge", "beta": 0.1, "points": 4}, "analytic activation, got HardSigmoid"),
        ({"n_steps": 0}, "n_steps >= 1"),
        ({"sigma": 0.1, "replicates": 1, "intervals": True}, "replicates >= 2 with intervals"),
        ({"state": torch.zeros(6, 13)}, "expected an equilibrium, got a state with residual"),
    ],
)
def test_requests_without_meaning_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        measured(**options)


def test_complex_nudging_of_what_takes_no_complex_states_is_refused():
    options = {"eps": [0.1], "drive": "nudge", "beta": 0.1, "points": 3}
    with pytest.raises(ValueError, match="takes no complex states"):
        measured(ctebm.Custom(torch.relu), **options)
    with pytest.raises(ValueError, match="takes no complex states"):
        measured(ctebm.Custom(lambda s: torch.sigmoid(s.abs())), **options)


def test_strengths_of_a_drive_are_roots_of_unity():
    for n in (1, 2, 3, 4, 5):
        pairs = Drive("nudge", 0.3, n).weights()
        # a response s(beta) = c0 + c1 beta + ... + c_{n+1} beta^{n+1} gives c1 + O(beta^n)
        c = np.arange(1.0, n + 3)
        total = sum((factor * np.polyval(c[::-1], beta)).real for beta, factor in pairs)
        constant = c[0] / 0.3 if n == 1 else 0.0
        assert total == pytest.approx(c[1] + c[n + 1] * 0.3**n + constant, rel=1e-12)
