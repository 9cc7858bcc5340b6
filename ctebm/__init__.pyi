# Every public name, once, in the order of the flow. It is loaded when it is first used.

from . import dataset as dataset
from . import files as files
from . import networks as networks
from . import dynamics as dynamics
from . import equilibria as equilibria
from . import stability as stability
from . import sampling as sampling
from . import early_inference as early_inference
from . import learning as learning
from . import sweeps as sweeps
from . import figures as figures
from . import study as study

from .networks.kinks import Box as Box
from .networks.activation import Activation as Activation
from .networks.sigmoids import HardSigmoid as HardSigmoid
from .networks.sigmoids import Logistic as Logistic
from .networks.sigmoids import Tanh as Tanh
from .networks.sigmoids import SmoothHardSigmoid as SmoothHardSigmoid
from .networks.rates import SignedTanh as SignedTanh
from .networks.rates import Identity as Identity
from .networks.rates import ReLU as ReLU
from .networks.rates import LeakyReLU as LeakyReLU
from .networks.rates import Softplus as Softplus
from .networks.activation import Custom as Custom
from .networks.base import VectorField as VectorField
from .networks.energy import Network as Network
from .networks.energy import LyapunovField as LyapunovField
from .networks.dense import DenseNetwork as DenseNetwork
from .networks.layered import LayeredNetwork as LayeredNetwork
from .networks.graph import LayerGraph as LayerGraph
from .networks.sparse import SparseNetwork as SparseNetwork
from .networks.nonconservative import AsymmetricNetwork as AsymmetricNetwork
from .networks.nonconservative import FeedbackNetwork as FeedbackNetwork
from .networks.hopfield import HopfieldNetwork as HopfieldNetwork
from .networks.rate_leak import RateLeakNetwork as RateLeakNetwork
from .networks.predictive import PredictiveNetwork as PredictiveNetwork
from .networks.convolutional import ConvolutionalNetwork as ConvolutionalNetwork
from .networks.associative import AssociativeMemory as AssociativeMemory
from .networks.polynomial_memory import PolynomialMemory as PolynomialMemory
from .networks.saved import load_network as load_network

from .dynamics.sde import Dynamics as Dynamics
from .dynamics.sde import Phase as Phase
from .dynamics.integrate import simulate as simulate
from .dynamics.trajectory import Trajectory as Trajectory

from .equilibria.record import FixedPoints as FixedPoints
from .equilibria.settling import settle as settle
from .equilibria.bounds import certify_unique as certify_unique
from .equilibria.search import find_fixed_points as find_fixed_points
from .equilibria.enumeration import enumerate_fixed_points as enumerate_fixed_points
from .equilibria.phase_plane import phase_plane as phase_plane

from .stability.linearization import linearize as linearize
from .stability.record import Linearization as Linearization
from .stability.record import JacobianLinearization as JacobianLinearization
from .stability.continuation import continue_branch as continue_branch
from .stability.continuation import switch_branch as switch_branch
from .stability.branch import Branch as Branch
from .stability.events import Event as Event

from .sampling.chains import sample as sample
from .sampling.samples import Samples as Samples
from .sampling.density import stationary_density as stationary_density
from .sampling.fluctuation import fluctuation_response as fluctuation_response
from .sampling.first_passage import first_passage as first_passage
from .sampling.passage import Passage as Passage
from .sampling.path import minimum_energy_path as minimum_energy_path
from .sampling.path import EnergyPath as EnergyPath
from .sampling.response import FluctuationResponse as FluctuationResponse

from .early_inference.gradients import chain_gradient as chain_gradient
from .early_inference.gradients import implicit_gradient as implicit_gradient
from .early_inference.through_time import bptt_gradient as bptt_gradient
from .early_inference.parameter_gradients import parameter_gradient as parameter_gradient
from .early_inference.parameter_gradients import ParameterGradient as ParameterGradient
from .early_inference.nudged import nudged as nudged
from .early_inference.holomorphic import holomorphic_gradient as holomorphic_gradient
from .early_inference.laws import first_arrival_coefficient as first_arrival_coefficient
from .early_inference.laws import continuous_coefficient as continuous_coefficient
from .early_inference.laws import discretisation_error as discretisation_error
from .early_inference.laws import cascade_coefficient as cascade_coefficient
from .early_inference.laws import paper_coefficient as paper_coefficient
from .early_inference.laws import half_time as half_time
from .early_inference.leaky_laws import leaky_coefficient as leaky_coefficient
from .early_inference.nudge_laws import rescaled_loss as rescaled_loss
from .early_inference.nudge_laws import nudge_limit as nudge_limit
from .early_inference.measurement import correspondence as correspondence
from .early_inference.record import Correspondence as Correspondence

from .learning.plastic_layers import PlasticNetwork as PlasticNetwork
from .learning.plastic_field import PlasticField as PlasticField
from .learning.rules import Rule as Rule
from .learning.early_rules import Early as Early
from .learning.early_rules import XieSeung as XieSeung
from .learning.early_rules import Presynaptic as Presynaptic
from .learning.early_rules import Symmetric as Symmetric
from .learning.contrast_rules import EquilibriumPropagation as EquilibriumPropagation
from .learning.continual_rules import (
    ContinualEquilibriumPropagation as ContinualEquilibriumPropagation,
)
from .learning.holomorphic_rules import HolomorphicPropagation as HolomorphicPropagation
from .learning.contrast_rules import (
    AsymmetricEquilibriumPropagation as AsymmetricEquilibriumPropagation,
)
from .learning.contrast_rules import CoupledLearning as CoupledLearning
from .learning.contrast_rules import ContrastiveLearning as ContrastiveLearning
from .learning.predictive_rules import FixedPrediction as FixedPrediction
from .learning.predictive_rules import ZeroDivergence as ZeroDivergence
from .learning.feedback_rules import KolenPollack as KolenPollack
from .learning.feedback_rules import JacobianHomeostasis as JacobianHomeostasis
from .learning.gradient_rules import Chain as Chain
from .learning.gradient_rules import ChainFeedback as ChainFeedback
from .learning.gradient_rules import Implicit as Implicit
from .learning.gradient_rules import ThroughTime as ThroughTime
from .learning.plan import Plan as Plan
from .learning.training import train as train
from .learning.record import Training as Training
from .learning.initial_weights import weakly_coupled as weakly_coupled

from .sweeps.run import sweep as sweep

from .files.results import save as save
from .files.results import open as open

__version__: str
