"""Settings that every study has, and checks that several studies make of theirs."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

__all__ = [
    "Settings",
    "check_device",
    "check_eps",
    "check_layers",
    "check_positive",
    "check_t_end",
    "check_values",
    "refuse_ignored",
]

SUFFIXES = (".nc", ".png", ".pdf")
# settings that say where results go, not what they are
HOUSEKEEPING = ("out", "overwrite", "figure", "pdf", "config", "print_config")
PER_LAYER = ("sizes", "hidden", "rate")  # lists in which a value may stand twice


@dataclass(frozen=True)
class Settings:
    """Settings that every study has; a study adds its own in a subclass.

    A field that may be None must be None by default, since TOML has no word for it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from ctebm.study import Settings
    >>> Settings(out=Path("results/mine.png")).output(".nc").name
    'mine.nc'
    """

    example: ClassVar[str] = "--seed 1 --out results/seed_1"
    """Flags that the help shows as an example."""

    out: Path = Path("results/study")
    """Path of the files that are written, without a suffix: OUT.nc and OUT.png."""
    overwrite: bool = False
    """Replace results that are there; without this they are kept."""
    figure: bool = True
    """Draw OUT.png."""
    pdf: bool = False
    """Draw OUT.pdf too."""
    seed: int = 0
    """Root seed of everything random."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:N."""
    dtype: Literal["float64", "float32"] = "float64"
    """Floating-point type of the computation."""
    threads: int = 1
    """Threads of torch; the last bits of a result depend on their number."""
    config: Path | None = None
    """TOML file of settings, which flags override."""
    print_config: bool = False
    """Print the settings as TOML and stop."""

    @property
    def stem(self) -> Path:
        """`out`, without a suffix that one of the files has."""
        return self.out.with_suffix("") if self.out.suffix in SUFFIXES else self.out

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Those of the files that are written."""
        return (".nc", *[".png"] * self.figure, *[".pdf"] * self.pdf)

    def output(self, suffix: str) -> Path:
        """Return the path of the file with this suffix."""
        return self.stem.with_name(self.stem.name + suffix)


def check_eps(eps: float | Sequence[float], at_least: int = 1, *, upper: float = 1.0) -> None:
    """Refuse step sizes that no explicit method can take, and too few of them.

    Parameters
    ----------
    eps : float or sequence of float
        In membrane time constants: one value, or those that a study compares.
    at_least : int
        How many different ones are needed.
    upper : float
        Largest allowed; beyond 1 a step of Euler's method goes past the pressure.

    Raises
    ------
    ValueError
        If one lies outside ``(0, upper]`` or stands twice, or if there are too few.

    Examples
    --------
    >>> from ctebm.study import check_eps
    >>> check_eps((0.2, 0.1))
    >>> check_eps(1.5)
    Traceback (most recent call last):
    ValueError: --eps needs 0 < eps <= 1, got 1.5.
    """
    several = isinstance(eps, Sequence)
    values = tuple(eps) if several else (eps,)
    number = f"{at_least} or more of " if at_least > 1 else ""
    if len(set(values)) < at_least or not all(0 < e <= upper for e in values):
        raise ValueError(f"--eps needs {number}0 < eps <= {upper:g}, got {_shown(eps)}.")
    if len(set(values)) < len(values):
        raise ValueError(f"--eps needs different steps, got {_shown(eps)}.")


def check_positive(flag: str, values: float | Sequence[float]) -> None:
    """Refuse a setting that is not positive and finite, or that has no values.

    Parameters
    ----------
    flag : str
        Its name on the command line.
    values : float or sequence of float
        Its value or values.

    Raises
    ------
    ValueError
        If there is none, or one is not in ``(0, inf)``.

    Examples
    --------
    >>> from ctebm.study import check_positive
    >>> check_positive("--gain", 0.0)
    Traceback (most recent call last):
    ValueError: --gain must be > 0, got 0.0.
    """
    several = values if isinstance(values, Sequence) else (values,)
    if not several or not all(0 < v < float("inf") for v in several):
        raise ValueError(f"{flag} must be > 0, got {_shown(values)}.")


def check_layers(sizes: Sequence[int]) -> None:
    """Refuse ``--sizes`` without a hidden layer, or with a layer of no units.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, input first.

    Raises
    ------
    ValueError
        If there are fewer than three layers or one is empty.

    Examples
    --------
    >>> from ctebm.study import check_layers
    >>> check_layers((64, 10))
    Traceback (most recent call last):
    ValueError: --sizes needs input, hidden and output layers, got 64 10.
    """
    if min(sizes, default=1) < 1:
        raise ValueError(f"--sizes needs 1 or more units in each layer, got {_shown(sizes)}.")
    if len(sizes) < 3:
        raise ValueError(f"--sizes needs input, hidden and output layers, got {_shown(sizes)}.")


def check_t_end(t_end: float, eps: float | Sequence[float], steps: int) -> None:
    """Refuse a time that does not hold the steps that a gradient needs.

    Parameters
    ----------
    t_end : float
        In membrane time constants.
    eps : float or sequence of float
        One step size, or those that a study compares.
    steps : int
        How many steps are needed at the largest of them.

    Raises
    ------
    ValueError
        If the time is shorter.

    Examples
    --------
    >>> from ctebm.study import check_t_end
    >>> check_t_end(8.0, (0.5, 0.1), 5)
    >>> check_t_end(1.0, (0.5, 0.1), 5)
    Traceback (most recent call last):
    ValueError: --t-end 1 is shorter than the 5 steps of 0.5 that the gradient needs; give 2.5 ...
    """
    largest = max(eps) if isinstance(eps, Sequence) else eps
    if round(t_end / largest) < steps:
        raise ValueError(
            f"--t-end {t_end:g} is shorter than the {steps} steps of {largest:g} that the gradient "
            f"needs; give {steps * largest:g} or more, or smaller steps."
        )


def check_values(settings: Settings) -> None:
    """Refuse numbers that are not finite, and a value that stands twice where values are compared.

    Parameters
    ----------
    settings : Settings
        Of a study.

    Raises
    ------
    ValueError
        With the flag.

    Examples
    --------
    >>> from ctebm.study.image_settings import ImageSettings
    >>> from ctebm.study.settings import check_values
    >>> check_values(ImageSettings())
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        flag = "--" + field.name.replace("_", "-")
        several = value if isinstance(value, tuple) else (value,)
        if any(isinstance(v, float) and not math.isfinite(v) for v in several):
            raise ValueError(f"{flag} needs finite numbers, got {_shown(value)}.")
        compared = typing.get_args(hints[field.name])[1:] == (...,)  # tuple[float, ...]
        if compared and field.name not in PER_LAYER and len(set(several)) < len(several):
            raise ValueError(f"{flag} needs different values, got {_shown(value)}.")


def check_device(device: str) -> None:
    """Refuse a device that this machine has not.

    Parameters
    ----------
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    """
    if device == "cpu":
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise ValueError(
            f"--device {device} is not available: torch sees {count} CUDA devices; use "
            "--device cpu."
        )


def refuse_ignored(settings: Settings, names: Sequence[str], reason: str) -> None:
    """Refuse settings that nothing would read, unless they have their defaults.

    Parameters
    ----------
    settings : Settings
        Of a study.
    names : sequence of str
        Fields that have no effect; one that the study lacks is passed over.
    reason : str
        Why, and what to do, as half a sentence.

    Raises
    ------
    ValueError
        If one of them was changed.

    Examples
    --------
    >>> from ctebm.study import Settings, refuse_ignored
    >>> refuse_ignored(Settings(seed=3), ["seed"], "nothing here is random; leave it out")
    Traceback (most recent call last):
    ValueError: --seed 3 would have no effect: nothing here is random; leave it out.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in names and value != field.default:
            flag = "--" + field.name.replace("_", "-")
            raise ValueError(f"{flag} {_shown(value)} would have no effect: {reason}.")


def _shown(value: Any) -> str:
    """Return a value as a command line has it."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
