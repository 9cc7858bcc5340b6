# Every module of the wing; it is loaded when it is first used.

from . import after_arrival as after_arrival
from . import analytic as analytic
from . import arrivals as arrivals
from . import correspondence_dataset as correspondence_dataset
from . import costs as costs
from . import crossings as crossings
from . import displacement as displacement
from . import drive as drive
from . import driven as driven
from . import force_products as force_products
from . import gradients as gradients
from . import holomorphic as holomorphic
from . import laws as laws
from . import leaky_laws as leaky_laws
from . import measurement as measurement
from . import metrics as metrics
from . import noise_laws as noise_laws
from . import nudge_laws as nudge_laws
from . import nudged as nudged
from . import outcomes as outcomes
from . import parameter_gradients as parameter_gradients
from . import record as record
from . import schedule as schedule
from . import targets as targets
from . import through_time as through_time
