# Every module of the wing; it is loaded when it is first used.

from . import adaptive as adaptive
from . import clock as clock
from . import euler as euler
from . import failures as failures
from . import flow as flow
from . import integrate as integrate
from . import methods as methods
from . import noise as noise
from . import philox as philox
from . import recorder as recorder
from . import request as request
from . import run as run
from . import sde as sde
from . import seed_words as seed_words
from . import seeding as seeding
from . import slices as slices
from . import slopes as slopes
from . import step_limit as step_limit
from . import streams as streams
from . import threads as threads
from . import trajectory as trajectory
from . import unit_steps as unit_steps
