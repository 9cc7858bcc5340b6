"""The drives: where they agree, where they part, and what a nudge of finite strength costs."""

import numpy as np
import pytest
import torch
from cases import ACTIVATIONS, measured

import ctebm
from ctebm.early_inference.drive import Clamp, Nudge, Replace, drive_named
from ctebm.early_inference.metrics import fit_exponent

HARD = ctebm.HardSigmoid()


def layers(record):
    return list(record.fixed.network.layers.values())


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


def test_strengths_of_a_drive_are_roots_of_unity():
    for n in (1, 2, 3, 4, 5):
        pairs = Nudge(0.3, n).runs()
        # a response s(beta) = c0 + c1 beta + ... + c_{n+1} beta^{n+1} gives c1 + O(beta^n)
        c = np.arange(1.0, n + 3)
        total = sum((factor * np.polyval(c[::-1], beta)).real for beta, factor in pairs)
        constant = c[0] / 0.3 if n == 1 else 0.0
        assert total == pytest.approx(c[1] + c[n + 1] * 0.3**n + constant, rel=1e-12)


def test_a_drive_by_its_word_is_that_of_its_class():
    assert drive_named("replace") == Replace() and drive_named("clamp") == Clamp()
    assert drive_named("nudge", 0.3, 2) == Nudge(0.3, 2)
    assert Nudge(0.3, 2).attributes() == {"drive": "nudge", "beta": 0.3, "points": 2}
    assert len({Replace(), Replace(), Clamp(), Nudge(0.3), Nudge(0.3, 2)}) == 4  # values, frozen
    assert [d.strength for d in (Replace(), Clamp(), Nudge(-0.3))] == [1.0, 1.0, -0.3]


def test_a_complex_nudge_has_no_noise():
    with pytest.raises(ValueError, match="points=1 or 2 with noise, got 3"):
        measured(ACTIVATIONS["tanh"], drive="nudge", beta=0.1, points=3, sigma=0.1)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"name": "push"}, "expected a drive 'replace', 'clamp' or 'nudge', got 'push'"),
        ({"name": ["nudge"]}, r"expected a drive .* got \['nudge'\]"),
        ({"name": "nudge"}, "finite beta other than 0"),
        ({"name": "nudge", "beta": 0.0}, "without strength it moves nothing"),
        ({"name": "nudge", "beta": float("nan")}, "finite beta"),
        ({"name": "replace", "beta": 0.1}, "with drive='nudge' only"),
        ({"name": "clamp", "points": 2}, "with drive='nudge' only"),
        ({"name": "nudge", "beta": 0.1, "points": 0}, "whole number 1 <= points <= 1024, got 0"),
        ({"name": "nudge", "beta": 0.1, "points": 1.5}, "whole number 1 <= points .* got 1.5"),
        ({"name": "nudge", "beta": 0.1, "points": float("nan")}, "points <= 1024, got nan"),
        ({"name": "nudge", "beta": 0.1, "points": 10**9}, "points <= 1024, got 1000000000"),
        ({"name": "nudge", "beta": float("inf")}, "a finite beta, got inf"),
        ({"name": "nudge", "beta": 1j}, "a finite beta, got 1j"),
        ({"name": "nudge", "beta": "strong"}, "a finite beta, got 'strong'"),
    ],
)
def test_drives_without_meaning_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        drive_named(**options)
    options["drive"] = options.pop("name")
    with pytest.raises(ValueError, match=words):
        measured(**options)


def test_a_clamped_output_has_no_noise():
    net = ctebm.LayeredNetwork.random((3, 4, 2), HARD, gain=0.3).clamp({"x": torch.zeros(1, 3)})
    target = torch.tensor([[0.2, -0.1]], dtype=torch.float64)
    start = Clamp().start(net, torch.zeros(1, 6, dtype=torch.float64), target)
    motion = Clamp().dynamics(net, target, sigma=0.2)
    run = ctebm.simulate(motion, start, n_steps=20, eps=0.1, seed=1)
    seen = Clamp().seen(net, run.state, target)
    assert (seen[..., net.layers["y"]] == target).all()
    assert run.state[-1, :, :4].abs().max() > 0.01


def test_drives_say_what_they_are():
    assert Replace().attributes() == {"drive": "replace"}
    assert Clamp().attributes() == {"drive": "clamp"}
    assert Nudge(0.5, points=2).attributes() == {"drive": "nudge", "beta": 0.5, "points": 2}


def test_more_than_two_strengths_need_an_analytic_rate_and_no_noise():
    kinked, smooth = (ctebm.LayeredNetwork.random([2, 2], rho) for rho in (HARD, ctebm.Tanh()))
    for points in (1, 2):
        Nudge(0.1, points).check(kinked, sigma=0.1)
    Nudge(0.1, points=3).check(smooth, sigma=0.0)
    with pytest.raises(ValueError, match="needs an analytic activation"):
        Nudge(0.1, points=3).check(kinked, sigma=0.0)
    with pytest.raises(ValueError, match="a complex run has no noise"):
        Nudge(0.1, points=3).check(smooth, sigma=0.1)


@pytest.mark.parametrize("name", ["replace", "nudge", "clamp"])
def test_driven_motions_are_quiet_and_of_full_strength_unless_asked(name):
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), seed=0).clamp({"x": [0.1, 0.2, 0.3]})
    target = torch.tensor([0.3, -0.2], dtype=torch.float64)
    drive = drive_named(name, *([0.5, 2] if name == "nudge" else []))
    motion, plain = (drive.dynamics(net, target, *more) for more in ((), (0.0, "langevin", 1.0)))
    assert not motion.noisy and motion.noise == "langevin"
    s = torch.linspace(-0.2, 0.3, motion.network.n_units, dtype=torch.float64)
    assert torch.equal(motion.f(0, s), plain.f(0, s))
