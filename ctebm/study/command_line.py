"""Settings read from the words of a command line and from a TOML file.

Nothing here imports torch, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import json
import re
import sys
import textwrap
import tomllib
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ctebm import __version__
from ctebm.study.activations import suggest
from ctebm.study.flags import Parser, argument_of, unmistakable
from ctebm.study.settings import Settings, check_values

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = ["as_toml", "check_settings", "help_texts", "read_settings"]

S = TypeVar("S", bound="Settings")

OWN_GROUP = "this study"
GROUPS: dict[str, tuple[str, ...]] = {
    "images": ("data", "labels", "test_data", "test_labels", "n_samples", "n_training", "weights"),
    "computation": ("seed", "device", "dtype", "threads"),
    "files": ("out", "overwrite", "figure", "pdf", "checkpoint", "config", "print_config"),
}


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
        With code 0 after ``--help`` and ``--version``.
    ValueError
        If a flag, the TOML file or a setting is wrong.

    Examples
    --------
    >>> from ctebm.study.command_line import read_settings
    >>> from ctebm.study.settings import Settings
    >>> read_settings(Settings, ["--seed", "3"]).seed
    3
    """
    values: dict[str, Any] = {f.name: _default(f) for f in dataclasses.fields(settings_type)}
    values["out"] = Path("results") / Path(inspect.getfile(settings_type)).stem
    given = vars(_parser(settings_type, values).parse_args(unmistakable(words)))
    if "config" in given:
        values |= _read_toml(given["config"], settings_type)
    values |= {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    settings = settings_type(**values)
    check_settings(settings)
    return settings


def _parser(settings_type: type[Settings], defaults: dict[str, Any]) -> Parser:
    """Return a parser whose flags are the settings, in groups, and that keeps no defaults."""
    parser = Parser(
        prog=f"python {sys.argv[0]}",
        usage="%(prog)s [flags]",
        description=inspect.getdoc(settings_type),
        epilog=f"Example: python {sys.argv[0]} {settings_type.example}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ctebm {__version__}")
    text, hints = help_texts(settings_type), typing.get_type_hints(settings_type)
    title = {name: group for group, names in GROUPS.items() for name in names}
    groups = {group: parser.add_argument_group(group) for group in (OWN_GROUP, *GROUPS)}
    for name, default in defaults.items():
        words = text.get(name, "") + _default_in_words(default)
        flag = "--" + name.replace("_", "-")
        group, how = groups[title.get(name, OWN_GROUP)], argument_of(hints[name])
        group.add_argument(flag, dest=name, help=words.replace("%", "%%"), **how)
    return parser


def help_texts(settings_type: type[Settings]) -> dict[str, str]:
    """Return the string that stands below each field in the source of its class.

    Examples
    --------
    >>> from ctebm.study import Settings
    >>> from ctebm.study.command_line import help_texts
    >>> help_texts(Settings)["pdf"]
    'Draw OUT.pdf too.'
    """
    found: dict[str, str] = {}
    for one in reversed(settings_type.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in itertools.pairwise(body.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value)):
                    found[name] = " ".join(str(value).split())
    return found


def _default_in_words(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "" if not value else " (default: yes)"
    several = isinstance(value, tuple)
    return f" (default: {' '.join(map(str, value)) if several else value})"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise TypeError(f"the setting {field.name} of a study needs a default")
    return field.default


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
    figure = true
    pdf = false
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


def check_settings(settings: Settings) -> None:
    """Refuse settings that no study can use.

    Parameters
    ----------
    settings : Settings
        Of a study.
    """
    check_values(settings)
    if settings.seed < 0:
        raise ValueError(f"--seed must not be negative, got {settings.seed}.")
    if settings.threads < 1:
        raise ValueError(f"--threads must be at least 1, got {settings.threads}.")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", settings.device):
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {settings.device!r}.")
    if settings.stem.name in ("", ".."):
        raise ValueError(f"--out must end in a name for the files, got {str(settings.out)!r}.")
    if settings.pdf and not settings.figure:
        raise ValueError("--pdf draws what --no-figure forbids; leave one of the two out.")
