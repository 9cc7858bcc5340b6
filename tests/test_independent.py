"""Everything anew in plain numpy, unit by unit, from the saved dataset alone.

Nothing of ctebm is used beyond the file: weights, biases, inputs, targets, step sizes.
"""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

import ctebm

ACTIVATIONS = {
    "hard": ctebm.HardSigmoid(lower=-0.4),
    "logistic": ctebm.Logistic(gain=3.0),
    "tanh": ctebm.Tanh(),
    "smooth-hard": ctebm.SmoothHardSigmoid(width=0.1),
}
SIZES = {1: (5, 6, 3), 2: (5, 6, 4, 3), 3: (4, 6, 5, 5, 3), 5: (4, 6, 5, 5, 4, 5, 3)}


def rate(data, s):
    p = json.loads(data.attrs["activation_parameters"])
    match data.attrs["activation"]:
        case "HardSigmoid":
            return np.minimum(np.maximum(s - p["lower"], 0), 1)
        case "Logistic":
            return 1 / (1 + np.exp(-p["gain"] * s))
        case "Tanh":
            return (1 + np.tanh(s)) / 2
        case "SmoothHardSigmoid":
            w, b1 = p["width"], p["lower"]
            return w * (np.logaddexp(0, (s - b1) / w) - np.logaddexp(0, (s - b1 - 1) / w))


def slope(data, s):
    p = json.loads(data.attrs["activation_parameters"])
    r = rate(data, s)
    match data.attrs["activation"]:
        case "HardSigmoid":
            return np.where((s >= p["lower"]) & (s <= p["lower"] + 1), 1.0, 0.0)
        case "Logistic":
            return p["gain"] * r * (1 - r)
        case "Tanh":
            return 2 * r * (1 - r)
        case "SmoothHardSigmoid":
            w, b1 = p["width"], p["lower"]
            return 1 / (1 + np.exp(-(s - b1) / w)) - 1 / (1 + np.exp(-(s - b1 - 1) / w))


class Plain:
    """One sample, one dense matrix, loops over layers and steps."""

    def __init__(self, data, sample):
        self.data, self.sample = data, sample
        blocks = [data[f"weight_{i}"].values for i in range(data.sizes["layer"])]
        self.sizes = [len(blocks[0]), *(W.shape[1] for W in blocks)]
        ends = np.cumsum([0, *self.sizes])
        self.layer = [slice(a, b) for a, b in pairwise(ends)]
        n = ends[-1]
        self.W = np.zeros((n, n))
        for i, W in enumerate(blocks):
            self.W[self.layer[i], self.layer[i + 1]] = W
            self.W[self.layer[i + 1], self.layer[i]] = W.T
        self.b = np.concatenate([data[f"bias_{i}"].values for i in range(len(self.sizes))])
        self.n_input = self.sizes[0]
        self.x = data.input.values[sample]
        self.rest = np.concatenate([self.x, data.fixed_point.values[sample]])
        self.target = data.target.values[sample]
        kinks = data.attrs["kinks"]
        self.box = tuple(np.atleast_1d(kinks)) if not isinstance(kinks, str) else None

    def force(self, s):
        current = self.b + self.W @ rate(self.data, s)
        f = slope(self.data, s) * current - s
        f[: self.n_input] = 0
        return f

    def pinned(self):
        if self.box is None:
            return np.zeros(len(self.rest), bool)
        f, (low, high) = self.force(self.rest), self.box
        return ((self.rest <= low) & (f <= 0)) | ((self.rest >= high) & (f >= 0))

    def jacobian(self, h=1e-30):
        """In closed form for the hard sigmoid, else by central differences of the force."""
        n = len(self.rest)
        if self.box is not None:
            J = self.W - np.eye(n)
        else:
            h = 1e-5
            J = np.stack(
                [(self.force(self.rest + h * e) - self.force(self.rest - h * e)) / (2 * h)
                 for e in np.eye(n)], axis=1,
            )  # fmt: skip
        return J[self.n_input :, self.n_input :]

    def chain(self, drive):
        g, s = np.zeros(len(self.rest)), self.rest
        y, pinned = self.layer[-1], self.pinned()
        g[y] = s[y] - self.target
        carried = g.copy()
        for i in range(*y.indices(len(s))):
            if self.box is None:
                continue
            out = (s[i] >= self.box[1] and g[i] < 0) or (s[i] <= self.box[0] and g[i] > 0)
            if out or (drive == "nudge" and pinned[i]):
                carried[i] = 0
        for below, above in zip(self.layer[-2:0:-1], self.layer[:1:-1], strict=True):
            d = slope(self.data, s)
            g[below] = d[below] * (self.W[below, above] @ (d[above] * carried[above]))
            g[below][pinned[below]] = 0
            carried[below] = g[below]
        return g[self.n_input :]

    def implicit(self):
        free = ~self.pinned()[self.n_input :]
        right = np.zeros(len(free))
        right[-len(self.target) :] = self.rest[self.layer[-1]] - self.target
        g = np.zeros(len(free))
        H = -self.jacobian()
        g[free] = np.linalg.solve(H[np.ix_(free, free)], right[free])
        return g

    def displacement(self, drive, beta, eps, n_steps):
        s, y, out = self.rest.copy(), self.layer[-1], []
        driven = np.zeros(len(s), bool)
        driven[y] = drive != "nudge"
        if drive == "clamp":
            s[y] = self.target
        for _ in range(n_steps + 1):
            out.append((s - self.rest)[self.n_input :])
            f = self.force(s)
            if drive == "replace":
                f[y] = self.target - s[y]
            elif drive == "nudge":
                f[y] += beta * (self.target - s[y])
            else:
                f[y] = 0
            s = s + eps * f
            if self.box is not None:
                s = np.where(driven, s, np.clip(s, *self.box))
                s[: self.n_input] = self.x
        return np.array(out) / (beta or 1.0)


@pytest.fixture(scope="module", params=[(d, r, g) for d in SIZES for r in ACTIVATIONS
                                        for g in (0.3, 1.3)], ids=str)  # fmt: skip
def net_and_data(request):
    depth, rho, gain = request.param
    rho = ACTIVATIONS[rho]
    net = ctebm.LayeredNetwork.random(SIZES[depth], rho, gain=gain, seed=depth)
    draw = np.random.default_rng(8)
    x = draw.uniform(-0.35, 0.5, (3, SIZES[depth][0]))
    target = draw.uniform(-0.3, 0.45, (3, 3))
    return net, x, target


@pytest.mark.parametrize("drive, beta", [("replace", None), ("nudge", 0.3), ("clamp", None)])
def test_record_is_what_plain_numpy_finds_in_its_dataset(net_and_data, drive, beta):
    net, x, target = net_and_data
    record = ctebm.correspondence(
        net, x, target, [0.25], n_steps=16, save_all=True, drive=drive, beta=beta, tol=1e-13
    )
    data = record.to_dataset()
    for sample in range(3):
        plain = Plain(data, sample)
        rest = plain.force(plain.rest)[plain.n_input :]
        moving = ~plain.pinned()[plain.n_input :]
        assert abs(rest[moving]).max() < 1e-13
        np.testing.assert_array_equal(data.pinned[sample], ~moving)
        expected = plain.displacement(drive, beta, 0.25, 16)
        found = data.displacement.values[sample, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=2e-14)
        chain = plain.chain(drive)
        np.testing.assert_allclose(data.chain_gradient[sample], chain, rtol=1e-12, atol=1e-17)
        exact = plain.box is not None
        np.testing.assert_allclose(
            data.implicit_gradient[sample], plain.implicit(),
            rtol=1e-10 if exact else 1e-6, atol=1e-15 if exact else 1e-8,
        )  # fmt: skip
        for i, where in enumerate(plain.layer[1:]):
            where = slice(where.start - plain.n_input, where.stop - plain.n_input)
            g, d = chain[where], expected[:, where]
            if not g.any():
                assert np.isnan(data.coefficient.values[sample, 0, :, i]).all()
                continue
            np.testing.assert_allclose(
                data.coefficient.values[sample, 0, :, i], -(d @ g) / (g @ g), rtol=1e-10,
                atol=1e-13 / np.linalg.norm(g),
            )  # fmt: skip


def test_the_comparison_would_notice_a_wrong_weight():
    net = ctebm.LayeredNetwork.random((5, 6, 4, 3), ctebm.HardSigmoid(), gain=0.3, seed=2)
    x, target = torch.zeros(1, 5), torch.full((1, 3), 0.3)
    data = ctebm.correspondence(net, x, target, [0.25], n_steps=6, save_all=True).to_dataset()
    data["weight_1"] = data.weight_1.copy()
    data.weight_1[0, 0] *= 1 + 1e-6
    off = Plain(data, 0).displacement("replace", None, 0.25, 6) - data.displacement.values[0, 0]
    assert abs(off).max() > 1e-10
