"""Scripts that workers read again: those with a condition, without one, and none."""

import importlib.machinery
import subprocess
import sys
import types
from pathlib import Path

import pytest

import ctebm
from ctebm.sweeps.script import check_script

CALL = "from ctebm.sweeps.script import check_script"
GUARD = "__name__ == '__main__'"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a text as the script of this process."""

    def run(text, spec=None):
        main = types.ModuleType("__main__")
        main.__file__, main.__spec__ = str(tmp_path / "script.py"), spec
        Path(main.__file__).write_text(text)
        monkeypatch.setitem(sys.modules, "__main__", main)
        exec(compile(text, main.__file__, "exec"), vars(main))

    return run


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{CALL}\ncheck_script()", 2),
        (f"{CALL}\ndef main():\n    check_script()\n\nmain()", 5),
        (f"{CALL}\ntry:\n    check_script()\nfinally:\n    pass", 3),
        (f"{CALL}\nif 1 > 2:\n    pass\ncheck_script()", 4),
    ],
)
def test_a_script_that_would_sweep_again_in_each_worker_is_refused(run, text, line):
    with pytest.raises(ValueError, match=f"would sweep too, at line {line}; put that line under"):
        run(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{CALL}\nif {GUARD}:\n    check_script()",
        f"{CALL}\ndef main():\n    check_script()\n\nif {GUARD}:\n    main()",
        f"{CALL}\nimport sys\nif __name__ != '__main__':\n    sys.exit()\ncheck_script()",
        f"{CALL}\nif 2 > 1:\n    check_script()",  # whatever it asks for
    ],
)
def test_a_script_with_a_condition_is_not(run, text):
    run(text)


def test_what_workers_do_not_read_is_not_looked_at(run, monkeypatch):
    for name in ("__main__", "package.__main__"):
        run(f"{CALL}\ncheck_script()", importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))  # a notebook
    check_script()


def test_a_script_that_was_changed_or_is_called_by_another_thread_is_let_be(run, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    run("pass")
    with ThreadPoolExecutor(1) as thread:
        thread.submit(check_script).result()
    broken = f"{CALL}\nopen(__file__, 'w').write('if')\ncheck_script()"
    run(broken)


def test_a_script_that_is_no_file_is_one_sentence():
    """Nothing is started, so it ends at once."""
    text = "import ctebm; ctebm.sweep(len, {'a': [1]}, workers=2)"
    ended = subprocess.run(
        [sys.executable, "-"], input=text, capture_output=True, text=True,
        cwd=Path(ctebm.__file__).parents[1],
    )  # fmt: skip
    assert "there is no file <stdin>; write the script to one." in ended.stderr
