"""Networks with a driven output against the networks they stand for."""

import warnings

import pytest
import torch
from cases import Quartic, measured, settled

import ctebm
from ctebm.early_inference.driven import (
    ComplexNudge,
    HeldOutput,
    TangentField,
    check_analytic,
    check_analytic_strip,
)
from ctebm.networks.activation import Activation

HARD = ctebm.HardSigmoid()


def test_a_complex_nudge_past_the_singularities_of_the_rate_is_warned_of():
    options = {"eps": [0.2], "t_end": 4.0, "drive": "nudge", "points": 3}
    narrow = ctebm.SmoothHardSigmoid(width=0.02)
    with pytest.warns(UserWarning, match="beyond the singularities of SmoothHardSigmoid"):
        measured(narrow, beta=0.8, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(narrow, beta=0.02, **options)


def test_complex_motion_of_a_real_strength_is_the_real_motion():
    net = ctebm.LayeredNetwork.random((5, 6, 3), ctebm.Tanh(), gain=1.0, seed=4).clamp(
        {"x": torch.zeros(2, 5)}
    )
    s = torch.randn(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.full((2, 3), 0.3, dtype=torch.float64)
    f = ComplexNudge(net, target, 0.2 + 0j).force(torch.cat([s, torch.zeros_like(s)], -1))
    real = ctebm.Dynamics(net, nudge=target, beta=0.2).f(0, s)
    torch.testing.assert_close(f, torch.cat([real, torch.zeros_like(s)], -1))


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


def test_complex_nudging_of_what_takes_no_complex_states_is_refused():
    options = {"eps": [0.1], "drive": "nudge", "beta": 0.1, "points": 3}
    with pytest.raises(ValueError, match="needs an analytic activation"):
        measured(ctebm.Custom(torch.relu, kinks=(0.0,)), **options)
    with pytest.raises(ValueError, match="takes no complex states"):
        measured(ctebm.Custom(lambda s: torch.sigmoid(s.atan2(torch.ones_like(s)))), **options)


class OfTheRealPart(Activation):
    """Takes complex states, of which it sees the real part: no slope across."""

    def __call__(self, s):
        return torch.sin(s.real if s.is_complex() else s) + 0 * s

    def derivative(self, s):
        return torch.cos(s.real if s.is_complex() else s) + 0 * s


class OfAnotherSlope(Activation):
    """Analytic, but its derivative is that of another function where states are complex."""

    def __call__(self, s):
        return torch.sin(s)

    def derivative(self, s):
        return torch.cos(s) + 0.01 * (s.imag if s.is_complex() else 0)


class Narrow(Activation):
    """Analytic within a strip, and undefined beyond."""

    analytic_strip = 0.05

    def __call__(self, s):
        return torch.sin(self._inside(s))

    def derivative(self, s):
        return torch.cos(self._inside(s))

    def _inside(self, s):
        if s.is_complex() and bool((s.imag.abs() >= self.analytic_strip).any()):
            raise RuntimeError("beyond the strip")
        return s


@pytest.mark.parametrize(
    "rho, taken", [(OfTheRealPart(), False), (OfAnotherSlope(), False), (Narrow(), True),
                   (ctebm.Custom(torch.sin), True), (ctebm.Tanh(), True)],
)  # fmt: skip
def test_an_activation_is_analytic_if_its_slopes_agree_in_every_direction(rho, taken):
    net = ctebm.LayeredNetwork.random([2, 2], rho)
    if taken:
        check_analytic(net)
    else:
        with pytest.raises(ValueError, match=r"takes no complex states.* use points=1 or 2"):
            check_analytic(net)


def test_a_strip_counts_from_its_edge_on():
    net = ctebm.LayeredNetwork.random([2, 2], Narrow())
    with pytest.warns(UserWarning, match=r"imaginary part 0\.05, beyond the singularities"):
        check_analytic_strip(net, 0.05, 0.1j)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_analytic_strip(net, 0.0499, 0.1j)
        check_analytic_strip(Quartic(2), 1e9, 0.1j)  # of unknown rates nothing is said


def test_complex_nudging_needs_the_closed_form():
    with pytest.raises(ValueError, match=r"needs the closed form of eq. 6, got Quartic"):
        check_analytic(Quartic(2))
    with pytest.raises(ValueError, match="needs an analytic activation, got HardSigmoid"):
        check_analytic(ctebm.LayeredNetwork.random([2, 2], HARD))


def test_a_tangent_field_is_the_jacobian_of_the_units_that_move():
    net, fixed, target = settled(HARD, gain=1.2)
    free = ~fixed.pinned
    assert fixed.pinned.any() and free.any()
    pull = target - fixed.state[:, net.layers["y"]]
    tangent = TangentField(net, fixed.state, free, pull)
    v = torch.randn(fixed.state.shape, generator=torch.Generator().manual_seed(0)).double()
    J = free.unsqueeze(-1) * net.jacobian(fixed.state) * free.unsqueeze(-2)
    push = torch.zeros_like(v)
    push[:, net.layers["y"]] = pull
    expected = (J @ v.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(tangent.force(v), expected + free * push)
    torch.testing.assert_close(tangent.jacobian_product(v, v), expected)
    torch.testing.assert_close(tangent.adjoint_product(v, v), (J.mT @ v.unsqueeze(-1)).squeeze(-1))


def test_complex_motions_of_batches_of_any_shape_are_those_of_their_samples():
    net, _, target = settled(ctebm.Tanh())
    motion = ComplexNudge(net, target, 0.2 + 0.1j)
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(3, 8, 2 * net.n_units, generator=draw, dtype=torch.float64)
    f = motion.force(s)
    for sample in range(8):
        one = motion.samples(motion.batch, torch.tensor(sample))
        assert one.batch == ()
        torch.testing.assert_close(one.force(s[1, sample]), f[1, sample])
    z = torch.complex(s[..., : net.n_units], s[..., net.n_units :])
    y = net.layers["y"]
    pull = (0.2 + 0.1j) * (target - z[..., y])
    plain = ComplexNudge(net, target, 0j).force(s)
    moved = torch.complex(*(f - plain).split(net.n_units, -1))
    torch.testing.assert_close(moved[..., y], pull)
    assert not moved[..., : y.start].any()


def test_the_continuation_is_looked_at_off_the_axis_within_its_strip():
    seen = []

    class Spied(ctebm.Tanh):
        def __call__(self, s):
            seen.extend(s.flatten().tolist() if s.is_complex() else [])
            return super().__call__(s)

    net = ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [0.0, 0.0], Spied())
    check_analytic(net)
    middle = sum(seen) / len(seen)
    assert middle == pytest.approx(0.1 + 0.1j) and len(seen) == 4
    assert sorted(abs(z - middle) for z in seen) == pytest.approx([1e-4] * 4)
