"""Weight changes of eq. 26 (section 3.2) and its relatives, and training by them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
