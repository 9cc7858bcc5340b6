"""The studies of learning, from their command lines, small."""

import convolution
import learning
import nudges
import numpy as np
import predictive_learning
import pytest
import rules
import saturation
import stdp
import torch

import ctebm
from ctebm import study
from ctebm.study import Progress
from ctebm.study.images import load_images, split_images


def _main(module, tmp_path, *flags):
    args = ["--out", str(tmp_path / "r"), *flags]
    return study.main(
        module.Settings, run=module.run, draw=module.draw, judge=module.judge, args=args
    )


def test_saturation(tmp_path):
    assert _main(saturation, tmp_path) == 0
    assert _main(saturation, tmp_path, "--overwrite", "--activation", "logistic") in (0, 1)
    assert (tmp_path / "r.png").exists()


def test_stdp(tmp_path):
    assert _main(stdp, tmp_path, "--n-runs", "256", "--bins", "6") == 0


def test_learning_and_its_weights(tmp_path, capsys):
    flags = ["--epochs", "6", "--max-error", "8", "--allowance", "2"]
    assert _main(learning, tmp_path, *flags) == 0
    assert "back-propagation" in capsys.readouterr().out
    assert repr(ctebm.load_network(tmp_path / "r.nc")).startswith("LayeredNetwork(x: 64")


def test_closer_targets_weaken_the_feedback(tmp_path):
    flags = ["--n-images", "300", "--epochs", "2", "--overwrite", "--no-figure"]
    sweeps = {}
    for high in ("0.9", "0.2"):
        _main(learning, tmp_path, *flags, "--no-back-propagation", "--targets", "0.1", high)
        dataset = ctebm.open(tmp_path / "r.nc")
        assert dataset.high == float(high) and "300 of them" in dataset.data_note
        sweeps[high] = float(dataset.sweeps[-1])
    assert sweeps["0.2"] < sweeps["0.9"]


def test_convolutions_learn_beside_back_propagation():
    settings = convolution.Settings(n_images=200, epochs=1)
    dataset = convolution.run(settings, study.Progress())
    assert dataset.train_error.shape == (2, 1) and float(dataset.test_error.max()) < 90
    claim = convolution.judge(dataset.assign(test_error=("network", [5.0, 4.0])))[1]
    assert claim.ok
    claim = convolution.judge(dataset.assign(test_error=("network", [5.0, 3.0])))[1]
    assert not claim.ok
    convolution.draw(dataset)


def test_convolutions_begin_as_the_feed_forward_ones():
    """At the mean of the currents both rest at 0; what comes back there is taken away."""
    settings = convolution.Settings(
        channels=(3, 4), kernel=2, spread=(0.2, 0.1, 0.05), rate=(1,) * 3
    )
    x = torch.rand(40, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernels, weight, biases = convolution._start(settings, x, 5)
    r = x.reshape(-1, 1, 10, 10)
    for W, b, spread in zip([*kernels, weight], biases, settings.spread, strict=True):
        current = convolution._beside(convolution._sent(r, W), b)
        over = (0, 2, 3) if W.ndim == 4 else (0,)
        torch.testing.assert_close(current.mean(over), torch.zeros_like(b), rtol=0, atol=1e-12)
        torch.testing.assert_close(current.std(over), torch.full_like(b, spread))
        r = convolution._rates(current)
    net = convolution._network(settings, kernels, weight, biases, 100)
    rest = net.as_state(torch.zeros(net.n_units))  # with rates of 0.1 above each layer
    for name, above, b in zip(["h2", "h1"], ["h1", "y"], biases[:-1], strict=True):
        one, other = rest.clone(), rest.clone()
        other[net.layers[above]] = convolution.LOWER
        back = net.layer_force(name, one) - net.layer_force(name, other)
        expected = b - net.biases[list(net.layers).index(name)]
        torch.testing.assert_close(back.reshape(len(expected), -1).mean(-1), expected)


def test_a_rate_that_blows_up_is_a_sentence_and_a_result(tmp_path, capsys):
    flags = ["--epochs", "2", "--rate", "1e6", "--optimizer", "SGD", "--no-back-propagation"]
    assert _main(learning, tmp_path, *flags) == 1
    assert "lower the learning rate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--sizes", "63", "64", "10"], "64 pixels"),
        (["--sizes", "64", "64", "9"], "one output unit a class"),
        (["--rate", "0.1", "0.1", "0.1"], "--rate needs 1 or 2"),
        (["--targets", "0.9", "0.1"], "--targets needs 0 <= low < high <= 1"),
        (["--n-images", "0"], "--n-images needs 1 or more"),
        (["--n-images", "2000"], "--n-images needs at most 1437"),
    ],
)
def test_mistakes_are_sentences(tmp_path, capsys, flags, sentence):
    try:
        code = _main(learning, tmp_path, *flags)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    assert sentence in " ".join((captured.err + captured.out).split())


def test_a_single_class_is_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "one.npz", input=rng.random((20, 64)), label=np.zeros(20, int))
    assert _main(learning, tmp_path, "--data", str(tmp_path / "one.npz")) == 2
    assert "at least two classes" in capsys.readouterr().err


def _opened(tmp_path):
    with ctebm.open(tmp_path / "r.nc") as opened:
        return opened.load()


def test_rules_stand_side_by_side(tmp_path):
    small = ["--n-samples", "100", "--epochs", "1", "--n-seeds", "2", "--sizes", "64", "8", "10"]
    assert _main(rules, tmp_path, *small, "--no-figure") == 0
    dataset = _opened(tmp_path)
    assert dataset.test_error.shape == (2, len(rules.WORDS))
    assert dataset.symmetry.shape == (2, len(rules.APART))
    assert all(verdict.ok for verdict in rules.judge(dataset) if verdict.ok is not None)
    assert not rules.judge(dataset.assign(cosine=dataset.cosine * 0.5))[len(rules.WORDS)].ok
    assert not rules.judge(dataset.assign(symmetry=-dataset.symmetry))[-8].ok
    assert [verdict.claim.split(":")[0] for verdict in rules.judge(dataset)[-4:-1]] == [
        "zero divergence", "fixed predictions", "xie-seung"
    ]  # fmt: skip
    for place, changed in (
        (-4, {"zero_off": dataset.zero_off + 1e-9}),
        (-3, {"fixed_off": dataset.fixed_off.where(dataset.depth == 2, 0.5)}),
        (-2, {"opposite_cosine": -dataset.opposite_cosine}),
    ):
        assert not rules.judge(dataset.assign(changed))[place].ok


def test_fixed_predictions_of_another_step_are_not_the_law(tmp_path, monkeypatch):
    """The law is that of the steps that are taken."""
    of_half = ctebm.FixedPrediction
    monkeypatch.setattr(
        ctebm, "FixedPrediction", lambda eps, n_steps: of_half(eps=0.4, n_steps=n_steps)
    )
    settings = rules.Settings(sizes=(64, 8, 10), n_samples=40, epochs=1, n_seeds=1)
    train, test = split_images(load_images(), 0.2)
    samples = train.input[:40], train.label[:40]
    found = rules._predictive(settings, Progress(), samples, (test.input, test.label))
    assert abs(found["fixed_off"].values - found["fixed_law"].values).max() > 0.05


def test_nudges_descend_less_or_more_than_the_cost(tmp_path):
    assert _main(nudges, tmp_path, "--n-samples", "10", "--sizes", "64", "8", "10") == 0
    dataset = _opened(tmp_path)
    off = dataset.off.values
    assert (off[-1, :3] < off[0, :3] * 1.01).all()  # a tighter rest is no worse
    assert (dataset.lower < dataset.cost).all() and (dataset.cost < dataset.upper).all()
    wrong = dataset.assign(lower=dataset.upper, centred=dataset.upper)
    assert [verdict.ok for verdict in nudges.judge(wrong)[:4]] == [False, True, False, False]


def test_predictive_coding_learns_as_back_propagation_does(tmp_path):
    small = ["--sizes", "64", "8", "10", "--epochs", "1", "--n-seeds", "1", "--n-compared", "40",
             "--compared-epochs", "2", "--compared-eps", "1", "0.1", "0.001"]  # fmt: skip
    assert _main(predictive_learning, tmp_path, *small) == 0
    dataset = _opened(tmp_path)
    assert (dataset.apart.sel(dtype="float64") < 1e-12).all()
    verdicts = predictive_learning.judge(dataset.assign(apart=10 * dataset.apart + 1e-5))
    assert [verdicts[i].ok for i in (1, 2, 4)] == [True, False, False]
