# Every module of the wing; it is loaded when it is first used.

from . import attributes as attributes
from . import hdf5 as hdf5
from . import lock as lock
from . import netcdf as netcdf
from . import process as process
from . import replacement as replacement
from . import results as results
from . import signals as signals
from . import store as store
from . import tiled as tiled
