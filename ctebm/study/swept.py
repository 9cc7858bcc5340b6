"""A study at one point of a sweep, and the points that a command line asks for."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import math
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ctebm.study.activations import suggest
from ctebm.study.axes import setting_at
from ctebm.study.command_line import check_settings
from ctebm.study.progress import Progress
from ctebm.study.settings import HOUSEKEEPING, Settings, check_device

if TYPE_CHECKING:
    import xarray as xr

    from ctebm.sweeps.points import Points, Scalar

__all__ = ["MOST_CLAIMS", "StudyPoint", "check_first_and_last"]

MOST_CLAIMS = 64
"""Claims of a point; empty places are without text."""


@dataclass(frozen=True)
class StudyPoint:
    """A study as a function of its settings: verdicts, and variables of its dataset.

    The study is read from its script wherever this is called, so that workers elsewhere need no
    more than the script.

    Attributes
    ----------
    script : str
        Path of the study.
    names : tuple of str
        Of its settings, `run` and `judge`.
    base : dict
        Settings that don't vary.
    keep : tuple of str
        Variables of its dataset to keep beside the verdicts.
    """

    script: str
    names: tuple[str, str, str]
    base: dict[str, Any]
    keep: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        settings: Settings,
        run: Callable[..., Any],
        judge: Callable[..., Any],
        keep: Sequence[str] = (),
    ) -> StudyPoint:
        """Return a study with the settings that don't vary.

        Parameters
        ----------
        settings : Settings
            Of the study.
        run, judge : callable
            Functions of its script.
        keep : sequence of str
            Variables to keep.
        """
        kind = type(settings)
        names = kind.__name__, run.__name__, judge.__name__
        return cls(inspect.getfile(kind), names, dict(vars(settings)), tuple(keep))

    @classmethod
    def again(cls, settings_type: type[Settings], run: Any, judge: Any, found: Any) -> StudyPoint:
        """Return the study of a sweep that is there.

        Parameters
        ----------
        settings_type : type
            Of the study.
        run, judge : callable
            Functions of its script.
        found : mapping
            Its identity.

        Raises
        ------
        ValueError
            If it is a sweep of something else.
        """
        name = Path(inspect.getfile(settings_type)).stem
        if found.get("function") != f"study {name}":
            raise ValueError(f"that is a sweep of {found.get('function')}, not of study {name}.")
        hints, kept = typing.get_type_hints(settings_type), found["arguments"]["settings"]
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v if v is None else setting_at(hints[k], v)
            for k, v in kept.items()
        }
        base = settings_type(**values, threads=found["threads"])
        return cls.of(base, run, judge, found["arguments"]["keep"])

    def settings(self, point: Mapping[str, Scalar]) -> Settings:
        """Return the settings at a point, or refuse them as the study does.

        Parameters
        ----------
        point : mapping
            Of what varies.
        """
        kind = getattr(_script(self.script), self.names[0])
        hints = typing.get_type_hints(kind)
        varied = {name: setting_at(hints[name], v) for name, v in point.items()}
        settings = kind(**self.base | varied)
        check_settings(settings)
        return settings

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for two sweeps of a study to be one."""
        fixed = {k: v for k, v in self.base.items() if k not in (*HOUSEKEEPING, "threads")}
        source = Path(self.script).read_bytes()
        return {
            "function": f"study {Path(self.script).stem}",
            "function_sha256": hashlib.sha256(source).hexdigest(),
            "arguments": {"settings": _plain(fixed), "keep": list(self.keep)},
        }

    def __call__(self, **point: Scalar) -> xr.Dataset:
        import xarray as xr

        from ctebm.dataset import variable

        module, settings = _script(self.script), self.settings(point)
        check_device(settings.device)
        with redirect_stderr(StringIO()):  # how far each point is
            dataset = getattr(module, self.names[1])(settings, Progress())
        verdicts = getattr(module, self.names[2])(dataset)
        if len(verdicts) > MOST_CLAIMS:
            raise ValueError(f"it makes {len(verdicts)} claims; a sweep keeps {MOST_CLAIMS}.")
        columns = {
            "claim_text": ([v.claim for v in verdicts], "", "what is claimed"),
            "value": ([v.value for v in verdicts], math.nan, "what was measured"),
            "bound": (
                [math.nan if v.bound is None else v.bound for v in verdicts], math.nan,
                "what it must not pass",
            ),
            "holds": (
                [float(v.ok) if v.must_hold else math.nan for v in verdicts], math.nan,
                "whether the claim holds; nothing where none is made",
            ),
        }  # fmt: skip
        places = MOST_CLAIMS - len(verdicts)  # some studies claim more at some settings
        found = xr.Dataset({
            name: variable("claim", [*values, *[blank] * places], words)
            for name, (values, blank, words) in columns.items()
        })  # fmt: skip
        found["n_failed"] = variable((), float(dataset.attrs.get("n_failed", 0)), "failed parts")
        for name in self.keep:
            if name not in dataset.variables:
                raise ValueError(f"--keep {name}: {suggest(name, map(str, dataset.variables))}.")
        kept = dataset[list(self.keep)].reset_coords(drop=True)
        return found.assign_coords(claim=range(MOST_CLAIMS)).merge(kept)


def check_first_and_last(point: StudyPoint, points: Points) -> None:
    """Refuse a sweep whose first and last point the study refuses.

    Parameters
    ----------
    point : StudyPoint
        The study.
    points : Points
        Its points.

    Raises
    ------
    ValueError
        With the study's own sentence on the first.
    """
    refused = []
    for i in (0, len(points) - 1):
        try:
            point.settings(points[i])
        except ValueError as error:
            refused.append(error)
    if len(refused) == 2:
        raise refused[0]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


@cache
def _script(path: str) -> ModuleType:
    """Return the module of a study, read from its script."""
    name = f"study_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if (folder := str(Path(path).parent)) not in sys.path:
        sys.path.append(folder)
    spec.loader.exec_module(module)
    return module
