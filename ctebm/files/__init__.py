"""Files that are whole or not there, are checked when they are opened, and have one writer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
