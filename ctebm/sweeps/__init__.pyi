# Every module of the wing; it is loaded when it is first used.

from . import cluster as cluster
from . import company as company
from . import computation as computation
from . import drivers as drivers
from . import form as form
from . import identity as identity
from . import plan as plan
from . import points as points
from . import progress as progress
from . import report as report
from . import request as request
from . import run as run
from . import script as script
from . import store as store
from . import tiles as tiles
from . import verification as verification
from . import workers as workers
