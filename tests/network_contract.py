"""What holds for every motion, against slow and independent references: the checks of a contract.

Automatic differentiation of the force row by row, substitution, a loop over samples.
"""

from __future__ import annotations

import itertools

import cases
import torch

from ctebm.networks.energy import Network
from ctebm.networks.kinks import Box
from ctebm.networks.layout import size_of


def check(motion):
    """Hold a motion to the contract: its derivatives, its samples, its layers held in turn."""
    check_derivatives(motion, states(motion), states(motion, seed=1))
    if motion.batch:
        check_rows(motion)
    for layers in layer_choices(motion):
        check_clamping(motion, layers)


def states(motion, batch=(9,), **options):
    """Return states for each sample of a motion, and a batch of these."""
    return cases.states(motion, (*batch, *motion.batch), **options)


def slopes(function, s):
    """Return the derivative of ``(*batch, m)`` by ``(*batch, n)``, row by row."""
    s = s.clone().requires_grad_()
    f = function(s)
    rows = [torch.autograd.grad(f[..., i].sum(), s, retain_graph=True) for i in range(f.shape[-1])]
    return torch.stack([row[0] for row in rows], -2) if rows else s.new_zeros(*s.shape, 0)


def gradient(function, s):
    return slopes(lambda u: function(u).unsqueeze(-1), s).squeeze(-2)


def product(matrix, v):
    return (matrix @ v.unsqueeze(-1)).squeeze(-1)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def check_derivatives(motion, s, v):
    """Hold everything that follows from the force, and from the energy, against autograd."""
    J = slopes(motion.force, s)
    same(motion.jacobian(s), J)
    same(motion.pressure(s), s + motion.force(s))
    same(motion.jacobian_product(s, v), product(J, v))
    same(motion.adjoint_product(s, v), product(J.mT, v))
    if not isinstance(motion, Network):
        return
    same(motion.force(s), -gradient(motion.energy, s))
    same(motion.pressure(s), gradient(motion.potential, s))  # eqs. 20 and 21
    same(motion.hessian(s), -J)
    same(J, J.mT)  # eq. 22
    same(motion.hessian_product(s, v), product(-J, v))
    operator = motion.hessian_operator(s)
    for w in (v, s):  # it serves more than once
        same(operator(w), product(-J, w))
    energy, force = motion.energy_and_force(s)
    same(energy, motion.energy(s))
    same(force, motion.force(s))


def check_rows(motion):
    """Hold the motion of some samples of a batch to that of all."""
    s, rows = states(motion, ()), torch.tensor([2, 0, 2])
    part = motion.samples(motion.batch, rows)
    assert part.batch == (3,) and list(part.layers) == list(motion.layers)
    check_derivatives(part, s[rows], states(motion, (), seed=1)[rows])
    same(part.force(s[rows]), motion.force(s)[rows])
    if isinstance(motion, Network):
        same(part.energy(s[rows]), motion.energy(s)[rows])
    twice = motion.samples(torch.Size((2, 3)), torch.tensor([1, 5]))  # of a batch of batches
    same(twice.force(s[[1, 2]]), motion.force(s)[[1, 2]])


def layer_choices(motion):
    """Return any one layer and any two, as far as some unit stays free."""
    names = list(motion.layers)
    chosen = itertools.chain(itertools.combinations(names, 1), itertools.combinations(names, 2))
    return [layers for layers in chosen if len(layers) < len(names)]


def has_integral(motion):
    """Return whether the energy of held units is known, which takes the integral of a rate."""
    try:
        motion.energy(states(motion, ()))
    except NotImplementedError:
        return False
    return True


def check_clamping(motion, layers):
    """Hold the motion with some layers held to that of the whole at the same states."""
    s, v = states(motion, (4,)), states(motion, (4,), seed=1)
    held = {k: s[..., motion.layers[k]] for k in layers}
    keep = [i for k, w in motion.layers.items() if k not in layers for i in range(w.start, w.stop)]
    small = motion.clamp(held)
    same(small.force(s[..., keep]), motion.force(s)[..., keep])
    same(small.jacobian(s[..., keep]), motion.jacobian(s)[..., keep][..., keep, :])
    check_derivatives(small, s[..., keep], v[..., keep])
    assert {k: size_of(w) for k, w in small.layers.items()} == {
        k: size_of(w) for k, w in motion.layers.items() if k not in layers
    }
    assert small.n_units == len(keep) and small.batch == (4, *motion.batch)
    assert isinstance(small, Network) == isinstance(motion, Network)
    if hasattr(small, "energy") and has_integral(motion):
        same(small.energy(s[..., keep]), motion.energy(s))
    if motion.box is not None:
        whole = motion.box.each(s)
        part = (small.box or Box(-torch.inf, torch.inf)).each(s[..., keep])
        assert all(torch.equal(a[keep], b) for a, b in zip(whole, part, strict=True))
    one_by_one = motion
    for k in reversed(layers):
        one_by_one = one_by_one.clamp({k: held[k]})
    same(one_by_one.force(s[..., keep]), small.force(s[..., keep]))
    rows = torch.tensor([3, 1])
    if not motion.batch:
        part = small.samples(small.batch, rows)
        same(part.force(s[rows][:, keep]), small.force(s[..., keep])[rows])
