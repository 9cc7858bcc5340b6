# Every module of the wing; it is loaded when it is first used.

from . import alternating as alternating
from . import angles as angles
from . import bounds as bounds
from . import candidates as candidates
from . import catalogue as catalogue
from . import cells as cells
from . import descent as descent
from . import enumeration as enumeration
from . import inertia as inertia
from . import kkt as kkt
from . import krylov as krylov
from . import linear_systems as linear_systems
from . import newton as newton
from . import phase_plane as phase_plane
from . import picard as picard
from . import predictive_errors as predictive_errors
from . import quadratic_model as quadratic_model
from . import record as record
from . import relaxation as relaxation
from . import rows as rows
from . import saddles as saddles
from . import search as search
from . import settling as settling
from . import starts as starts
from . import sweeps as sweeps
from . import trust_region as trust_region
