"""The frame of a study: its command line, files and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import torch

import ctebm
from ctebm import study

ROOT = Path(ctebm.__file__).parents[1]

TOY = '''
"""A study whose `mode` says what goes wrong."""
from __future__ import annotations

from dataclasses import dataclass

from ctebm import study


@dataclass(frozen=True)
class Settings(study.Settings):
    """Does the frame hold?"""

    eps: tuple[float, ...] = (0.5, 0.1)
    """Step sizes."""
    mode: str = ""
    """What goes wrong."""

    def __post_init__(self) -> None:
        if not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"eps must lie in (0, 1], got {self.eps}.")


def run(settings, progress):
    import time

    import xarray as xr

    from ctebm.dataset import variable

    errors = {"value": ValueError, "os": OSError, "type": TypeError, "index": IndexError,
              "memory": MemoryError}
    if settings.mode in errors:
        raise errors[settings.mode]("this is wrong;\\n  correct it")
    for eps in progress(settings.eps, "computing"):
        print("started", flush=True)
        time.sleep(60 if settings.mode == "slow" else 0)
    dataset = xr.Dataset({"eps": variable("eps", settings.eps, "step")})
    dataset.attrs["mode"] = settings.mode
    if settings.mode in ("some", "some and claim"):
        dataset.attrs["n_failed"] = 2
    return dataset


def judge(dataset):
    if dataset.attrs["mode"] == "judge":
        raise ValueError("a bug in the judge")
    value = 2.0 if "claim" in dataset.attrs["mode"] else 1.0
    return [
        study.Verdict.at_most("it is small (\u03b5)", value, 1.5, note="a note"),
        study.Verdict("it is known", float("nan"), None, False, must_hold=False),
    ]


def draw(dataset):
    from matplotlib.figure import Figure

    if dataset.attrs["mode"] == "draw":
        raise KeyError("a bug in the drawing")
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.subplots().plot(dataset.eps, dataset.eps, label=r"$\\epsilon$")
    return figure


if __name__ == "__main__":
    raise SystemExit(study.main(Settings, run=run, draw=draw, judge=judge))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the toy study in it."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def toy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The toy study, imported; its `main` runs in this process."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "toy", raising=False)
    import toy  # pyright: ignore[reportMissingImports]

    return toy


def main(toy: ModuleType, *words: str) -> int:
    threads = torch.get_num_threads()
    try:
        return study.main(toy.Settings, run=toy.run, draw=toy.draw, judge=toy.judge, args=words)
    finally:
        torch.set_num_threads(threads)


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line in bash, in which $TOY is the toy study's command."""
    environment = os.environ | {"TOY": f"{sys.executable} toy.py"}
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120
    )


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.exists() else set()


ALL = {"toy.nc", "toy.png"}


def heed_interrupts() -> None:
    """Undo what a shell does to its background jobs, which ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class TestResults:
    def test_whole_run(self, toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(toy, "--eps", "0.3", "0.1", "--seed", "5") == 0
        assert files(Path("results")) == ALL
        out, err = capsys.readouterr()
        assert "computing: done in" in err
        assert "wrote results/toy.nc, results/toy.png\n" in out
        with ctebm.open("results/toy.nc") as dataset:
            attrs = dataset.attrs
        assert json.loads(attrs["settings"]) == {
            "eps": [0.3, 0.1],
            "mode": "",
            "seed": 5,
            "device": "cpu",
            "dtype": "float64",
            "threads": 1,
        }
        assert (attrs["seed"], attrs["threads"], attrs["dtype"]) == (5, 1, "float64")
        assert attrs["history"].endswith("--eps 0.3 0.1 --seed 5")
        first, second = json.loads(attrs["verdicts"])
        assert (first["value"], first["bound"], first["ok"]) == (1.0, 1.5, True)
        assert (second["value"], second["bound"]) == ("nan", None)

    def test_figures_are_drawn_as_asked(self, toy: ModuleType) -> None:
        assert main(toy, "--no-figure", "--mode", "draw") == 0
        assert files(Path("results")) == {"toy.nc"}
        assert main(toy, "--pdf", "--out", "all/toy") == 0
        assert files(Path("all")) == ALL | {"toy.pdf"}

    def test_digest_does_not_depend_on_where_results_go(self, toy: ModuleType) -> None:
        digests = set()
        for words in (["--out", "a"], ["--out", "b.nc"], ["--out", "a", "--overwrite"]):
            assert main(toy, *words) == 0
            with ctebm.open(f"{words[1][0]}.nc") as dataset:
                digests.add(dataset.attrs["settings_sha256"])
        assert len(digests) == 1

    def test_equal_figures_are_equal_files(
        self, toy: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        main(toy, "--out", "a", "--pdf")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
        main(toy, "--out", "b", "--pdf")
        for suffix in (".png", ".pdf"):
            assert Path(f"a{suffix}").read_bytes() == Path(f"b{suffix}").read_bytes()

    def test_table(self, toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(toy, "--mode", "claim") == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[-5:-1] == [
            "claim            value  bound   verdict",
            "it is small (ε)  2      <= 1.5  FAILS     a note",
            "it is known      nan            reported",
            "0 of 1 claims hold",
        ]

    def test_threads_are_set(self, toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        run = toy.run
        monkeypatch.setattr(
            toy, "run", lambda *a: (seen.append(torch.get_num_threads()), run(*a))[1]
        )
        assert main(toy, "--threads", "2") == 0
        assert seen == [2]


class TestDrawing:
    """Figures of a result that is there."""

    def test_what_is_drawn_is_told(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(toy) == 0
        capsys.readouterr()
        for words, written in (([], "png"), (["--pdf"], "png, results/toy.pdf")):
            assert main(toy, "draw", "results/toy.nc", *words) == 0
            assert capsys.readouterr().out == f"wrote results/toy.{written}\n"

    def test_figures_are_drawn_again_without_computing(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(toy, "--pdf") == 0
        figures = {s: Path(f"results/toy{s}").read_bytes() for s in (".png", ".pdf")}
        Path("results/toy.png").unlink()
        Path("results/toy.pdf").write_bytes(b"%PDF of something else")
        monkeypatch.setattr(toy, "run", None)
        assert main(toy, "draw", "results/toy.nc") == 0
        assert {s: Path(f"results/toy{s}").read_bytes() for s in figures} == figures
        assert capsys.readouterr().out.endswith("wrote results/toy.png, results/toy.pdf\n")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "draw takes one result, such as draw results/toy.nc"),
            (["results/toy.nc", "--overwrite"], "draw takes one result"),
            (["nowhere.nc"], "there is no result at nowhere.nc"),
            (["toy.py"], "a result's name ends in .nc or .zarr"),
            (["other.nc"], "other.nc is a result of no study, not of toy"),
            (["mine.nc"], "mine.png is not a .png result and is kept"),
        ],
    )
    def test_mistakes(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str], words: list[str], message: str
    ) -> None:
        import xarray as xr

        for name in ("other.nc", "mine.nc"):
            ctebm.save(xr.Dataset({"eps": 0.1}), name)
        Path("mine.png").write_text("my own")
        assert main(toy, "draw", *words) == 2
        assert f"error: {message}" in capsys.readouterr().err

    def test_no_kill_leaves_figures_beside_data_that_they_do_not_show(
        self, toy: ModuleType
    ) -> None:
        shown = {}
        for eps in ("0.5", "0.25"):
            assert main(toy, "--eps", eps, "--out", "a", "--overwrite", "--pdf") == 0
            shown[float(eps)] = {s: Path(f"a{s}").read_bytes() for s in (".png", ".pdf")}
        seen = set()
        for n in (1, 2, 3, 4, 6, 8):
            assert main(toy, "--eps", "0.5", "--out", "a", "--overwrite", "--pdf") == 0
            assert files(Path()) - {"toy.py", "__pycache__"} == {"a.nc", "a.png", "a.pdf"}
            self.killed_at(n, toy, "--eps", "0.25", "--out", "a", "--overwrite", "--pdf")
            with ctebm.open("a.nc") as dataset:
                eps = float(dataset.eps[0])
            figures = {s: Path(f"a{s}") for s in (".png", ".pdf")}
            there = {s: p.read_bytes() for s, p in figures.items() if p.exists()}
            assert there.items() <= shown[eps].items()
            seen.add((eps, len(there)))
        assert {(0.5, 2), (0.25, 0)} <= seen

    def killed_at(self, n: int, toy: ModuleType, *words: str) -> None:
        """Run the study in a process that is killed before its n-th change of files."""
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
            return
        done = 0

        def counted(change):
            def before(*args, **options):
                nonlocal done
                done += 1
                if done == n:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*args, **options)

            return before

        for name in ("fsync", "unlink", "replace", "rename"):
            setattr(os, name, counted(getattr(os, name)))
        main(toy, *words)
        os._exit(0)


class TestExitCodes:
    @pytest.mark.parametrize(
        ("mode", "code"), [("", 0), ("claim", 1), ("some", 3), ("some and claim", 1)]
    )
    def test_results_are_written(self, toy: ModuleType, mode: str, code: int) -> None:
        assert main(toy, "--mode", mode) == code
        assert files(Path("results")) == ALL

    def test_some_points_failed(self, toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        main(toy, "--mode", "some")
        assert "2 points failed" in capsys.readouterr().err

    @pytest.mark.parametrize("mode", ["value", "os"])
    def test_mistakes_are_one_sentence(
        self, toy: ModuleType, mode: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(toy, "--mode", mode) == 2
        assert capsys.readouterr().err == "error: this is wrong; correct it\n"
        assert files(Path("results")) == set()

    def test_what_does_not_fit_is_one_sentence(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(toy, "--mode", "memory") == 2
        assert capsys.readouterr().err.startswith("error: this does not fit the memory (this is")

    @pytest.mark.parametrize(("mode", "error"), [("type", TypeError), ("index", IndexError)])
    def test_bugs_are_raised(self, toy: ModuleType, mode: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            main(toy, "--mode", mode)

    def test_a_bug_in_the_judge_keeps_the_dataset(self, toy: ModuleType) -> None:
        with pytest.raises(ValueError, match="a bug in the judge"):
            main(toy, "--mode", "judge")
        assert files(Path("results")) == {"toy.nc"}

    def test_a_bug_in_the_drawing_keeps_the_dataset(self, toy: ModuleType) -> None:
        with pytest.raises(KeyError):
            main(toy, "--mode", "draw")
        assert files(Path("results")) == {"toy.nc"}

    def test_a_full_disk_is_one_sentence(
        self,
        toy: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert main(toy) == 2
        assert "No space left on device" in capsys.readouterr().err
        assert files(Path("results")) == set()


class TestBeforeTheComputation:
    """Each of these must be refused without calling `run`."""

    @pytest.fixture(autouse=True)
    def not_run(self, toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(settings: object, progress: object) -> None:
            raise AssertionError("it was computed")

        monkeypatch.setattr(toy, "run", run)

    @pytest.mark.parametrize("name", sorted(ALL))
    def test_an_existing_result_is_kept(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        Path("results").mkdir()
        Path("results", name).write_text("old")
        assert main(toy) == 2
        assert f"results/{name} exists and is kept; give --overwrite" in capsys.readouterr().err
        assert Path("results", name).read_text() == "old"

    @pytest.mark.parametrize(
        ("out", "message"),
        [
            ("toy.py/a", "can't write to the folder toy.py (it is a file)"),
            ("toy.py/a/b", "can't write to the folder toy.py/a (Not a directory)"),
            ("folder", "folder.png is a folder"),
        ],
    )
    def test_unwritable_out(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str], out: str, message: str
    ) -> None:
        Path("folder.png").mkdir()
        assert main(toy, "--out", out, "--overwrite") == 2
        assert f"{message}; choose another --out" in " ".join(capsys.readouterr().err.split())

    def test_no_such_device(
        self,
        toy: ModuleType,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        assert main(toy, "--device", "cuda:1") == 2
        assert "cuda:1 is not available: torch sees 1 CUDA devices" in capsys.readouterr().err
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert main(toy, "--device", "cuda") == 2

    def test_bad_toml(self, toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        Path("a.toml").write_text("esp = [0.1]")
        assert main(toy, "--config", "a.toml") == 2
        assert "did you mean 'eps'" in capsys.readouterr().err
        assert main(toy, "--config", "no.toml") == 2
        assert capsys.readouterr().err == "error: No such file or directory: no.toml\n"

    def test_nested_toml(self, toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        Path("a.toml").write_text("eps = " + "[" * 10**5)
        assert main(toy, "--config", "a.toml") == 2
        assert "a.toml is not TOML" in capsys.readouterr().err

    def test_what_is_no_result_is_kept(
        self, toy: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("mine.png").write_text("my own")
        assert main(toy, "--out", "mine", "--overwrite") == 2
        assert "mine.png is not a .png result and is kept" in capsys.readouterr().err
        assert Path("mine.png").read_text() == "my own"

    def test_print_config(self, toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(toy, "--print-config", "--eps", "0.25", "--device", "cuda:9") == 0
        printed = capsys.readouterr().out
        Path("a.toml").write_text(printed)
        assert main(toy, "--print-config", "--config", "a.toml") == 0
        assert capsys.readouterr().out == printed
        assert "eps = [0.25]" in printed
        assert not Path("results").exists()


class TestProcess:
    """What only a process of its own can show."""

    def test_help_and_mistakes_do_not_import_torch(self, folder: Path) -> None:
        source = "import sys, runpy\nsys.argv = ['toy.py', *sys.argv[1:]]\n"
        source += "try:\n    runpy.run_path('toy.py', run_name='__main__')\n"
        source += "finally:\n    print({'torch', 'xarray', 'matplotlib'} & set(sys.modules))"
        for words, code in (["--help"], 0), (["--esp", "1"], 2), (["--print-config"], 0):
            done = subprocess.run(
                [sys.executable, "-c", source, *words], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == code
            assert done.stdout.splitlines()[-1] == "set()"
            assert "Traceback" not in done.stderr

    def test_exit_codes(self, folder: Path) -> None:
        assert shell("$TOY --no-figure --mode claim").returncode == 1
        refused = shell("$TOY --eps 2")
        assert refused.returncode == 2
        assert "eps must lie in (0, 1], got (2.0,)." in refused.stderr
        assert "Traceback" not in refused.stderr
        assert "Traceback" in shell("$TOY --mode type --overwrite").stderr

    def test_developer_mode_shows_where_a_mistake_was_found(self, folder: Path) -> None:
        done = shell("${TOY% *} -X dev toy.py --mode value")
        assert "Traceback" in done.stderr
        assert "ValueError: this is wrong" in done.stderr

    @pytest.mark.parametrize(
        "pipe",
        [
            "$TOY | head -1",
            "$TOY --no-figure 2>&1 | head -1",
            "$TOY --no-figure 2>&1 | true",
            "$TOY --help | true",
        ],
    )
    def test_closed_pipe(self, folder: Path, pipe: str) -> None:
        done = shell(pipe + "; exit ${PIPESTATUS[0]}")
        assert (done.returncode, done.stderr.count("Error")) == (0, 0)
        if "--help" not in pipe:
            assert files(folder / "results") == ({"toy.nc"} if "--no" in pipe else ALL)

    def test_streams_that_the_caller_closed(self, folder: Path) -> None:
        assert shell("$TOY --no-figure >&- 2>&-").returncode == 0
        assert files(folder / "results") == {"toy.nc"}

    def test_a_full_disk_behind_a_stream(self, folder: Path) -> None:
        done = shell("$TOY --no-figure >/dev/full")
        assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")

    def test_poor_encoding(self, folder: Path) -> None:
        done = shell("PYTHONIOENCODING=ascii $TOY --no-figure")
        assert done.returncode == 0
        assert "it is small (?)" in done.stdout

    def test_interrupt(self, folder: Path) -> None:
        command = [sys.executable, "toy.py", "--mode", "slow"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=heed_interrupts,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.endswith("interrupted; no file is half-written\n")
        assert "Traceback" not in err
        assert files(folder / "results") == set()

    def test_interrupt_while_saving_leaves_the_old_result(self, folder: Path) -> None:
        assert shell("$TOY --no-figure").returncode == 0
        before = (folder / "results" / "toy.nc").read_bytes()
        interrupting = textwrap.dedent("""
            import os, runpy, signal, sys
            os.fsync = lambda _: os.kill(os.getpid(), signal.SIGINT)
            sys.argv = ["toy.py", "--overwrite", "--no-figure", "--seed", "1"]
            runpy.run_path("toy.py", run_name="__main__")
        """)
        done = subprocess.run(
            [sys.executable, "-c", interrupting], capture_output=True, preexec_fn=heed_interrupts
        )
        assert done.returncode == 130
        assert files(folder / "results") == {"toy.nc"}
        assert (folder / "results" / "toy.nc").read_bytes() == before

    def test_terminal_gets_a_bar(self, folder: Path) -> None:
        leader, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, 80))
        done = subprocess.run([sys.executable, "toy.py"], stderr=terminal, timeout=60)
        os.close(terminal)
        shown = os.read(leader, 10**5).decode()
        os.close(leader)
        assert done.returncode == 0
        assert "computing: 100%" in shown
        assert "2/2" in shown
