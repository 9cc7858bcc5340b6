"""Arrays that come from outside."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
import xarray as xr

import ctebm
from ctebm.networks.arrays import (
    check_float,
    finite_tensor,
    finite_tensors,
    real_tensor,
    refuse_integers,
    refuse_labels,
)

F64 = torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.complex128])
def test_states_are_floats_of_full_precision(dtype):
    assert check_float(F64) is F64
    with pytest.raises(ValueError, match=f"got {dtype}"):
        check_float(dtype)


def test_real_numbers_of_any_kind_pass():
    for value in ([1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1, 2]), np.float32([1, 2])):
        assert real_tensor(value, F64).tolist() == [1, 2]
    assert real_tensor(torch.tensor([1j]), torch.complex128).tolist() == [1j]
    for value in (np.array([1j]), torch.tensor([1j]), np.complex64(1j), 1j, [[1j]]):
        with pytest.raises(ValueError, match="expected real numbers"):
            real_tensor(value, F64)


def test_parameters_are_copies_that_keep_their_graph():
    array = np.ones(2)
    assert finite_tensor(array, "it", F64).data_ptr() != array.ctypes.data
    leaf = torch.ones(2, dtype=F64, requires_grad=True)
    finite_tensor(leaf, "it", F64).sum().backward()
    assert leaf.grad.tolist() == [1, 1]
    with pytest.raises(ValueError, match="finite numbers in it, got NaN"):
        finite_tensor([np.nan], "it", F64)


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_a_number_expanded_to_a_matrix_that_does_not_fit_is_refused(dtype):
    wide = torch.zeros(1, dtype=dtype).expand(10**6, 10**6)
    for value in (wide, wide.numpy()):
        with pytest.raises(ValueError, match=r"a copy of it takes about .*e\+04 GiB.*; give fewer"):
            finite_tensor(value, "it", F64)
    few = finite_tensor(wide[:2, :2], "it", F64)
    assert few.tolist() == [[0, 0], [0, 0]] and few.is_contiguous()
    with pytest.raises(ValueError, match="a copy of the weights takes about"):
        ctebm.DenseNetwork(wide, [0.0], ctebm.Tanh())


@pytest.mark.parametrize(
    "value", [np.array([1]), np.array([True]), np.uint8(3), torch.tensor([1]), torch.tensor(True)]
)
def test_arrays_of_integers_are_refused_and_lists_are_not(value):
    with pytest.raises(ValueError, match=r"expected states, got an array of .*; scale them"):
        refuse_integers(value, "states", "scale them")
    for good in ([0, 1], 3, np.array([0.5]), torch.zeros(2), np.float32(1)):
        refuse_integers(good, "states", "scale them")


@pytest.mark.parametrize("value", [None, "a", b"a", [[1], [1, 2]], [1, None], {}, 10**400])
def test_what_is_no_array_of_numbers_is_refused_in_a_sentence(value):
    with pytest.raises(ValueError, match=r"an array of real numbers, got .*; give an array"):
        real_tensor(value, torch.float64)


@pytest.mark.parametrize("labels", [[0, 1, 2], np.array([0, 1, 2]), torch.tensor([0, 1, 2])])
def test_one_integer_a_sample_is_a_label(labels):
    with pytest.raises(ValueError, match=r"3 integers for 3 samples.* of shape \(3, 4\)"):
        refuse_labels(labels, torch.Size([3]), 4)
    for batch in ((), (2,), (1, 3)):
        refuse_labels(labels, torch.Size(batch), 3)


def test_states_are_no_labels():
    for states in ([0.0, 1.0, 2.0], [[0, 1, 0]] * 3, torch.zeros(3), [[1], [1, 2]], "abc"):
        refuse_labels(states, torch.Size([3]), 3)


def test_numbers_come_in_many_containers():
    rows = [[1.0, 2.0], [3.0, 4.0]]
    table = np.array(rows)
    locked = table.copy()
    locked.flags.writeable = False
    for value in (
        pd.DataFrame(rows, columns=["a", "b"]), xr.DataArray(rows), locked, table.astype(">f8"),
        table.astype(np.longdouble), pd.DataFrame([[1, 2], [3, 4]]), np.asfortranarray(table),
        [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], [table[0], table[1]],
    ):  # fmt: skip
        assert real_tensor(value, F64).tolist() == rows
    assert real_tensor(table[::-1], F64).tolist() == rows[::-1]
    assert real_tensor(pd.Series([1, 2]), F64).tolist() == [1, 2]


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_arrays_are_refused_with_the_way_out():
    dense = torch.eye(2)
    for value in (scipy.sparse.csr_array(dense.numpy()), dense.to_sparse(), dense.to_sparse_csr()):
        with pytest.raises(ValueError, match=r"got a sparse .*toarray\(\).*SparseNetwork"):
            real_tensor(value, F64)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_states_and_tensors_without_numbers_are_refused():
    pair = ctebm.DenseNetwork([[0, 0.5], [0.5, 0]], [0, 0], ctebm.Tanh())
    s = torch.ones(2, dtype=F64)
    for value, words in ((s.to_sparse(), "got a sparse Tensor"), (s.to("meta"), "meta device")):
        with pytest.raises(ValueError, match=words):
            ctebm.settle(pair, value)


@pytest.mark.parametrize("value", [None, 3, "ab", {"a": [1]}, torch.tensor(1.0), np.float64(1)])
def test_layers_come_as_a_list_of_arrays(value):
    with pytest.raises(ValueError, match="biases as a list of arrays, input first"):
        finite_tensors(value, "biases", F64)
