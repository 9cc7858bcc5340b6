"""Every public function, an argument of each that works, and arguments that are none."""

from __future__ import annotations

import dataclasses
import linecache
import random
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import xarray as xr

import ctebm
from ctebm import figures, study
from ctebm.dataset import variable
from ctebm.figures.panels import Panel, Series, panel_figure

NAN, INF = float("nan"), float("inf")
PAIR = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0.1, 0.2], ctebm.Tanh())
HARD = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0.1, 0.2], ctebm.HardSigmoid())
WHOLE = ctebm.LayeredNetwork.random([3, 4, 2], ctebm.Tanh(), gain=0.5, seed=1)
X, Y = [[0.1, 0.2, 0.3]], [[0.2, 0.4]]
FREE = WHOLE.clamp({"x": X})
KINKED = ctebm.PredictiveNetwork.random([3, 4, 4, 2], ctebm.ReLU(), gain=1.5, seed=1)
REST, LINEAR = ctebm.settle(FREE), ctebm.linearize(PAIR, ctebm.settle(PAIR))
RUN = {"n_steps": 3, "eps": 0.1, "method": "euler", "save_every": 1, "seed": 1, "samples": [0]}
RUN |= {"save_steps": None, "stream": "host", "first_step": 0, "steady": None, "threads": None}
NUDGED = {"drive": "nudge", "beta": 0.1, "points": 2, "method": "euler", "tol": 1e-12}
NOISY = {"sigma": 0.1, "noise": "langevin", "replicates": 2, "baseline": "held", "seed": 1}


def family(w):
    return ctebm.DenseNetwork([[0, w], [w, 0]], [0, 0], ctebm.Tanh()).centred()


# what is called, and arguments with which it works
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "hard": (ctebm.HardSigmoid, {"lower": -0.5}),
    "logistic": (ctebm.Logistic, {"gain": 4.0}),
    "smooth": (ctebm.SmoothHardSigmoid, {"lower": -0.5, "width": 0.1}),
    "custom": (ctebm.Custom, {"function": torch.sin, "kinks": ()}),
    "dense": (
        ctebm.DenseNetwork,
        {"weight": [[0, 1], [1, 0]], "bias": [0, 0], "activation": ctebm.Tanh(), "layers": None},
    ),
    "predictive": (
        ctebm.PredictiveNetwork,
        {"weights": [[[1.0]]], "biases": [[0], [0]], "activation": ctebm.SignedTanh(),
         "precisions": [1.0]},
    ),
    "convolutional": (
        ctebm.ConvolutionalNetwork,
        {"kernels": [np.ones((1, 1, 2, 2))], "weights": [], "biases": [None, [0.0]],
         "activation": ctebm.Tanh(), "shape": (1, 4, 4), "stride": 1, "padding": 0},
    ),
    "memory": (ctebm.AssociativeMemory, {"patterns": [[1.0, -1.0]], "beta": 2.0}),
    "polynomial": (ctebm.PolynomialMemory, {"patterns": [[1.0, -1.0]], "order": 3}),
    "hebbian": (
        ctebm.DenseNetwork.hebbian, {"patterns": [[1.0, -1.0]], "activation": ctebm.Tanh()}
    ),
    "asymmetric": (
        ctebm.AsymmetricNetwork,
        {"weight": [[0, 1], [-1, 0]], "bias": [0, 0], "activation": ctebm.Tanh()},
    ),
    "layered": (
        ctebm.LayeredNetwork,
        {"weights": [[[1.0]]], "biases": [[0], [0]], "activation": ctebm.Tanh()},
    ),
    "graph": (
        ctebm.LayerGraph,
        {"weights": {("x", "y"): [[1.0]]}, "biases": {"x": [0.0], "y": [0.0]},
         "activation": ctebm.Tanh()},
    ),
    "random graph": (
        ctebm.LayerGraph.random,
        {"sizes": {"x": 3, "y": 2}, "couplings": [("x", "y")], "activation": ctebm.Tanh(),
         "gain": 1.0, "seed": 0},
    ),
    "random": (
        ctebm.LayeredNetwork.random,
        {"sizes": [3, 2], "activation": ctebm.Tanh(), "gain": 1.0, "seed": 0},
    ),
    "ring": (
        ctebm.SparseNetwork.ring,
        {"n_units": 4, "weight": 0.3, "activation": ctebm.Tanh(), "bias": 0.1},
    ),
    "sparse": (
        ctebm.SparseNetwork,
        {"weight": torch.eye(2).flip(0).to_sparse(), "bias": [0, 0], "activation": ctebm.Tanh()},
    ),
    "angle": (ctebm.FeedbackNetwork.at_angle, {"network": WHOLE, "degrees": 30.0, "seed": 0}),
    "scaled": (ctebm.FeedbackNetwork.scaled, {"network": WHOLE, "gain": 0.1}),
    "hopfield": (ctebm.HopfieldNetwork, {"network": PAIR}),
    "rate leak": (ctebm.RateLeakNetwork, {"network": PAIR, "low": 0.0, "high": 1.0}),
    "clamp": (lambda states: WHOLE.clamp(states), {"states": {"x": X}}),
    "clamp x": (lambda x: WHOLE.clamp({"x": x}), {"x": X}),
    "force": (lambda s: PAIR.force(s), {"s": torch.zeros(2)}),
    "dynamics": (
        ctebm.Dynamics, {"network": FREE, "sigma": 0.1, "drive": Y, "noise": "langevin"},
    ),
    "nudged": (ctebm.Dynamics, {"network": FREE, "nudge": {"y": Y}, "beta": 0.1}),
    "phase": (ctebm.Phase, {"name": "drive", "dynamics": FREE, "n_steps": 3}),
    "simulate": (
        ctebm.simulate, {"dynamics": ctebm.Dynamics(FREE, 0.1), "start": torch.zeros(1, 6), **RUN},
    ),
    "adaptive": (
        ctebm.simulate,
        {"dynamics": FREE, "start": torch.zeros(1, 6), "times": [0, 0.1], "method": "dopri5",
         "rtol": 1e-6, "atol": 1e-6, "max_evaluations": 500},
    ),
    "settle": (
        ctebm.settle,
        {"network": FREE, "start": torch.zeros(1, 6), "tol": 1e-9, "max_iterations": 50,
         "path": "fast"},
    ),
    "settle on kinks": (
        ctebm.settle,
        {"network": KINKED.clamp({"x": X, "y": Y}), "start": torch.zeros(1, 8), "tol": 1e-9,
         "max_iterations": 50, "path": "fast"},
    ),
    "slide on kinks": (
        ctebm.simulate,
        {"dynamics": KINKED.clamp({"x": X, "y": Y}), "start": torch.zeros(1, 8), **RUN,
         "method": "heun"},
    ),
    "correspondence with kinks": (
        ctebm.correspondence,
        {"network": KINKED, "x": X, "target": Y, "eps": 0.1, "n_steps": 5, "method": "rk4"},
    ),
    "unique": (ctebm.certify_unique, {"network": PAIR}),
    "find": (
        ctebm.find_fixed_points,
        {"network": PAIR, "n_starts": 3, "seed": 0, "tol": 1e-9, "bounds": (-1.0, 1.0),
         "period": None},
    ),
    "enumerate": (ctebm.enumerate_fixed_points, {"network": HARD, "tol": 1e-9}),
    "plane": (
        ctebm.phase_plane,
        {"network": PAIR, "units": (0, 1), "base": None, "limits": (-1, 1), "n_grid": 3,
         "starts": [(0.1, 0.2)], "t_end": 0.1, "eps": 0.05, "n_starts": 2},
    ),
    "linearize": (ctebm.linearize, {"network": FREE, "state": REST, "tol": 1e-5}),
    "covariance": (LINEAR.covariance, {"sigma": 0.1, "eps": 0.1}),
    "response": (LINEAR.response, {"force": [1.0, 0.0], "eps": 0.1, "n_steps": 3}),
    "oscillation": (LINEAR.frequency_response, {"force": [1.0, 0.0], "frequency": 0.1}),
    "power": (LINEAR.power_spectrum, {"sigma": 0.1, "frequency": [0.1]}),
    "branch": (
        ctebm.continue_branch,
        {"family": family, "start": [0.0, 0.0], "parameter_range": (1, 2), "step": 0.5,
         "max_points": 5, "tol": 1e-10},
    ),
    "chain": (ctebm.chain_gradient, {"network": FREE, "state": REST, "target": Y}),
    "nudged network": (ctebm.nudged, {"network": FREE, "target": Y, "beta": 0.1, "cost": None}),
    "implicit": (ctebm.implicit_gradient, {"network": FREE, "state": REST, "target": Y}),
    "holomorphic": (
        ctebm.holomorphic_gradient,
        {"network": FREE, "state": REST, "target": Y, "beta": 0.1, "points": 2, "cost": None,
         "tol": 1e-12},
    ),
    "complex rule": (
        ctebm.HolomorphicPropagation, {"beta": 0.1, "points": 4, "tol": 1e-12}
    ),
    "bptt": (
        ctebm.bptt_gradient,
        {"network": FREE, "state": REST, "target": Y, "eps": 0.1, "n_steps": 2},
    ),
    "parameters": (
        ctebm.parameter_gradient,
        {"network": WHOLE, "x": X, "state": REST, "target": Y, "which": "bptt", "eps": 0.1,
         "n_steps": 2},
    ),
    "arrival": (ctebm.first_arrival_coefficient, {"depth": 1, "n_steps": 3, "eps": 0.1}),
    "continuous": (ctebm.continuous_coefficient, {"depth": 1, "time": 0.5}),
    "error": (ctebm.discretisation_error, {"depth": 1, "time": 0.5, "eps": 0.1}),
    "cascade": (ctebm.cascade_coefficient, {"depth": 1, "n_steps": 3, "eps": 0.1, "order": 2}),
    "paper": (ctebm.paper_coefficient, {"depth": 1, "eps": 0.1}),
    "leaky": (ctebm.leaky_coefficient, {"n_steps": 3, "eps": 0.1, "leaks": [1.0, 2.0]}),
    "rescaled": (
        ctebm.rescaled_loss,
        {"network": FREE, "state": REST, "target": Y, "beta": 0.1},
    ),
    "limit": (ctebm.nudge_limit, {"network": FREE, "state": REST}),
    "half": (ctebm.half_time, {"depth": 1}),
    "correspondence": (
        ctebm.correspondence,
        {"network": WHOLE, "x": X, "target": Y, "eps": [0.5], "n_steps": 3, "start": None,
         **NUDGED},
    ),
    "noisy": (
        ctebm.correspondence,
        {"network": WHOLE, "x": X, "target": Y, "eps": 0.5, "t_end": 1.0, **NOISY},
    ),
    "plan": (
        ctebm.Plan,
        {"rule": ctebm.Early(), "epochs": 1, "batch": 2, "rate": 0.1, "decay": 1.0, "low": 0.1,
         "high": 0.9, "tol": 1e-3, "max_sweeps": 9, "patience": 1, "seed": 0, "options": {},
         "optimizer": "SGD"},
    ),
    "early": (ctebm.Early, {"eps": 0.1, "n_steps": 2}),
    "symmetric": (ctebm.Symmetric, {"eps": 0.1, "n_steps": 2}),
    "propagation": (ctebm.EquilibriumPropagation, {"beta": 0.1, "tol": 1e-6}),
    "continual": (
        ctebm.ContinualEquilibriumPropagation,
        {"beta": 0.1, "eps": 0.5, "n_steps": 2, "rate": 1e-4},
    ),
    "kolen": (ctebm.KolenPollack, {"rule": ctebm.Early(), "decay": 0.1}),
    "homeostasis": (
        ctebm.JacobianHomeostasis, {"rule": ctebm.Early(), "strength": 0.1, "n_draws": 2, "seed": 0}
    ),
    "through": (ctebm.ThroughTime, {"eps": 0.1, "n_steps": 2}),
    "train": (
        ctebm.train,
        {"network": WHOLE, "rates": [[0.2, 0.8, 0.5], [0.8, 0.2, 0.5]], "labels": [0, 1],
         "plan": ctebm.Plan(epochs=1), "held_out": None},
    ),
    "weak": (ctebm.weakly_coupled, {"network": WHOLE, "stability": 0.5}),
    "plastic": (ctebm.PlasticNetwork, {"network": WHOLE}),
}  # fmt: skip


def study_of(**flags: Any) -> None:
    """Run a study of nothing with these flags, as a command line gives them."""
    flags = flags | {"out": f"{FOLDER.name}/{flags['out']}"}  # whatever its name, in no other place
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    a = xr.Dataset({"a": variable("x", [0.0, 1.0], "a line")})
    figure = panel_figure([Panel("a", "x", "a", [Series(a.a, a.a, "a", line=True)])])
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), suppress(SystemExit):
        study.main(
            study.Settings,
            run=lambda settings, progress: a,
            draw=lambda dataset: figure,
            judge=lambda dataset: [],
            args=[*words, "--overwrite"],
        )


# records, as functions return them
FAR = torch.zeros(1, 6)
CURVE = ctebm.continue_branch(family, [0.0, 0.0], (3, 5), step=0.2)
FORK = next(event for event in CURVE.events if "pitchfork" in event.kind)
EARLY = ctebm.correspondence(WHOLE, X, Y, [0.5], n_steps=3)
CHAINS = {"eps": 0.1, "n_steps": 20, "seed": 1, "stream": "host", "threads": None}
VALLEYS = family(6.0)
WELLS = [r for r in ctebm.find_fixed_points(VALLEYS, n_starts=20).state if r.abs().min() > 0.1]
OVER = ctebm.minimum_energy_path(VALLEYS, WELLS[0], WELLS[-1], n_images=7)
PUSH = {
    "force": [0.1, 0.0],
    "eps": 0.1,
    "sigma": 0.1,
    "chains": 8,
    "time": 20.0,
    "n_steps": 3,
    "seed": 0,
}
PUSHED = ctebm.fluctuation_response(PAIR, ctebm.settle(PAIR), **PUSH)
TRAINED = ctebm.train(WHOLE, [[0.2, 0.8, 0.5], [0.8, 0.2, 0.5]], [0, 1], ctebm.Plan(epochs=1))
WRITTEN = REST.to_dataset()
FOLDER = TemporaryDirectory()
ctebm.save(WRITTEN, FOLDER.name + "/rest.nc")


class Still(ctebm.Network):
    """Units that rest."""

    def energy(self, s):
        return 0 * s.sum(-1)


CALLS |= {
    "box": (ctebm.Box, {"low": -0.5, "high": 0.5}),
    "field": (Still, {"n_units": 2, "layers": None}),
    "feedback": (
        ctebm.FeedbackNetwork,
        {"weights": [[[1.0]]], "feedback": [[[0.5]]], "biases": [[0], [0]],
         "activation": ctebm.Tanh()},
    ),
    "load": (ctebm.load_network, {"source": TRAINED.to_dataset(), "dtype": torch.float64}),
    "switch": (
        ctebm.switch_branch,
        {"branch": CURVE, "event": FORK, "direction": None, "step": 0.2, "max_points": 4},
    ),
    "sample": (
        ctebm.sample,
        {"dynamics": ctebm.Dynamics(PAIR, 0.1), "start": torch.zeros(4, 2), **CHAINS,
         "burn_in": 2, "every": 2, "method": "euler"},
    ),
    "density": (
        ctebm.stationary_density,
        {"network": PAIR, "sigma": 0.5, "grid": [np.linspace(-1, 1, 9)] * 2},
    ),
    "fluctuation": (
        ctebm.fluctuation_response,
        {"network": PAIR, "state": ctebm.settle(PAIR), **PUSH, "lag": None},
    ),
    "passage": (
        ctebm.first_passage,
        {"dynamics": ctebm.Dynamics(PAIR, 0.1), "start": torch.zeros(4, 2),
         "inside": lambda s: s[..., 0] < 0.01, **CHAINS, "method": "euler"},
    ),
    "valley": (
        ctebm.minimum_energy_path,
        {"network": VALLEYS, "a": WELLS[0], "b": WELLS[-1], "n_images": 7,
         "max_iterations": 50, "tol": 1e-3, "seed": 0},
    ),
    "xie": (ctebm.XieSeung, {"eps": 0.1, "n_steps": 2}),
    "presynaptic": (ctebm.Presynaptic, {"eps": 0.1, "n_steps": 2}),
    "chain rule": (ctebm.Chain, {}),
    "chain by feedback": (ctebm.ChainFeedback, {}),
    "implicit rule": (ctebm.Implicit, {}),
    "sweep": (
        ctebm.sweep,
        {
            "function": lambda a: {"n": a}, "grid": {"a": [1, 2]}, "points": None, "out": None,
            "part": None, "retry_failed": False, "tile_points": None, "threads": 1, "quiet": True,
            "together": [],
        },
    ),
    "save": (
        lambda dataset, path: ctebm.save(dataset, path, overwrite=True),
        {"dataset": WRITTEN, "path": FOLDER.name + "/again.nc"},
    ),
    "open": (
        lambda path, verify: ctebm.open(path, verify=verify).close(),
        {"path": FOLDER.name + "/rest.nc", "verify": True},
    ),
    # methods of networks and records
    "state": (WHOLE.state, {"rates": torch.full((9,), 0.5)}),
    "as_state": (FREE.as_state, {"s": FAR}),
    "finite_state": (FREE.finite_state, {"s": FAR}),
    "layer": (WHOLE.layer, {"name": "y"}),
    "to": (WHOLE.to, {"dtype": torch.float64}),
    "centred": (WHOLE.centred, {"rates": {"x": torch.full((3,), 0.5)}}),
    "of kind": (CURVE.of_kind, {"kind": "pitchfork"}),
    "cosine": (EARLY.cosine, {"gradient": torch.ones(1, 6)}),
    "multipliers": (LINEAR.multipliers, {"eps": 0.1}),
    "rate of escape": (OVER.rate, {"sigma": 0.2}),
    "agreement": (PUSHED.agreement, {"gradient": [0.1, 0.2]}),
    "time needed": (PUSHED.time_needed, {"cosine": 0.9, "gradient": [0.1, 0.2]}),
    "predict": (TRAINED.predict, {"rates": [[0.2, 0.8, 0.5]]}),
    # the frame of the studies
    "study": (study_of, {"seed": "1", "threads": "1", "out": "study"}),
}  # fmt: skip

# figures, each of the dataset of its record; those of a study are given another one, and refuse it
MOVED = ctebm.simulate(PAIR, torch.zeros(2), n_steps=3, eps=0.1)
LEFT = ctebm.first_passage(
    ctebm.Dynamics(PAIR, 0.1), torch.zeros(4, 2), inside=lambda s: s[..., 0] < 0.01, **CHAINS
)
PLANE = ctebm.phase_plane(PAIR, limits=(-1, 1), n_grid=3, n_starts=2)
LINE = {"x": [0.0, 1.0], "y": [1.0, 2.0], "label": "a", "line": True, "colour": 0, "low": None}
CALLS |= {
    f"{name} figure": (draw, {"dataset": dataset})
    for name, draw, dataset in (
        ("correspondence", figures.correspondence_figure, EARLY.to_dataset()),
        ("learning", figures.learning_figure, TRAINED.to_dataset()),
        ("path", figures.path_figure, OVER.to_dataset()),
        ("response", figures.response_figure, PUSHED.to_dataset()),
        ("survival", figures.survival_figure, LEFT.to_dataset()),
        ("collapse", figures.collapse_figure, WRITTEN),
        ("equilibria", figures.fixed_points_figure, WRITTEN),
        ("langevin", figures.langevin_figure, WRITTEN),
        ("saturation", figures.saturation_figure, WRITTEN),
        ("stdp", figures.stdp_figure, WRITTEN),
        ("synaptic", figures.synaptic_figure, WRITTEN),
    )
}
CALLS |= {
    "trajectory figure": (
        figures.trajectory_figure, {"dataset": MOVED.to_dataset(), "sample": 0, "ax": None},
    ),
    "bifurcation figure": (
        figures.bifurcation_figure,
        {"branches": [CURVE.to_dataset()], "parameter": "w", "unit": 0, "ax": None},
    ),
    "portrait": (figures.phase_portrait_figure, {"plane": PLANE, "ax": None}),
    "series": (lambda **a: drawn(Series(**a)), LINE),
    "panel": (
        lambda **a: figures.panel_figure([Panel(**a)]),
        {"title": "a", "xlabel": "x", "ylabel": "y", "series": [Series(**LINE)], "log": "x"},
    ),
    "panels": (
        figures.panel_figure,
        {"panels": [Panel("a", "x", "y", [Series(**LINE)])], "columns": 2, "question": "?",
         "see": "a line", "ax": None},
    ),
}  # fmt: skip


def drawn(series: Series) -> None:
    panel_figure([Panel("a", "x", "y", [series])])


# records of another's making
CALLS |= {
    f"{type(record).__name__} record": (
        type(record),
        {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.init},
    )
    for record in (
        REST, LINEAR, CURVE, FORK, EARLY, MOVED, LEFT, OVER, PUSHED, TRAINED,
        ctebm.linearize(ctebm.AsymmetricNetwork([[0, 1], [-1, 0]], [0, 0], ctebm.Tanh()), [0, 0]),
        ctebm.sample(ctebm.Dynamics(PAIR, 0.1), torch.zeros(4, 2), **CHAINS, burn_in=2),
        ctebm.parameter_gradient(WHOLE, X, ctebm.settle(FREE), Y),
    )
}  # fmt: skip

GIVEN_FUNCTIONS = ("family", "inside", "function", "cost")

MANY = 10**12
BAD: list[Any] = [
    None, NAN, INF, -INF, -1, 0, 2.5, MANY, 1e300, 10**400, "word", b"bytes", "", True, 1j,
    [], [NAN], [INF, 0.0], [[1.0], [1.0, 2.0]], ["a"], [None], {}, {"x": 1}, {"q": [1.0]}, set(),
    (), (1, 2, 3), object, object(), len, np.nan, np.array([]), np.zeros((0, 2)), np.zeros((3, 3)),
    np.zeros((2, 6, 5)), np.array(["a"]), np.array([1j]), np.array([None]), np.int64(-3),
    torch.tensor([]), torch.tensor(NAN), torch.zeros(7), torch.zeros(4, 6), torch.ones(2, 2) * INF,
    torch.zeros(3, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.complex64),
    torch.zeros(2, 2).to_sparse(), xr.Dataset(), REST.to_dataset(), REST, PAIR, WHOLE, FREE,
    ctebm.Tanh, ctebm.Tanh(),
]  # fmt: skip


def skipped(name: str, argument: str, bad: Any) -> bool:
    """Return whether a wrong argument is right: a function of the caller's, steps without end."""
    # what a function of the caller does when it is called is the caller's
    return (argument in GIVEN_FUNCTIONS and callable(bad)) or (
        argument == "n_steps" and name in ("bptt", "parameters") and bad is MANY
    )


def outcome(call: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Return "" for an answer or a refusal in words of the package, else the raw error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(**arguments)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = linecache.getline(last.filename, last.lineno or 0)
        ours = "/ctebm/" in last.filename and line.strip().startswith("raise")
        kinds = ValueError, TypeError, IndexError, FloatingPointError, NotImplementedError
        if not (ours and isinstance(error, kinds) and str(error)):
            where = f"{last.filename.rpartition('/ctebm/')[2]}:{last.lineno}"
            return f"{type(error).__name__}: {str(error)[:80]} ({where})"
    return ""


def wrong_call(seed: int) -> tuple[str, str]:
    """Call with one or two wrong arguments; return what was called, and the raw error or ""."""
    draw = random.Random(seed)
    name = draw.choice([name for name in CALLS if CALLS[name][1]])
    call, arguments = CALLS[name]
    wrong = draw.sample(list(arguments), min(draw.randint(1, 2), len(arguments)))
    bad = {k: draw.choice(BAD) for k in wrong}
    bad = {k: v for k, v in bad.items() if not skipped(name, k, v)}
    given = f"{name}: " + ", ".join(f"{k}={v!r:.40}" for k, v in bad.items())
    return given, outcome(call, arguments | bad)
