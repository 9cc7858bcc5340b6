"""Continuous-time energy-based models: dynamics, equilibria, and early inference as gradients.

The wings are in the order of the paper: networks, dynamics, equilibria, stability, sampling,
early_inference, learning; then sweeps and study, which ask many questions at once. Below them lie
dataset, files and figures. Every public name is listed once, in ``__init__.pyi``, and loaded when
it is first used, so that importing the package is cheap.
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# `from ctebm import *` brings no modules, and does not hide Python's own open.
_hidden = {"open", *(path.stem for path in Path(__file__).parent.iterdir())}
# Names are listed in __init__.pyi, which checkers read.
__all__ = [name for name in __all__ if name not in _hidden]  # pyright: ignore[reportUnsupportedDunderAll]
