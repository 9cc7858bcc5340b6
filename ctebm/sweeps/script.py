"""The script that starts workers, which read it again before they compute."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType

__all__ = ["check_script"]


def check_script() -> None:
    """Refuse to start workers of this machine from a script that they can't read again.

    Each of them runs the script first, as :mod:`multiprocessing` does, under another ``__name__``.
    One that sweeps at its first level would so start workers within each worker.

    Raises
    ------
    ValueError
        If there is no such file, or nothing in it asks for ``__name__``.
    """
    main = sys.modules["__main__"]
    name, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if name is None or (spec is not None and spec.name.rpartition(".")[2] == "__main__"):
        return  # a notebook, a prompt, a package that is run: these are not read
    try:
        source = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"workers read the script again, and there is no file {name}; write the script to one."
        ) from error
    line = _line(vars(main))
    if line is not None and not _guarded(source, line):
        raise ValueError(
            f"workers read {name} again, and would sweep too, at line {line}; put that line under "
            "'if __name__ == \"__main__\":'."
        )


def _line(names: dict[str, object]) -> int | None:
    """Return the line at the first level of a script that this is called from."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is names:
            return frame.f_lineno
        frame = frame.f_back
    return None  # of another thread


def _guarded(source: str, line: int) -> bool:
    """Return whether a line is under a condition, or some condition asks for ``__name__``."""
    try:
        script = ast.parse(source)
    except SyntaxError:  # it was changed since it was begun
        return True
    conditions = [node for node in ast.walk(script) if isinstance(node, ast.If)]
    under = any(node.lineno <= line <= (node.end_lineno or line) for node in conditions)
    asked = (name for node in conditions for name in ast.walk(node.test))
    return under or any(isinstance(name, ast.Name) and name.id == "__name__" for name in asked)
