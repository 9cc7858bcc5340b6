"""The toy of Ernoult et al. (2019): each change by a nudge against BPTT.

Inputs `x`, hidden units `h1` and outputs `y`, each group connected to the two others, settle on one
input; then the output is nudged ("Updates of equilibrium prop match gradients of backprop through
time", section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    import ctebm

__all__ = ["ToyPhase", "toy_curves", "toy_network"]

SYNAPSES = (("x", "h1"), ("h1", "y"), ("x", "y"))
N_SHOWN = 3  # curves of each kind that are kept for the figure
SYNAPSE_STRIDE = 37  # so that these begin at different units


@dataclass(frozen=True)
class ToyPhase:
    """How the toy settles and is nudged.

    Attributes
    ----------
    eps : float
        Step size, called dt in the article.
    beta : float
        Strength of the one-sided nudge.
    n_settle, n_nudge : int
        Steps for which it settles, T, and for which it is nudged, K.

    Examples
    --------
    >>> from ctebm.study.ernoult import ToyPhase
    >>> ToyPhase(beta=0.001)
    ToyPhase(eps=0.08, beta=0.001, n_settle=5000, n_nudge=80)
    """

    eps: float = 0.08
    beta: float = 0.01
    n_settle: int = 5000
    n_nudge: int = 80


def toy_network(
    sizes: tuple[int, int, int], seed: int
) -> tuple[ctebm.DenseNetwork, Tensor, Tensor]:
    """Return the toy, one input and one target, all at random.

    Examples
    --------
    >>> from ctebm.study.ernoult import toy_network
    >>> network, x, target = toy_network((10, 50, 5), seed=0)
    >>> network.n_units, x.shape, target.shape
    (65, torch.Size([1, 10]), torch.Size([1, 5]))
    """
    import numpy as np
    import torch

    import ctebm

    draw = np.random.default_rng(seed)
    ends = np.cumsum([0, *sizes]).tolist()
    layers = {
        name: slice(start, stop)
        for name, start, stop in zip(("x", "h1", "y"), ends[:-1], ends[1:], strict=True)
    }
    W = np.zeros((ends[-1], ends[-1]))
    for one, other in SYNAPSES:
        a, b = layers[one], layers[other]
        bound = np.sqrt(1 / (b.stop - b.start))
        W[a, b] = draw.uniform(-bound, bound, W[a, b].shape)
        W[b, a] = W[a, b].T
    net = ctebm.DenseNetwork(W, np.zeros(len(W)), ctebm.Custom(torch.tanh), layers=layers)
    x, target = (torch.as_tensor(draw.uniform(size=(1, n))) for n in (sizes[0], sizes[2]))
    return net, x, target


def toy_curves(sizes: tuple[int, int, int], seed: int, phase: ToyPhase) -> dict[str, Tensor]:
    """Compare what a nudge does to states and synapses with back-propagation through time.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, hidden units and outputs.
    seed : int
        Of the network, the input and the target.
    phase : ToyPhase
        How it settles and is nudged.

    Returns
    -------
    dict
        ``toy_state_rmse``, hidden units and outputs, and ``toy_synapse_rmse``, in the order of
        :data:`SYNAPSES`: relative distances of the curves, means over units or synapses. And three
        curves of hidden units, of outputs and of synapses, ``(step, curve)``, as ``toy_nudged``
        and ``toy_bptt``.

    Examples
    --------
    >>> from ctebm.study.ernoult import ToyPhase, toy_curves
    >>> found = toy_curves((10, 50, 5), 0, ToyPhase(n_settle=500, n_nudge=20))
    >>> found["toy_state_rmse"].max() < 0.05
    tensor(True)
    """
    import torch

    whole, x, target = toy_network(sizes, seed)
    net = whole.clamp({"x": x})
    s = _settled(net, phase)
    step, bptt, path = _state_curves(net, s, target, phase)
    change, exact = _synapse_curves(whole, x, s, path, bptt, phase)
    blocks = [(whole.layers[a], whole.layers[b]) for a, b in SYNAPSES]
    return {
        "toy_state_rmse": torch.stack([_rmse(step[:, w], bptt[:, w]) for w in net.layers.values()]),
        "toy_synapse_rmse": torch.stack(
            [_rmse(change[:, a, b], exact[:, a, b]) for a, b in blocks]
        ),
        "toy_nudged": _shown(step, change, net.layers, blocks[1]),
        "toy_bptt": _shown(bptt, exact, net.layers, blocks[1]),
    }


def _settled(net: ctebm.Network, phase: ToyPhase) -> Tensor:
    import torch

    import ctebm

    free = ctebm.simulate(
        ctebm.Dynamics(net), torch.zeros(1, net.n_units or 0), n_steps=phase.n_settle,
        eps=phase.eps, save_every=phase.n_settle,
    )  # fmt: skip
    return free.raise_for_status().state[-1]


def _state_curves(
    net: ctebm.Network, s: Tensor, target: Tensor, phase: ToyPhase
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a nudge's steps for unit strength, the gradients through time, and the states."""
    import ctebm

    eps, n = phase.eps, phase.n_nudge
    nudged = ctebm.Dynamics(net, nudge=target, beta=phase.beta)
    path = ctebm.simulate(nudged, s, n_steps=n, eps=eps).state[:, 0]
    bptt = ctebm.bptt_gradient(net, s, target, eps=eps, n_steps=n - 1, every_step=True)[:, 0]
    return path.diff(dim=0) / phase.beta, -eps * bptt, path


def _synapse_curves(
    whole: ctebm.DenseNetwork, x: Tensor, s: Tensor, path: Tensor, bptt: Tensor, phase: ToyPhase
) -> tuple[Tensor, Tensor]:
    """Return the change of ``rho_i rho_j`` in a step, and the gradient through both its ends."""
    import torch

    rho, n = whole.activation, phase.n_nudge
    inputs, rest = rho(x[0]), s[0]
    rates = torch.cat([inputs.expand(n + 1, -1), rho(path)], -1)
    change = (rates.unsqueeze(-1) * rates.unsqueeze(-2)).diff(dim=0) / phase.beta
    r = torch.cat([inputs, rho(rest)])
    slope = torch.cat([torch.zeros_like(inputs).expand(n, -1), rho.derivative(rest) * bptt], -1)
    return change, slope.unsqueeze(-1) * r + r.unsqueeze(-1) * slope.unsqueeze(-2)


def _rmse(curves: Tensor, exact: Tensor) -> torch.Tensor:
    from ctebm.early_inference.metrics import curve_rmse

    return curve_rmse(curves, exact).mean()


def _shown(
    states: Tensor, synapses: Tensor, layers: Mapping[str, slice], block: tuple[slice, slice]
) -> Tensor:
    """Return the first hidden units and outputs, and a few synapses between them."""
    import torch

    units = [i for w in layers.values() for i in range(w.start, w.start + N_SHOWN)]
    between = synapses[:, block[0], block[1]].flatten(1)[:, ::SYNAPSE_STRIDE][:, :N_SHOWN]
    return torch.cat([states[:, units], between], -1)
