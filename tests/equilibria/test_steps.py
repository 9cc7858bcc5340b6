"""Steps in time: their orders, their errors, and fast modes."""

import pytest
import torch
from analytic import HARD, TANH, pair, random_dense

from ctebm import Network
from ctebm.equilibria.kkt import force_in_box
from ctebm.equilibria.steps import dormand_prince, rosenbrock


def stepped(method, network, s, h):
    size = torch.full((len(s), 1), h, dtype=torch.float64)
    return method(network, force_in_box(network), s, size, network.force(s))


@pytest.mark.parametrize(("method", "order"), [(dormand_prince, 5), (rosenbrock, 2)])
def test_half_the_step_leaves_the_share_of_its_order(method, order):
    network = random_dense(4, 0, TANH, gain=6.0)
    start = torch.tensor([[0.5, -1.0, 0.3, 0.8], [1.0, 1.0, -0.2, 0.1]], dtype=torch.float64)

    def end(n):
        s = start
        for _ in range(n):
            s = stepped(method, network, s, 0.8 / n).state
        return s

    exact = end(1024)
    errors = [float((end(n) - exact).norm()) for n in (16, 32)]
    assert 0.7 * 2**order < errors[0] / errors[1] < 1.5 * 2**order


@pytest.mark.parametrize(("method", "power"), [(dormand_prince, 5), (rosenbrock, 3)])
def test_the_error_grows_with_its_power_of_the_step(method, power):
    network = random_dense(4, 0, TANH, gain=6.0)
    start = torch.tensor([[0.5, -1.0, 0.3, 0.8]], dtype=torch.float64)
    errors = [float(stepped(method, network, start, h).error.norm()) for h in (0.01, 0.02)]
    assert 0.8 * 2**power < errors[1] / errors[0] < 1.25 * 2**power


def test_what_a_step_tells_is_so():
    network = random_dense(5, 0, HARD, gain=8.0)
    start = torch.linspace(-0.5, 0.5, 30, dtype=torch.float64).reshape(6, 5)
    found = stepped(dormand_prince, network, start, 0.1)
    assert network.box is not None and network.box.contains(found.state).all()
    assert (found.state.abs() == 0.5).any()
    torch.testing.assert_close(found.force, network.force(found.state))
    torch.testing.assert_close(found.force_before, network.force(found.before))
    smooth = stepped(rosenbrock, pair(8.0, TANH), start[:, :2], 0.1)
    torch.testing.assert_close(smooth.force, pair(8.0, TANH).force(smooth.state))
    torch.testing.assert_close(smooth.force_before, pair(8.0, TANH).force(smooth.before))


class Stiff(Network):
    """``s' = -(s_1, 10^6 s_2)``."""

    def energy(self, s):
        return (s.square() * torch.tensor([1.0, 1e6], dtype=s.dtype)).sum(-1) / 2


def test_fast_modes_have_died_out_after_a_long_implicit_step():
    s = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    for _ in range(3):
        s = stepped(rosenbrock, Stiff(2), s, 0.1).state
    assert float(s[0, 0]) == pytest.approx(0.7408, abs=1e-3)
    assert abs(float(s[0, 1])) < 1e-9
