# Every module of the wing; it is loaded when it is first used.

from . import checkpoint as checkpoint
from . import continual_rules as continual_rules
from . import contrast_rules as contrast_rules
from . import corrected_nudge as corrected_nudge
from . import early_rules as early_rules
from . import feedback_rules as feedback_rules
from . import field_equilibrium as field_equilibrium
from . import gradient_rules as gradient_rules
from . import holomorphic_rules as holomorphic_rules
from . import initial_weights as initial_weights
from . import layer_sweeps as layer_sweeps
from . import optimizers as optimizers
from . import plan as plan
from . import plastic as plastic
from . import plastic_field as plastic_field
from . import plastic_layers as plastic_layers
from . import predictive_rules as predictive_rules
from . import probe as probe
from . import record as record
from . import rules as rules
from . import samples as samples
from . import tally as tally
from . import trainer as trainer
from . import training as training
