"""Computations of every kind, each quick: their answers and their work are on record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import torch
import zoo
from analytic import HARD, TANH, pair, random_dense
from cases import ACTIVATIONS, graph, layered, predictive
from learning_cases import samples, small_network

import ctebm
from ctebm.early_inference import after_arrival, arrivals, leaky_laws, metrics, noise_laws
from ctebm.early_inference.costs import OfRates, cross_entropy
from ctebm.early_inference.laws import driven_coefficient
from ctebm.sampling.rates import mean_passage_time
from ctebm.sampling.transfer import step_density
from ctebm.stability import modes
from ctebm.study import (
    attention_memories,
    back_propagation,
    diagnostics,
    ernoult,
    feed_forward,
    learning_runs,
    noise_prediction,
    power_law,
    samplers,
    sign_memories,
)
from ctebm.study import (
    images as study_images,
)


class Far(ctebm.Network):
    """A user's energy in a valley that turns, whose curvature changes along it."""

    def energy(self, s):
        x, y = s[..., ::2], s[..., 1::2]
        return ((1 - x).square() + 5 * (y - x.square()).square()).sum(-1)


class Phases(ctebm.Network):
    """Two phases that pull each other together, and each towards 0."""

    def energy(self, s):
        return -s.cos().sum(-1) - 0.8 * (s[..., 0] - s[..., 1]).cos()


class Wells(ctebm.Network):
    """A user's energy with valleys at (-1, 0) and (1, 0), the way between them bent."""

    def energy(self, s):
        x, y = s[..., 0], s[..., 1]
        return (x.square() - 1).square() + (y - 0.5 * (1 - x.square())).square()


class Steep(ctebm.VectorField):
    """A user's motion without an energy, of rates that differ by 100."""

    def force(self, s):
        rates = torch.logspace(0, 2, s.shape[-1], dtype=s.dtype)
        return rates * (torch.tanh(s.roll(1, -1)) / 2 - s)


def spread(n: int, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    return scale * torch.as_tensor(np.random.default_rng(n).standard_normal(shape))


def settled(member: str, n: int = 5, **options: Any) -> Any:
    one = zoo.zoo()[member]
    return ctebm.settle(one.network, one.starts(n), **options)


def images(rho: Any, gain: float, sizes=(9, 8, 8, 7, 5)) -> Any:
    return layered(rho, sizes, gain).clamp({"x": spread(0, (6, sizes[0]), 0.3)})


def family(w: float) -> ctebm.DenseNetwork:
    return pair(w, TANH)


def tilted(w: float) -> ctebm.DenseNetwork:
    return pair(8.0, TANH, -4 + w)


def hard_family(w: float) -> ctebm.DenseNetwork:
    return pair(w, HARD, -w / 2 + 0.1)


MINIMA = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) * 0.7
HEBBIAN = zoo.hebbian()[0]

PROBLEMS: dict[str, Callable[[], Any]] = {
    f"settle {name}": lambda name=name: settled(name)
    for name in (
        "inhibition-5-5", "inhibition-3-2-logistic", "clones-5", "all-to-all-20", "inhibited-layer",
        "clone-layers", "lattice", "ring-hard", "cosine-ring", "sixteen-decades", "edge",
        "excitation-inhibition", "cyclic", "chain", "hard-asymmetric-2", "hopfield-layers",
    )
}  # fmt: skip
PROBLEMS |= {
    "settle along the flow": lambda: settled("cosine-ring", 2, path="flow"),
    "settle in few steps": lambda: settled("cosine-ring", max_iterations=7),
    "settle finely": lambda: settled("hebbian", tol=1e-14),
    "settle hard layers": lambda: ctebm.settle(images(HARD, 0.5)),
    "settle saturated layers": lambda: ctebm.settle(images(HARD, 3.0)),
    "settle smooth layers": lambda: ctebm.settle(images(TANH, 1.2)),
    "settle logistic layers": lambda: ctebm.settle(images(ctebm.Logistic(), 3.0)),
    "settle a graph": lambda: ctebm.settle(graph(HARD).clamp({"x": spread(1, (4, 3), 0.3)})),
    "settle predictions": lambda: ctebm.settle(
        predictive(ctebm.SignedTanh()).clamp({"x": spread(2, (4, 5), 0.5)})
    ),
    "settle clipped predictions": lambda: ctebm.settle(
        predictive(ctebm.ReLU()).clamp({"x": spread(2, (3, 5), 0.5)})
    ),
    "settle a valley": lambda: ctebm.settle(Far(6), spread(3, (3, 6), 2.0)),
    "settle a steep motion": lambda: ctebm.settle(Steep(5), spread(4, (3, 5), 2.0)),
    "settle a rotor": lambda: ctebm.settle(zoo.rotor(), spread(5, (2, 2)), max_iterations=60),
    "settle 600 units": lambda: ctebm.settle(
        ctebm.SparseNetwork.ring(600, 2.5, TANH).centred(), spread(6, (1, 600))
    ),
    "search a pair": lambda: ctebm.find_fixed_points(pair(8.0, TANH), 20),
    "search from one start": lambda: ctebm.find_fixed_points(pair(8.0, TANH), 1),
    "search hard units": lambda: ctebm.find_fixed_points(random_dense(5, 1, HARD, 3.0), 20),
    "search 13 hard units": lambda: ctebm.find_fixed_points(random_dense(13, 2, HARD, 1.5), 4),
    "search logistic units": lambda: ctebm.find_fixed_points(
        random_dense(4, 2, ctebm.Logistic(), 2.0), 20
    ),
    "search a motion": lambda: ctebm.find_fixed_points(zoo.cyclic(), 12),
    "search angles": lambda: ctebm.find_fixed_points(
        Phases(2), 12, period=2 * np.pi
    ),
    "search an energy": lambda: ctebm.find_fixed_points(Far(2), 10, bounds=(-2.0, 2.0)),
    "enumerate 4 units": lambda: ctebm.enumerate_fixed_points(random_dense(4, 1, HARD, 3.0)),
    "follow a pitchfork": lambda: ctebm.continue_branch(family, [0.0, 0.0], (3, 5), step=0.2),
    "follow two folds": lambda: ctebm.continue_branch(tilted, [-0.8, -0.8], (-0.5, 0.5), step=0.1),
    "follow a kink": lambda: ctebm.continue_branch(hard_family, [0.1, 0.1], (0.2, 3), step=0.3),
    "linearize 60 units": lambda: ctebm.linearize(HEBBIAN, torch.zeros(60)),
    "linearize by products": lambda: ctebm.linearize(HEBBIAN, torch.zeros(60), dense=False),
    "certify": lambda: ctebm.certify_unique(images(TANH, 0.2)),
    "plane of a pair": lambda: ctebm.phase_plane(pair(8.0, TANH), n_grid=7, n_starts=5, t_end=2.0),
    "valley path": lambda: ctebm.minimum_energy_path(pair(6.0, TANH), *MINIMA, n_images=9),
    "implicit gradient": lambda: ctebm.implicit_gradient(
        images(TANH, 0.5), ctebm.settle(images(TANH, 0.5)), spread(7, (6, 5), 0.1)
    ),
    "chain gradient": lambda: ctebm.chain_gradient(
        images(TANH, 0.5), torch.zeros(6, 28), spread(7, (6, 5), 0.1)
    ),
    "through time": lambda: ctebm.bptt_gradient(
        images(TANH, 0.5), torch.zeros(6, 28), spread(7, (6, 5), 0.1), eps=0.1, n_steps=7
    ),
    "holomorphic gradient of layers": lambda: ctebm.holomorphic_gradient(
        images(TANH, 0.5), ctebm.settle(images(TANH, 0.5)), spread(7, (6, 5), 0.1)
    ),
    "holomorphic gradient, coarse": lambda: ctebm.holomorphic_gradient(
        images(TANH, 0.5), ctebm.settle(images(TANH, 0.5)), spread(7, (6, 5), 0.1), tol=1e-3
    ),
    "correspondence of layers": lambda: ctebm.correspondence(
        layered(TANH), spread(8, (3, 5), 0.3), spread(9, (3, 2), 0.3), eps=[0.5, 0.1], t_end=2.0
    ),
    "run": lambda: ctebm.simulate(pair(3.0, TANH), [0.1, 0.2], n_steps=9, eps=0.1, method="rk4"),
    "adaptive run": lambda: ctebm.simulate(
        pair(3.0, TANH), [0.1, 0.2], times=[0, 1, 2.5], method="dopri5"
    ),
    "adaptive noise": lambda: ctebm.simulate(
        ctebm.Dynamics(pair(3.0, TANH), 0.1), [0.1, 0.2], times=[0, 0.5], rtol=1e-2, atol=1e-2,
        method="adaptive_srk", seed=1,
    ),
}  # fmt: skip


# every network and motion: what it says at three states


def said(net: ctebm.VectorField) -> Any:
    s, v = cases.states(net, (2, *net.batch)), cases.states(net, (2, *net.batch), seed=1)
    found = {"F": net.force(s), "J": net.jacobian(s), "Jv": net.jacobian_product(s, v),
             "vJ": net.adjoint_product(s, v), "R": net.pressure(s)}  # fmt: skip
    if isinstance(net, ctebm.LyapunovField):
        found["E"] = net.energy(s)
    known = not isinstance(net, cases.TangentField | cases.ErrorCoordinates | cases.Biased)
    return [net, net.drives if known else None, net.first_guess, found]


PROBLEMS |= {
    f"network {name}": lambda net=net: said(net)
    for name, net in cases.every_motion_and_network().items()
    if "custom" not in name and name not in ("batch-biased", "batch-held-output")
}
RATES = ACTIVATIONS | {
    "signed": ctebm.SignedTanh(), "relu": ctebm.ReLU(), "leaky": ctebm.LeakyReLU(),
    "softplus": ctebm.Softplus(), "shifted": ctebm.Logistic(3.0, centre=0.5),
}  # fmt: skip
LINE = torch.linspace(-1.3, 1.3, 27, dtype=torch.float64)
PROBLEMS |= {
    f"rate {name}": lambda rho=rho: [
        rho,
        rho(LINE),
        rho.derivative(LINE),
        rho.second_derivative(LINE),
        rho.kinks,
        rho.box,
    ]
    for name, rho in RATES.items()
}


# early inference


def measured(**options: Any) -> Any:
    return cases.measured(n=3, eps=(0.5, 0.1), **{"t_end": 2.0, **options})


HOPFIELD = zoo.hopfield_layers()
PROBLEMS |= {
    f"correspondence, {name}": lambda options=options: measured(**options)
    for name, options in {
        "tanh": {"rho": TANH, "gain": 0.8},
        "kinks": {"gain": 1.5, "t_end": 5.0},
        "clamped": {"drive": "clamp"},
        "nudged": {"drive": "nudge", "beta": 0.5, "rho": TANH},
        "circle": {"drive": "nudge", "beta": 0.1, "rho": TANH, "points": 4},
        "noise": {"sigma": 0.01, "replicates": 4, "seed": 1},
        "noise from rest": {"sigma": 0.01, "replicates": 4, "seed": 1, "baseline": "equilibrium"},
        "midpoint": {"method": "midpoint", "rho": TANH},
        "few steps": {"n_steps": 4, "t_end": None},
        "all steps": {"save_all": True},
        "cross entropy": {"rho": TANH, "cost": cross_entropy, "drive": "nudge", "beta": 0.1},
    }.items()
}
FREE, REST, GOAL = cases.settled(TANH, n=3)
KINKED, KINKED_REST, KINKED_GOAL = cases.settled(HARD, n=3, gain=1.4)
STEPS, EPS = np.arange(12), 0.2
QUIET = measured(rho=TANH)
PROBLEMS |= {
    "correspondence, asymmetric": lambda: ctebm.correspondence(
        ctebm.FeedbackNetwork.at_angle(layered(TANH), 30.0, seed=1), spread(8, (3, 5), 0.3),
        spread(9, (3, 2), 0.3), eps=[0.2], t_end=2.0,
    ),
    "correspondence, 1984": lambda: ctebm.correspondence(
        HOPFIELD, None, [0.1, 0.2], eps=[0.2], t_end=2.0
    ),
    "correspondence, predictive": lambda: ctebm.correspondence(
        predictive(ctebm.SignedTanh()), spread(8, (3, 5), 0.3), spread(9, (3, 2), 0.3), eps=[0.2],
        t_end=2.0,
    ),
    "cosines": lambda: [QUIET.cosine(QUIET.chain), arrivals.first_steps(QUIET)],
    "rounding": lambda: arrivals.rounding_floor(QUIET),
    "predicted noise": lambda: noise_prediction.predicted_runs(QUIET, 0.1, 5),
    "after arrival": lambda: after_arrival.displacement_after_arrival(FREE, REST, GOAL, eps=0.1),
    "one-sided": lambda: [
        f(KINKED, KINKED_REST, KINKED_GOAL, one_sided=side)
        for f in (ctebm.chain_gradient, ctebm.early_inference.gradients.responsive_units)
        for side in (True, False)
    ],
    "kinked implicit": lambda: ctebm.implicit_gradient(KINKED, KINKED_REST, KINKED_GOAL),
    "gradients of a cost": lambda: [
        f(FREE, REST, GOAL.abs(), cost=cross_entropy)
        for f in (ctebm.chain_gradient, ctebm.implicit_gradient)
    ],
    "steps back": lambda: ctebm.bptt_gradient(
        FREE, REST, GOAL, eps=0.2, n_steps=5, every_step=True
    ),
    "nudged rates": lambda: ctebm.settle(
        ctebm.nudged(HOPFIELD, [0.4, 0.6], 0.3, OfRates(ctebm.Logistic(4.0)))
    ),
    "laws": lambda: [
        f(k, STEPS, EPS) for f in (ctebm.first_arrival_coefficient,)
        for k in (0, 1, 3)
    ],
    "more laws": lambda: [
        *(f(k, STEPS, EPS, order) for f in (ctebm.cascade_coefficient, driven_coefficient)
          for k in (1, 2) for order in (1, 2, 4)),
        *(ctebm.discretisation_error(k, STEPS * EPS, EPS) for k in (0, 1, 3)),
        ctebm.half_time(np.arange(5)), ctebm.paper_coefficient(np.arange(4), EPS),
        ctebm.leaky_coefficient(STEPS, EPS, [1.0, 2.0, 0.5]),
        leaky_laws.orthogonal_coefficient(3, STEPS, EPS), leaky_laws.orthogonal_eigenvalues(4),
        noise_laws.replicates_needed(0.1, 7, 0.3, 0.2),
        noise_laws.predicted_cosine(0.9, 0.2, 7, 0.3, 9),
        noise_laws.noise_variance(STEPS, EPS, 0.3),
    ],
    "metrics": lambda: [
        *(f(FREE.force(0 * REST.state), REST.state)
          for f in (metrics.projection, metrics.cosine, metrics.tangent, metrics.relative_error,
                    metrics.sign_agreement, metrics.curve_rmse)),
        metrics.fit_exponent([1.0, 2.0, 4.0, 9.0], [1.0, 3.9, 16.5, 80.0]),
    ],
    "gradients of parameters": lambda: [
        ctebm.parameter_gradient(
            layered(TANH), spread(8, (3, 5), 0.3), torch.zeros(3, 9), spread(9, (3, 2), 0.3),
            which, eps=0.2 if which == "bptt" else None, n_steps=4 if which == "bptt" else None,
        ).by_name
        for which in ("chain", "implicit", "bptt")
    ],
}  # fmt: skip


# dynamics and sampling

START, WELLS = [0.1, 0.2], pair(3.0, TANH)
NOISY = ctebm.Dynamics(WELLS, 0.3)
PROBLEMS |= {
    f"run, {name}": lambda options=options: ctebm.simulate(
        **{"dynamics": NOISY, "start": START, "n_steps": 12, "eps": 0.1, "seed": 3, **options}
    )
    for name, options in {
        "euler": {}, "every third": {"save_every": 3}, "chosen": {"save_steps": [0, 5, 12]},
        "device stream": {"stream": "philox"}, "from a step": {"first_step": 7},
        "observed": {"observe": {"E": WELLS.energy}},
        "synaptic": {"dynamics": ctebm.Dynamics(WELLS, 0.3, noise="synaptic")},
        "driven": {"dynamics": ctebm.Dynamics(FREE, 0.1, drive=GOAL), "start": REST},
        "nudged": {"dynamics": ctebm.Dynamics(FREE, nudge=GOAL, beta=0.4), "start": REST},
        "phases": {
            "dynamics": [ctebm.Phase("a", FREE, 3), ctebm.Phase("b", ctebm.Dynamics(FREE, 0.1), 4)],
            "start": REST, "n_steps": None,
        },
        "sizes": {"start": torch.zeros(2, 2), "eps": torch.tensor([0.1, 0.3])},
    }.items()
}  # fmt: skip
PROBLEMS |= {
    f"method {method}": lambda method=method: ctebm.simulate(
        WELLS, START, n_steps=6, eps=0.2, method=method
    )
    for method in ("euler", "heun", "midpoint", "rk4")
}
CHAINS = {"eps": 0.1, "n_steps": 400, "seed": 1}
VALLEYS = pair(6.0, TANH)
BOTH = [s for s in ctebm.find_fixed_points(VALLEYS, 20).state if s.abs().min() > 0.1]


def near_the_first(s: torch.Tensor) -> torch.Tensor:
    return (s.sum(-1) - BOTH[0].sum()).abs() < 0.9


GRID = [np.linspace(-1.5, 1.5, 21)] * 2
PROBLEMS |= {
    f"sample, {name}": lambda options=options: ctebm.sample(
        **{"dynamics": NOISY, "start": torch.zeros(6, 2), **CHAINS, "burn_in": 50, **options}
    )
    for name, options in {
        "euler": {}, "mala": {"method": "mala"}, "often": {"every": 1},
        "observed": {"observe": {"r": lambda s: s.square().sum(-1)}},
        "two samples": {"start": torch.zeros(4, 2, 2), "eps": torch.tensor([0.05, 0.1])},
        "long steps": {"eps": 1.5},
    }.items()
}  # fmt: skip
PROBLEMS |= {
    "density of a pair": lambda: ctebm.stationary_density(WELLS, 0.5, GRID),
    "density of steps": lambda: step_density(WELLS, 0.5, 0.2, GRID),
    "passage out of a valley": lambda: ctebm.first_passage(
        ctebm.Dynamics(VALLEYS, 0.5), BOTH[0].expand(6, 2), near_the_first, **CHAINS
    ),
    "passage time": lambda: mean_passage_time(
        VALLEYS, torch.stack(BOTH[:1]), torch.zeros(1, 2).double(), 0.3
    ),
    "path between valleys": lambda: ctebm.minimum_energy_path(
        VALLEYS, BOTH[0], BOTH[-1], n_images=15
    ),
    "valley of energy": lambda: ctebm.minimum_energy_path(
        Wells(2), [1.0, 0.0], [-1.0, 0.0], n_images=9, max_iterations=50
    ),
    "fluctuation of a pair": lambda: ctebm.fluctuation_response(
        WELLS, ctebm.settle(WELLS, [0.5, 0.5]), force=[0.1, 0.0], eps=0.1, sigma=0.05, chains=16,
        time=30.0, n_steps=3, seed=0,
    ),
    "modes": lambda: [
        modes.variance(LINE.abs() + 0.1, 0.3), modes.variance(LINE.abs() + 0.1, 0.3, 0.2),
        modes.variance(LINE.abs() + 0.1, 0.3, 0.2, synaptic=True),
        modes.transfer(LINE.abs() + 0.1, 0.7), modes.eps_limit(LINE),
    ],
}  # fmt: skip


def linear(network: Any, state: Any, **options: Any) -> Any:
    near = ctebm.linearize(network, state, **options)
    u = [0.1] + [0.0] * (near.state.shape[-1] - 1)
    return [
        near, near.multipliers(0.2), near.covariance(0.1), near.covariance(0.1, eps=0.2),
        near.response(u), near.response(u, eps=0.2, n_steps=3), near.response(u, time=0.7),
        near.frequency_response(u, 0.4), near.power_spectrum(0.1, [0.0, 0.3]),
    ]  # fmt: skip


PROBLEMS |= {
    "linear, pair": lambda: linear(WELLS, ctebm.settle(WELLS, [0.5, 0.5])),
    "linear, kinked": lambda: linear(
        KINKED.samples(torch.Size((3,)), torch.tensor([0])), KINKED_REST.state[:1]
    ),
    "linear, rotor": lambda: ctebm.linearize(zoo.rotor(), [0.0, 0.0]),
    "linear, asymmetric": lambda: linear(zoo.rotor(0.5), [0.0, 0.0]),
    "follow a rotor": lambda: ctebm.continue_branch(
        lambda w: zoo.rotor(w), [0.0, 0.0], (1.0, 3.0), step=0.2
    ),
    "follow a transcritical": lambda: ctebm.continue_branch(Crossing, [0.0], (-0.5, 0.6), step=0.1),
}


class Crossing(ctebm.Network):
    """Two branches that cross: E = s^3/3 - m s^2/2."""

    def __init__(self, m: float) -> None:
        super().__init__(1)
        self.m = m

    def energy(self, s):
        return (s**3 / 3 - self.m * s.square() / 2).sum(-1)


# learning

RULES: dict[str, ctebm.Rule] = {
    "early": ctebm.Early(), "early, three steps": ctebm.Early(eps=0.2, n_steps=3),
    "symmetric": ctebm.Symmetric(), "presynaptic": ctebm.Presynaptic(), "xie": ctebm.XieSeung(),
    "propagation": ctebm.EquilibriumPropagation(),
    "propagation, one-sided": ctebm.EquilibriumPropagation(beta=0.2, centred=False),
    "continual": ctebm.ContinualEquilibriumPropagation(eps=0.5, n_steps=3),
    "coupled": ctebm.CoupledLearning(), "contrastive": ctebm.ContrastiveLearning(),
    "chain": ctebm.Chain(), "by feedback": ctebm.ChainFeedback(), "implicit": ctebm.Implicit(),
    "through": ctebm.ThroughTime(eps=0.5, n_steps=4),
}  # fmt: skip
FEW, LABELS = samples(12)
LOADER = [(torch.as_tensor(FEW[i : i + 4]), torch.as_tensor(LABELS[i : i + 4])) for i in (0, 4, 8)]


def trained(rule: ctebm.Rule, network: Any = None, rates: Any = None, **options: Any) -> Any:
    plan = ctebm.Plan(rule=rule, **{"epochs": 2, "batch": 6, "rate": 0.05, **options})
    network = network or small_network()
    rates = FEW if rates is None else rates
    return ctebm.train(network, rates, LABELS, plan, held_out=(rates[:4], LABELS[:4]))


PROBLEMS |= {f"train, {name}": lambda rule=rule: trained(rule) for name, rule in RULES.items()}
PAIRS = ctebm.FeedbackNetwork.at_angle(small_network(), 30.0, seed=1)
PROBLEMS |= {
    "train, kolen": lambda: trained(
        ctebm.KolenPollack(ctebm.Early(), decay=0.01), PAIRS, tied=False
    ),
    "train, homeostasis": lambda: trained(
        ctebm.JacobianHomeostasis(ctebm.Early(), n_draws=2), PAIRS, tied=False
    ),
    "train, asymmetric": lambda: trained(
        ctebm.AsymmetricEquilibriumPropagation(), PAIRS, tied=False
    ),
    "train, loader": lambda: ctebm.train(
        small_network(), LOADER, None, ctebm.Plan(epochs=2, rate=0.05), held_out=(FEW, LABELS)
    ),
    "train, targets": lambda: ctebm.train(
        small_network(), FEW, spread(4, (12, 3), 0.2), ctebm.Plan(epochs=2, rate=0.05)
    ),
    "train, adam": lambda: trained(ctebm.Early(), optimizer="Adam", rate=0.002),
    "train, decay": lambda: trained(ctebm.Early(), decay=0.5, low=0.2, high=0.8, seed=3),
    "train, patience": lambda: trained(ctebm.Early(), patience=1, epochs=3, tol=1e-2),
    "train, smooth": lambda: trained(
        ctebm.HolomorphicPropagation(),
        ctebm.LayeredNetwork.random((12, 5, 3), TANH, seed=1),
        rates=FEW.clip(0.05, 0.95),
    ),
    "train, 1984": lambda: trained(
        ctebm.Implicit(),
        ctebm.HopfieldNetwork(ctebm.LayeredNetwork.random((12, 5, 3), ctebm.Logistic(), seed=1)),
    ),
    "train, predictive": lambda: trained(
        ctebm.ZeroDivergence(),
        ctebm.PredictiveNetwork.random((12, 5, 3), ctebm.SignedTanh(), gain=0.6),
    ),
    "train, predictive fixed": lambda: trained(
        ctebm.FixedPrediction(),
        ctebm.PredictiveNetwork.random((12, 5, 3), ctebm.SignedTanh(), gain=0.6),
    ),
    "predictions": lambda: trained(ctebm.Early()).predict(FEW),
}


# studies

IMAGES = study_images.load_images(n_samples=4)
DIGITS = learning_runs.split(study_images.load_images(n_samples=60))
SEEN = ctebm.LayeredNetwork.random((64, 6, 5, 10), HARD, gain=0.3, seed=0)
TOY = ernoult.ToyPhase(n_settle=200, n_nudge=9)
HALF = torch.full((12, 3), 0.5, dtype=torch.float64)
MEMORY = ctebm.AssociativeMemory(spread(3, (5, 8)), 4.0)
PROBLEMS |= {
    f"passes, {name}": lambda name=name: [
        feed_forward.pass_gradients(
            model := feed_forward.energy_model(name, IMAGES, width=4, gain=0.5, seed=1)
        ),
        [model.state(4 * LINE), model.rate(LINE), model.x, model.target, model.biases],
    ]
    for name in feed_forward.ENERGIES
}
PROBLEMS |= {
    "errors of signs": lambda: [
        *(sign_memories.hebbian_error(n, p, k) for n, p, k in [(20, 3, 0), (20, 3, 4), (50, 9, 1)]),
        *(sign_memories.polynomial_error(o, 12, p) for o, p in [(2, 3), (3, 9), (3, 40)]),
        *(sign_memories.polynomial_capacity(o, 12, 0.01) for o in (2, 3)),
        sign_memories.graded_overlap(0.05, 3.0), sign_memories.graded_overlap(0.12, 8.0),
        sign_memories.graded_capacity(5.0),
    ],
    "attention": lambda: [
        attention_memories.separation(MEMORY.patterns),
        attention_memories.needed_separation(MEMORY),
        attention_memories.retrieval_bound(MEMORY, torch.linspace(0, 0.4, 5)),
        attention_memories.guaranteed_patterns(20, 4.0, 1.0, 0.001),
        attention_memories.guaranteed_patterns(60, 8.0, 2.0, 0.01),
        *(attention_memories.attention_overlap(k, 12, n) for k, n in [(1.0, 9.0), (4.0, 30.0)]),
        attention_memories.attention_capacity(3.0, 12),
        attention_memories.half_weight_cosine(4.0, 12, 30),
    ],
    "powers": lambda: [
        power_law.corrected_order(np.array([0.4, 0.2, 0.1]), np.array([0.2, 0.045, 0.0106])),
        power_law.at_zero(np.array([0.4, 0.2, 0.1]), np.array([1.2, 1.045, 1.0106])),
    ],
    "toy curves": lambda: ernoult.toy_curves((10, 12, 5), 1, TOY),
    "linear share": lambda: diagnostics.linear_share(small_network(), torch.as_tensor(FEW)),
    "pushes": lambda: [
        diagnostics.pushes(
            small_network(), torch.as_tensor(FEW), HALF, [0.1, 0.2], adam
        )
        for adam in (False, True)
    ],
    "kinks reached": lambda: diagnostics.settled_kinks(
        ctebm.PlasticNetwork(small_network()), torch.as_tensor(FEW),
        0.3 * torch.ones(12, 3).double(), 0.2,
    ),
    "back-propagation": lambda: back_propagation.back_propagation(
        small_network(), ctebm.Plan(epochs=2, batch=6), (FEW, LABELS), (FEW[:4], LABELS[:4]),
        torch.float64, lambda line: None,
    ),
    "learning of images": lambda: [
        learning_runs.before_learning(SEEN, DIGITS, 8, eps=0.1),
        learning_runs.after_learning(
            SEEN, DIGITS, 8, 0.1, ctebm.Plan(epochs=1, rate=0.01, optimizer="SGD")
        ),
    ],
    "motions": lambda: [
        samplers.motion(name, samplers.pair(2.0, TANH), 0.3, 0.1).f(0, torch.tensor(START).double())
        for name in samplers.DYNAMICS
    ],
}  # fmt: skip
