r"""Early inference against back-propagation, measured (section 3 of the paper).

From an equilibrium :math:`\hat s` with clamped input, the output is driven towards a target
(eq. 12) and the displacement :math:`\Delta s(n) = s(n) - \hat s` of every layer is compared with
the chain gradient, with the implicit gradient and with the laws of :mod:`ctebm.law`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.dataset import variable
from ctebm.dynamics import Dynamics
from ctebm.fixed_points import FixedPoints
from ctebm.gradient import chain_gradient, implicit_gradient, responsive_units
from ctebm.integrate import METHODS, method_named, simulate
from ctebm.law import (
    cascade_coefficient,
    continuous_coefficient,
    first_arrival_coefficient,
    paper_coefficient,
)
from ctebm.network import LayeredNetwork, Network, TangentNetwork
from ctebm.settling import settle

__all__ = ["Correspondence", "correspondence", "saved_steps"]

BASELINES = ("undriven", "held", "equilibrium")
_CHUNK = 64  # steps kept at a time, to see every crossing in bounded memory


@dataclass(frozen=True)
class Correspondence:
    """Displacements from equilibrium under a drive, and what they are compared with.

    Rows of samples whose equilibrium was not reached are NaN.

    Attributes
    ----------
    network : Network
        The network as given, before its input was clamped.
    input, target : Tensor
        States, ``(sample, input unit)`` (None if the network came clamped) and
        ``(sample, output unit)``.
    fixed : FixedPoints
        The equilibria, of the free units ``h_K ... h_1, y``.
    responsive : Tensor
        Units that carry a small change, ``(sample, unit)``.
    eps : Tensor
        ``(epsilon,)``.
    step : Tensor
        Saved steps, ``(epsilon, save)``; -1 fills the rows of step sizes with fewer of them.
    displacement : Tensor
        ``(sample, epsilon, save, unit)``; with noise the mean over replicates.
    standard_error : Tensor or None
        Of that mean, of the same shape; None without noise.
    linear_response : Tensor
        What the linearised network does under the same drive, solver and step.
    chain, implicit : Tensor
        The gradients, ``(sample, unit)``.
    first_crossing, crossing_unit, crossing_direction : Tensor
        ``(sample, epsilon)``: the first step at which a unit meets (+1) or leaves (-1) a kink;
        -1, -1 and 0 if none does.
    """

    network: Network
    input: Tensor | None
    target: Tensor
    fixed: FixedPoints
    responsive: Tensor
    eps: Tensor
    step: Tensor
    displacement: Tensor
    standard_error: Tensor | None
    linear_response: Tensor
    chain: Tensor
    implicit: Tensor
    first_crossing: Tensor
    crossing_unit: Tensor
    crossing_direction: Tensor
    method: str
    sigma: float
    replicates: int
    baseline: str
    seed: int | None
    layers: list[str] = field(repr=False)

    @property
    def depth(self) -> list[int]:
        """Hops from the output of each layer."""
        return list(range(len(self.layers) - 1, -1, -1))

    @property
    def time(self) -> Tensor:
        """Physical times, ``(epsilon, save)``; NaN where no step was saved."""
        return torch.where(self.step >= 0, self.step * self.eps[:, None], torch.nan)

    @property
    def coefficient(self) -> Tensor:
        r"""How much of the chain gradient is there, ``(sample, epsilon, save, layer)``.

        :math:`-\langle\Delta h_k, g_k\rangle / |g_k|^2`; NaN where the gradient is zero.
        """
        dot, _, g = self._products(self.displacement, self.chain)
        return -dot / g.square()

    def cosine(self, gradient: Tensor) -> Tensor:
        """Cosine of ``-displacement`` with a gradient, ``(sample, epsilon, save, layer)``."""
        dot, d, g = self._products(self.displacement, gradient)
        return -dot / (d * g)

    @property
    def tangent(self) -> Tensor:
        """Tangent of the angle between ``-displacement`` and the chain gradient.

        Computed from the part of the displacement across the gradient, so that small angles keep
        their digits, which ``1 - cosine`` loses.
        """
        parts = []
        for where in self._slices():
            d, g = self.displacement[..., where], self.chain[:, None, None, where]
            along = -(d * g).sum(-1) / g.norm(dim=-1)
            across = d + along.unsqueeze(-1) * g / g.norm(dim=-1, keepdim=True)
            parts.append(across.norm(dim=-1) / along)
        return torch.stack(parts, -1)

    @property
    def linear_error(self) -> Tensor:
        """Relative distance from the linear response, ``(sample, epsilon, save, layer)``."""
        parts = []
        for where in self._slices():
            d, r = self.displacement[..., where], self.linear_response[..., where]
            parts.append((d - r).norm(dim=-1) / r.norm(dim=-1))
        return torch.stack(parts, -1)

    @property
    def law(self) -> Tensor:
        """The coefficient the solver should give on the feedback path, ``(epsilon, save, layer)``.

        Binomial for Euler, its Runge-Kutta relatives, or the continuous limit.
        """
        return self._per_layer(lambda k, n, e: _law(self.method, k, n, e))

    @property
    def rounding_floor(self) -> Tensor:
        r"""Relative error that rounding leaves at the first arrival, ``(sample, epsilon, layer)``.

        After `n` steps the states carry about :math:`n (u |h_k| + \epsilon r)`, with unit
        roundoff `u` and residual `r` of the equilibrium, against a signal :math:`a_k |g_k|`.
        """
        unit = torch.finfo(self.displacement.dtype).eps / 2
        parts = []
        for k, where in zip(self.depth, self._slices(), strict=True):
            n = np.ceil((k + 1) / _order(self.method)) if _order(self.method) else np.nan
            size = self.fixed.state[:, where].norm(dim=-1)[:, None]
            residual = self.fixed.residual[:, None] * (where.stop - where.start) ** 0.5
            a = torch.as_tensor(
                [_law(self.method, k, np.array([n]), float(e))[0] for e in self.eps]
            )
            signal = a.to(size.device) * self.chain[:, where].norm(dim=-1)[:, None]
            parts.append(n * (unit * size + self.eps * residual) / signal)
        return torch.stack(parts, -1)

    def to_dataset(self) -> xr.Dataset:
        """Return everything with names: results, gradients, laws, and what they came from."""
        full, by_layer = ("sample", "epsilon", "save", "unit"), ("sample", "epsilon", "save")
        curve = ("epsilon", "save", "layer")
        per_unit, per_run = ("sample", "unit"), ("sample", "epsilon")
        tau = "membrane time constant"
        data = {
            "fixed_point": variable(per_unit, self.fixed.state, "equilibrium state"),
            "pinned": variable(per_unit, self.fixed.pinned, "held at a kink by its current"),
            "responsive": variable(per_unit, self.responsive, "carries a small change"),
            "residual": variable("sample", self.fixed.residual, "largest force at equilibrium"),
            "margin": variable("sample", self.fixed.margin, "distance from a change of pinning"),
            "converged": variable("sample", self.fixed.converged, "equilibrium was reached"),
            "first_crossing": variable(
                per_run, self.first_crossing, "first step at which a unit meets or leaves a kink"
            ),
            "crossing_unit": variable(per_run, self.crossing_unit, "unit of the first crossing"),
            "crossing_direction": variable(
                per_run, self.crossing_direction, "1 meets a kink, -1 leaves it, 0 no crossing"
            ),
            "displacement": variable(full, self.displacement, "displacement from equilibrium"),
            "chain_gradient": variable(per_unit, self.chain, "chain gradient dC/ds"),
            "implicit_gradient": variable(per_unit, self.implicit, "implicit gradient"),
            "coefficient": variable(
                (*by_layer, "layer"), self.coefficient, "share of the chain gradient"
            ),
            "cosine": variable(
                (*by_layer, "layer"), self.cosine(self.chain), "cosine with the chain gradient"
            ),
            "tangent": variable(
                (*by_layer, "layer"), self.tangent, "tangent of the angle to the chain gradient"
            ),
            "cosine_implicit": variable(
                (*by_layer, "layer"), self.cosine(self.implicit), "cosine with implicit gradient"
            ),
            "linear_error": variable(
                (*by_layer, "layer"), self.linear_error, "relative distance from linear response"
            ),
            "rounding_floor": variable(
                (*per_run, "layer"), self.rounding_floor, "relative rounding error at arrival"
            ),
            "law_coefficient": variable(curve, self.law, "coefficient of the feedback path"),
            "paper_coefficient": variable(
                curve,
                self._per_layer(lambda k, n, e: np.where(n >= 0, paper_coefficient(k, e), np.nan)),
                "eps^(k+1), size at first arrival",
            ),
            "continuous_coefficient": variable(
                curve,
                self._per_layer(lambda k, n, e: continuous_coefficient(k, n * e)),
                "coefficient in continuous time",
            ),
            "target": variable(("sample", "output"), self.target, "target states"),
        }
        if self.standard_error is not None:
            data["standard_error"] = variable(full, self.standard_error, "standard error of mean")
        if self.input is not None:
            data["input"] = variable(("sample", "pixel"), self.input, "clamped input states")
        n_units = self.displacement.shape[-1]
        layer_of_unit = np.empty(n_units, dtype=object)
        for name, where in zip(self.layers, self._slices(), strict=True):
            layer_of_unit[where] = name
        coords = {
            "epsilon": variable("epsilon", self.eps, "step size", tau),
            "step": variable(("epsilon", "save"), self.step, "steps since the target arrived"),
            "time": variable(("epsilon", "save"), self.time, "time since the target arrived", tau),
            "layer_name": variable("layer", np.array(self.layers), "layer"),
            "depth": variable("layer", np.array(self.depth), "hops from the output"),
            "layer_of_unit": variable("unit", layer_of_unit.astype(str), "layer of the unit"),
        }
        data |= _parameters(self.network)
        return xr.Dataset(data, coords, self._attributes())

    def _attributes(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "method": self.method,
            "sigma": self.sigma,
            "replicates": self.replicates,
            "baseline": self.baseline,
            "n_failed": int((~self.fixed.converged).sum()),
            "messages": [m for m in self.fixed.message if m] or "",
        }
        if self.seed is not None:
            attributes["noise_seed"] = str(self.seed)
        activation = getattr(self.network, "activation", None)
        if activation is not None:
            parameters = {
                k: v for k, v in vars(activation).items() if k in _field_names(activation)
            }
            attributes["activation"] = type(activation).__name__
            attributes["activation_parameters"] = json.dumps(parameters, default=str)
            attributes["kinks"] = list(activation.kinks) or ""
        return attributes

    def _slices(self) -> list[slice]:
        return list(self.fixed.network.layers.values())

    def _products(self, d: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return dot products and norms layer by layer."""
        dots, ds, gs = [], [], []
        for where in self._slices():
            part, g = d[..., where], gradient[:, None, None, where]
            dots.append((part * g).sum(-1))
            ds.append(part.norm(dim=-1))
            gs.append(g.norm(dim=-1).expand_as(dots[-1]))
        return torch.stack(dots, -1), torch.stack(ds, -1), torch.stack(gs, -1)

    def _per_layer(self, function: Callable[..., Any]) -> Tensor:
        rows = []
        for e, steps in zip(self.eps.tolist(), self.step.cpu().numpy(), strict=True):
            known = np.where(steps >= 0, steps, 0)
            values = np.stack([function(k, known, e) for k in self.depth], -1)
            rows.append(np.where(steps[:, None] >= 0, values, np.nan))
        return torch.as_tensor(np.stack(rows))


def correspondence(
    network: Network,
    x: ArrayLike | Tensor | None,
    target: ArrayLike | Tensor,
    eps: float | Sequence[float] = (0.1,),
    *,
    t_end: float = 8.0,
    n_steps: int | None = None,
    method: str = "euler",
    save_all: bool = False,
    start: ArrayLike | Tensor | None = None,
    tol: float = 1e-12,
    sigma: float = 0.0,
    replicates: int = 1,
    baseline: Literal["undriven", "held", "equilibrium"] = "undriven",
    seed: int | None = None,
    track: Callable[[Iterable[float]], Iterable[float]] | None = None,
) -> Correspondence:
    r"""Drive a network from equilibrium towards a target and measure what back-propagates.

    Parameters
    ----------
    network : Network
        With named layers, input first and output last.
    x : array, (sample, input unit), or None
        Input states to clamp the first layer at; None if the network came clamped.
    target : array, (sample, output unit)
        Target states :math:`y^*`.
    eps : float or sequence of float
        Step sizes; for adaptive methods the spacing of the saved times.
    t_end : float
        Physical time to run, in membrane time constants: ``round(t_end / eps)`` steps, at least
        two past the first arrival in the deepest layer.
    n_steps : int, optional
        The same number of steps for every eps, instead of `t_end`.
    method : str
        One of :data:`ctebm.integrate.METHODS`.
    save_all : bool
        Save every step; by default each up to two past the first arrival in the deepest layer,
        then at most 48 in all, evenly in log time.
    start : array, (*batch, unit), optional
        Where settling starts.
    tol : float
        Bound on the residual of the equilibrium.
    sigma : float
        Langevin noise.
    replicates : int
        Noisy runs of each sample, whose mean is the displacement.
    baseline : {"undriven", "held", "equilibrium"}
        What is subtracted from a noisy run: the undriven network on the same Brownian path; a twin
        on the same path whose output is driven to its own equilibrium, so that in the linear
        regime the noise cancels at every step (with the undriven network it does so up to the
        first arrival only, since the drive takes the output's feedback away); or the equilibrium.
        Without noise all three are the same.
    seed : int, optional
        Root seed of the noise.
    track : callable, optional
        Wraps the loop over step sizes, for a progress bar.

    Returns
    -------
    Correspondence
    """
    clamped = network if x is None else network.clamp({next(iter(network.layers)): x})
    target = clamped._layer_state(clamped.output, target)
    sizes = torch.as_tensor(eps, dtype=torch.float64).reshape(-1)
    if len(sizes) == 0 or not bool(((sizes > 0) & (sizes <= 1)).all()):
        raise ValueError(f"expected step sizes 0 < eps <= 1, got {eps}; larger steps overshoot.")
    method_named(method)
    if replicates < 1 or not sigma >= 0:
        raise ValueError(f"expected replicates >= 1 and sigma >= 0, got {replicates}, {sigma}.")
    if baseline not in BASELINES:
        raise ValueError(f"expected baseline {', '.join(BASELINES)}, got {baseline!r}.")
    if replicates > 1 and sigma == 0:
        raise ValueError(f"expected sigma > 0 with {replicates} replicates, got 0; all are equal.")
    n_samples = target.shape[0] if target.ndim > 1 else 1
    target = target.reshape(n_samples, -1)
    fixed = settle(clamped, _one_row_a_sample(clamped, start, n_samples), tol=tol)
    responsive = responsive_units(clamped, fixed.state, target)
    chain = chain_gradient(clamped, fixed.state, target)
    implicit = implicit_gradient(clamped, fixed.state, target)
    deepest = len(clamped.layers) - 1
    saves = [
        _save_grid(
            deepest, float(e), n_steps or max(round(t_end / float(e)), deepest + 3), save_all
        )
        for e in sizes
    ]
    width = max(map(len, saves))
    runner = _Runner(clamped, fixed.state, target, responsive, method, sigma, replicates, baseline)
    shape = (n_samples, len(sizes), width, fixed.state.shape[-1])
    displacement, response = fixed.state.new_full(shape, torch.nan), None
    response = displacement.clone()
    error = displacement.clone() if sigma > 0 else None
    crossing = torch.zeros(3, n_samples, len(sizes), dtype=torch.int64)
    for i, e in enumerate((track or iter)(sizes.tolist())):
        m = len(saves[i])
        moved, spread, crossed, seed = runner.drive(e, saves[i], seed)
        displacement[:, i, :m], crossing[:, :, i] = moved.transpose(0, 1), crossed
        response[:, i, :m] = runner.linear_response(e, saves[i]).transpose(0, 1)
        if error is not None and spread is not None:
            error[:, i, :m] = spread.transpose(0, 1)
    displacement[~fixed.converged] = torch.nan
    step = torch.full((len(sizes), width), -1, dtype=torch.int64)
    for row, saved in zip(step, saves, strict=True):
        row[: len(saved)] = torch.tensor(saved)
    first_crossing, crossing_unit, crossing_direction = crossing
    return Correspondence(
        network=network,
        input=None if x is None else network._layer_state(next(iter(network.layers)), x),
        target=target,
        fixed=fixed,
        responsive=responsive,
        eps=sizes,
        step=step,
        displacement=displacement,
        standard_error=error,
        linear_response=response,
        chain=chain,
        implicit=implicit,
        first_crossing=first_crossing,
        crossing_unit=crossing_unit,
        crossing_direction=crossing_direction,
        method=method,
        sigma=float(sigma),
        replicates=replicates,
        baseline=baseline if sigma > 0 else "equilibrium",
        seed=seed if sigma > 0 else None,
        layers=list(clamped.layers),
    )


def saved_steps(deepest: int, n_steps: int, at_most: int = 48) -> list[int]:
    """Return every step up to two past the first arrival at a depth, then evenly in log time."""
    early = list(range(min(deepest + 3, n_steps) + 1))
    n_late = at_most - len(early)
    late = (
        np.geomspace(early[-1], n_steps, n_late + 1).round().astype(int)[1:] if n_late > 0 else []
    )
    return sorted({*early, *map(int, late), n_steps})


@dataclass(frozen=True)
class _Runner:
    """The driven network, its undriven twin and its linearisation, from one equilibrium."""

    network: Network
    state: Tensor
    target: Tensor
    responsive: Tensor
    method: str
    sigma: float
    replicates: int
    baseline: str

    def drive(
        self, eps: float, saves: list[int], seed: int | None
    ) -> tuple[Tensor, Tensor | None, Tensor, int | None]:
        """Return displacement, its standard error, the first crossings and the seed."""
        driven = Dynamics(self.network, sigma=self.sigma, drive=self.target)
        if self.sigma == 0:
            states, crossed = self._watched(driven, eps, saves)
            return states - self.state, None, crossed, None
        start = self.state.expand(self.replicates, *self.state.shape)
        run = simulate(
            driven, start, n_steps=saves[-1], eps=eps, method=self.method, save_steps=saves,
            seed=seed,
        )  # fmt: skip
        watch = _Crossings(self)
        for n, s in zip(saves, run.state, strict=True):
            watch.see(n, s)
        states = run.state
        if self.baseline == "equilibrium":
            states = states - self.state
        else:
            y = self.state[..., self.network.layers[self.network.output]]
            rest = y if self.baseline == "held" else None
            twin = Dynamics(self.network, sigma=self.sigma, drive=rest)
            states = states - simulate(
                twin, start, n_steps=saves[-1], eps=eps, method=self.method, save_steps=saves,
                noise_of=run,
            ).state  # fmt: skip
        spread = states.std(1) / self.replicates**0.5
        return states.mean(1), spread, watch.found, run.seed

    def linear_response(self, eps: float, saves: list[int]) -> Tensor:
        """Return what the linearised network does under the same drive."""
        tangent = TangentNetwork(self.network, self.state, self.responsive)
        y = self.network.layers[self.network.output]
        pull = Dynamics(tangent, drive=self.target - self.state[..., y])
        with warnings.catch_warnings():  # of a large eps, already said of the network itself
            warnings.simplefilter("ignore")
            return _run(pull, torch.zeros_like(self.state), eps, saves, self.method)

    def _watched(self, driven: Dynamics, eps: float, saves: list[int]) -> tuple[Tensor, Tensor]:
        if METHODS[self.method].adaptive:
            states = _run(driven, self.state, eps, saves, self.method)
            return states, _Crossings(self).found
        watch, kept = _Crossings(self), [self.state]
        s, wanted = self.state, set(saves)
        for first in range(0, saves[-1], _CHUNK):
            m = min(_CHUNK, saves[-1] - first)
            states = simulate(driven, s, n_steps=m, eps=eps, method=self.method).state
            for j in range(1, m + 1):
                watch.see(first + j, states[j])
                if first + j in wanted:
                    kept.append(states[j])
            s = states[-1]
        return torch.stack(kept), watch.found


class _Crossings:
    """The first step at which a unit of each sample meets or leaves a kink."""

    def __init__(self, runner: _Runner) -> None:
        self.box = runner.network.box
        self.found = torch.stack(
            [torch.full((len(runner.state),), v, dtype=torch.int64) for v in (-1, -1, 0)]
        )
        self.side = self._side(runner.state)
        # An output pulled back into the box leaves its kink at once, as the law assumes.
        self.side = torch.where(runner.responsive, 0, self.side)

    def _side(self, s: Tensor) -> Tensor:
        if self.box is None:
            return torch.zeros_like(s, dtype=torch.int8)
        return (s >= self.box[1]).to(torch.int8) - (s <= self.box[0]).to(torch.int8)

    def see(self, step: int, s: Tensor) -> None:
        """Note the samples, in any replicate, that cross for the first time."""
        if self.box is None:
            return
        changed = self._side(s) != self.side
        side = self._side(s).abs()
        if changed.ndim == 3:
            side = (side * changed).amax(0)
            changed = changed.any(0)
        new = changed.any(-1).cpu() & (self.found[0] < 0)
        if bool(new.any()):
            unit = changed.int().argmax(-1).cpu()
            met = side.cpu().gather(-1, unit[:, None])[:, 0] > 0
            self.found[0][new] = step
            self.found[1][new] = unit[new]
            self.found[2][new] = torch.where(met, 1, -1)[new]


def _run(dynamics: Dynamics, start: Tensor, eps: float, saves: list[int], method: str) -> Tensor:
    if METHODS[method].adaptive:
        times = torch.tensor(saves, dtype=torch.float64) * eps
        return simulate(dynamics, start, times=times, method=method).state
    return simulate(
        dynamics, start, n_steps=saves[-1], eps=eps, method=method, save_steps=saves
    ).state


def _save_grid(deepest: int, eps: float, n_steps: int, save_all: bool) -> list[int]:
    return list(range(n_steps + 1)) if save_all else saved_steps(deepest, n_steps)


def _order(method: str) -> int:
    """Return layers crossed in a step, 0 if any number."""
    chosen = METHODS[method]
    return 0 if chosen.adaptive else chosen.order


def _law(method: str, k: int, n: Any, eps: float) -> Any:
    order = _order(method)
    if order == 0:
        return continuous_coefficient(k, n * eps)
    return first_arrival_coefficient(k, n, eps) if order == 1 else cascade_coefficient(
        k, n, eps, order
    )  # fmt: skip


def _one_row_a_sample(network: Network, start: Any, n_samples: int) -> Tensor:
    if start is None:
        if network.n_units is None:
            raise ValueError("this network takes states of any length; give a start.")
        start = torch.zeros(network.n_units)
    return network.as_state(start).expand(n_samples, -1)


def _field_names(record: Any) -> set[str]:
    return {f.name for f in fields(record)} if is_dataclass(record) else set()


def _parameters(network: Network) -> dict[str, xr.Variable]:
    if not isinstance(network, LayeredNetwork):
        return {}
    names = [name if name != "x" else "input" for name in network.layers]
    data = {}
    for i, W in enumerate(network.weights):
        if W is not None:
            data[f"weight_{i}"] = variable(
                (f"unit_{names[i]}", f"unit_{names[i + 1]}"), W, f"weights of layers {i}, {i + 1}"
            )
    for i, b in enumerate(network.biases):
        if b.ndim == 1:
            data[f"bias_{i}"] = variable(f"unit_{names[i]}", b, f"biases of layer {i}")
    return data
