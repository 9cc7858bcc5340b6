"""What a network does near an equilibrium (F4, N1 to N3), and how that changes with a parameter."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "branch",
        "continuation",
        "curve",
        "events",
        "hessian",
        "jacobian",
        "linearization",
        "modes",
        "normal_form",
        "record",
        "response",
    ],
)
