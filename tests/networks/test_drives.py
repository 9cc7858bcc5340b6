"""The layer that each parameter drives."""

import pytest
import torch
from cases import F64
from own_energies import OwnParameters, OwnPredictive, problem

import ctebm
from ctebm.networks.drives import driven_layers
from ctebm.networks.named import named_tensors, with_leaves


def test_a_parameter_drives_the_latest_layer_that_it_touches():
    net = OwnParameters()
    before = net.state_dict()["W"].clone()
    assert net.drives == {"W": "h", "more.V.0": "y", "leak.weight": "y"}
    assert net.clamp({"x": [0.1, 0.2]}).drives == net.drives
    assert torch.equal(net.W, before)


def test_a_class_says_what_it_drives():
    class Says(OwnParameters):
        drives = {"W": "y"}  # noqa: RUF012  # as a user writes it

    assert Says().drives == {"W": "y", "more.V.0": "y", "leak.weight": "y"}
    Says.declared_drives = {"W": "z"}
    with pytest.raises(ValueError, match=r"drives\['W'\] to be one of the layers x, h, y, got 'z'"):
        _ = Says().drives


def test_more_than_two_layers_are_asked_for():
    class Scaled(OwnParameters):
        gain = torch.ones((), dtype=F64)

        def __init__(self):
            super().__init__()
            self.layers = {"x": slice(0, 2), "h2": slice(2, 3), "h1": slice(3, 4), "y": slice(4, 6)}
            self.gain = torch.ones((), dtype=F64)

        def energy(self, s):
            return self.gain * s.square().sum(-1) / 2

    with pytest.raises(
        ValueError, match=r"'gain' touches the layers x, h2, h1, y.*drives = \{'gain'"
    ):
        _ = Scaled().drives


def test_layered_networks_know_theirs():
    net = ctebm.LayeredNetwork.random([2, 3, 3, 1], ctebm.Tanh())
    expected = {f"weights.{i}": name for i, name in enumerate(["h2", "h1", "y"])}
    expected |= {f"biases.{i + 1}": name for i, name in enumerate(["h2", "h1", "y"])}
    assert net.drives == expected
    assert net.clamp({"x": [0.1, 0.2]}).drives == expected
    back = ctebm.FeedbackNetwork.scaled(net, 0.5)
    assert back.drives == expected | {"feedback.1": "h2", "feedback.2": "h1"}
    assert [name for name, _ in back.named_parameters()] == [
        *(f"weights.{i}" for i in range(3)), *(f"feedback.{i}" for i in range(3)),
        *(f"biases.{i}" for i in range(4)),
    ]  # fmt: skip


@pytest.mark.parametrize("direction", ["discriminative", "generative"])
def test_what_a_class_knows_is_not_tried(direction):
    sizes = [2, 3, 2]
    net = ctebm.PredictiveNetwork.random(sizes, ctebm.Tanh(), direction=direction)
    found = driven_layers(net, {"weights.1": net.weights[1]})
    assert found == {"weights.1": "y" if direction == "discriminative" else "h1"}


def test_biases_in_one_row_drive_each_their_own_layer():
    class Row(OwnPredictive):
        def energy(self, s):
            return super().energy(s) - s[..., 6:] @ self.bias

    net, _, _ = problem(Row)
    net.bias = torch.ones(12, dtype=F64)
    net = with_leaves(net)
    said = net.drives["bias"]
    assert not isinstance(said, str)
    for layer, where in list(net.layers.items())[1:]:
        assert torch.equal(torch.nonzero(said[layer])[:, 0], torch.arange(-6, 12)[where])
    assert set(said) == {"h2", "h1", "y"}


def test_what_is_declared_holds_and_the_rest_is_found():
    net, _, _ = problem()
    net.declared_drives = {"W.2": "h1", "b.0": "x"}  # what drives the input is not learned
    assert net.drives == {"W.0": "h2", "W.1": "h1", "W.2": "h1", "b.1": "h1", "b.2": "y"}


def test_what_touches_many_layers_may_be_declared():
    class Shared(OwnPredictive):
        def energy(self, s):
            return super().energy(s) * self.scale

    net, _, _ = problem(Shared)
    net.scale = torch.ones((), dtype=F64)
    with pytest.raises(ValueError, match=r"drives = \{'scale': 'y'\}"):
        _ = net.drives
    net.declared_drives = {"scale": "y"}
    assert net.drives["scale"] == "y"


def test_without_layers_nothing_is_driven_and_no_random_number_is_used():
    dense = ctebm.DenseNetwork([[0, 1], [1, 0]], [0.5, 0.5], ctebm.Tanh())
    own, before = OwnParameters(), torch.get_rng_state()
    assert dense.drives == {} and own.drives
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "said, words",
    [
        ({"Q": "h"}, r"drives of parameters among W, more\.V\.0, .*, got 'Q'"),
        ({"leak": "y"}, r"drives of parameters among .*leak\.weight, .*, got 'leak'"),
        ({"W": 1}, r"drives\['W'\] to be one of the layers x, h, y, got 1"),
        ("h", r"drives as a mapping .* such as \{'W': 'y'\}, got 'h'"),
    ],
)
def test_what_a_class_says_of_no_parameter_or_layer_is_refused(said, words):
    class Says(OwnParameters):
        drives = said

    with pytest.raises(ValueError, match=words):
        driven_layers(Says(), named_tensors(Says()))


def test_a_number_that_two_couplings_share_is_not_told_which_layer_it_drives():
    """It couples the input to h and h to y: the gradient by y's force alone would be half of it."""

    class Shared(ctebm.Network):
        def __init__(self):
            super().__init__(layers={n: slice(i, i + 1) for i, n in enumerate("xhy")})
            self.k = torch.tensor(0.5, dtype=torch.float64)

        def energy(self, s):
            x, h, y = s.unbind(-1)
            return s.square().sum(-1) / 2 - self.k * (x * h + h * y)

    with pytest.raises(ValueError, match="touches the layers x, h, y"):
        dict(Shared().drives)


class Tied(ctebm.Network):
    """Three layers, 2-3-3, and a number `p` that two of them have, each for itself or not."""

    def __init__(self, term):
        super().__init__(8, {"x": slice(0, 2), "h": slice(2, 5), "y": slice(5, 8)})
        draw = torch.Generator().manual_seed(1)
        self.W = 0.3 * torch.randn(2, 3, generator=draw, dtype=F64)
        self.V = 0.3 * torch.randn(3, 3, generator=draw, dtype=F64)
        self.p = torch.tensor(0.3, dtype=F64)
        self._term = term

    def energy(self, s):
        x, h, y = s.split((2, 3, 3), -1)
        r = torch.tanh(h)
        coupled = ((x @ self.W) * r).sum(-1) + ((r @ self.V) * torch.tanh(y)).sum(-1)
        return s.square().sum(-1) / 2 - coupled + self._term(self.p, h, y)


OWN = {
    "leak": lambda p, h, y: p * (h.square().sum(-1) + y.square().sum(-1)) / 2,
    "bias": lambda p, h, y: -p * (h.sum(-1) + y.sum(-1)),
    "lateral": lambda p, h, y: -p * (h[..., 0] * h[..., 1] + y[..., 0]),
}
COUPLED = {
    "triple": lambda p, h, y: -p * h.square().sum(-1) * y.sum(-1),
    "error": lambda p, h, y: (y - p * torch.sin(h)).square().sum(-1) / 2,
    "bias of an error": lambda p, h, y: (y - torch.sin(h) - p).square().sum(-1) / 2,
}


@pytest.mark.parametrize("term", OWN)
def test_a_number_that_two_layers_have_each_for_itself_drives_both(term):
    """The gradient of a tied number is the sum of those of its two copies."""
    net, x, target = Tied(OWN[term]), torch.tensor([[0.5, -0.3]], dtype=F64), [[0.4, -0.1, 0.3]]
    assert net.drives["p"] == {"h": True, "y": True}
    rest = ctebm.settle(net.clamp({"x": x}), tol=1e-12)
    gradient = ctebm.parameter_gradient(net, x, rest, target).by_name["p"]
    both = torch.zeros(1, dtype=F64)
    for layer in ("h", "y"):
        copy = Tied(
            lambda p, h, y, layer=layer: OWN[term](
                p, *(u if name == layer else u.detach() for name, u in (("h", h), ("y", y)))
            )
        )
        assert copy.drives["p"] == layer
        both += ctebm.parameter_gradient(copy, x, rest, target).by_name["p"]
    torch.testing.assert_close(gradient, both, rtol=1e-10, atol=0)


@pytest.mark.parametrize("term", COUPLED)
def test_a_number_that_couples_two_layers_drives_the_later_one(term):
    assert Tied(COUPLED[term]).drives == {"W": "h", "V": "y", "p": "y"}


def test_a_number_of_two_layers_that_no_sign_tells_apart_is_asked_for():
    """Neither linear, as a tied bias is, nor with constant pulls, as that of an error."""
    net = Tied(lambda p, h, y: p.exp() * (h.square().sum(-1) + y.square().sum(-1)))
    with pytest.raises(ValueError, match="'p' touches the layers h, y, and which of them"):
        _ = net.drives


def test_of_a_motion_a_number_that_leads_up_twice_drives_both_ends():
    class Twice(ctebm.VectorField):
        back = 0.0

        def __init__(self):
            super().__init__(3, {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)})
            self.p = torch.tensor(0.5, dtype=F64)

        def force(self, s):
            x, h, y = s.unbind(-1)
            return torch.stack([-x, self.p * (x + self.back * y) - h, self.p * h - y], -1)

    assert Twice().drives == {"p": {"h": True, "y": True}}
    Twice.back = 1.0  # what y sends back comes with what x sends up: neither h nor y alone
    with pytest.raises(ValueError, match="'p' touches the layers h, y, and which of them"):
        _ = Twice().drives


def test_few_numbers_are_overlooked_where_rates_are_off():
    """Both ends of a coupling of ReLUs are on in a quarter of the states."""

    class Off(ctebm.Network):
        def __init__(self):
            super().__init__(60, {"x": slice(0, 20), "h": slice(20, 40), "y": slice(40, 60)})
            self.weight = torch.zeros(60, 60, dtype=F64)

        def energy(self, s):
            r = torch.relu(s)
            return s.square().sum(-1) / 2 - ((r @ self.weight) * r).sum(-1) / 2

    said = Off().drives["weight"]
    assert not isinstance(said, str)
    expected = torch.zeros(60, 60, dtype=torch.bool)
    expected[:, 20:] = expected[20:] = True
    assert torch.equal(said["h"] | said["y"], expected)
    assert not bool((said["h"] & said["y"]).any())


def test_a_coupling_that_acts_on_the_earlier_layer_besides_counts_as_one_unless_declared():
    """From a coupling with a rate that is not 0 at rest it can't be told."""

    class Coupled(ctebm.Network):
        def __init__(self):
            layers = {"x": slice(0, 1), "h": slice(1, 2), "y": slice(2, 3)}
            super().__init__(layers=layers)
            self.k, self.c = torch.tensor(0.5, dtype=F64), torch.tensor(0.1, dtype=F64)

        def energy(self, s):
            x, h, y = s.unbind(-1)
            return s.square().sum(-1) / 2 - self.c * x * h + self.k * (h * y + h.square() / 2)

    class Declared(Coupled):
        drives = {"k": "h"}  # noqa: RUF012  # as a user writes it

    assert Coupled().drives == {"k": "y", "c": "h"}
    assert Declared().drives == {"k": "h", "c": "h"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_among_many_numbers_of_either_precision_none_is_overlooked(dtype):
    """Of thousands some change by less than float32 can tell when a layer is moved once."""

    class Predictive(ctebm.Network):
        def __init__(self):
            super().__init__(layers={"x": slice(0, 2), "h": slice(2, 302), "y": slice(302, 602)})
            self.dtype = dtype
            draw = torch.Generator().manual_seed(0)
            self.V = torch.randn(300, 300, generator=draw, dtype=torch.float64).to(dtype) / 17

        def energy(self, s):
            x, h, y = (s[..., where] for where in self.layers.values())
            error = y - torch.tanh(h) @ self.V
            return (x.square().sum(-1) + h.square().sum(-1) + error.square().sum(-1)) / 2

    assert ctebm.PlasticField(Predictive()).drives == {"V": "y"}
