# Every module of the wing; it is loaded when it is first used.

from . import bifurcations as bifurcations
from . import branch as branch
from . import continuation as continuation
from . import curve as curve
from . import dips as dips
from . import events as events
from . import hessian as hessian
from . import jacobian as jacobian
from . import linearization as linearization
from . import modes as modes
from . import normal_form as normal_form
from . import null_space as null_space
from . import record as record
from . import response as response
