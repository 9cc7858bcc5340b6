"""How a network moves (section 2, eqs. 1 to 5): the SDE, its noise, solvers, runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
