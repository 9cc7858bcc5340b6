"""Continuous-time energy-based models: dynamics, equilibria, and early inference as gradients.

Names are listed in the order of the flow: activation, network, dynamics, fixed point,
linearization, gradient, correspondence, dataset, figure. Importing the package is cheap: torch
is loaded when the first name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctebm.activation import Custom, HardSigmoid, Logistic, SmoothHardSigmoid, Tanh
    from ctebm.agreement import Correspondence
    from ctebm.asymmetric import AsymmetricNetwork
    from ctebm.bounds import certify_unique
    from ctebm.branch import Branch
    from ctebm.continuation import continue_branch, switch_branch
    from ctebm.dataset import open, save
    from ctebm.dynamics import Dynamics, Phase
    from ctebm.early_inference import correspondence
    from ctebm.event import Event
    from ctebm.feedback import FeedbackNetwork
    from ctebm.fixed_points import FixedPoints
    from ctebm.gradient import bptt_gradient, chain_gradient, implicit_gradient
    from ctebm.hessian import Linearization
    from ctebm.hopfield import HopfieldNetwork
    from ctebm.integrate import Trajectory, simulate
    from ctebm.jacobian import JacobianLinearization
    from ctebm.law import (
        cascade_coefficient,
        continuous_coefficient,
        discretisation_error,
        first_arrival_coefficient,
        half_time,
        paper_coefficient,
    )
    from ctebm.layered import LayeredNetwork
    from ctebm.learning import (
        Chain,
        Early,
        EquilibriumPropagation,
        Implicit,
        Rule,
        Symmetric,
        ThroughTime,
        XieSeung,
    )
    from ctebm.linearization import linearize
    from ctebm.network import Network
    from ctebm.pairwise import DenseNetwork
    from ctebm.parameters import load_network
    from ctebm.plane import phase_plane
    from ctebm.plastic import PlasticNetwork
    from ctebm.search import enumerate_fixed_points, find_fixed_points
    from ctebm.settling import settle
    from ctebm.sparse import SparseNetwork
    from ctebm.synapse import ParameterGradient, parameter_gradient
    from ctebm.trainer import Plan
    from ctebm.training import Training, train, weakly_coupled

_ROOMS = {
    "activation": ["HardSigmoid", "Logistic", "Tanh", "SmoothHardSigmoid", "Custom"],
    "network": ["Network"],
    "pairwise": ["DenseNetwork"],
    "layered": ["LayeredNetwork"],
    "sparse": ["SparseNetwork"],
    "asymmetric": ["AsymmetricNetwork"],
    "hopfield": ["HopfieldNetwork"],
    "feedback": ["FeedbackNetwork"],
    "dynamics": ["Dynamics", "Phase"],
    "integrate": ["simulate", "Trajectory"],
    "fixed_points": ["FixedPoints"],
    "settling": ["settle"],
    "bounds": ["certify_unique"],
    "search": ["find_fixed_points", "enumerate_fixed_points"],
    "plane": ["phase_plane"],
    "linearization": ["linearize"],
    "hessian": ["Linearization"],
    "jacobian": ["JacobianLinearization"],
    "continuation": ["continue_branch", "switch_branch"],
    "branch": ["Branch"],
    "event": ["Event"],
    "gradient": ["chain_gradient", "implicit_gradient", "bptt_gradient"],
    "synapse": ["parameter_gradient", "ParameterGradient"],
    "law": [
        "first_arrival_coefficient",
        "continuous_coefficient",
        "discretisation_error",
        "cascade_coefficient",
        "paper_coefficient",
        "half_time",
    ],
    "early_inference": ["correspondence"],
    "agreement": ["Correspondence"],
    "plastic": ["PlasticNetwork"],
    "learning": [
        "Rule",
        "Early",
        "XieSeung",
        "Symmetric",
        "EquilibriumPropagation",
        "Chain",
        "Implicit",
        "ThroughTime",
    ],
    "trainer": ["Plan"],
    "training": ["train", "Training", "weakly_coupled"],
    "parameters": ["load_network"],
    "dataset": ["save", "open"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [name for names in _ROOMS.values() for name in names]  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'ctebm' has no attribute {name!r}")
    return getattr(import_module(f"ctebm.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
