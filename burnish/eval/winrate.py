"""Win rates of AlpacaEval from judge preferences: plain, and length-controlled (Dubois et al., arXiv:2404.04475).

A preference is 1 when the baseline wins, 2 when the model wins, and between them as sure as the judge was; 0 or 1.5 is a tie.
Length-controlled win rates say what the judge would have preferred at equal lengths, by a logistic regression per model:

    logit P(model wins | x) = φ tanh(Δ/σ) + ψ γ_x + θ

Δ is the baseline's length less the model's in characters, σ its standard deviation over the model's instructions, γ_x how hard
instruction x is. With φ = 0 the mean over the instructions is the win rate. The published numbers take γ from a joint fit of
2024, and rows of a baseline that was asked to be verbose or concise to pin φ. Both are files of AlpacaEval's authors:

    exact   `controlled`, given those files: scikit-learn's L1 regression with their settings (length_controlled_v1)
    joint   `joint`, without them: γ, and a common φ and ψ that models may leave, fitted to all models at hand. Another estimator,
            so its numbers have another name, lc_winrate_approx

Shapes: M models, X instructions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.errors import DataError, MissingExtra

Floats = NDArray[np.float64]

# Strengths of the normal priors of the joint fit: on γ_x around 0, φ_m around the common φ, ψ_m around 1. Chosen on the 30
# published models in AlpacaEval's repository that are not the baseline: mean distance to their published numbers 0.52 points,
# 0.8 on random halves of them (docs/reference/winrate.md).
PRIOR_GAMMA, PRIOR_PHI, PRIOR_PSI, PRIOR_THETA = 1.0, 20.0, 1.0, 1e-3


@dataclass(frozen=True, slots=True)
class Annotations:
    """One model's judged replies. place: the instruction's number; wins: preference - 1, in [0, 1] or NaN where ungraded.

    shorter: characters of the baseline's reply less the model's.
    """

    model: str
    place: NDArray[np.int64]
    wins: Floats
    shorter: Floats

    @property
    def feature(self) -> Floats:
        """tanh(Δ/σ); 0 where all replies differ by equally much, as the baseline's from itself."""
        spread = float(np.std(self.shorter, ddof=1)) if len(self.shorter) > 1 else 0.0
        return np.tanh(self.shorter / spread) if spread else np.zeros(len(self.shorter))

    @property
    def is_baseline(self) -> bool:
        """True when every reply is a tie of equal length: the baseline against itself."""
        return bool(np.all(self.shorter == 0) and np.all(self.wins == 0.5))


@dataclass(frozen=True, slots=True)
class Gamed:
    """Rows of the baseline asked to be verbose and to be concise, against the baseline: features as in `Annotations`, and γ."""

    wins: Floats
    feature: Floats
    difficulty: Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """The parameters of one model, and P(model wins | x) at equal lengths for each of its instructions."""

    theta: float
    phi: float
    psi: float
    at_equal_length: Floats

    @property
    def win_rate(self) -> float:
        """In per cent."""
        return 100 * float(self.at_equal_length.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean over instructions, in per cent, given the parameters: their own uncertainty is not in it."""
        return _error(self.at_equal_length)


def plain(model: Annotations) -> dict[str, Any]:
    """The counts and plain win rates of a model, in per cent, over the replies that were graded.

    win_rate: mean of preference - 1; discrete_win_rate: the share won, ties as half. standard_error is that of win_rate.
    """
    wins = model.wins[np.isfinite(model.wins)]
    if not len(wins):
        raise DataError(f"{model.model}: none of {len(model.wins):,} replies has a preference, so it has no win rate.")
    won, lost = int((wins > 0.5).sum()), int((wins < 0.5).sum())
    drawn = len(wins) - won - lost
    return {
        "win_rate": 100 * float(wins.mean()), "standard_error": _error(wins), "n": len(wins),
        "ungraded": len(model.wins) - len(wins), "n_wins": won, "n_wins_base": lost, "n_draws": drawn,
        "discrete_win_rate": 100 * (won + drawn / 2) / len(wins),
    }  # fmt: skip


def _error(values: Floats) -> float:
    return 100 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else float("nan")


def controlled(model: Annotations, difficulty: Floats, gamed: Gamed) -> Fit:
    """The published estimator, length_controlled_v1. difficulty: [X] γ by the instruction's number.

    Every row stands twice, with label 1 weighted by its share of wins and label 0 by the rest; gamed rows weigh 0.1 and have
    no θ. L1 without intercept, its strength of ten between 1e-4 and 1e4 by the log-likelihood over 5 folds.
    Raises MissingExtra without scikit-learn, DataError where an instruction has no difficulty.
    """
    _check_places(model, difficulty)
    hard = difficulty[model.place]
    if model.is_baseline:
        return Fit(0.0, 0.0, 0.0, np.full(len(hard), 0.5))
    rows = np.concatenate((
        np.stack((gamed.feature, gamed.difficulty, np.zeros(len(gamed.wins))), axis=1),
        np.stack((model.feature, hard, np.ones(len(hard))), axis=1),
    ))  # fmt: skip
    wins = np.concatenate((gamed.wins, model.wins))
    weights = np.concatenate((np.full(len(gamed.wins), 0.1), np.ones(len(hard))))
    known = np.isfinite(wins)
    phi, psi, theta = _regression(rows[known], wins[known], weights[known])
    return Fit(theta, phi, psi, _logistic(theta + psi * hard))


def _check_places(model: Annotations, difficulty: Floats) -> None:
    missing = [int(place) for place in model.place if place >= len(difficulty) or not np.isfinite(difficulty[place])]
    if missing:
        raise DataError(
            f"{model.model}: instruction {missing[0]} has no difficulty ({len(missing):,} of {len(model.place):,} have none), so the "
            "length-controlled win rate is not defined.\n  Give the file of the benchmark that was judged, or leave it out for the joint fit."
        )


def _regression(rows: Floats, wins: Floats, weights: Floats) -> tuple[float, float, float]:
    try:
        import sklearn
        from sklearn.linear_model import LogisticRegressionCV
        from sklearn.metrics import make_scorer
        from sklearn.model_selection import GroupKFold
    except ModuleNotFoundError as error:
        raise MissingExtra("the published length-controlled win rate", "scikit-learn", "winrate") from error
    count = len(rows)
    share = np.concatenate((wins, 1 - wins))
    twice = np.concatenate((weights, weights))
    with sklearn.config_context(enable_metadata_routing=True):
        score = make_scorer(_log_likelihood, response_method="predict_proba").set_score_request(share=True, weight=True)
        model = LogisticRegressionCV(
            Cs=10, cv=GroupKFold(n_splits=5), scoring=score, l1_ratios=(1.0,), solver="liblinear", fit_intercept=False,
            random_state=123, use_legacy_attributes=False,
        )  # fmt: skip
        model.set_fit_request(sample_weight=True)
        model.fit(
            np.concatenate((rows, rows)), np.repeat([1, 0], count), sample_weight=share * twice,
            groups=np.tile(np.arange(count), 2), share=share, weight=twice,
        )  # fmt: skip
    phi, psi, theta = (float(value) for value in np.ravel(model.coef_))
    return phi, psi, theta


def _log_likelihood(label: Floats, said: Floats, share: Floats, weight: Floats) -> float:
    """Mean weighted log-likelihood of the shares of wins. said: P(label 1)."""
    wins = np.where(label == 1, share, 1 - share)
    said = np.clip(said, 1e-15, 1 - 1e-15)
    return float(np.mean(weight * (wins * np.log(said) + (1 - wins) * np.log(1 - said))))


def joint(models: Sequence[Annotations]) -> dict[str, Fit]:
    """Every model's fit, with the difficulty of instructions learned from all of them. The baseline itself has 50 %.

    The more models, the better γ and φ are known: with one alone they are nearly the prior's.
    """
    from scipy.optimize import minimize

    fitted = [model for model in models if not model.is_baseline]
    fits = {m.model: Fit(0.0, 0.0, 0.0, np.full(len(m.place), 0.5)) for m in models if m.is_baseline}
    if not fitted:
        return fits
    problem = _Joint.of(fitted)
    found = minimize(problem.loss, problem.start(), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    theta, phi, psi, _, gamma = problem.parts(found.x)
    for number, model in enumerate(fitted):
        at = np.searchsorted(problem.places, model.place)
        chance = _logistic(theta[number] + psi[number] * gamma[at])
        fits[model.model] = Fit(float(theta[number]), float(phi[number]), float(psi[number]), chance)
    return fits


@dataclass(frozen=True, slots=True)
class _Joint:
    """Minus the log-posterior of all models. wins, known, feature: [M, X]; places: [X] numbers of the instructions."""

    places: NDArray[np.int64]
    wins: Floats
    known: NDArray[np.bool_]
    feature: Floats

    @classmethod
    def of(cls, models: Sequence[Annotations]) -> _Joint:
        places = np.unique(np.concatenate([model.place for model in models]))
        shape = (len(models), len(places))
        wins, feature = np.full(shape, np.nan), np.zeros(shape)
        for number, model in enumerate(models):
            at = np.searchsorted(places, model.place)
            wins[number, at], feature[number, at] = model.wins, model.feature
        known = np.isfinite(wins)
        return cls(places, np.where(known, wins, 0.0), known, feature)

    def start(self) -> Floats:
        count, size = self.wins.shape
        return np.concatenate((np.zeros(2 * count), np.ones(count), np.zeros(1 + size)))

    def parts(self, values: Floats) -> tuple[Floats, Floats, Floats, float, Floats]:
        """θ [M], φ [M], ψ [M], the common φ, γ [X]."""
        count = len(self.wins)
        theta, phi, psi = (values[i * count : (i + 1) * count] for i in range(3))
        return theta, phi, psi, float(values[3 * count]), values[3 * count + 1 :]

    def loss(self, values: Floats) -> tuple[float, Floats]:
        """The loss and its gradient."""
        theta, phi, psi, common, gamma = self.parts(values)
        logit = theta[:, None] + phi[:, None] * self.feature + psi[:, None] * gamma
        apart, leaves = phi - common, psi - 1
        prior = PRIOR_GAMMA * gamma @ gamma + PRIOR_PHI * apart @ apart + PRIOR_PSI * leaves @ leaves
        loss = ((np.logaddexp(0, logit) - self.wins * logit) * self.known).sum() + prior / 2
        loss += PRIOR_THETA * theta @ theta / 2
        error = (_logistic(logit) - self.wins) * self.known
        return float(loss), np.concatenate((
            error.sum(1) + PRIOR_THETA * theta,
            (error * self.feature).sum(1) + PRIOR_PHI * apart,
            error @ gamma + PRIOR_PSI * leaves,
            [-PRIOR_PHI * apart.sum()],
            psi @ error + PRIOR_GAMMA * gamma,
        ))  # fmt: skip


def between(a: Fit, b: Fit, difficulty: Floats) -> float:
    """The length-controlled win rate of model a over model b in per cent, both fitted against one baseline.

    By differences of their parameters (arXiv:2404.04475, section 4.3). difficulty: γ of the instructions to average over.
    """
    return 100 * float(_logistic(a.theta - b.theta + (a.psi - b.psi) * difficulty).mean())


def _logistic(values: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -values))


def table(
    models: Sequence[Annotations], beside: Sequence[Annotations], difficulty: Floats | None, gamed: Gamed | None
) -> list[dict[str, Any]]:
    """A record per model, by falling length-controlled win rate.

    beside: other models for the joint fit; those of `models` take the place of their namesakes. With `gamed`, the published
    estimator gives length_controlled_winrate; without, the joint fit lc_winrate_approx, with the number of models in it.
    """
    names = {model.model for model in models}
    others = [model for model in beside if model.model not in names]
    if gamed is not None and difficulty is not None:
        fits: Mapping[str, Fit] = {model.model: controlled(model, difficulty, gamed) for model in models}
        name, more = "length_controlled_winrate", {}
    else:
        fits = joint([*models, *others])
        name, more = "lc_winrate_approx", {"models_in_fit": len(models) + len(others)}
    records = [
        {
            "model": model.model, **plain(model), name: fits[model.model].win_rate,
            "lc_standard_error": fits[model.model].standard_error, "phi": fits[model.model].phi, **more,
            "mean_shorter": float(model.shorter.mean()),
        }
        for model in models
    ]  # fmt: skip
    return sorted(records, key=lambda record: (-record[name], record["model"]))
