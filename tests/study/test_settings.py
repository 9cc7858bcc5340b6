from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctebm.networks.sigmoids
from ctebm.study import settings as room
from ctebm.study.settings import as_toml, check_activation, parse_activation, read_settings


@dataclass(frozen=True)
class Settings(room.Settings):
    """What a study may ask for."""

    epsilon: tuple[float, ...] = (0.5, 0.1)
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
        if not all(0 < e <= 1 for e in self.epsilon):
            raise ValueError(f"epsilon must lie in (0, 1], got {self.epsilon}.")


def read(*words: str) -> Settings:
    return read_settings(Settings, list(words))


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "study.toml"


class TestOrder:
    def test_defaults(self) -> None:
        expected = Settings(out=Path("results/test_settings"))
        assert read() == expected

    def test_flags(self) -> None:
        s = read("--epsilon", "0.2", "0.1", "--n-samples", "3", "--solver", "rk4", "--overwrite")
        assert (s.epsilon, s.n_samples, s.solver, s.overwrite) == ((0.2, 0.1), 3, "rk4", True)

    @pytest.mark.parametrize("form", ["--config {}", "--config={}", "--seed 3 --config {}"])
    def test_file_below_flags(self, toml: Path, form: str) -> None:
        toml.write_text('epsilon = [0.3, 1]\nn_samples = 4\ndata = "a.npz"\nseed = 9\n')
        s = read(*form.format(toml).split(), "--n-samples", "5")
        assert (s.epsilon, s.n_samples, s.data) == ((0.3, 1.0), 5, Path("a.npz"))
        assert s.seed == (3 if "--seed" in form else 9)
        assert s.config == toml

    def test_a_flag_can_mend_the_file(self, toml: Path) -> None:
        toml.write_text("epsilon = [2.0]\noverwrite = true\n")
        s = read("--config", str(toml), "--epsilon", "0.5", "--no-overwrite")
        assert (s.epsilon, s.overwrite) == ((0.5,), False)

    def test_a_setting_without_default_is_a_bug(self) -> None:
        @dataclass(frozen=True, kw_only=True)
        class Bad(room.Settings):
            """No default."""

            needed: int

        with pytest.raises(TypeError, match="needs a default"):
            read_settings(Bad, [])

    def test_factories_are_called(self) -> None:
        @dataclass(frozen=True)
        class Made(room.Settings):
            """A default that is made."""

            sizes: tuple[int, ...] = dataclasses.field(default_factory=lambda: (1, 2))
            """Sizes."""

        assert read_settings(Made, []).sizes == (1, 2)


class TestToml:
    @given(
        s=st.builds(
            Settings,
            out=st.just(Path('results/a "b" ü')),
            seed=st.integers(0, 2**62),
            overwrite=st.booleans(),
            epsilon=st.lists(st.floats(1e-300, 1)).map(tuple),
            n_samples=st.none() | st.integers(),
            span=st.tuples(st.integers(-5, 5), st.floats(allow_nan=False)),
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
        assert table["epsilon"] == [0.5, 0.1]
        assert not {"config", "print_config", "n_samples"} & set(table)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("epsilom = [0.1]", "unknown setting 'epsilom'; did you mean 'epsilon'"),
            ("[epsilon]\na = 1", "sets epsilon to {'a': 1}; expected a list of float"),
            ("epsilon = 0.1", "sets epsilon to 0.1; expected a list of float"),
            ('epsilon = "abc"', "expected a list of float"),
            ("epsilon = [true]", "expected a list of float"),
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
            ("epsilon = [0.1", "is not TOML"),
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
            ("--epsilonn 0.1", "--epsilon"),
            ("--n-sample 3", "--n-samples"),
            ("--epsilon abc", "abc"),
            ("--epsilon 2", "epsilon must lie in (0, 1]"),
            ("--epsilon nan", "epsilon must lie in (0, 1]"),
            ("--epsilon -0.5", "epsilon must lie in (0, 1]"),
            ("--dtype float16", "float16"),
            ("--n-samples 1e3", "1e3"),
            ("--config", "--config"),
            ("stray", "stray"),
        ],
    )
    def test_flags(self, words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            read(*words.split())
        assert caught.value.code == 2
        assert message in capsys.readouterr().err

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


@pytest.mark.parametrize("out", ["a/b.1", "a/b.1.nc", "a/b.1.png", "a/b.1.pdf"])
def test_output(out: str) -> None:
    assert Settings(out=Path(out)).output(".nc") == Path("a/b.1.nc")


class TestActivation:
    def test_defaults_are_those_of_the_classes(self) -> None:
        for name, (class_name, _) in room._ACTIVATIONS.items():
            assert parse_activation(name) == getattr(ctebm.networks.sigmoids, class_name)()

    def test_names_of_parameters_are_those_of_the_classes(self) -> None:
        for class_name, parameters in room._ACTIVATIONS.values():
            fields = dataclasses.fields(getattr(ctebm.networks.sigmoids, class_name))
            assert tuple(f.name for f in fields) == parameters

    def test_parameters(self) -> None:
        assert parse_activation("logistic:gain=2") == ctebm.networks.sigmoids.Logistic(2.0)
        assert parse_activation(
            "smooth-hard-sigmoid:width=0.2,lower=-0.4"
        ) == ctebm.networks.sigmoids.SmoothHardSigmoid(lower=-0.4, width=0.2)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("logstic", "did you mean 'logistic'"),
            ("relu", "unknown activation 'relu'; choose from hard-sigmoid, logistic"),
            ("", "unknown activation ''"),
            ("HardSigmoid", "did you mean 'hard-sigmoid'"),
            ("logistic:gian=2", "logistic takes gain, got 'gian'"),
            ("smooth-hard-sigmoid:w=1", "takes lower, width, got 'w'"),
            ("tanh:gain=2", "tanh takes no parameters, got 'gain'"),
            ("logistic:gain", "needs a number for gain, as in logistic:gain=0.5"),
            ("logistic:gain=two", "needs a number for gain"),
        ],
    )
    def test_refusals(self, spec: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            check_activation(spec)

    @pytest.mark.parametrize("value", ["-1", "nan", "inf"])
    def test_values_are_judged_by_the_class(self, value: str) -> None:
        with pytest.raises(ValueError, match="gain"):
            parse_activation(f"logistic:gain={value}")
