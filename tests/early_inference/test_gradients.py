"""The reference gradients against autograd and written-out back-propagation."""

import warnings

import pytest
import torch
from cases import ACTIVATIONS, Quartic, settled

import ctebm
from ctebm.early_inference.gradients import responsive_units


@pytest.fixture(params=ACTIVATIONS, ids=list(ACTIVATIONS))
def case(request):
    return settled(ACTIVATIONS[request.param])


def test_chain_gradient_is_autograd_through_the_pressures(case):
    """dC/dh_k by back-propagation through y = R_y(h_1), h_1 = R_h1(h_2), ... (eqs. 23-25)."""
    net, fixed, target = case
    g = ctebm.chain_gradient(net, fixed.state, target)
    names = list(net.layers)  # h_K ... h_1, y
    for row in range(len(target)):
        error = fixed.state[row, net.layers["y"]] - target[row]
        carried = error
        for above, below in zip(names[::-1], names[-2::-1], strict=False):
            wa, wb = net.layers[above], net.layers[below]

            def pressure(h, wa=wa, wb=wb, row=row):
                s = fixed.state.clone()
                s[row, wb] = h
                return net.pressure(s)[row, wa]

            def carries(units, name, row=row, error=error):
                free = ~fixed.pinned[row, units]
                if name == "y" and net.box is not None:
                    at_high = fixed.state[row, units] >= net.box[1]
                    at_low = fixed.state[row, units] <= net.box[0]
                    free = ~((at_high & (error < 0)) | (at_low & (error > 0)))
                return free

            passed = carried * carries(wa, above)
            J = torch.autograd.functional.jacobian(pressure, fixed.state[row, wb])
            carried = (passed @ J) * carries(wb, below)
            torch.testing.assert_close(g[row, wb], carried, rtol=1e-11, atol=1e-14)


def test_chain_gradient_is_eq_25_written_out():
    net, fixed, target = settled(ACTIVATIONS["logistic"])
    s, rho, (W21, W10) = fixed.state, net.activation, net.weights
    h2, h1, y = (s[:, where] for where in net.layers.values())
    g0 = y - target
    g1 = rho.derivative(h1) * ((rho.derivative(y) * g0) @ W10.T)
    g2 = rho.derivative(h2) * ((rho.derivative(h1) * g1) @ W21.T)
    expected = torch.cat([g2, g1, g0], -1)
    torch.testing.assert_close(ctebm.chain_gradient(net, s, target), expected)


def test_implicit_gradient_is_the_dense_solve_on_unpinned_units(case):
    net, fixed, target = case
    g = ctebm.implicit_gradient(net, fixed.state, target)
    H = net.hessian(fixed.state)
    for row in range(len(target)):
        free = ~fixed.pinned[row]
        right = torch.zeros_like(fixed.state[row])
        right[net.layers["y"]] = fixed.state[row, net.layers["y"]] - target[row]
        expected = torch.zeros_like(right)
        expected[free] = torch.linalg.solve(H[row][free][:, free], right[free])
        torch.testing.assert_close(g[row], expected, rtol=1e-9, atol=1e-13)


def test_implicit_gradient_is_how_a_nudge_moves_the_equilibrium():
    """The equilibrium of E + beta C moves by -beta g, to first order in beta."""
    net, fixed, target = settled(ACTIVATIONS["tanh"])
    g = ctebm.implicit_gradient(net, fixed.state, target)
    errors = []
    for beta in (1e-2, 1e-3):
        dynamics = ctebm.Dynamics(net, nudge=target, beta=beta)
        end = ctebm.simulate(dynamics, fixed.state, n_steps=400, eps=0.5, save_every=400).state[-1]
        errors.append(float(((end - fixed.state) / -beta - g).norm() / g.norm()))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)
    assert errors[1] < 2e-3


def test_an_unstable_point_has_no_implicit_gradient():
    rho = ctebm.Tanh()
    net = ctebm.LayeredNetwork([[[6.0]]], [[0.0], [0.0]], rho).centred()
    g = ctebm.implicit_gradient(net, torch.zeros(1, 2), torch.tensor([[0.3]]))
    assert torch.isnan(g).all()


def test_a_pinned_output_counts_one_sidedly():
    """An output at its kink passes the error on if the target pulls it in, not if it pulls out."""
    net = ctebm.LayeredNetwork([[[0.0]], [[0.3]]], [[0.0], [0.0], [2.0]], ctebm.HardSigmoid())
    net = net.clamp({"x": torch.zeros(2, 1)})
    fixed = ctebm.settle(net)
    assert fixed.pinned[:, 1].all() and (fixed.state[:, 1] == 0.5).all()
    target = torch.tensor([[0.2], [0.9]])
    assert responsive_units(net, fixed.state, target)[:, 1].tolist() == [True, False]
    g = ctebm.chain_gradient(net, fixed.state, target)
    torch.testing.assert_close(g[:, 0], torch.tensor([0.3 * 0.3, 0.0], dtype=torch.float64))
    torch.testing.assert_close(g[:, 1], torch.tensor([0.3, -0.4], dtype=torch.float64))


def test_any_network_with_layers_has_gradients():
    net = Quartic(4, {"x": slice(0, 1), "h1": slice(1, 3), "y": slice(3, 4)})
    small = net.clamp({"x": torch.tensor([[0.4]])})
    fixed = ctebm.settle(small, torch.zeros(1, 3))
    assert fixed.converged.all()
    assert ctebm.chain_gradient(small, fixed.state, torch.tensor([[0.2]])).shape == (1, 3)


def test_a_target_of_the_wrong_shape_is_refused():
    net, fixed, _ = settled(ACTIVATIONS["tanh"])
    with pytest.raises(ValueError, match=r"\(\*batch, 3\) for layer 'y', got \(8, 2\)"):
        ctebm.chain_gradient(net, fixed.state, torch.zeros(8, 2))


@pytest.mark.parametrize("gamma", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("rho", [ctebm.Tanh(), ctebm.HardSigmoid()], ids=["tanh", "hard"])
def test_gradients_of_a_network_with_its_own_feedback_are_those_of_its_jacobian(gamma, rho):
    symmetric = ctebm.LayeredNetwork.random((5, 6, 4, 3), rho, gain=0.3, seed=1)
    net = ctebm.FeedbackNetwork.scaled(symmetric, gamma)
    net = net.clamp({"x": torch.linspace(-0.4, 0.4, 10).reshape(2, 5)})
    s = torch.zeros(2, net.n_units, dtype=torch.float64)
    for _ in range(400):
        s = s + 0.5 * net.force(s)
    assert net.force(s).abs().max() < 1e-14
    target = torch.full((2, 3), 0.3, dtype=torch.float64)
    J = net.jacobian(s)
    v = torch.randn(s.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    product = torch.func.jvp(net.force, (s,), (v,))[1]
    torch.testing.assert_close((J @ v.unsqueeze(-1)).squeeze(-1), product)
    torch.testing.assert_close(net.jacobian_product(s, v), product)
    right = torch.zeros_like(s)
    right[:, net.layers["y"]] = s[:, net.layers["y"]] - target
    expected = torch.linalg.solve(-J.mT, right.unsqueeze(-1)).squeeze(-1)
    implicit = ctebm.implicit_gradient(net, s, target)
    torch.testing.assert_close(implicit, expected, rtol=1e-9, atol=1e-13)
    bptt = ctebm.bptt_gradient(net, s, target, eps=0.2, n_steps=2)
    M = torch.eye(net.n_units, dtype=torch.float64) + 0.2 * J.mT
    torch.testing.assert_close(bptt, (M @ M @ right.unsqueeze(-1)).squeeze(-1))
    chain = ctebm.chain_gradient(net, s, target)
    meet = gamma == 0 and rho.kinks  # nothing comes back, and no curvature acts on itself
    if meet:
        torch.testing.assert_close(implicit, chain, rtol=1e-9, atol=1e-14)
    else:
        assert (implicit - chain).norm() > 1e-4 * chain.norm()


def asymmetric(rho, gain=0.5, n=9, n_samples=4, seed=0):
    """A dense network whose couplings differ in the two directions, at equilibrium, and targets."""
    draw = torch.Generator().manual_seed(seed)
    W = gain * torch.randn(n, n, generator=draw, dtype=torch.float64) / n**0.5
    b = 0.4 * torch.randn(n, generator=draw, dtype=torch.float64)
    layers = {"x": slice(0, 2), "h1": slice(2, 6), "y": slice(6, n)}
    x = 0.8 * torch.rand(n_samples, 2, generator=draw, dtype=torch.float64) - 0.4
    net = ctebm.AsymmetricNetwork(W, b, rho, layers=layers).clamp({"x": x})
    fixed = ctebm.settle(net, tol=1e-14).raise_for_status()
    return net, fixed, 0.6 * torch.rand(n_samples, 3, generator=draw, dtype=torch.float64) - 0.3


@pytest.mark.parametrize("rho", ["tanh", "hard"])
def test_gradients_of_an_asymmetric_network_are_dense_solves(rho):
    net, fixed, target = asymmetric(ACTIVATIONS[rho], gain=1.0 if rho == "tanh" else 1.5)
    J, y, h = net.jacobian(fixed.state), net.layers["y"], net.layers["h1"]
    assert (J - J.mT).abs().max() > 0.1
    assert fixed.pinned.any() == (rho == "hard")
    implicit = ctebm.implicit_gradient(net, fixed, target)
    chain = ctebm.chain_gradient(net, fixed, target)
    responsive = responsive_units(net, fixed, target)
    for row in range(len(target)):
        free = ~fixed.pinned[row]
        right = torch.zeros_like(fixed.state[row])
        right[y] = fixed.state[row, y] - target[row]
        expected = torch.zeros_like(right)
        expected[free] = torch.linalg.solve(-J[row][free][:, free].mT, right[free])
        torch.testing.assert_close(implicit[row], expected, rtol=1e-8, atol=1e-13)
        passed = J[row][y, h].mT @ (right * responsive[row])[y]
        torch.testing.assert_close(chain[row, h], passed * free[h])


def test_a_record_of_equilibria_stands_for_its_states():
    net, fixed, target = settled(ACTIVATIONS["tanh"])
    steps = {"eps": 0.1, "n_steps": 2}
    for function, options in [
        (ctebm.chain_gradient, {}), (ctebm.implicit_gradient, {}), (ctebm.bptt_gradient, steps),
        (responsive_units, {}),
    ]:  # fmt: skip
        assert torch.equal(
            function(net, fixed, target, **options), function(net, fixed.state, target, **options)
        )


def pairs(strengths, output):
    """Pairs of units coupled at these strengths, centred; those from `output` on are the output."""
    n = 2 * len(strengths)
    W = torch.zeros(n, n, dtype=torch.float64)
    for i, w in enumerate(strengths):
        W[2 * i, 2 * i + 1] = W[2 * i + 1, 2 * i] = w
    layers = {"h": slice(0, output), "y": slice(output, n)}
    return ctebm.DenseNetwork(W, torch.zeros(n), ctebm.HardSigmoid(), layers=layers).centred()


def test_a_saddle_has_no_implicit_gradient_though_the_error_does_not_see_it():
    """The output's pair is stable, the other one is not: no error reaches it by any product."""
    net, target = pairs([3.0, 0.5], output=2), torch.tensor([[0.1, 0.2], [0.0, 0.0]])
    s = torch.zeros(2, 4, dtype=torch.float64)
    assert float(torch.linalg.eigvalsh(net.hessian(s[0]))[0]) < 0
    assert torch.isnan(ctebm.implicit_gradient(net, s, target)).all()
    stable = pairs([0.9, 0.5], output=2)
    g = ctebm.implicit_gradient(stable, s, target)
    expected = torch.linalg.solve(
        stable.hessian(s), torch.nn.functional.pad(s[:, 2:] - target, (2, 0))
    )
    torch.testing.assert_close(g, expected)


@pytest.mark.parametrize("lowest", [-1e-3, 1e-3])
def test_one_negative_direction_in_a_thousand_is_found(lowest):
    """In a pair that no product connects with the output."""
    draw = torch.Generator().manual_seed(3)
    strengths = 0.8 * torch.rand(500, generator=draw, dtype=torch.float64)
    strengths[7] = 1 - lowest
    net = pairs(strengths, output=990)
    s = torch.zeros(1, 1000, dtype=torch.float64)
    g = ctebm.implicit_gradient(net, s, torch.full((10,), 0.1))
    assert bool(torch.isnan(g).all()) is (lowest < 0)


def test_a_saddle_in_a_batch_leaves_the_other_samples_alone():
    """Of two wells and the saddle between them, along a direction that the output is not on."""
    rho, zero = ctebm.Tanh(), torch.zeros(2, dtype=torch.float64)
    W = torch.zeros(4, 4, dtype=torch.float64)
    W[0, 1] = W[1, 0] = 6.0
    W[2, 3] = W[3, 2] = 0.5
    layers = {"h": slice(0, 2), "y": slice(2, 4)}
    net = ctebm.DenseNetwork(W, torch.zeros(4), rho, layers=layers).centred()
    starts = torch.tensor([[0.5, 0.5, 0.0, 0.0], [-0.5, -0.5, 0.0, 0.0]], dtype=torch.float64)
    wells = ctebm.settle(net, starts, tol=1e-13).raise_for_status().state
    assert (wells[:, :2].abs() > 0.3).all()
    s = torch.stack([wells[0], torch.zeros(4, dtype=torch.float64), wells[1]])
    g = ctebm.implicit_gradient(net, s, zero + 0.1)
    assert torch.isnan(g).all(-1).tolist() == [False, True, False]
    right = torch.nn.functional.pad(wells[:, 2:] - 0.1, (2, 0))
    torch.testing.assert_close(g[[0, 2]], torch.linalg.solve(net.hessian(wells), right))


@pytest.mark.parametrize("w", [1.0, 1 - 1e-16, 1 + 2e-16])
def test_a_degenerate_point_has_no_implicit_gradient(w):
    """A continuum of equilibria: H is singular, exactly or to rounding."""
    for output in (1, 2):
        net = pairs([w, 0.5], output=output)
        g = ctebm.implicit_gradient(net, torch.zeros(4), torch.full((4 - output,), 0.1))
        assert torch.isnan(g).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-10, 1e-20, 1e-30, 1e-37])
@pytest.mark.parametrize("energy", [True, False])
def test_the_implicit_gradient_of_a_small_error_is_small_and_right(dtype, size, energy):
    """Squares of such errors underflow in single precision: it was 0, or off by 3e-4."""
    net = ctebm.LayeredNetwork.random([4, 3, 2], ctebm.HardSigmoid(), gain=0.5, seed=1).centred()
    if not energy:
        net = ctebm.FeedbackNetwork.scaled(net, 0.7)
    net = net.to(dtype=dtype).clamp({"x": [0.0] * 4})
    s, target = torch.zeros(5, dtype=dtype), torch.tensor([0.2, -0.3], dtype=dtype)
    small = ctebm.implicit_gradient(net, s, size * target) / size
    tolerance = 100 * torch.finfo(dtype).eps
    expected = ctebm.implicit_gradient(net, s, target)
    torch.testing.assert_close(small, expected, rtol=tolerance, atol=0)
    J = net.jacobian(s).double()
    right = torch.nn.functional.pad(-target.double(), (3, 0))
    torch.testing.assert_close(
        expected.double(), torch.linalg.solve(-J.mT, right), rtol=tolerance, atol=0
    )


@pytest.mark.parametrize("other", [None, 2.5, "net"])
def test_what_is_no_network_is_refused_in_words_by_implicit_gradient(other):
    with pytest.raises(ValueError, match="expected a network, got"):
        ctebm.implicit_gradient(other, [0.0], [0.1])


class WithModules(ctebm.Network):
    """Eq. 6 with the weights of torch's modules, which learn."""

    def __init__(self):
        super().__init__(7, {"x": slice(0, 2), "h": slice(2, 5), "y": slice(5, 7)})
        draw = torch.Generator().manual_seed(0)
        self.up = torch.nn.Linear(2, 3).double(), torch.nn.Linear(3, 2).double()
        for p in (p for linear in self.up for p in linear.parameters()):
            p.data.copy_(0.4 * torch.randn(p.shape, generator=draw, dtype=torch.float64))

    def energy(self, s):
        x, h, y = (torch.tanh(u) for u in s.split((2, 3, 2), -1))
        coupled = (self.up[0](x) * h).sum(-1) + (self.up[1](h) * y).sum(-1)
        return s.square().sum(-1) / 2 - coupled


def test_gradients_hang_on_no_graph_of_parameters_that_learn():
    net, target = WithModules(), torch.tensor([0.1, -0.2], dtype=torch.float64)
    free = net.clamp({"x": [0.3, 0.2]})
    with warnings.catch_warnings():  # torch warns of numbers on a graph
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "the search will take")  # on a busy machine
        rest = ctebm.settle(free, tol=1e-10)
        assert ctebm.linearize(free, rest).stability == "stable"
        assert ctebm.find_fixed_points(free).stability == ["stable"]
    gradients = {
        "chain": lambda s: ctebm.chain_gradient(free, s, target),
        "implicit": lambda s: ctebm.implicit_gradient(free, s, target),
        "bptt": lambda s: ctebm.bptt_gradient(free, s, target, eps=0.1, n_steps=2),
    }
    for gradient in gradients.values():
        assert not gradient(rest.state).requires_grad
        assert gradient(rest.state.clone().requires_grad_()).requires_grad
