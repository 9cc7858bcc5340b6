"""How a network moves (section 2, eqs. 1 to 5): the SDE, its noise, solvers, runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "adaptive",
        "clock",
        "failures",
        "flow",
        "integrate",
        "methods",
        "noise",
        "recorder",
        "request",
        "run",
        "sde",
        "seeding",
        "step_limit",
        "streams",
        "trajectory",
        "unit_steps",
    ],
)
