# Every module of the wing; it is loaded when it is first used.

from . import activation as activation
from . import arrays as arrays
from . import attributes as attributes
from . import base as base
from . import blocks as blocks
from . import constants as constants
from . import dense as dense
from . import energy as energy
from . import error_coordinates as error_coordinates
from . import held as held
from . import hopfield as hopfield
from . import kinks as kinks
from . import layered as layered
from . import layout as layout
from . import matrices as matrices
from . import memory as memory
from . import nonconservative as nonconservative
from . import numbers as numbers
from . import pairwise as pairwise
from . import parameters as parameters
from . import predictive as predictive
from . import rates as rates
from . import record as record
from . import sigmoids as sigmoids
from . import sparse as sparse
from . import stacks as stacks
