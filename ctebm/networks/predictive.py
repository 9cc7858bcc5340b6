r"""Predictive coding: each layer predicts the next, and the energy is what it misses by.

.. math:: E(s) = \sum_l \frac{|e_l|^2}{2 v_l}, \qquad
    e_{l+1} = s_{l+1} - \phi_l(s_l) W_l - b_{l+1}

with states as rows (Rao & Ballard 1999; Whittington & Bogacz 2017).

Letters: state ``s``, error ``e``, precision ``p`` = 1/v, rate :math:`\phi`, slope and curvature of
the rate, ``m`` the precision times the error.
"""

# Long because the two directions, clamping and the closed forms share one order of layers.

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import finite_tensors
from ctebm.networks.blocks import product
from ctebm.networks.constants import Constants
from ctebm.networks.holding import HoldingNetwork
from ctebm.networks.kinks import Kinks
from ctebm.networks.layer_states import finite_of_layer
from ctebm.networks.layout import (
    consecutive,
    layer_names,
    size_of,
)
from ctebm.networks.memory_limits import check_matrices
from ctebm.networks.numbers import finite, finite_array, one_of
from ctebm.networks.rates import Identity
from ctebm.networks.stacks import check_stack, glorot_weights, one_each

__all__ = ["Prediction", "PredictiveNetwork"]

Direction = Literal["discriminative", "generative"]


class Prediction(NamedTuple):
    r"""What one layer predicts of the next, :math:`\phi(s) W + b`, and how precisely.

    Attributes
    ----------
    weight : Tensor
        ``(size of the predicting layer, size of the predicted one)``.
    bias : Tensor
        Of the predicted layer.
    precision : Tensor
        The inverse variance of the error, a number.
    activation : Activation
        Of the predicting layer.

    Examples
    --------
    >>> import torch, ctebm
    >>> from ctebm.networks.predictive import Prediction
    >>> one = torch.ones(1)
    >>> Prediction(2 * torch.eye(1), one, one, ctebm.Identity()).of(torch.tensor([3.0]))
    tensor([7.])
    """

    weight: Tensor
    bias: Tensor
    precision: Tensor
    activation: Activation

    def of(self, s: Tensor) -> Tensor:
        """Return what is predicted from states of the predicting layer."""
        return product(self.activation(s), self.weight) + self.bias


class PredictiveNetwork(HoldingNetwork):
    r"""Layers that predict their neighbours, with the squared errors as the energy.

    .. math:: E(s) = \sum_l \frac{1}{2 v_l} |s_{l+1} - \phi_l(s_l) W_l - b_{l+1}|^2

    With the input clamped and the output free it rests at its forward pass, with energy 0, and
    the chain gradient there is back-propagation through that pass.

    Parameters
    ----------
    weights : sequence of array
        Input first; ``weights[i]`` is ``(size_i, size_i+1)``.
    biases : sequence of array
        Input first, ``(size_i,)`` for each layer; that of the layer which nothing predicts, the
        first or in the generative direction the last, is not used and may be None.
    activation : Activation, callable, or a sequence of them
        The rate :math:`\phi`, one for all or one a layer, input first: that of layer ``l`` acts on
        ``s_l``. That of the layer which predicts nothing is not used.
    precisions : float or sequence of float, optional
        :math:`1/v`, one for all or one for each of the weights; 1 by default.
    direction : {"discriminative", "generative"}
        The input predicts the output, or the output the input: then layer `i` is predicted as
        :math:`\phi(s_{i+1}) W_i' + b_i`.
    dtype : torch.dtype
        Of the parameters.

    Raises
    ------
    ValueError
        For arrays whose shapes do not fit each other, or that are not finite and real, and for
        precisions that are not positive.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.PredictiveNetwork([[[2.0]], [[3.0]]], [[0], [1], [0]], ctebm.Identity())
    >>> points = ctebm.settle(net.clamp({"x": [0.5]}))
    >>> points.state, points.energy  # 2 * 0.5 + 1, and 3 times that
    (tensor([2., 6.], dtype=torch.float64), tensor(0., dtype=torch.float64))
    """

    # by default; precisions belong to the energy that is given
    learned: tuple[str, ...] = ("weights", "biases")
    weights: list[Tensor]
    biases: list[Tensor]
    precisions: list[Tensor]
    activations: list[Activation]
    direction: Direction
    layers: Mapping[str, slice]
    n_units: int | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        weights: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor | None],
        activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any],
        precisions: ArrayLike | None = None,
        *,
        direction: Direction = "discriminative",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        one_of("direction", direction, get_args(Direction))
        self.weights = finite_tensors(weights, "weights", dtype)
        self.direction = direction
        self.biases = check_stack(self.weights, biases, dtype)
        self.activations = one_each(activation, len(self.biases))
        p = np.broadcast_to(_precisions(precisions, len(self.weights)), len(self.weights))
        self.precisions = [torch.tensor(value, dtype=dtype, device="cpu") for value in p.tolist()]
        names = layer_names(len(self.biases))
        sizes = {name: b.shape[-1] for name, b in zip(names, self.biases, strict=True)}
        super().__init__(layers=consecutive(sizes))
        self.dtype, self.device = dtype, self.biases[0].device
        self._all = sizes
        self._hold({})

    @classmethod
    def random(
        cls,
        sizes: Sequence[int],
        activation: Activation | Callable[[Tensor], Tensor] | Sequence[Any],
        *,
        gain: float = 1.0,
        seed: int = 0,
        precisions: ArrayLike | None = None,
        direction: Direction = "discriminative",
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        r"""Draw Glorot weights, uniform in :math:`\pm g\sqrt{6/(n_i + n_{i+1})}`; biases are 0.

        Parameters
        ----------
        sizes : sequence of int
            Units in each layer, input first.
        activation, precisions, direction, dtype
            As for the class.
        gain : float
            The factor `g`.
        seed : int
            Root seed; weights between two layers depend on it and on their place alone.

        Returns
        -------
        PredictiveNetwork
            The same for the same seed, on any machine.

        Raises
        ------
        ValueError
            For less than two layers, an empty one, or a gain that is negative or not finite.
        """
        weights = glorot_weights(sizes, gain, seed)
        biases = [np.zeros(len(weights[0])), *(np.zeros(W.shape[1]) for W in weights)]
        return cls(weights, biases, activation, precisions, direction=direction, dtype=dtype)

    @property
    def depth(self) -> dict[str, int]:
        """Hops from the output of each layer."""
        names = [name for name in self._all if name != TARGET]
        return {name: len(names) - 1 - i for i, name in enumerate(names)}

    @property
    def drives(self) -> dict[str, str]:
        """The layer that each parameter drives: the one that it helps to predict."""
        names = [*self._all]
        onto = names[1:] if self.direction == "discriminative" else names[:-1]
        of_weights = {f"weights.{i}": name for i, name in enumerate(onto)}
        of_biases = {f"biases.{i}": name for i, name in enumerate(names)}
        return of_weights | of_biases | {f"precisions.{i}": name for i, name in enumerate(onto)}

    @property
    def predictions(self) -> list[Prediction]:
        """What each layer predicts of the next, in the order in which they predict."""
        up = self.direction == "discriminative"
        weights = self.weights if up else [W.mT for W in self.weights]
        biases = self.biases[1:] if up else self.biases[:-1]
        rates = self.activations[:-1] if up else self.activations[1:]
        each = map(Prediction, weights, biases, self.precisions, rates)
        return [*each] if up else [*each][::-1]

    @property
    def order(self) -> list[str]:
        """All layers, held ones too, in the order in which they predict."""
        names = [*self._all]
        return names if self.direction == "discriminative" else names[::-1]

    @property
    # an attribute of VectorField, computed here
    def kinks(self) -> Kinks | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the rates of free layers that predict, such as 0 of ReLU; None without."""
        own = [p.activation.kinks for p in self.predictions] + [()]
        each = dict(zip(self.order, own, strict=True))
        most = max((len(each[name]) for name in self.layers), default=0)
        if not most:
            return None
        at = self.biases[0].new_full((most, self.n_units or 0), torch.inf)
        for name, where in self.layers.items():
            for k, kink in enumerate(each[name]):
                at[k, where] = kink
        return Kinks(at)

    def first_guess(self) -> Tensor:
        """Return the forward pass: each free layer as it is predicted, ``(*batch, unit)``.

        A free layer that nothing predicts is 0.
        """
        parts: list[Tensor] = []
        for l, name in enumerate(self.order):
            if name in self.held:
                parts.append(self.held[name])
            elif l == 0:
                parts.append(self.biases[0].new_zeros(self._all[name]))
            else:
                parts.append(self.predicted(l - 1, parts[-1]))
        return self.joined(parts, self.biases[0].new_zeros(*self.batch, 0))

    def nudged(self, target: ArrayLike | Tensor, beta: float) -> Self:
        r"""Return the network with :math:`\beta\,|y - y^*|^2 / 2` added to its energy.

        That is one more layer, held at the target, between which and the output the error has the
        precision :math:`\beta`: the nudged network is a predictive one again.

        Parameters
        ----------
        target : array, (*batch, output unit)
            The target states :math:`y^*`.
        beta : float
            The strength; a negative one pushes away, and has an equilibrium only below
            :func:`ctebm.nudge_limit`.

        Raises
        ------
        ValueError
            For a target of another size, not finite, or a network with its output clamped, or
            nudged already.
        """
        y = self.output
        if TARGET in self._all or "y" not in self.layers:
            raise ValueError("expected a network with a free output that is not nudged yet.")
        t, beta = finite_of_layer(self, y, target, "target"), finite("beta", beta)
        other, n = copy.copy(self), t.shape[-1]
        other.weights = [*self.weights, torch.eye(n, dtype=self.dtype, device=self.device)]
        unused = self.direction == "discriminative"  # the output's rate, until now, else its bias
        own_bias = self.biases[-1] if unused else torch.zeros_like(self.biases[-1])
        other.biases = [*self.biases[:-1], own_bias, t.new_zeros(n)]
        other.precisions = [*self.precisions, t.new_tensor(beta)]
        own = self.activations[:-1] if unused else self.activations
        other.activations = [*own, *[Identity()] * (1 + unused)]
        other._all = self._all | {TARGET: n}
        other._hold(self.held | {TARGET: t})
        return other

    def energy(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        return self._energy(s, self.errors(self.parts(s)))

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        parts = self.parts(s)
        return self._force(s, parts, self.errors(parts))

    def energy_and_force(self, s: Tensor) -> tuple[Tensor, Tensor]:
        s = self._in_samples(s)
        parts = self.parts(s)
        errors = self.errors(parts)
        return self._energy(s, errors), self._force(s, parts, errors)

    def _energy(self, s: Tensor, errors: list[Tensor]) -> Tensor:
        E = s.new_zeros(s.shape[:-1])
        for p, e in zip(self.predictions, errors, strict=True):
            E = E + p.precision / 2 * e.square().sum(-1)
        return E

    def _force(self, s: Tensor, parts: list[Tensor], errors: list[Tensor]) -> Tensor:
        predictions = self.predictions
        m = [p.precision * e for p, e in zip(predictions, errors, strict=True)]
        force = [-m_l for m_l in (torch.zeros_like(parts[0]), *m)]
        for l, p in enumerate(predictions):
            if self.order[l] in self.layers:
                force[l] = force[l] + p.activation.derivative(parts[l]) * product(m[l], p.weight.mT)
        return self.joined(force, s)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self._in_samples(s)
        slopes, curvatures = self._slopes_and_curvatures(s)
        predictions = self.predictions

        def multiply(v: Tensor) -> Tensor:
            dots = self.parts(self.as_state(v).expand_as(s))  # of held layers they are not used
            found = [torch.zeros_like(dot) for dot in dots]
            for l, p in enumerate(predictions):
                below = slopes.get(l)
                moved = 0.0 if below is None else product(below * dots[l], p.weight)
                above = dots[l + 1] if self.order[l + 1] in self.layers else 0.0
                m = p.precision * (above - moved)
                found[l + 1] = found[l + 1] + m
                if below is not None:
                    back = below * product(m, p.weight.mT)
                    found[l] = found[l] - back - curvatures[l] * dots[l]
            return self.joined(found, s)

        return multiply

    def hessian(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        check_matrices(s)
        slopes, curvatures = self._slopes_and_curvatures(s)
        H = s.new_zeros(*s.shape, s.shape[-1])
        for l, p in enumerate(self.predictions):
            b, a = (self.layers.get(name) for name in self.order[l : l + 2])
            if a is not None:
                H[..., a, a] += p.precision * torch.eye(size_of(a), dtype=H.dtype, device=H.device)
            if b is not None:
                J = slopes[l].unsqueeze(-1) * p.weight  # of the prediction by the state
                H[..., b, b] += p.precision * J @ J.mT - torch.diag_embed(curvatures[l])
                if a is not None:
                    H[..., b, a], H[..., a, b] = -p.precision * J, -p.precision * J.mT
        return H

    def _slopes_and_curvatures(self, s: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        r"""Return :math:`\phi'` and :math:`\phi'' \odot W m` of each free layer that predicts."""
        parts = self.parts(s)
        slopes, curvatures, errors = {}, {}, self.errors(parts)
        for l, p in enumerate(self.predictions):
            if self.order[l] in self.layers:
                back = product(p.precision * errors[l], p.weight.mT)
                slopes[l] = p.activation.derivative(parts[l])
                curvatures[l] = p.activation.second_derivative(parts[l]) * back
        return slopes, curvatures

    def _hold(self, held: dict[str, Tensor]) -> None:
        """Hold layers, and keep what they predict, which no longer changes."""
        self.held = held
        free = {name: n for name, n in self._all.items() if name not in held}
        self.layers, self.n_units = consecutive(free), sum(free.values())
        self._constants = Constants()

    def parts(self, s: Tensor) -> list[Tensor]:
        """Return the states of all layers, held ones too, in the order of prediction."""
        return [
            s[..., self.layers[name]] if name in self.layers else self.held[name]
            for name in self.order
        ]

    def joined(self, parts: Sequence[Tensor], like: Tensor) -> Tensor:
        """Return what belongs to free layers, given in the order of prediction, as one state."""
        free = dict(zip(self.order, parts, strict=True))
        batch = like.shape[:-1]
        return torch.cat(
            [like[..., :0], *(free[name].expand(*batch, -1) for name in self.layers)], dim=-1
        )

    def predicted(self, l: int, s: Tensor) -> Tensor:
        """Return what the layer in place `l` predicts."""
        name, p = self.order[l], self.predictions[l]
        if name not in self.held:
            return p.of(s)
        x, up = self.held[name], self.direction == "discriminative"
        W, b = self.weights[l if up else -1 - l], self.biases[l + 1 if up else -2 - l]
        return self._constants.of(lambda: p.of(x), x, W, b)

    def errors(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return the error of each prediction."""
        return [parts[l + 1] - self.predicted(l, parts[l]) for l in range(len(parts) - 1)]


TARGET = "target"  # the layer that a nudge adds


def _precisions(precisions: ArrayLike | None, n: int) -> np.ndarray:
    p = finite_array(
        "precision", 1.0 if precisions is None else precisions, above=0,
        remedy="it is the inverse of a variance",
    )  # fmt: skip
    if p.ndim > 1 or p.size not in (1, n):
        raise ValueError(
            f"expected one precision, or one for each of the {n} predictions, got {p.shape}."
        )
    return p.reshape(-1)
