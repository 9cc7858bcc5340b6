"""What a network does near an equilibrium (F4, N1 to N3), and how that changes with a parameter."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
