"""What signal and noise predict for noisy runs, from a run without noise (N4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ctebm.early_inference.record import Correspondence

__all__ = ["predicted_runs"]


def predicted_runs(quiet: Correspondence, sigma: float, replicates: int) -> dict[str, Tensor]:
    """Predict how well the mean over noisy runs shows the chain gradient.

    The signal is the displacement without noise; the noise is that of units that leak on their own,
    counted over the units that carry a signal, since pinned ones hardly move.

    Parameters
    ----------
    quiet : Correspondence
        Measured without noise.
    sigma : float
        Intensity of the noise.
    replicates : int
        Noisy runs in the mean.

    Returns
    -------
    dict
        ``predicted``, the cosine with the chain gradient, and ``replicates_needed`` for a relative
        error of 1, both ``(sample, eps, save, layer)``.

    Examples
    --------
    >>> import ctebm
    >>> from ctebm.study.noise_prediction import predicted_runs
    >>> net = ctebm.LayeredNetwork.random((3, 4, 2), ctebm.HardSigmoid(), gain=0.3, seed=0)
    >>> quiet = ctebm.correspondence(net, [[0.1, 0.2, 0.3]], [[0.2, -0.2]], eps=0.1)
    >>> few, many = (predicted_runs(quiet, 0.1, n)["predicted"][0, 0, 9, 0] for n in (1, 100))
    >>> bool(0 < few < many < 1)
    True
    """
    import numpy as np
    import torch

    from ctebm.early_inference.noise_laws import noise_variance, predicted_cosine, replicates_needed

    slices, free = quiet.fixed.network.layers.values(), quiet.responsive.double()
    n_units = torch.stack([free[:, w].sum(-1) for w in slices], -1)[:, None, None].cpu().numpy()
    signal = quiet.by_layer(lambda d, _: d.norm(dim=-1), quiet.chain).cpu().numpy()
    clean = quiet.cosine(quiet.chain).cpu().numpy()
    step, eps = quiet.step.numpy()[..., None], quiet.eps.numpy()[:, None, None]
    variance = noise_variance(np.maximum(step, 0), eps, sigma)
    cosine = predicted_cosine(clean, signal, n_units, variance, replicates)
    needed = replicates_needed(signal, n_units, variance, 1.0)
    return {"predicted": torch.as_tensor(cosine), "replicates_needed": torch.as_tensor(needed)}
