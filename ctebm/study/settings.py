"""Settings of a study: a frozen dataclass, a TOML file and flags; activations by name.

Nothing here imports torch, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import json
import re
import tomllib
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from ctebm.networks.activation import Activation

__all__ = ["Settings", "as_toml", "check_activation", "parse_activation", "read_settings"]

S = TypeVar("S", bound="Settings")

SUFFIXES = (".nc", ".png", ".pdf")


@dataclass(frozen=True)
class Settings:
    """Settings that every study has; a study adds its own in a subclass.

    A field that may be None must be None by default, since TOML has no word for it.
    """

    out: Path = Path("results/study")
    """Stem of the files written: OUT.nc, OUT.png and OUT.pdf."""
    overwrite: bool = False
    """Replace existing results."""
    seed: int = 0
    """Root seed of everything random."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:N."""
    dtype: Literal["float64", "float32"] = "float64"
    """Floating-point type."""
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

    def output(self, suffix: str) -> Path:
        """Return the path of the file with this suffix."""
        return self.stem.with_name(self.stem.name + suffix)


def read_settings(settings_type: type[S], words: list[str]) -> S:
    """Return defaults, overridden by the TOML file of ``--config``, overridden by flags.

    Raises
    ------
    SystemExit
        With code 2 if the flags can't be read or ``__post_init__`` refuses the settings, and with
        code 0 after ``--help``.
    ValueError
        If the TOML file or a setting is wrong.
    """
    import tyro

    values = {f.name: _default(f) for f in dataclasses.fields(settings_type)}
    values["out"] = Path("results") / Path(inspect.getfile(settings_type)).stem
    config = _config_flag(words)
    if config is not None:
        values |= _read_toml(Path(config), settings_type)
    # An instance whose __post_init__ did not run yet: a flag may mend what it would refuse.
    defaults = object.__new__(settings_type)
    for name, value in values.items():
        object.__setattr__(defaults, name, value)
    settings = tyro.cli(settings_type, args=words, default=defaults)
    _check(settings)
    return settings


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise TypeError(f"the setting {field.name} of a study needs a default")
    return field.default


def _config_flag(words: list[str]) -> str | None:
    """Return the file named by --config, before the other flags are read."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", nargs="?")
    return parser.parse_known_args(words)[0].config


def _read_toml(path: Path, settings_type: type[Settings]) -> dict[str, Any]:
    import cattrs

    def strict(value: Any, kind: Any) -> Any:
        if type(value) is kind or (kind is float and type(value) is int):
            return kind(value)
        raise TypeError

    def structure_path(value: Any, _: Any) -> Path:
        return Path(strict(value, str))

    def structure_tuple(value: Any, hint: Any) -> tuple[Any, ...]:
        strict(value, list)
        kinds = typing.get_args(hint)
        kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        return tuple(converter.structure(v, k) for v, k in zip(value, kinds, strict=True))

    converter = cattrs.Converter(detailed_validation=False)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, strict)
    converter.register_structure_hook(Path, structure_path)
    converter.register_structure_hook_func(
        lambda hint: typing.get_origin(hint) is tuple, structure_tuple
    )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}.") from error
    hints = typing.get_type_hints(settings_type)
    names = _configurable(settings_type)
    found = {}
    for name, value in table.items():
        if name not in names:
            raise ValueError(f"{path} has an unknown setting {name!r}; {_suggest(name, names)}.")
        try:
            found[name] = converter.structure(value, hints[name])
        except Exception as error:  # cattrs raises bare exceptions
            raise ValueError(
                f"{path} sets {name} to {value!r}; expected {_in_words(hints[name])}."
            ) from error
    return found


def _configurable(settings_type: type[Settings]) -> list[str]:
    names = [field.name for field in dataclasses.fields(settings_type)]
    return [name for name in names if name not in ("config", "print_config")]


def _in_words(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    text = re.sub(r"tuple\[(\w+), \.\.\.\]", r"a list of \1", text)
    return re.sub(r"\b(typing|pathlib\w*(\._local)?)\.", "", text)


def as_toml(settings: Settings) -> str:
    """Return the settings as TOML that ``--config`` accepts."""

    def toml(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(toml, value))}]"
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")

    values = ((name, getattr(settings, name)) for name in _configurable(type(settings)))
    return "".join(f"{name} = {toml(value)}\n" for name, value in values if value is not None)


def _check(settings: Settings) -> None:
    """Refuse settings that no study can use."""
    if settings.seed < 0:
        raise ValueError(f"--seed must not be negative, got {settings.seed}.")
    if settings.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {settings.threads}.")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", settings.device):
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {settings.device!r}.")
    if settings.stem.name in ("", ".."):
        raise ValueError(f"--out must end in a name for the files, got {str(settings.out)!r}.")


def _suggest(name: str, names: Iterable[str]) -> str:
    names = list(names)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}" if near else f"choose from {', '.join(names)}"


_ACTIVATIONS = {
    "hard-sigmoid": ("HardSigmoid", ("lower",)),
    "logistic": ("Logistic", ("gain",)),
    "tanh": ("Tanh", ()),
    "smooth-hard-sigmoid": ("SmoothHardSigmoid", ("lower", "width")),
}


def check_activation(spec: str) -> tuple[str, dict[str, float]]:
    """Return class name and parameters of an activation such as ``"logistic:gain=2"``.

    Parameters are separated by commas, as in ``"smooth-hard-sigmoid:lower=-0.5,width=0.1"``.
    torch is not imported; :func:`parse_activation` makes the activation.

    Raises
    ------
    ValueError
        If a name is unknown or a value is not a number.
    """
    name, _, rest = spec.partition(":")
    if name not in _ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; {_suggest(name, _ACTIVATIONS)}.")
    class_name, known = _ACTIVATIONS[name]
    parameters = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key not in known:
            takes = f"takes {', '.join(known)}" if known else "takes no parameters"
            raise ValueError(f"activation {name} {takes}, got {key!r}.")
        try:
            parameters[key] = float(value)
        except ValueError:
            raise ValueError(
                f"activation {name} needs a number for {key}, as in {name}:{key}=0.5, "
                f"got {value!r}."
            ) from None
    return class_name, parameters


def parse_activation(spec: str) -> Activation:
    """Return the activation that `spec` names; see :func:`check_activation`."""
    import ctebm.networks.sigmoids

    class_name, parameters = check_activation(spec)
    return getattr(ctebm.networks.sigmoids, class_name)(**parameters)
