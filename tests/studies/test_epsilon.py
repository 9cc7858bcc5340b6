"""The main study as its user runs it."""

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import epsilon
import numpy as np
import pytest
from sample_images import idx

import ctebm
from ctebm import study
from ctebm.networks.parameters import network_dataset

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "studies" / "epsilon.py"
SMALL = ["--n-samples", "4", "--eps", "0.5", "0.1"]


@pytest.fixture
def call(tmp_path, capsys):
    """Return a function that runs the study and gives exit code, output and dataset."""

    def run(*words, out="result", small=True):
        args = ["--out", str(tmp_path / out), *(SMALL if small else []), *map(str, words)]
        try:
            code = study.main(
                epsilon.Settings, run=epsilon.run, draw=epsilon.draw, judge=epsilon.judge, args=args
            )
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        path = tmp_path / f"{out}.nc"
        return code, " ".join((said.out + said.err).split()), path

    return run


def test_default_study_holds_and_writes_its_files(call):
    code, said, path = call()
    assert code == 0, said
    assert "FAILS" not in said and "first arrival -eps^3 g" in said
    for suffix in (".nc", ".png"):
        assert path.with_suffix(suffix).stat().st_size > 1000
    with ctebm.open(path) as data:
        assert {"sample", "eps", "save", "layer", "unit"} <= set(data.dims)
        assert data.residual.max() <= 1e-12 and not data.pinned.any()
        assert json.loads(data.attrs["settings"])["sizes"] == [64, 32, 32, 10]
        assert all(v["ok"] for v in json.loads(data.attrs["verdicts"]))


def test_file_alone_reproduces_its_numbers(call):
    """Weights, biases, inputs and targets are in the file: settle and drive once more in numpy."""
    _, _, path = call("--save-all", "--gain", "1")
    with ctebm.open(path) as data:

        def rho(s):
            return np.clip(s + 0.5, 0, 1)

        W = [data[f"weight_{i}"].values for i in range(3)]
        b = [data[f"bias_{i}"].values for i in range(4)]
        unit = data.layer_of_unit.values
        h2, h1, y = (data.fixed_point.values[:, unit == k] for k in ("h2", "h1", "y"))
        x, target, eps = data.input.values, data.target.values, 0.1
        rest = np.concatenate([h2, h1, y], -1)
        current = np.concatenate(
            [
                b[1] + rho(x) @ W[0] + rho(h1) @ W[1].T,
                b[2] + rho(h2) @ W[1] + rho(y) @ W[2].T,
                b[3] + rho(h1) @ W[2],
            ],
            -1,
        )
        assert np.abs(np.clip(current, -0.5, 0.5) - rest).max() < 2e-12
        np.testing.assert_array_equal(np.abs(current) >= 0.5, data.pinned.values)
        run = data.sel(eps=eps)
        for n in range(80):
            moved = np.concatenate([h2, h1, y], -1) - rest
            np.testing.assert_allclose(run.displacement.values[:, n], moved, atol=1e-12)
            h2, h1, y = (
                np.clip(h2 + eps * (b[1] + rho(x) @ W[0] + rho(h1) @ W[1].T - h2), -0.5, 0.5),
                np.clip(h1 + eps * (b[2] + rho(h2) @ W[1] + rho(y) @ W[2].T - h1), -0.5, 0.5),
                y + eps * (target - y),
            )


@pytest.mark.parametrize(
    "words",
    [
        ["--gain", "1"],
        ["--activation", "logistic:gain=3"],
        ["--activation", "tanh", "--solver", "dopri5"],
        ["--activation", "smooth-hard-sigmoid:width=0.05", "--solver", "rk4"],
        ["--solver", "heun"],
        ["--sigma", "0.01", "--replicates", "2"],
        ["--sigma", "0.01", "--replicates", "2", "--baseline", "held"],
        ["--sigma", "0.01", "--replicates", "2", "--baseline", "equilibrium"],
        ["--sizes", "64", "16", "10"],
        ["--sizes", "64", "16", "12", "12", "10"],
        ["--dtype", "float32", "--eps", "0.5", "--sizes", "64", "16", "10"],
    ],
    ids=" ".join,
)
def test_options_hold_too(call, words):
    code, said, _ = call(*words)
    assert code == 0, said


@pytest.mark.parametrize("field", ["law_coefficient", "chain_gradient", "rounding_floor"])
def test_a_wrong_law_is_noticed(call, field):
    """Scaling the law by one part in a million, or the floor by as much, must fail the study."""
    _, _, path = call()
    with ctebm.open(path) as data:
        data.load()
    assert all(v.ok for v in epsilon.judge(data))
    if field == "chain_gradient":  # the gradient of another sample
        data["tangent"] = data.tangent + 1e-6
    elif field == "law_coefficient":
        data[field] = data[field] * (1 + 1e-6)
    else:
        data[field] = data[field] * 1e-6
    failed = [v for v in epsilon.judge(data) if v.must_hold and not v.ok]
    assert any("first arrival" in v.claim for v in failed)


def test_own_images(call, tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (9, 4, 5)).astype(np.uint8)
    labels = (np.arange(9) % 3).astype(np.uint8)
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "labels").write_bytes(idx(labels))
    files = ["--data", tmp_path / "images.gz", "--labels", tmp_path / "labels"]
    code, said, path = call(*files, "--sizes", 20, 8, 3)
    assert code == 0, said
    with ctebm.open(path) as data:
        np.testing.assert_allclose(data.input.values, images[:4].reshape(4, 20) / 255 - 0.5)
        assert data.label.values.tolist() == [0, 1, 2, 0]
    for sizes, words in [
        ((64, 8, 3), "has 20 pixels but --sizes begins with 64"),
        ((20, 8, 10), "has 3 classes but --sizes ends with 10"),
    ]:
        code, said, _ = call(*files, "--sizes", *sizes, out="other")
        assert code == 2 and words in said


def test_a_trained_network_is_measured(call, tmp_path):
    import torch

    draw = np.random.default_rng(0)
    shapes = (64, 6, 10)
    net = ctebm.LayeredNetwork(
        [draw.normal(0, 0.05, s) for s in itertools.pairwise(shapes)],
        [draw.normal(0, 0.05, n) for n in shapes],
        ctebm.HardSigmoid(lower=-0.4),
    )
    ctebm.save(network_dataset(net), tmp_path / "net.nc")
    code, said, path = call("--weights", tmp_path / "net.nc")
    assert code == 0, said
    with ctebm.open(path) as data:
        assert json.loads(data.attrs["activation_parameters"]) == {"lower": -0.4}
        assert torch.equal(torch.tensor(data.weight_0.values), net.weights[0])
    code, said, _ = call("--weights", path, "--solver", "dopri5", out="other")
    assert code == 2 and "dopri5 stalls" in said
    code, said, _ = call("--weights", tmp_path / "nowhere.nc", out="other")
    assert code == 2 and "nowhere.nc" in said


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--eps", "0"], "0 < eps <= 1"),
        (["--eps", "nan"], "0 < eps <= 1"),
        (["--eps", "1.5"], "0 < eps <= 1"),
        (["--eps", "0.1", "0.1"], "different steps"),
        (["--activation", "logistc"], "did you mean 'logistic'"),
        (["--activation", "hard-sigmoid", "--solver", "dopri5"], "stalls where units chatter"),
        (["--sizes", "64", "10"], "input, hidden and output"),
        (["--sizes", "64", "32", "12"], "10 classes but --sizes ends with 12"),
        (["--n-samples", "5000"], "1797"),
        (["--dtype", "float32", "--eps", "0.001"], "float32 can't measure depth 2"),
        (["--solver", "rk4", "--sigma", "0.1"], "takes no noise"),
        (["--data", "nowhere.npz"], "nowhere.npz"),
        (["--gian", "1"], "--gain"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_sentence(call, words, sentence):
    code, said, path = call(*words)
    assert code == 2
    assert sentence in said.replace("│ ", "").replace(" │", "")
    assert "Traceback" not in said
    assert not list(path.parent.glob("result*")), "something half-written"


def test_an_existing_result_is_kept(call):
    assert call()[0] == 0
    code, said, path = call()
    before = path.read_bytes()
    assert code == 2 and "--overwrite" in said
    assert path.read_bytes() == before
    assert call("--overwrite", "--seed", "3")[0] == 0
    assert path.read_bytes() != before


def test_help_answers_without_torch():
    script = "import runpy, sys; sys.argv = ['epsilon.py', '--help']\n"
    script += f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
    script += f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    script += "except SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.endswith("0 False\n"), done.stderr
    assert "--eps" in done.stdout
