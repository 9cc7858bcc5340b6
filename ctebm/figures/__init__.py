"""Datasets as figures: these modules know labelled arrays only, and none of the other wings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
