"""Convolutional eq. 6: against the energy written down anew, and against dense weights."""

import pytest
import torch
from cases import every_motion_and_network
from network_contract import check
from torch.nn import functional as F

import ctebm

F64 = torch.float64


def net(pooling="average", rho=None, **options):
    rho = rho or ctebm.Tanh()
    return ctebm.ConvolutionalNetwork.random(
        (2, 9, 8), [3, 4], 2, [5, 3], rho, seed=2, pooling=pooling, **options
    )


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pooling", ["average", "max", "none"])
def test_the_energy_is_that_of_the_primitive_function(pooling):
    one = net(pooling)
    s = draw(3, one.n_units)
    r = (1 + torch.tanh(s)) / 2
    pool = {"average": F.avg_pool2d, "max": F.max_pool2d, "none": lambda m, _: m}[pooling]
    x, h3, h2, h1, y = (r[:, w] for w in one.layers.values())
    coupled = 0.0
    for below, shape, K, above in ((x, (2, 9, 8), one.kernels[0], h3),
                                   (h3, one.shapes["h3"], one.kernels[1], h2)):  # fmt: skip
        maps = pool(F.conv2d(below.reshape(3, *shape), K), 2)
        coupled = coupled + (maps.flatten(1) * above).sum(-1)
    coupled = coupled + ((h2 @ one.weights[0]) * h1).sum(-1) + ((h1 @ one.weights[1]) * y).sum(-1)
    torch.testing.assert_close(one.energy(s), s.square().sum(-1) / 2 - coupled)


@pytest.mark.parametrize("pooling", ["average", "max", "none"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("pool", "stride"), [(1, 1), (3, 1), (1, 2), (2, 2), (1, 3), (2, 3)])
def test_what_a_map_sends_and_gets_back_is_by_the_pooled_convolution(
    pooling, padding, pool, stride
):
    K, r, sent = draw(3, 2, 3, 2), draw(2, 2 * 8 * 9, seed=1), draw(2, 600, seed=2)
    one = ctebm.ConvolutionalNetwork(
        [K], [], [None, None], ctebm.Identity(), shape=(2, 8, 9), pooling=pooling, pool=pool,
        padding=padding, stride=stride,
    )  # fmt: skip
    size = one.layers["y"].stop - one.layers["y"].start
    leaf, y = r.clone().requires_grad_(), sent[:, :size]
    of = {"average": F.avg_pool2d, "max": F.max_pool2d, "none": lambda maps, _: maps}[pooling]
    up = F.conv2d(leaf.reshape(2, 2, 8, 9), K, padding=padding, stride=stride)
    up = of(up, pool).flatten(1)
    (down,) = torch.autograd.grad(up, leaf, y)
    s = torch.cat([r, y], -1)
    torch.testing.assert_close(one.layer_force("y", s), up.detach() - y)
    torch.testing.assert_close(one.layer_force("x", s), down - r)


RATES = [ctebm.Identity(), ctebm.HardSigmoid(), ctebm.Tanh(), ctebm.Softplus(2.0), ctebm.Identity()]


@pytest.mark.parametrize("pooling", ["average", "max", "none"])
def test_each_layer_may_have_a_rate_of_its_own(pooling):
    """Against autograd of an energy with these rates, with a stride, between the kinks."""
    one = net(pooling, RATES, stride=2, padding=1, pool=1)
    s = 0.4 * draw(3, one.n_units)
    pool = F.max_pool2d if pooling == "max" else lambda m, _: m

    def energy(s):
        x, h3, h2, h1, y = (rho(s[:, w]) for rho, w in zip(RATES, one.layers.values(), strict=True))
        maps = pool(F.conv2d(x.reshape(3, 2, 9, 8), one.kernels[0], padding=1, stride=2), 1)
        coupled = (maps.flatten(1) * h3).sum(-1)
        maps = h3.reshape(3, *one.shapes["h3"])
        maps = pool(F.conv2d(maps, one.kernels[1], padding=1, stride=2), 1)
        coupled = coupled + (maps.flatten(1) * h2).sum(-1)
        coupled = coupled + ((h2 @ one.weights[0]) * h1).sum(-1)
        return s.square().sum(-1) / 2 - coupled - ((h1 @ one.weights[1]) * y).sum(-1)

    torch.testing.assert_close(one.energy(s), energy(s))
    inside = s.clone()
    inside[:, one.layers["h3"]].clamp_(-0.49, 0.49)
    leaf = inside.requires_grad_()
    expected = -torch.autograd.grad(energy(leaf).sum(), leaf)[0]
    torch.testing.assert_close(one.force(inside.detach()), expected, rtol=1e-10, atol=1e-12)


def test_layers_with_rates_of_their_own_rest_between_their_own_kinks():
    """Hidden maps are clipped, the output is not, and inputs go in as they are."""
    rho = [ctebm.Identity(), ctebm.HardSigmoid(), ctebm.Identity()]
    one = ctebm.ConvolutionalNetwork.random((1, 6, 6), [3], 3, [2], rho, gain=3.0, seed=0, stride=2)
    x = 3 * draw(4, 36)
    assert torch.equal(one.state(x, "x"), x) and one.rate_of("h1") == ctebm.HardSigmoid()
    with pytest.raises(ValueError, match="name the layer"):
        one.state(x)
    free = one.clamp({"x": x})
    assert free.box is not None
    low, _ = free.box.each(free.first_guess())
    assert low.tolist() == [-0.5] * free.layers["h1"].stop + [-torch.inf] * 2
    points = ctebm.settle(free).raise_for_status()
    h, y = points.state[:, free.layers["h1"]], points.state[:, free.layers["y"]]
    assert bool(points.pinned.any()) and float(h.abs().max()) == 0.5
    torch.testing.assert_close(y, (h + 0.5) @ one.weights[0])
    torch.testing.assert_close(free.rate(points.state), torch.cat([h + 0.5, y], -1))
    back = ctebm.load_network(points.to_dataset())
    assert isinstance(back, ctebm.ConvolutionalNetwork) and back.stride == 2
    assert torch.equal(back.clamp({"x": x}).force(points.state), free.force(points.state))
    small = free.to(torch.float32)
    assert small.box is not None and small.box.each(points.state.float())[0].dtype == torch.float32


def test_without_a_kernel_it_is_the_layered_network():
    weights = [draw(6, 4) / 3, draw(4, 2, seed=1) / 3]
    biases = [torch.zeros(6), draw(4, seed=2), draw(2, seed=3)]
    one = ctebm.ConvolutionalNetwork([], weights, biases, ctebm.HardSigmoid(), shape=(1, 2, 3))
    other = ctebm.LayeredNetwork(weights, biases, ctebm.HardSigmoid())
    s = draw(4, 12)
    torch.testing.assert_close(one.force(s), other.force(s))
    x = {"x": draw(3, 6) / 4}
    torch.testing.assert_close(
        ctebm.settle(one.clamp(x), tol=1e-12).state, ctebm.settle(other.clamp(x), tol=1e-12).state
    )


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_first_arrival_is_back_propagation_between_the_kinks(pooling):
    """rho'' = 0 between the kinks, so that the chain gradient arrives to rounding."""
    one = net(pooling, ctebm.HardSigmoid(), gain=0.2)
    x, target = 0.1 * draw(2, 144), 0.1 * draw(2, 3, seed=1)
    record = ctebm.correspondence(one, x, target, eps=0.3, n_steps=6)
    free, chain = record.fixed.network, record.chain
    responsive = record.responsive
    for k, where in enumerate(reversed(free.layers.values())):
        moved = record.displacement[:, 0, k + 1, where]
        expected = -(0.3 ** (k + 1)) * chain[:, where]
        at = responsive[:, where]
        torch.testing.assert_close(moved[at], expected[at], rtol=1e-9, atol=1e-15)


def test_kernel_gradients_are_those_of_autograd():
    one = net("max", ctebm.Tanh(), gain=0.5)
    x, target = draw(1, 144) / 3, draw(1, 3, seed=4) / 3
    free = one.clamp({"x": x})
    fixed = ctebm.settle(free, tol=1e-12)
    g = ctebm.chain_gradient(free, fixed, target)
    K = one.kernels[1].clone().requires_grad_()
    other = one.clamp({"x": x})
    other.kernels = [one.kernels[0], K]
    where = free.layers[one.drives["kernels.1"]]
    expected = torch.autograd.grad((other.force(fixed.state) * g)[..., where].sum(), K)[0]
    assert expected.shape == K.shape and bool(expected.any())
    found = ctebm.parameter_gradient(one, x, fixed, target).by_name["kernels.1"]
    torch.testing.assert_close(found[0], expected, rtol=1e-10, atol=1e-12)


def test_images_of_28_by_28_settle_in_batches():
    one = ctebm.ConvolutionalNetwork.random(
        (1, 28, 28), [6, 8], 5, [10], ctebm.HardSigmoid(), gain=0.5, seed=1
    )
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=F64)
    states = one.state(images)
    assert states.shape == (4, 784) and one.shapes["h1"] == (8, 4, 4)
    points = ctebm.settle(one.clamp({"x": states})).raise_for_status()
    assert points.stability == ["stable"] * 4


def test_biases_are_one_a_channel_or_one_a_unit():
    K, b = draw(3, 1, 2, 2), draw(3, seed=1)
    options = {"shape": (1, 4, 4), "pooling": "none"}
    one = ctebm.ConvolutionalNetwork([K], [], [None, b], ctebm.Tanh(), **options)
    each = b[:, None, None].expand(3, 3, 3)
    other = ctebm.ConvolutionalNetwork([K], [], [None, each], ctebm.Tanh(), **options)
    s = draw(2, 43)
    torch.testing.assert_close(one.force(s), other.force(s))


@pytest.mark.parametrize(
    "kernels, weights, biases, message",
    [
        ([torch.ones(2, 3, 2, 2)], [], [None, None], "kernels\\[0\\] of shape"),
        ([torch.ones(2, 1, 9, 9)], [], [None, None], "leave something"),
        ([torch.ones(2, 1, 2, 2)], [torch.ones(5, 2)], [None] * 3, "weights\\[0\\] of shape"),
        ([torch.ones(2, 1, 2, 2)], [], [None], "one array of biases"),
        ([torch.ones(2, 1, 2, 2)], [], [None, torch.ones(7)], "biases\\[1\\] of shape"),
        ([], [], [None], "neither"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kernels, weights, biases, message):
    with pytest.raises(ValueError, match=message):
        ctebm.ConvolutionalNetwork(kernels, weights, biases, ctebm.Tanh(), shape=(1, 4, 4))


def test_strides_and_rates_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 <= stride"):
        net(stride=0)
    with pytest.raises(ValueError, match="leave something"):
        net(stride=5)
    with pytest.raises(ValueError, match="5 layers"):
        net(rho=RATES[:3])


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling"):
        net("sum")


def test_random_couplings_fill_glorots_range():
    """6 / (in + out) squared, a kernel having so many of each for every place in it."""
    one = ctebm.ConvolutionalNetwork.random(
        (2, 9, 8), [30, 40], 3, [50, 30], ctebm.Tanh(), gain=0.7, padding=1, seed=0
    )
    sizes = [(2 * 9, 30 * 9), (30 * 9, 40 * 9), one.weights[0].shape, (50, 30)]
    for W, (m, n) in zip([*one.kernels, *one.weights], sizes, strict=True):
        limit = 0.7 * (6 / (m + n)) ** 0.5
        assert 0.97 * limit < float(W.max()) <= limit and -limit <= float(W.min()) < -0.97 * limit


def test_no_samples_have_no_forces():
    net = ctebm.ConvolutionalNetwork.random((1, 6, 6), [2], 3, [3], ctebm.Tanh(), seed=0)
    free = net.clamp({"x": torch.zeros(0, 36, dtype=torch.float64)})
    n = free.n_units
    assert free.force(torch.zeros(0, n, dtype=torch.float64)).shape == (0, n)
    assert free.energy(torch.zeros(0, n, dtype=torch.float64)).shape == (0,)


@pytest.mark.parametrize("held", ["x", "h1"])
def test_parameters_may_change_after_clamping(held):
    net = ctebm.ConvolutionalNetwork.random((1, 6, 6), [2], 3, [3], ctebm.Tanh(), seed=0)
    states = {held: torch.ones(2, net.layer(held).stop - net.layer(held).start) / 3}
    free = net.clamp(states)
    s = torch.ones(2, free.n_units, dtype=torch.float64) / 5
    before = free.force(s)
    for p in net.state_dict().values():
        p.data.mul_(1.5)  # past its version
    after = net.clamp(states)
    assert not torch.allclose(before, after.force(s))
    assert torch.equal(free.force(s), after.force(s))
    assert torch.equal(free.energy(s), after.energy(s))


@pytest.mark.parametrize(
    "name", ["convolutional-average", "batch-convolutional-max", "convolutional-strided"]
)
def test_the_contract_holds(name):
    check(every_motion_and_network()[name])
