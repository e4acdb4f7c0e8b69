"""Bradley-Terry strengths of several samplers from pairwise wins, with ties.

Davidson's (1970) model of paired comparisons: i beats j, j beats i and a tie have chances in the
ratio s_i : s_j : t sqrt(s_i s_j). Its likelihood is concave in log s and log t, and Newton's method
solves it, for all resamples of a bootstrap at once.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PSEUDO = 1 / 3
_STEPS = 50
_ROUNDING = 1e-10


def fit(counts: Array, players: int) -> Array:
    """Fitted log strengths [..., players] of Davidson's model, their sum zero.

    `counts` [..., pairs, 3] are wins of the first, ties and wins of the second for all pairs of
    players, (0, 1), (0, 2), ... (1, 2), ...; they may be shares. One more comparison of each pair,
    a third of it each way, keeps strengths finite where a player always wins.
    """
    return _fit(np.asarray(counts, np.float64) + _PSEUDO, players)


def _fit(counts: Array, players: int) -> Array:
    """The maximum of Davidson's likelihood; all `counts` are above 0."""
    pairs = list(combinations(range(players), 2))
    design = np.zeros((len(pairs), 3, players + 1))
    for at, (i, j) in enumerate(pairs):
        design[at, 0, i] = design[at, 2, j] = 1
        design[at, 1, [i, j]] = 0.5
        design[at, 1, players] = 1
    total = counts.sum(-1, keepdims=True)
    shift = np.zeros((players + 1, players + 1))
    shift[:players, :players] = 1.0  # strengths have no origin: hold their sum
    theta = np.zeros((*counts.shape[:-2], players + 1))
    for _ in range(_STEPS):
        utility = np.einsum("pkc,...c->...pk", design, theta)
        chance = np.exp(utility - utility.max(-1, keepdims=True))
        chance /= chance.sum(-1, keepdims=True)
        slope = np.einsum("...pk,pkc->...c", counts - total * chance, design)
        weighted = np.einsum("...pk,pkc->...pc", chance, design)
        curve = np.einsum("...pk,pkc,pkd->...cd", total * chance, design, design)
        curve -= np.einsum("...p,...pc,...pd->...cd", total[..., 0], weighted, weighted)
        step = np.linalg.solve(curve + shift, slope[..., None])[..., 0]
        theta += np.clip(step, -1, 1)
        if np.abs(step).max() < _ROUNDING:
            break
    strengths = theta[..., :players] - theta[..., :players].mean(-1, keepdims=True)
    return np.where(np.abs(strengths) < _ROUNDING, 0.0, strengths)


def bootstrap(by_prompt: Array, players: int, draws: int = 1000, seed: int = 0) -> Array:
    """Bayesian bootstrap (Rubin 1981) of `fit`: log strengths [draws, players].

    `by_prompt` [prompts, pairs, 3] are the counts of each prompt, of equal weight. Every draw gives
    prompts weights of a Gamma distribution with the variance of a sample mean, and pseudo-counts of
    Gamma(1/3) in place of the third that `fit` adds. So intervals have a width where one player
    always wins, too, and the prompts that would show otherwise may only not have been seen.

    Measured, at 10 prompts, three to five players whose log strengths lie up to 6 apart: 95 %
    intervals cover in 94 to 97 %, at 30 in 93 to 96 %. Prompts drawn with replacement and fixed
    pseudo-counts cover in 72 to 90 % at 10, and have no width where one player always wins.
    """
    random = np.random.default_rng(seed)
    prompts, pairs, _ = by_prompt.shape
    shape = max(prompts - 2, 1) / prompts  # the mean of m such has the variance s^2 / m
    weights = random.gamma(shape, size=(draws, prompts))
    weights *= prompts / weights.sum(1, keepdims=True)
    pseudo = random.gamma(_PSEUDO, size=(draws, pairs, 3))
    return _fit(np.einsum("dm,mpk->dpk", weights, by_prompt) + pseudo, players)
