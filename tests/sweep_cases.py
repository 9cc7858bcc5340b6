"""Functions to sweep, and what of them is compared."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import xarray as xr

GRID = {"a": [1, 2, 3], "b": [0.5, 1.0, 2.0, 3.0]}


def good(a, b):
    """Return numbers of every kind, NaN and words among them."""
    data = {
        "s": ("unit", [a * b, np.nan]),
        "z": complex(a, b),
        "n": a,
        "word": f"{a} {b}",
    }
    return xr.Dataset(data, {"unit": ["p", "q"], "depth": ("unit", [a, 2.0])})


def fails_at_two(a, b):
    """Fail at a = 2 and b = 1."""
    if (a, b) == (2, 1.0):
        raise ValueError("no\nequilibrium")
    return good(a, b)


def until_told(folder):
    """Return a function that fails at a = 2 while there is no file `mended`."""

    def function(a, b):
        return good(a, b) if a != 2 or Path(folder, "mended").exists() else 1 / 0

    return function


def noted(folder, seconds=0.0):
    """Return a function that writes down each point that it is called at."""

    def function(a):
        time.sleep(seconds)
        with open(os.path.join(folder, "calls"), "a") as file:
            file.write(f"{a}\n")
        return {"square": np.random.default_rng(a).normal() * a**2}

    return function


def kills_its_process(a):
    """End the process that computes a = 5, as running out of memory does."""
    if a == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": a**2}


def slow_truth(function, grid):
    """Return name to array of a function on a grid, by one plain loop after another."""
    shape = tuple(map(len, grid.values()))
    found = {}
    for place in np.ndindex(shape):
        point = {name: grid[name][i] for (name, i) in zip(grid, place, strict=True)}
        result = function(**point)
        for name, item in result.variables.items():
            if item.dims == (name,):
                continue
            array = found.setdefault(name, np.empty(shape + item.shape, item.dtype))
            if array.dtype.kind == "U":
                array = found[name] = array.astype(object)
            array[place] = item.values
    return found
