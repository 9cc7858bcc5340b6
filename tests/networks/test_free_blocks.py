"""Gathered weights multiply as the Hessian on the free units does."""

import torch
from network_contract import same

import ctebm
from ctebm.networks.condensed import Condensed
from ctebm.networks.free_blocks import FreeBlocks, FreeRows

F64 = torch.float64


def blocks(seed):
    """Return the products among some units of three layers, and the same matrix, 0 elsewhere."""
    draw = torch.Generator().manual_seed(seed)
    W, V = (torch.rand(shape, generator=draw, dtype=F64) for shape in ((4, 3), (3, 5)))
    x, h, y = (torch.rand(n, generator=draw) < 0.6 for n in (4, 3, 5))
    found = FreeBlocks.of({0: x, 1: h, 2: y}, [0, 2], [[], [(0, W), (2, V.mT)], []])
    K = torch.cat([W, V.mT]) * h
    kept = torch.cat([x, y])
    matrix = (torch.eye(9, dtype=F64) - K @ K.mT) * kept.unsqueeze(-1) * kept
    return found, matrix, kept


def test_products_are_those_of_the_matrix_on_free_units():
    for seed in range(5):
        found, matrix, kept = blocks(seed)
        assert torch.equal(found.where, torch.nonzero(kept).squeeze(-1))
        v = torch.rand(2, 9, generator=torch.Generator().manual_seed(9), dtype=F64)
        same(found(v), v @ matrix)


def test_rows_have_their_own():
    each = [blocks(seed) for seed in range(3)]
    v = torch.rand(3, 9, generator=torch.Generator().manual_seed(9), dtype=F64)
    expected = torch.stack([u @ matrix for u, (_, matrix, _) in zip(v, each, strict=True)])
    rows = FreeRows([one for one, _, _ in each])
    same(rows(v), expected)
    chosen = torch.tensor([2, 0])
    same(rows.rows(chosen)(v[chosen]), expected[chosen])


def test_of_a_chain_they_are_its_hessian():
    half = Condensed(ctebm.LayeredNetwork.random([4, 3, 5], ctebm.HardSigmoid(), gain=0.3))
    o = torch.zeros(half.n_units, dtype=F64)
    free = {i: torch.ones(n, dtype=torch.bool) for i, n in enumerate((4, 3, 5))}
    found = FreeBlocks.of(free, half._o, half._neighbours)
    same(found(torch.eye(half.n_units, dtype=F64)), half.hessian(o))
