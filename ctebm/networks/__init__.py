"""What E is (sections 2.3 and 3.1, eqs. 6 to 8 and 20 to 22): rates, energies, forces."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
