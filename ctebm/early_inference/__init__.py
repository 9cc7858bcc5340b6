"""The paper's claim (section 3, eqs. 12 to 25): early changes are back-propagated gradients."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "correspondence_dataset",
        "crossings",
        "displacement",
        "drive",
        "driven",
        "gradients",
        "laws",
        "measurement",
        "metrics",
        "parameter_gradients",
        "plan",
        "record",
        "targets",
    ],
)
