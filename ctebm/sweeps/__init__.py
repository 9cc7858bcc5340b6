"""Many settings at once: points, tiles, and a store that survives kills.

A sweep calls a function at every point of a grid or table. Its points fall into tiles, each of
which is computed by one process and is one chunk of a Zarr store, so that what is finished is never
lost or computed again.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
