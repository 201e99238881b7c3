"""What draws the settings of a trial: Optuna's tree-structured Parzen estimator (TPE), after some at random. No torch.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; multivariate as in Falkner et al., "BOHB",
ICML 2018. A draw is a function of the seed and of what is known: nothing is kept between two, so a search that was killed
goes on as if it had not been. Optuna's own pruners are not used: they decide while a trial runs, let the first ones
through whatever they score, and cannot take up again what they stopped (see `tuning`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from seqdis.bench.plan.space import Dimension, Place

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

AT_RANDOM = 10
"""The first trials, from which TPE learns."""
NAME = f"Optuna's multivariate TPE after {AT_RANDOM} random trials"

Places = Mapping[str, Place]


def draw(
    searched: Sequence[Dimension], known: Iterable[tuple[Places, float]], running: Iterable[Places], seed: int
) -> dict[str, Place]:
    """Where in the space the next trial lies, by setting.

    Args:
        searched: the dimensions.
        known: places of earlier trials, and their scores, of which higher is better.
        running: places whose scores are not known yet; TPE keeps away from them.
        seed: of this draw.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=AT_RANDOM, multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    kinds = {one.key: _distribution(one) for one in searched}
    for places, score in known:
        study.add_trial(create_trial(params=dict(places), distributions=kinds, value=score))
    for places in running:
        study.add_trial(create_trial(params=dict(places), distributions=kinds, state=TrialState.RUNNING))
    return dict(study.ask(kinds).params)


def _distribution(searched: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if searched.values:
        last = len(searched.values) - 1
        return IntDistribution(0, last) if searched.is_ordered else CategoricalDistribution(tuple(range(last + 1)))
    if searched.is_whole:
        return IntDistribution(int(searched.low), int(searched.high), log=searched.is_log)
    return FloatDistribution(searched.low, searched.high, log=searched.is_log)
