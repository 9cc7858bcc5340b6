r"""Networks whose force is not a gradient: couplings that differ in the two directions."""

from __future__ import annotations

from typing import NoReturn

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ctebm.pairwise import DenseNetwork, check_self_coupling, finite_tensor

__all__ = ["AsymmetricNetwork"]


class AsymmetricNetwork(DenseNetwork):
    r"""The force of eq. 6 with :math:`W_{ij} \ne W_{ji}`, the coupling from unit `j` to unit `i`.

    .. math:: f_i(s) = \rho'(s_i)\,\bigl(b_i + \sum_j W_{ij}\rho(s_j)\bigr) - s_i

    No energy has this force; :attr:`is_gradient` is False, and what needs an energy or a Hessian
    raises ValueError. Motion, equilibria and :func:`ctebm.linearize` (complex eigenvalues of the
    Jacobian) are there.

    Parameters
    ----------
    weight : array, (unit, unit)
        With zero diagonal.
    bias, activation, layers, dtype
        As in :class:`~ctebm.DenseNetwork`.
    """

    is_gradient = False

    def coupling(self, r: Tensor) -> Tensor:
        return r @ self.weight.mT

    def _current(self, r: Tensor) -> Tensor:
        return self.bias + self.coupling(r)

    def jacobian(self, s: Tensor) -> Tensor:
        s = self.as_state(s)
        slope = self.activation.derivative(s)
        bend = self.activation.second_derivative(s) * self.current(s)
        coupled = slope.unsqueeze(-1) * self.weight * slope.unsqueeze(-2)
        return torch.diag_embed(bend - 1) + coupled

    def energy(self, s: Tensor) -> NoReturn:
        _refuse("an energy")

    def energy_and_force(self, s: Tensor) -> NoReturn:
        _refuse("an energy")

    def potential(self, s: Tensor) -> NoReturn:
        _refuse("a potential")

    def hessian(self, s: Tensor) -> NoReturn:
        _refuse("a Hessian")

    def hessian_operator(self, s: Tensor) -> NoReturn:
        _refuse("a Hessian")

    def _read(self, weight: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
        tensor = finite_tensor(weight, "the weights", dtype)
        check_self_coupling(tensor)
        return tensor


def _refuse(what: str) -> NoReturn:
    raise ValueError(
        f"asymmetric couplings have no {what.split()[-1]}: their force is not a gradient; use "
        "jacobian, or DenseNetwork with the symmetric part (W + W')/2."
    )
