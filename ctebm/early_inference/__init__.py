"""The paper's claim (section 3, eqs. 12 to 25): early changes are back-propagated gradients."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
