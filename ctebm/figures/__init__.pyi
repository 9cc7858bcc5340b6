# Every module of the wing and every figure; each is loaded when it is first used.

from . import collapse as collapse
from . import correspondence as correspondence
from . import equilibria as equilibria
from . import fixed_points as fixed_points
from . import learning as learning
from . import panels as panels
from . import style as style
from .collapse import collapse_figure as collapse_figure
from .correspondence import correspondence_figure as correspondence_figure
from .equilibria import bifurcation_diagram as bifurcation_diagram
from .equilibria import bifurcation_figure as bifurcation_figure
from .equilibria import phase_portrait as phase_portrait
from .equilibria import phase_portrait_figure as phase_portrait_figure
from .fixed_points import fixed_points_figure as fixed_points_figure
from .learning import learning_figure as learning_figure
from .learning import saturation_figure as saturation_figure
from .learning import stdp_figure as stdp_figure
from .panels import Panel as Panel
from .panels import Series as Series
from .panels import panel_figure as panel_figure
