"""Where a network rests (sections 2.2 and 2.3, eqs. 9 to 11), smooth or at kinks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "alternating",
        "bounds",
        "catalogue",
        "inertia",
        "krylov",
        "kkt",
        "newton",
        "phase_plane",
        "record",
        "search",
        "settling",
        "sweeps",
        "trust_region",
    ],
)
