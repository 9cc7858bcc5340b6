# Every module of the wing; it is loaded when it is first used.

from . import chains as chains
from . import density as density
from . import errors as errors
from . import exits as exits
from . import first_passage as first_passage
from . import fluctuation as fluctuation
from . import kinks as kinks
from . import mala as mala
from . import moments as moments
from . import motion as motion
from . import passage as passage
from . import path as path
from . import rates as rates
from . import recorded as recorded
from . import response as response
from . import samples as samples
from . import string as string
from . import transfer as transfer
