"""Networks at complex states against finite differences, and against what they refuse."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from cases import Quartic, clipped, layered, measured, predictive, rows, settled, states

import ctebm
from ctebm.early_inference.analytic import (
    AnalyticField,
    ComplexNudge,
    check_analytic,
    check_analytic_cost,
    check_analytic_strip,
)
from ctebm.early_inference.costs import OfRates, cross_entropy
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


class OfTheModulus(ctebm.Network):
    """Smooth on the real axis, and not analytic."""

    def energy(self, s):
        s = self.as_state(s)
        return (s.abs() ** 2).sum(-1) / 2


SMOOTH = {
    "1984": ctebm.HopfieldNetwork(layered(ctebm.Tanh())),
    "predictive": predictive(ctebm.SignedTanh()),
    "energy": Quartic(6, {"x": slice(0, 2), "h": slice(2, 3), "y": slice(3, 6)}),
    "mixed": layered([ctebm.Identity(), ctebm.Tanh(), ctebm.Logistic(), ctebm.Softplus()]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_complex_forces_are_analytic_and_real_on_the_axis(name):
    """Along the imaginary axis the force turns as along the real one, by differences."""
    whole = SMOOTH[name]
    for net in (whole, whole.clamp({"x": rows(4, whole.layers["x"].stop)})):
        check_analytic(net)
        field, s = AnalyticField(net), states(net, (4,)) / 3
        on_axis = field.force(torch.complex(s, torch.zeros_like(s)))
        torch.testing.assert_close(on_axis.real, net.force(s))
        assert float(on_axis.imag.abs().max()) < 1e-15
        z, v, h = torch.complex(s, 0.1 * s.flip(-1)), rows(4, s.shape[-1], seed=9), 1e-5
        along, across = (
            (field.force(z + w * v) - field.force(z - w * v)) / (2 * w) for w in (h, 1j * h)
        )
        torch.testing.assert_close(along, across, rtol=1e-7, atol=1e-7)


def test_an_energy_at_complex_states_is_that_of_its_formula():
    z = torch.tensor([[0.3 + 0.2j, -0.1j, 1.0]], dtype=torch.complex128)
    field = AnalyticField(Quartic(3))
    E = (z**2 / 2 + z**4 / 4).sum(-1) + z[:, 0] * z[:, 2] / 3
    torch.testing.assert_close(field.energy(z), E)
    slope = z + z**3 + torch.stack([z[:, 2], 0 * z[:, 1], z[:, 0]], -1) / 3
    torch.testing.assert_close(field.force(z), -slope)


@pytest.mark.parametrize("cost", [None, cross_entropy, OfRates(ctebm.Tanh())])
def test_a_real_strength_nudges_as_the_real_nudge(cost):
    net = SMOOTH["1984"] if isinstance(cost, OfRates) else SMOOTH["mixed"]
    free, target = net.clamp({"x": rows(4, 5)}), rows(4, 2, seed=3).abs()
    s = rows(4, 9)
    f = ComplexNudge(free, target, 0.3 + 0j, cost).force(torch.cat([s, 0 * s], -1))
    real = ctebm.nudged(free, target, 0.3, cost).force(s)
    torch.testing.assert_close(f, torch.cat([real, 0 * s], -1))


def test_what_is_not_analytic_is_refused():
    with pytest.raises(ValueError, match="OfTheModulus takes no complex states"):
        check_analytic(OfTheModulus(2))
    with pytest.raises(ValueError, match="needs an analytic activation, got HardSigmoid"):
        check_analytic(ctebm.LayeredNetwork.random([2, 2], HARD))
    with pytest.raises(ValueError, match="needs states without kinks, got Clipped"):
        check_analytic(clipped())


def test_correspondence_takes_complex_nudges_of_any_analytic_energy():
    """More points leave less of the nudge's strength in the response."""
    net = SMOOTH["energy"]
    options = {"eps": 0.1, "n_steps": 6, "drive": "nudge", "beta": 0.3}
    found = [ctebm.correspondence(net, rows(2, 2), rows(2, 3), points=n, **options)
             for n in (1, 2, 6, 9)]  # fmt: skip
    off = [float((f.displacement - found[-1].displacement).abs().max()) for f in found]
    assert off[0] > 10 * off[1] > 1e3 * off[2] > 0


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


@pytest.mark.parametrize("strip", [0.01, 1.0])
def test_the_continuation_is_looked_at_off_the_axis_within_its_strip(strip):
    heights = []

    class Spied(Activation):
        analytic_strip = strip

        def __call__(self, s):
            heights.extend(s.imag.flatten().tolist() if s.is_complex() else [])
            return torch.tanh(s)

        def derivative(self, s):
            return 1 - torch.tanh(s) ** 2

    check_analytic(ctebm.DenseNetwork([[0, 1.0], [1.0, 0]], [0.0, 0.0], Spied()))
    assert 0.01 * min(strip, 0.2) < max(heights) < strip / 2 and max(heights) < 0.06


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_costs_must_have_one_slope_in_every_direction(dtype):
    """A cost of moduli, or of real parts, takes complex tensors and continues none."""
    free = SMOOTH["mixed"].to(dtype=dtype).clamp({"x": rows(4, 5).to(dtype)})
    target, y = rows(4, 2, seed=3).abs().to(dtype), rows(4, 2, seed=4).to(dtype)
    taken = {
        "square": lambda y, t: (y - t).square().sum(-1),
        "quartic": lambda y, t: (y - t).pow(4).sum(-1),
        "entropy": cross_entropy,
        "steep": lambda y, t: 100 * (y - t).pow(4).sum(-1),
    }
    refused = {
        "modulus": lambda y, t: ((y - t) * (y - t).conj()).sum(-1),
        "real part": lambda y, t: (y - t).square().sum(-1) + (y + y.conj()).sum(-1) ** 2,
    }
    for cost in taken.values():
        check_analytic_cost(ComplexNudge(free, target, 0.1j, cost), y, "use another")
    for cost in refused.values():
        with pytest.raises(ValueError, match=r"needs a cost of analytic functions .* use another"):
            check_analytic_cost(ComplexNudge(free, target, 0.1j, cost), y, "use another")


@pytest.mark.parametrize("rho, taken", [
    (ctebm.Tanh(), True), (ctebm.Logistic(), True), (ctebm.Softplus(3.0), True),
    (ctebm.SignedTanh(), True), (OfTheRealPart(), False),
], ids=lambda case: type(case).__name__)  # fmt: skip
def test_single_precision_is_looked_at_as_coarsely_as_it_rounds(rho, taken):
    net = layered(rho).to(torch.float32)
    with nullcontext() if taken else pytest.raises(ValueError, match="takes no complex states"):
        check_analytic(net)
