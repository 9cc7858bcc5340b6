r"""Convolutions and pooling as couplings of eq. 6: images in, classes out, no dense matrix.

.. math:: E(s) = \tfrac12 |s|^2 - \sum_l \rho(s_{l+1}) \cdot P(K_l * \rho(s_l))
    - \sum_l \rho(s_{l+1}) \cdot \rho(s_l) W_l - b' \rho(s)

with the primitive function of Ernoult et al. (2019) and Laborieux et al. (2021): pooling `P` acts
on what a convolution sends up, and what is sent down goes back the same way, through the transpose
of the convolution, to all units that were averaged or to the one that was largest.

Letters: state ``s``, rate ``r``, kernel ``K``, weights ``W``.
"""

# Long because its arrays are checked, drawn, clamped and multiplied by in one place.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from ctebm.networks.activation import Activation
from ctebm.networks.arrays import finite_tensors, listed, real_tensor
from ctebm.networks.constants import Constants
from ctebm.networks.holding import HoldingNetwork
from ctebm.networks.kinks import Box
from ctebm.networks.layer_rates import LayerRates, rate_of_layer, rates_without
from ctebm.networks.layout import consecutive, layer_names
from ctebm.networks.numbers import finite, one_of, whole
from ctebm.networks.rates import Identity
from ctebm.networks.stacks import one_each

__all__ = ["ConvolutionalNetwork"]

_LARGEST = 2**15  # rows and columns of any image

Pooling = Literal["average", "max", "none"]
Rates = Sequence[Tensor] | Mapping[int, Tensor]  # of layers by their places
Rate = Activation | Callable[[Tensor], Tensor] | Sequence[Any]  # of all layers, or of each


class ConvolutionalNetwork(HoldingNetwork):
    r"""Layers of feature maps coupled by convolutions, then layers coupled all to all (eq. 6).

    States are flat, ``(*batch, unit)``, feature maps in the order channel, row, column.

    Parameters
    ----------
    kernels : sequence of array, (channels out, channels in, rows, columns)
        Input first.
    weights : sequence of array, (size_l, size_l+1)
        Of the layers above the feature maps; the first from the last map, flattened.
    biases : sequence of array
        One for each layer, input first: ``(channel,)`` or one a unit. That of the input may be
        None.
    activation : Activation, callable, or a sequence of them
        The firing rate; of a sequence one for each layer, input first.
    shape : tuple of int
        Channels, rows and columns of the input, such as ``(1, 28, 28)``.
    pooling : {"average", "max", "none"}
        After each convolution.
    pool : int
        Rows and columns that are pooled to one.
    padding : int
        Zeros around each map.
    stride : int
        Rows and columns between the places of a kernel.
    dtype : torch.dtype
        Of the parameters.

    Attributes
    ----------
    shapes : dict of str to tuple
        Of the maps by layer; ``(size,)`` of the others.

    Raises
    ------
    ValueError
        For arrays whose shapes do not fit each other, or that are not finite and real.

    Examples
    --------
    >>> import ctebm
    >>> net = ctebm.ConvolutionalNetwork.random((1, 8, 8), [4], 3, [5], ctebm.HardSigmoid(), seed=0)
    >>> net, net.shapes["h1"]
    (ConvolutionalNetwork(x: 64, h1: 36, y: 5), (4, 3, 3))
    >>> ctebm.settle(net.clamp({"x": [[0.2] * 64]})).stability
    ['stable']
    """

    kernels: list[Tensor]
    weights: list[Tensor]
    biases: list[Tensor]
    activation: Activation
    shapes: dict[str, tuple[int, ...]]
    pooling: Pooling
    pool: int
    padding: int
    stride: int
    layers: Mapping[str, slice]
    n_units: int | None
    box: Box | None
    dtype: torch.dtype
    device: torch.device

    def __init__(
        self,
        kernels: Sequence[ArrayLike | Tensor],
        weights: Sequence[ArrayLike | Tensor],
        biases: Sequence[ArrayLike | Tensor | None],
        activation: Rate,
        *,
        shape: tuple[int, int, int],
        pooling: Pooling = "average",
        pool: int = 2,
        padding: int = 0,
        stride: int = 1,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        one_of("pooling", pooling, get_args(Pooling))
        self.pooling = pooling
        self.pool = whole("pool", pool, least=1, most=_LARGEST)
        self.padding = whole("padding", padding, least=0, most=_LARGEST)
        self.stride = whole("stride", stride, least=1, most=_LARGEST)
        self.kernels = finite_tensors(kernels, "kernels", dtype)
        self.weights = finite_tensors(weights, "weights", dtype)
        shapes = self._shapes(_map_shape(shape))
        names = layer_names(len(shapes))
        self.shapes = dict(zip(names, shapes, strict=True))
        given = [np.zeros(1) if b is None else b for b in listed(biases, "biases")]
        self.biases = finite_tensors(given, "biases", dtype)
        self._check_biases()
        self._sizes = {name: int(np.prod(of)) for name, of in self.shapes.items()}
        super().__init__(layers=consecutive(self._sizes))
        each = one_each(activation, len(shapes))
        own = isinstance(activation, list | tuple)
        self.activation = LayerRates(tuple(each), (*self._sizes.values(),)) if own else each[0]
        self.dtype, self.device = dtype, torch.device("cpu")
        self._hold({})

    @classmethod
    def random(
        cls,
        shape: tuple[int, int, int],
        channels: Sequence[int],
        kernel: int,
        sizes: Sequence[int],
        activation: Rate,
        *,
        gain: float = 1.0,
        seed: int = 0,
        pooling: Pooling = "average",
        pool: int = 2,
        padding: int = 0,
        stride: int = 1,
        dtype: torch.dtype = torch.float64,
    ) -> Self:
        r"""Draw Glorot kernels and weights, uniform in :math:`\pm g\sqrt{6/(n_{in} + n_{out})}`.

        Parameters
        ----------
        shape : tuple of int
            Channels, rows and columns of the input.
        channels : sequence of int
            Of each convolution.
        kernel : int
            Rows and columns of the kernels.
        sizes : sequence of int
            Units of the layers above the maps; the last is the output.
        activation, pooling, pool, padding, stride, dtype
            As for the class.
        gain : float
            The factor `g`.
        seed : int
            Root seed.

        Returns
        -------
        ConvolutionalNetwork
            With biases of 0.

        Raises
        ------
        ValueError
            For sizes that do not fit, or a gain that is negative or not finite.
        """
        gain, kernel = finite("gain", gain, low=0), whole("kernel", kernel, least=1)
        draw = np.random.default_rng(whole("seed", seed, least=0))
        maps = [
            whole("shape", shape[0], least=1),
            *(whole("channels", c, least=1) for c in channels),
        ]
        kernels = []
        for below, above in pairwise(maps):
            limit = gain * np.sqrt(6 / ((below + above) * kernel**2))
            kernels.append(draw.uniform(-limit, limit, (above, below, kernel, kernel)))
        options: dict[str, Any] = {
            "shape": shape, "pooling": pooling, "pool": pool, "padding": padding,
            "stride": stride, "dtype": dtype,
        }  # fmt: skip
        one = [*([None] * len(maps))]
        last = cls(kernels, [], one, Identity(), **options).shapes["y"] if kernels else shape
        flat = [int(np.prod(last)), *(whole("size", n, least=1) for n in sizes)]
        weights = []
        for m, n in pairwise(flat):
            limit = gain * np.sqrt(6 / (m + n))
            weights.append(draw.uniform(-limit, limit, (m, n)))
        return cls(kernels, weights, [*one, *([None] * len(sizes))], activation, **options)

    @property
    def drives(self) -> dict[str, str]:
        """The layer that each parameter drives: the one nearer the output."""
        names, n = list(self.shapes), len(self.kernels)
        kernels = {f"kernels.{i}": names[i + 1] for i in range(n)}
        weights = {f"weights.{i}": names[n + i + 1] for i in range(len(self.weights))}
        return kernels | weights | {f"biases.{i}": name for i, name in enumerate(names)}

    def rate(self, s: Tensor) -> Tensor:
        r"""Return the firing rates :math:`\rho(s)`; :meth:`state` is the way back."""
        s = self.as_state(s)
        each = [self.rate_of(name)(s[..., where]) for name, where in self.layers.items()]
        return torch.cat([s[..., :0], *each], -1)

    def rate_of(self, layer: str) -> Activation:
        """Return the activation of a layer by its name, or raise ValueError if there is none."""
        if layer not in self.shapes:
            self.layer(layer)  # which says so
        return self._rate(list(self.shapes).index(layer))

    def state(self, rates: ArrayLike | Tensor, layer: str | None = None) -> Tensor:
        """Return the states of rates, flat, such as pixels; maps may keep their dimensions.

        Parameters
        ----------
        rates : array, (*batch, unit) or (*batch, channel, row, column)
            In the range of the activation; four dimensions or more are maps.
        layer : str, optional
            Whose rates they are, where each layer has an activation of its own.
        """
        r = real_tensor(rates, self.dtype, self.device)
        rho = self.activation if layer is None else self.rate_of(layer)
        return rho.inverse(r.flatten(-3) if r.ndim >= 4 else r)

    def energy(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        states = self._states(s)
        r = [self._rate(l)(u) for l, u in enumerate(states)]
        E = s.new_zeros(s.shape[:-1])
        for l, u in enumerate(states):
            E = E + u.square().sum(-1) / 2 - (self._bias(l) * r[l]).sum(-1)
            if l:
                E = E - (r[l] * self._sent_up(l - 1, r[l - 1])).sum(-1)
        return E

    def force(self, s: Tensor) -> Tensor:
        s = self._in_samples(s)
        states = self._states(s)
        rates = [self._rate(l)(u) for l, u in enumerate(states)]
        return torch.cat([s[..., :0], *(self._force(l, states, rates) for l in self._free)], -1)

    def layer_force(self, name: str, s: Tensor) -> Tensor:
        self.layer(name)
        states = self._states(self._in_samples(s))
        l = list(self.shapes).index(name)
        near = {i: self._rate(i)(states[i]) for i in (l - 1, l, l + 1) if 0 <= i < len(states)}
        return self._force(l, states, near)

    def hessian_product(self, s: Tensor, v: Tensor) -> Tensor:
        return self.hessian_operator(s)(v)

    def hessian_operator(self, s: Tensor) -> Callable[[Tensor], Tensor]:
        s = self._in_samples(s)
        states = self._states(s)
        rates = [self._rate(l)(u) for l, u in enumerate(states)]
        currents = {l: self._current(l, rates) for l in self._free}
        slopes = {l: self._rate(l).derivative(states[l]) for l in currents}
        own = {l: 1 - self._rate(l).second_derivative(states[l]) * I for l, I in currents.items()}

        def multiply(v: Tensor) -> Tensor:
            parts = self._states(self.as_state(v).expand_as(s))
            dots = {l: slopes[l] * parts[l] for l in currents}
            found = {l: own[l] * parts[l] for l in currents}
            for l in range(len(states) - 1):
                if l in dots and l + 1 in dots:
                    up, down = self._sent_change(l, rates[l], dots[l], dots[l + 1])
                    found[l + 1] = found[l + 1] - slopes[l + 1] * up
                    found[l] = found[l] - slopes[l] * down
            return torch.cat([s[..., :0], *found.values()], -1)

        return multiply

    def _hold(self, held: dict[str, Tensor]) -> None:
        """Hold layers, and keep what they send up, which no longer changes."""
        self.held = held
        free = {name: n for name, n in self._sizes.items() if name not in held}
        self.layers, self.n_units = consecutive(free), sum(free.values())
        rho = self.activation
        for l, name in reversed([*enumerate(self._sizes)]):
            rho = rates_without(rho, l) if name in held else rho
        like = torch.zeros(0, dtype=self.dtype, device=self.device)
        self.box = None if rho.box is None else rho.box.to(like)
        self._constants = Constants()

    def _states(self, s: Tensor) -> list[Tensor]:
        """Return the states of all layers, held ones too, input first."""
        batch = s.shape[:-1]
        return [
            s[..., self.layers[name]] if name in self.layers else self.held[name].expand(*batch, -1)
            for name in self.shapes
        ]

    @property
    def _free(self) -> list[int]:
        """The places of the layers that are not held."""
        return [l for l, name in enumerate(self.shapes) if name in self.layers]

    def _force(self, l: int, s: Sequence[Tensor], r: Rates) -> Tensor:
        return self._rate(l).derivative(s[l]) * self._current(l, r) - s[l]

    def _current(self, l: int, r: Rates) -> Tensor:
        """Return the current of the layer in place `l`, given its rates and its neighbours'."""
        I = self._bias(l).expand_as(r[l])
        if l + 1 < len(self.shapes):
            I = I + self._sent_down(l, r[l], r[l + 1])
        return I + self._sent_up(l - 1, r[l - 1]) if l else I

    def _sent_up(self, l: int, r: Tensor) -> Tensor:
        name = list(self.shapes)[l]
        if name not in self.held:
            return self._coupled(l, r)
        x, W = self.held[name], [*self.kernels, *self.weights][l]
        return self._constants.of(lambda: self._coupled(l, self._rate(l)(x)), x, W)

    def _coupled(self, l: int, r: Tensor) -> Tensor:
        """Return what rates of the layer in place `l` send to the next one."""
        if l >= len(self.kernels):
            return r @ self.weights[l - len(self.kernels)]
        maps = r.reshape(-1, *self._shape(l))
        if self.pooling == "max":
            sent = F.conv2d(maps, self.kernels[l], stride=self.stride, padding=self.padding)
            sent = F.max_pool2d(sent, self.pool)
        else:
            K, stride = self._linear(l)
            sent = F.conv2d(maps, K, stride=stride, padding=self.padding)
        return sent.reshape(*r.shape[:-1], math.prod(sent.shape[-3:]))

    def _sent_down(self, l: int, r: Tensor, r_above: Tensor) -> Tensor:
        """Return what the next layer sends back to that in place `l`, with rates `r`."""
        if l >= len(self.kernels):
            return r_above @ self.weights[l - len(self.kernels)].mT
        if self.pooling == "max":
            return torch.func.vjp(lambda q: self._coupled(l, q), r)[1](r_above)[0]
        K, stride = self._linear(l)
        shape, above = self._shape(l), self._shape(l + 1)
        left = [  # rows and columns beyond the last window
            n + 2 * self.padding - k - stride * (m - 1)
            for n, k, m in zip(shape[1:], K.shape[2:], above[1:], strict=True)
        ]
        maps = F.conv_transpose2d(
            r_above.reshape(-1, *above), K, stride=stride, padding=self.padding,
            output_padding=left,
        )  # fmt: skip
        return maps.reshape(*r_above.shape[:-1], math.prod(shape))

    def _sent_change(self, l: int, r: Tensor, d: Tensor, d_above: Tensor) -> tuple[Tensor, Tensor]:
        """Return what changes of rates send up from the layer in place `l`, and down to it."""
        if l >= len(self.kernels) or self.pooling != "max":
            return self._coupled(l, d), self._sent_down(l, r, d_above)
        up = torch.func.jvp(lambda q: self._coupled(l, q), (r,), (d,))[1]
        return up, self._sent_down(l, r, d_above)

    def _linear(self, l: int) -> tuple[Tensor, int]:
        """Return the kernel and the stride of a convolution and the average that is taken of it.

        The mean over places that a window meets one after the other is one meeting of the mean of
        the kernel at these places, so that what is averaged need not be computed first.
        """
        K, p = self.kernels[l], self.pool
        if self.pooling == "none":
            return K, self.stride

        def mean() -> Tensor:
            places = torch.full((1, 1, p, p), 1 / p**2, dtype=K.dtype, device=K.device)
            return F.conv_transpose2d(places, K.flatten(0, 1).unsqueeze(0), stride=self.stride)

        wide = self._constants.of(mean, K)
        return wide.reshape(*K.shape[:2], *wide.shape[-2:]), p * self.stride

    def _rate(self, l: int) -> Activation:
        """Return the activation of the layer in place `l`."""
        return rate_of_layer(self.activation, l)

    def _shape(self, l: int) -> tuple[int, ...]:
        return list(self.shapes.values())[l]

    def _bias(self, l: int) -> Tensor:
        """Return the biases of a layer, one a unit, or one for all."""
        shape, b = self._shape(l), self.biases[l]
        if len(shape) == 3 and b.shape == shape[:1]:
            return b.repeat_interleave(shape[1] * shape[2])
        return b.reshape(-1)

    def _shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shape of each layer, or refuse kernels and weights that do not fit."""
        shapes = [shape]
        for i, K in enumerate(self.kernels):
            if K.ndim != 4 or K.shape[1] != shapes[-1][0]:
                raise ValueError(
                    f"expected kernels[{i}] of shape (channels out, {shapes[-1][0]}, rows, "
                    f"columns), got {tuple(K.shape)}."
                )
            rows, columns = ((n + 2 * self.padding - k) // self.stride + 1 for n, k in
                             zip(shapes[-1][1:], K.shape[2:], strict=True))  # fmt: skip
            if self.pooling != "none":
                rows, columns = rows // self.pool, columns // self.pool
            if min(rows, columns) < 1:
                raise ValueError(
                    f"expected maps that kernels[{i}] and the pooling leave something of, got "
                    f"{shapes[-1]}; use smaller kernels, more padding, or fewer layers."
                )
            shapes.append((K.shape[0], rows, columns))
        for i, W in enumerate(self.weights):
            n = int(np.prod(shapes[-1]))
            if W.ndim != 2 or W.shape[0] != n:
                raise ValueError(
                    f"expected weights[{i}] of shape ({n}, size), got {tuple(W.shape)}."
                )
            shapes.append((W.shape[1],))
        if len(shapes) < 2:
            raise ValueError("expected a kernel or weights, got neither.")
        return shapes

    def _check_biases(self) -> None:
        if len(self.biases) != len(self.shapes):
            raise ValueError(
                f"expected one array of biases for each of the {len(self.shapes)} layers, the "
                f"input too, got {len(self.biases)}."
            )
        for i, (b, shape) in enumerate(zip(self.biases, self.shapes.values(), strict=True)):
            fitting = {(1,), shape, (int(np.prod(shape)),), shape[:1]}
            if tuple(b.shape) not in fitting:
                raise ValueError(
                    f"expected biases[{i}] of shape {shape[:1]} or {shape}, got {tuple(b.shape)}."
                )


def _map_shape(shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return channels, rows and columns, or refuse what is not these three."""
    if not isinstance(shape, list | tuple | torch.Size) or len(shape) != 3:
        raise ValueError(
            f"expected shape as (channels, rows, columns), got {shape!r}; a grey image has 1 "
            "channel."
        )
    return tuple(whole("shape", n, least=1) for n in shape)
