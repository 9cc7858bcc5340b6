"""Settings read from the words of a command line and from a TOML file.

Nothing here imports torch, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import tomllib
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ctebm.study.activations import suggest
from ctebm.study.settings import Settings

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["as_toml", "read_settings"]

S = TypeVar("S", bound="Settings")


def read_settings(settings_type: type[S], words: list[str]) -> S:
    """Return defaults, overridden by the TOML file of ``--config``, overridden by flags.

    Parameters
    ----------
    settings_type : type
        A frozen dataclass, subclass of :class:`Settings`.
    words : list of str
        The words of the command line.

    Raises
    ------
    SystemExit
        With code 2 if the flags can't be read or ``__post_init__`` refuses the settings, and with
        code 0 after ``--help``.
    ValueError
        If the TOML file or a setting is wrong.

    Examples
    --------
    >>> from ctebm.study.command_line import read_settings
    >>> from ctebm.study.settings import Settings
    >>> read_settings(Settings, ["--seed", "3"]).seed
    3
    """
    import tyro

    values = {f.name: _default(f) for f in dataclasses.fields(settings_type)}
    values["out"] = Path("results") / Path(inspect.getfile(settings_type)).stem
    config = _config_flag(words)
    if config is not None:
        values |= _read_toml(Path(config), settings_type)
    # An instance whose __post_init__ did not run yet: a flag may correct what it would refuse.
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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from error
    converter = _strict_converter()
    hints = typing.get_type_hints(settings_type)
    names = _configurable(settings_type)
    found = {}
    for name, value in table.items():
        if name not in names:
            raise ValueError(f"{path} has an unknown setting {name!r}; {suggest(name, names)}.")
        try:
            found[name] = converter.structure(value, hints[name])
        except Exception as error:  # cattrs raises bare exceptions
            raise ValueError(
                f"{path} sets {name} to {value!r}; expected {_in_words(hints[name])}."
            ) from error
    return found


def _strict_converter() -> Converter:
    """Return what turns values of TOML into those of a type, whole numbers into floats alone."""
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
    return converter


def _configurable(settings_type: type[Settings]) -> list[str]:
    names = [field.name for field in dataclasses.fields(settings_type)]
    return [name for name in names if name not in ("config", "print_config")]


def _in_words(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    text = re.sub(r"tuple\[(\w+), \.\.\.\]", r"a list of \1", text)
    return re.sub(r"\b(typing|pathlib\w*(\._local)?)\.", "", text)


def as_toml(settings: Settings) -> str:
    """Return the settings as TOML that ``--config`` accepts.

    Examples
    --------
    >>> from ctebm.study.command_line import as_toml
    >>> from ctebm.study.settings import Settings
    >>> print(as_toml(Settings(seed=3)))
    out = "results/study"
    overwrite = false
    seed = 3
    ...
    """

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
