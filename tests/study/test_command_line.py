"""Settings from flags and TOML files."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctebm
from ctebm import study
from ctebm.study.command_line import as_toml, read_settings


@dataclass(frozen=True)
class Settings(study.Settings):
    """What a study may ask for."""

    eps: tuple[float, ...] = (0.5, 0.1)
    """Step sizes."""
    n_samples: int | None = None
    """How many samples."""
    span: tuple[int, float] = (1, 2.0)
    """A pair."""
    solver: Literal["euler", "rk4"] = "euler"
    """Solver."""
    label: str = "plain"
    """Any text."""
    data: Path | None = None
    """A file."""

    def __post_init__(self) -> None:
        if not all(0 < e <= 1 for e in self.eps):
            raise ValueError(f"eps must lie in (0, 1], got {self.eps}.")


def read(*words: str) -> Settings:
    return read_settings(Settings, list(words))


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "study.toml"


class TestOrder:
    def test_defaults(self) -> None:
        expected = Settings(out=Path("results/test_command_line"))
        assert read() == expected

    def test_flags(self) -> None:
        s = read("--eps", "0.2", "0.1", "--n-samples", "3", "--solver", "rk4", "--overwrite")
        assert (s.eps, s.n_samples, s.solver, s.overwrite) == ((0.2, 0.1), 3, "rk4", True)

    @pytest.mark.parametrize("form", ["--config {}", "--config={}", "--seed 3 --config {}"])
    def test_file_below_flags(self, toml: Path, form: str) -> None:
        toml.write_text('eps = [0.3, 1]\nn_samples = 4\ndata = "a.npz"\nseed = 9\n')
        s = read(*form.format(toml).split(), "--n-samples", "5")
        assert (s.eps, s.n_samples, s.data) == ((0.3, 1.0), 5, Path("a.npz"))
        assert s.seed == (3 if "--seed" in form else 9)
        assert s.config == toml

    def test_a_flag_can_correct_the_file(self, toml: Path) -> None:
        toml.write_text("eps = [2.0]\noverwrite = true\n")
        s = read("--config", str(toml), "--eps", "0.5", "--no-overwrite")
        assert (s.eps, s.overwrite) == ((0.5,), False)

    def test_a_setting_without_default_is_a_bug(self) -> None:
        @dataclass(frozen=True, kw_only=True)
        class Bad(study.Settings):
            """No default."""

            needed: int

        with pytest.raises(TypeError, match="needs a default"):
            read_settings(Bad, [])

    def test_factories_are_called(self) -> None:
        @dataclass(frozen=True)
        class Made(study.Settings):
            """A default that is made."""

            sizes: tuple[int, ...] = dataclasses.field(default_factory=lambda: (1, 2))
            """Sizes."""

        assert read_settings(Made, []).sizes == (1, 2)


class TestHelp:
    def test_help_has_groups_an_example_and_plain_words(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            read("--help")
        assert caught.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        headings = ["this study:", "images:", "computation:", "files:", "Example: python"]
        assert sorted(headings, key=text.index) == headings
        assert "--eps NUMBER [NUMBER ...] Step sizes. (default: 0.5 0.1)" in text
        assert "--data PATH A file." in text and "None" not in text

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            read("--version")
        assert capsys.readouterr().out == f"ctebm {ctebm.__version__}\n"


class TestToml:
    @given(
        s=st.builds(
            Settings,
            out=st.just(Path('results/a "b" ü')),
            seed=st.integers(0, 2**62),
            overwrite=st.booleans(),
            eps=st.lists(st.floats(1e-300, 1), unique=True).map(tuple),
            n_samples=st.none() | st.integers(),
            span=st.tuples(st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False)),
            solver=st.sampled_from(["euler", "rk4"]),
            label=st.text(st.characters(exclude_categories=["Cs"])),
        )
    )
    def test_what_is_printed_is_accepted(
        self, s: Settings, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("toml") / "s.toml"
        path.write_bytes(as_toml(s).encode())
        assert read("--config", str(path)) == dataclasses.replace(s, config=path)

    def test_what_is_printed(self) -> None:
        table = tomllib.loads(as_toml(Settings()))
        assert table["eps"] == [0.5, 0.1]
        assert not {"config", "print_config", "n_samples"} & set(table)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("esp = [0.1]", "unknown setting 'esp'; did you mean 'eps'"),
            ("[eps]\na = 1", "sets eps to {'a': 1}; expected a list of float"),
            ("eps = 0.1", "sets eps to 0.1; expected a list of float"),
            ('eps = "abc"', "expected a list of float"),
            ("eps = [true]", "expected a list of float"),
            ('n_samples = "3"', "expected int | None"),
            ("n_samples = 3.0", "expected int | None"),
            ("seed = true", "expected int"),
            ("overwrite = 1", "expected bool"),
            ("span = [1]", r"expected tuple[int, float]"),
            ("span = [1, 2, 3]", r"expected tuple[int, float]"),
            ('solver = "heun"', "expected Literal['euler', 'rk4']"),
            ("data = 3", "expected Path | None"),
            ("config = 'a.toml'", "unknown setting 'config'"),
            ("xyzzy = 1", "choose from out, overwrite"),
            ("eps = [0.1", "is not TOML"),
        ],
    )
    def test_refusals(self, toml: Path, text: str, message: str) -> None:
        toml.write_text(text)
        with pytest.raises(ValueError) as caught:
            read("--config", str(toml))
        assert message in str(caught.value)
        assert str(toml) in str(caught.value)

    def test_not_text(self, toml: Path) -> None:
        toml.write_bytes(b"\xff\xfe")
        with pytest.raises(ValueError, match="is not TOML"):
            read("--config", str(toml))

    def test_missing(self, toml: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read("--config", str(toml))


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--esp 0.1", "unknown flag --esp; did you mean --eps."),
            ("--n-sample 3", "did you mean --n-samples."),
            ("--eps abc", "--eps: expected a number, got 'abc'"),
            ("--eps", "--eps: expected at least one argument"),
            ("--eps 2", "eps must lie in (0, 1]"),
            ("--eps nan", "eps must lie in (0, 1]"),
            ("--eps -0.5", "eps must lie in (0, 1]"),
            ("--dtype float16", "--dtype: expected one of float64, float32, got 'float16'"),
            ("--n-samples 1e3", "--n-samples: expected a whole number, got '1e3'"),
            ("--config", "--config: expected one argument"),
            ("stray", "expected a flag, got 'stray'"),
            ("--xyzzy 1", "unknown flag --xyzzy; --help lists the flags."),
            ("--span 1 2 3", "expected a flag, got '3'"),
            ("--no-figure --pdf", "--pdf draws what --no-figure forbids"),
        ],
    )
    def test_flags(self, words: str, message: str) -> None:
        with pytest.raises(ValueError) as caught:
            read(*words.split())
        text = str(caught.value)
        assert message in text
        assert text.endswith(".") and "\n" not in text

    def test_negative_numbers_are_no_flags(self) -> None:
        assert read("--span", "-1", "-1e-3").span == (-1, -1e-3)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--seed -1", "--seed must not be negative"),
            ("--threads 0", "--threads must be at least 1"),
            ("--device mps", "--device must be cpu, cuda or cuda:N"),
            ("--device cuda:x", "--device must be"),
            ("--out .", "--out must end in a name"),
            ("--out ..", "--out must end in a name"),
        ],
    )
    def test_settings_of_every_study(self, words: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read(*words.split())
