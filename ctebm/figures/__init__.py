"""Datasets as figures: these modules know labelled arrays only, and none of the other wings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    ["correspondence", "equilibria", "learning", "panels"],
    {
        "correspondence": ["correspondence_figure"],
        "equilibria": [
            "bifurcation_diagram",
            "bifurcation_figure",
            "phase_portrait",
            "phase_portrait_figure",
        ],
        "learning": ["learning_figure", "saturation_figure", "stdp_figure"],
        "panels": ["Panel", "Series", "panel_figure"],
    },
)
