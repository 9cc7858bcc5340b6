"""Copies of motions, with every tensor changed or on their own."""

import copy

import torch
from cases import F64, Neural

import ctebm
from ctebm.networks.copies import declared_tensors, mapped
from ctebm.networks.kinks import Box


def test_a_change_reaches_every_tensor_and_nothing_else():
    t = torch.ones(1)
    module = torch.nn.Linear(1, 1)
    value = {"a": [t, (t, "word")], "box": Box(t, 0.5), "module": module, "n": 3, "none": None}
    found = mapped(value, lambda u: u + 1)
    assert found["a"][0].tolist() == found["a"][1][0].tolist() == [2]
    assert isinstance(found["box"], Box) and found["box"] == Box(torch.tensor([2.0]), 0.5)
    assert found["a"][1][1] == "word" and found["n"] == 3 and found["none"] is None
    assert torch.equal(found["module"].bias, module.bias + 1)
    assert t.tolist() == [1] and found["module"] is not module


def test_what_becomes_complex_in_a_module_stays_on_the_graph_of_its_parameters():
    module = torch.nn.Linear(2, 1, dtype=F64)
    wide = mapped(mapped({"lin": module}, lambda t: t.to(torch.complex128)), lambda t: t)["lin"]
    z = torch.tensor([1.0 + 2.0j, 3.0j], dtype=torch.complex128)
    wide(z).real.sum().backward()
    assert module.weight.grad.tolist() == [[1.0, 0.0]] and module.bias.grad.tolist() == [1.0]
    assert isinstance(mapped(module, lambda t: 2 * t).weight, torch.nn.Parameter)


class Nested(ctebm.VectorField):
    """Tensors wherever a user may put them."""

    box = ctebm.Box(torch.tensor([-1.0, -2.0], dtype=F64), torch.tensor([1.0, 2.0], dtype=F64))
    shift = torch.tensor([0.1, 0.2], dtype=F64)

    def __init__(self):
        super().__init__(2)
        self.one = torch.ones(2, dtype=F64)
        self.several = [self.one, (self.one, None)]
        self.named = {"W": self.one, "deep": {"b": [self.one]}}
        self.which = torch.tensor([0, 1])
        self.inner = Neural(2, None)
        self.words, self.number = "as they are", 3

    def force(self, s):
        s = self.as_state(s)
        tensors = (
            self.shift,
            self.one,
            self.several[1][0],
            self.named["deep"]["b"][0],
            self.named["W"],
        )
        return self.inner.force(s)[..., self.which] + sum(tensors)


def test_to_takes_every_tensor_along():
    motion = Nested()
    small = motion.to(torch.float32)
    tensors = [small.one, small.several[0], small.several[1][0], small.named["deep"]["b"][0]]
    tensors += [small.shift, *small.box, *small.inner.module.parameters()]
    assert {t.dtype for t in tensors} == {torch.float32}
    assert small.which.dtype == torch.int64 and small.words == "as they are" and small.number == 3
    s = torch.zeros(3, 2)
    assert small.force(s).dtype == torch.float32
    assert motion.force(s).dtype == motion.one.dtype == motion.box.low.dtype == F64
    assert Nested.shift.dtype == Nested.box.high.dtype == F64
    assert next(motion.inner.module.parameters()).dtype == F64
    torch.testing.assert_close(small.force(s).double(), motion.force(s), rtol=1e-6, atol=1e-6)


def test_a_deep_copy_is_on_its_own():
    motion = Nested()
    twin, s = copy.deepcopy(motion), torch.ones(2, dtype=F64)
    before = motion.force(s)
    twin.several[1][0].mul_(2)
    assert torch.equal(motion.force(s), before) and not torch.equal(twin.force(s), before)
    assert twin.one is twin.several[0]  # what was one tensor is one


def test_a_device_alone_leaves_every_dtype():
    motion = Nested()
    motion.complex = torch.ones(2, dtype=torch.complex128)
    there = motion.to("cpu")
    assert (there.one.dtype, there.complex.dtype) == (F64, torch.complex128)
    small = motion.to(torch.float32)
    assert (small.one.dtype, small.complex.dtype) == (torch.float32, torch.complex64)


def test_a_class_declares_tensors_for_its_children_which_may_declare_others():
    class Child(Nested):
        shift = torch.tensor([0.3], dtype=F64)

    found = declared_tensors(Child)
    assert found["shift"] is Child.shift and found["box"] is Nested.box
    assert not [name for name in found if name.startswith("__")]


def test_a_deep_copy_of_what_hangs_on_a_graph_hangs_there_too():
    motion = Nested()
    leaf = torch.ones(2, dtype=F64, requires_grad=True)
    motion.one = 2 * leaf
    twin = copy.deepcopy(motion)
    twin.one.sum().backward()
    assert leaf.grad.tolist() == [2, 2] and twin.one is not motion.one
