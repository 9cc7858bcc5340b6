"""The sigmoids: eq. 7 and its smooth relatives, on the real line and beside it."""

import copy
import math
import pickle

import pytest
import torch
from cases import ACTIVATIONS, F64
from hypothesis import given
from hypothesis import strategies as st

import ctebm
from ctebm.networks import sigmoids

GRID = torch.linspace(-3.013, 3.017, 401, dtype=torch.float64)


ANALYTIC = {
    "logistic": ctebm.Logistic(gain=3.0),
    "logistic-shifted": ctebm.Logistic(centre=0.5),
    "tanh": ctebm.Tanh(),
    "smooth-hard": ctebm.SmoothHardSigmoid(width=0.05),
    "smooth-hard-wide": ctebm.SmoothHardSigmoid(lower=-0.3, width=0.4),
}
PARTS = ("__call__", "derivative", "second_derivative")


@pytest.mark.parametrize("rho", ANALYTIC.values(), ids=list(ANALYTIC))
@pytest.mark.parametrize("part", PARTS)
def test_complex_states_on_the_real_axis_are_real_ones(rho, part):
    s = torch.cat([GRID, torch.tensor([-1e3, -40.0, 40.0, 1e3], dtype=torch.float64)])
    z = getattr(rho, part)(torch.complex(s, torch.zeros_like(s)))
    assert (z.imag == 0).all()
    # softplus at 60 corner widths is itself rounded to 60 eps
    largest = getattr(rho, part)(s).abs().max()
    torch.testing.assert_close(z.real, getattr(rho, part)(s), rtol=1e-14, atol=2e-15 * largest)


@pytest.mark.parametrize("rho", ANALYTIC.values(), ids=list(ANALYTIC))
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, -0.9])
def test_complex_derivatives_are_differences_in_either_direction(rho, share):
    """Analytic in the strip: the slope is the same along the real and the imaginary axis."""
    z = torch.complex(GRID, torch.full_like(GRID, share * rho.analytic_strip))
    h = 1e-3 * (1 - abs(share)) * rho.analytic_strip  # of the distance to the singularity
    for part, of in (("derivative", rho), ("second_derivative", rho.derivative)):
        found = getattr(rho, part)(z)
        for way in (h, 1j * h):  # differences of fourth order
            slope = (8 * (of(z + way) - of(z - way)) - of(z + 2 * way) + of(z - 2 * way)) / 12
            off = (slope / way - found).abs() / found.abs().max()
            assert off.max() < 1e-9


@pytest.mark.parametrize("rho", ANALYTIC.values(), ids=list(ANALYTIC))
def test_the_strip_ends_at_a_singularity(rho):
    pole = complex(getattr(rho, "lower", getattr(rho, "centre", 0.0)), rho.analytic_strip)
    near = [float(rho.derivative(torch.tensor([pole + d * 1j])).abs()) for d in (-1e-3, -1e-6)]
    assert near[1] > 100 * near[0]


@pytest.mark.parametrize("make", [sigmoids.softplus, sigmoids.sigmoid])
def test_closed_forms_of_complex_numbers(make):
    z = torch.complex(*torch.meshgrid(GRID, 1.02 * GRID[abs(GRID) < 3], indexing="ij"))
    expected = {"softplus": (1 + z.exp()).log(), "sigmoid": 1 / (1 + (-z).exp())}[make.__name__]
    torch.testing.assert_close(make(z), expected, rtol=1e-12, atol=1e-13)
    far = torch.tensor([1e4 + 1j, -1e4 + 1j], dtype=torch.complex128)
    ends = {"softplus": [1e4 + 1j, 0], "sigmoid": [1, 0]}[make.__name__]
    assert make(far).tolist() == ends


@pytest.mark.parametrize("name", ["hard", "hard-skewed", "logistic", "tanh", "smooth-hard"])
def test_inverse_returns_the_state_of_a_rate(name):
    rho = ACTIVATIONS[name]
    rate = torch.linspace(1e-6, 1 - 1e-6, 101, dtype=torch.float64)
    torch.testing.assert_close(rho(rho.inverse(rate)), rate, rtol=1e-12, atol=1e-12)


@given(st.floats(-0.99, -0.01), st.floats(-2, 2))
def test_hard_sigmoid_is_eq_7(lower, s):
    rho = ctebm.HardSigmoid(lower)
    expected = 0.0 if s < lower else 1.0 if s > lower + 1 else s - lower
    assert float(rho(torch.tensor(s, dtype=torch.float64))) == pytest.approx(expected, abs=1e-15)


def test_hard_sigmoid_has_slope_one_on_the_closed_box():
    rho = ctebm.HardSigmoid()
    s = torch.tensor([-0.5 - 1e-9, -0.5, 0.0, 0.5, 0.5 + 1e-9], dtype=torch.float64)
    assert rho.derivative(s).tolist() == [0, 1, 1, 1, 0]
    assert rho.box == rho.kinks == (-0.5, 0.5)


@pytest.mark.parametrize("width", [0.1, 0.01, 0.001])
def test_smooth_hard_sigmoid_tends_to_the_hard_one(width):
    smooth = ctebm.SmoothHardSigmoid(width=width)
    gap = (smooth(GRID) - ctebm.HardSigmoid()(GRID)).abs().max()
    assert gap <= width * math.log(2) * (1 + 1e-9)  # reached at the corners


def test_activations_are_values():
    assert ctebm.HardSigmoid(-0.3) == ctebm.HardSigmoid(-0.3) != ctebm.HardSigmoid()
    assert hash(ctebm.Tanh()) == hash(ctebm.Tanh())


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ctebm.HardSigmoid(0.5), "0 lies between the kinks or on one"),
        (lambda: ctebm.HardSigmoid(math.nan), "0 lies between the kinks or on one"),
        (lambda: ctebm.Logistic(0.0), "gain > 0"),
        (lambda: ctebm.Logistic(math.inf), "gain > 0"),
        (lambda: ctebm.SmoothHardSigmoid(width=-1.0), "width > 0"),
        (lambda: ctebm.Logistic().inverse(torch.tensor([0.5, 1.0])), r"rates in \(0, 1\)"),
        (lambda: ctebm.HardSigmoid().inverse(torch.tensor([1.5])), r"rates in \[0, 1\]"),
    ],
)
def test_bad_parameters_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("width", [0.05, 0.1, 0.7])
def test_the_smooth_hard_sigmoid_saturates_at_one_however_far(dtype, width):
    """Far up the two terms are as large as the state, and their difference is rounding alone."""
    rho = ctebm.SmoothHardSigmoid(width=width)
    far = torch.tensor([1e3, 1e4, 1e6, 1e8, 1e12, 1e16, 1e30, torch.inf], dtype=dtype)
    assert rho(far).tolist() == [1.0] * 8 and rho(-far).tolist() == [0.0] * 8
    assert rho.derivative(far).tolist() == rho.derivative(-far).tolist() == [0.0] * 8
    wide = torch.complex(far[:7], torch.full_like(far[:7], width / 2))
    assert rho(wide).tolist() == [1.0] * 7


def test_the_smooth_hard_sigmoid_has_no_seam():
    """Where the closed form ends it is 1 to rounding."""
    for dtype in (torch.float64, torch.float32):
        rho = ctebm.SmoothHardSigmoid()
        seam = 0.5 + 0.1 * sigmoids._LINEAR
        s = torch.linspace(seam - 0.1, seam + 0.1, 101, dtype=dtype)
        assert (rho(s) - 1).abs().max() < 20 * torch.finfo(dtype).eps
    u = s.clone().requires_grad_()
    assert torch.isfinite(torch.autograd.grad(rho(u).sum(), u)[0]).all()


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations_are_copied_and_pickled(name):
    if name == "custom":
        rho = ctebm.Custom(torch.sin, kinks=(1.0,), rates=(-1.0, 1.0))
    else:
        rho = ACTIVATIONS[name]
    s = torch.linspace(-2, 2, 9, dtype=F64)
    for twin in (copy.deepcopy(rho), pickle.loads(pickle.dumps(rho))):
        assert twin == rho and twin.box == rho.box and twin.kinks == rho.kinks
        assert twin.max_slope == rho.max_slope and twin.analytic_strip == rho.analytic_strip
        assert torch.equal(twin(s), rho(s))


@pytest.mark.parametrize("name", ["hard", "logistic", "tanh"])
def test_integrals_have_the_rate_as_their_slope(name):
    rho, h = ACTIVATIONS[name], 1e-5
    s = GRID[torch.stack([(GRID - k).abs() > 2 * h for k in rho.kinks or (9.0,)]).all(0)]
    slope = (rho.integral(s + h) - rho.integral(s - h)) / (2 * h)
    torch.testing.assert_close(slope, rho(s), rtol=1e-7, atol=1e-9)
    assert float(rho.integral(torch.tensor(-40.0, dtype=F64))) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", ["logistic", "tanh", "hard"])
def test_the_largest_curvature_is_reached(name):
    rho = ACTIVATIONS[name]
    found = rho.second_derivative(torch.linspace(-2, 2, 40_001, dtype=F64)).abs().max()
    assert float(found) == pytest.approx(rho.max_curvature, rel=1e-6)


@pytest.mark.parametrize(
    "rho",
    [ctebm.Logistic(), ctebm.Logistic(2.5), ctebm.Tanh(), ctebm.HardSigmoid(),
     ctebm.HardSigmoid(-0.2), ctebm.SmoothHardSigmoid(), ctebm.SmoothHardSigmoid(-0.2, 0.3)],
    ids=repr,
)  # fmt: skip
def test_slopes_and_bends_are_derivatives_of_the_rate(rho):
    s = torch.linspace(-2.03, 2.01, 41, dtype=torch.float64)
    s.requires_grad_()
    (slope,) = torch.autograd.grad(rho(s).sum(), s, create_graph=True)
    torch.testing.assert_close(rho.derivative(s), slope)
    both = rho.rate_and_slope(s.detach())
    torch.testing.assert_close(both[0], rho(s.detach()))
    torch.testing.assert_close(both[1], slope.detach())
    bend = torch.zeros_like(s)
    if slope.requires_grad:
        (bend,) = torch.autograd.grad(slope.sum(), s)
    torch.testing.assert_close(rho.second_derivative(s.detach()), bend)
    fine = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    assert float(rho.derivative(fine).max()) == pytest.approx(rho.max_slope, rel=1e-6)
    bend = float(rho.second_derivative(fine).abs().max())
    assert rho.max_curvature in (pytest.approx(bend, rel=1e-4), math.inf)


def test_the_centre_is_where_the_rate_is_a_half():
    """The sigma(4 s - 2) of codes whose states lie in [0, 1]."""
    rho, plain = ctebm.Logistic(centre=0.5), ctebm.Logistic()
    torch.testing.assert_close(rho(GRID), 1 / (1 + torch.exp(-(4 * GRID - 2))))
    for part in PARTS:
        torch.testing.assert_close(getattr(rho, part)(GRID), getattr(plain, part)(GRID - 0.5))
    torch.testing.assert_close(rho.inverse(rho(GRID)), GRID)
    slope = torch.func.vmap(torch.func.grad(rho.integral))(GRID)
    torch.testing.assert_close(slope, rho(GRID))
    with pytest.raises(ValueError, match="centre"):
        ctebm.Logistic(centre=math.nan)
