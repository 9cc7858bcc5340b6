"""The holomorphic rule is the implicit gradient, in layers, graphs, 1984 and a user's energy."""

import pytest
import torch
from cases import graph, layered, rows

import ctebm
from ctebm.early_inference.costs import OfRates, cross_entropy

RULE = ctebm.HolomorphicPropagation(beta=0.05, points=10)
SMOOTH = [ctebm.Identity(), ctebm.Logistic(), ctebm.Logistic(), ctebm.Logistic()]


class OfModules(ctebm.Network):
    """Predictive coding whose weights lie in a module."""

    layers = {"x": slice(0, 3), "h": slice(3, 7), "y": slice(7, 9)}  # noqa: RUF012  # as a user writes it

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.forth = torch.nn.ModuleList(
                torch.nn.Linear(*n, dtype=torch.float64) for n in ((3, 4), (4, 2))
            )

    def energy(self, s):
        x, h, y = (s[..., where] for where in self.layers.values())
        e = h - self.forth[0](x), y - self.forth[1](h.sin())
        return (e[0].square().sum(-1) + e[1].square().sum(-1)) / 2


PLASTIC = {
    "layers": ctebm.PlasticNetwork(layered(ctebm.Tanh())),
    "graph": ctebm.PlasticField(graph(ctebm.Logistic(2))),
    "predictive": ctebm.PlasticField(
        ctebm.PredictiveNetwork.random((5, 4, 2), ctebm.SignedTanh(), gain=0.6)
    ),
    "modules": ctebm.PlasticField(OfModules()),
    "1984": ctebm.PlasticField(
        ctebm.HopfieldNetwork(layered(SMOOTH, gain=0.4)), cost=OfRates(ctebm.Logistic())
    ),
}


def at_rest(plastic):
    sizes = plastic.sizes
    return plastic.settle(rows(3, sizes[0]), tol=1e-13), rows(3, sizes[-1], seed=8).abs()


@pytest.mark.parametrize("name", PLASTIC)
def test_it_is_the_implicit_gradient(name):
    plastic = PLASTIC[name]
    equilibrium, target = at_rest(plastic)
    found = RULE.gradient(plastic, equilibrium, target).by_name
    exact = ctebm.Implicit().gradient(plastic, equilibrium, target).by_name
    assert exact.keys() <= found.keys()
    largest = max(float(g.abs().max()) for g in exact.values())
    for key, g in exact.items():
        torch.testing.assert_close(found[key], g, rtol=0, atol=1e-10)
    assert largest > 1e-3


@pytest.mark.parametrize("name", ["layers", "1984"])
@pytest.mark.parametrize("centred", [False, True])
def test_real_points_are_equilibrium_propagation(name, centred):
    plastic = PLASTIC[name]
    equilibrium, target = at_rest(plastic)
    rules = (
        ctebm.HolomorphicPropagation(beta=0.02, points=1 + centred),
        ctebm.EquilibriumPropagation(beta=0.02, centred=centred, tol=1e-13),
    )
    found, other = (rule.gradient(plastic, equilibrium, target).by_name for rule in rules)
    for key, g in other.items():
        torch.testing.assert_close(found[key], g, rtol=0, atol=1e-9)


def test_training_by_it_lowers_the_cost():
    net = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), gain=0.5, seed=1)
    rates, labels = [[0.2, 0.8, 0.5], [0.8, 0.2, 0.5]] * 4, [0, 1] * 4
    plan = ctebm.Plan(rule=ctebm.HolomorphicPropagation(), epochs=3, batch=4, rate=0.2)
    found = ctebm.train(net, rates, labels, plan).raise_for_status()
    assert found.history["cost"][-1] < 0.9 * found.history["cost"][0]


@pytest.mark.parametrize(
    "cost",
    [lambda y, t: (y - t).abs().square().sum(-1), lambda y, t: (y - t).clamp(min=0).sum(-1),
     lambda y, t: -(t * y.log_softmax(-1)).sum(-1)],
    ids=["modulus", "kink", "real alone"],
)  # fmt: skip
def test_a_cost_that_is_not_analytic_is_refused(cost):
    plastic = ctebm.PlasticField(OfModules(), cost=cost)
    equilibrium, target = at_rest(plastic)
    with pytest.raises(ValueError, match=r"needs a cost of analytic functions.*implicit_gradient"):
        RULE.gradient(plastic, equilibrium, target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_an_analytic_cost_is_taken_whatever_the_size_of_the_states(dtype):
    net = ctebm.PredictiveNetwork.random((5, 4, 2), ctebm.SignedTanh(), dtype=dtype)
    plastic = ctebm.PlasticField(net, cost=cross_entropy)
    rule = ctebm.HolomorphicPropagation(beta=0.01, tol=1e-6)
    for size in (1, 1e4):
        equilibrium = plastic.settle(size * rows(3, 5).to(dtype), tol=1e-5)
        found = rule.gradient(plastic, equilibrium, torch.eye(2)[[0, 1, 0]].to(dtype)).by_name
        assert bool(found["weights.0"].isfinite().all())


@pytest.mark.parametrize("points", [1, 2, 10])
def test_what_has_kinks_is_refused_with_a_remedy_that_is_one(points):
    plastic = ctebm.PlasticNetwork(layered(ctebm.HardSigmoid()))
    equilibrium, target = at_rest(plastic)
    rule = ctebm.HolomorphicPropagation(points=points)
    with pytest.raises(ValueError, match=r"analytic activation.*EquilibriumPropagation\(\)"):
        rule.gradient(plastic, equilibrium, target)


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"beta": 1.0}, {"points": 0}, {"tol": 0.0}])
def test_settings_that_are_none_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        ctebm.HolomorphicPropagation(**options)
