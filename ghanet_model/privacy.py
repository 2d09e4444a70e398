"""What a private study adds up to: its noise, its budget and its gene panel, from its constants.

Training cases lose epsilon by the rounds; evaluated cases, which are others, by two histograms at
the end. Both kinds may lose the study's whole epsilon.
"""

from functools import lru_cache
from typing import Any

from .accounting import Charge, epsilon_of, plan_noise
from .errors import GenesError
from .genes import GenePanel, candidate_groups
from .private_training import Mechanism
from .study import StudyConfig

HISTOGRAMS = 2  # of evaluated cases: where risks lie, then risk, time and event


def mechanism_of(study: StudyConfig) -> Mechanism:
    """How each round of a study is made private.

    Raises:
        SettingsError: no noise keeps its rounds within its epsilon.
    """
    noise = _noise(
        study.sampling_rate,
        study.rounds * study.private_steps,
        study.epsilon,
        study.delta,
        study.accountant,
    )
    return Mechanism(
        clipping_norm=study.clipping_norm,
        sampling_rate=study.sampling_rate,
        steps=study.private_steps,
        noise=noise,
        nominal_cases=study.nominal_cases,
        class_weights=study.class_weights,
    )


def histogram_charge(study: StudyConfig) -> Charge:
    """What each histogram of evaluated cases costs them."""
    noise = _noise(1.0, HISTOGRAMS, study.epsilon, study.delta, study.accountant)
    return Charge(noise, 1.0, 1)


def epsilon_after(study: StudyConfig, rounds: int) -> float:
    """Epsilon of a training case after so many rounds."""
    one = mechanism_of(study).charge
    spent = Charge(one.noise, one.rate, one.steps * rounds)
    return epsilon_of([spent], delta=study.delta, accountant=study.accountant)


@lru_cache(maxsize=32)
def _noise(rate: float, steps: int, epsilon: float, delta: float, accountant: str) -> float:
    """Planned once for all of it; a second or two where the accountant is PRV."""
    return plan_noise(Charge(0.0, rate, steps), epsilon, delta=delta, accountant=accountant)


def public_panel(study: StudyConfig) -> GenePanel:
    """The gene panel of a private study: every candidate that its public scaling names.

    Raises:
        GenesError: a gene group has no such column.
    """
    known = {column: numbers for column, *numbers in study.scaling}
    groups = tuple(
        (name, tuple(column for column in columns if column in known))
        for name, columns in candidate_groups(study)
    )
    for name, columns in groups:
        if not columns:
            raise GenesError(
                f"gene group '{name}' has no column in {study.gene_scaling or 'gene_scaling'}",
                hint="add at least one of its genes, as SYMBOL_TYPE",
            )
    columns = tuple(sorted({column for _, own in groups for column in own}))
    return GenePanel(
        groups=groups,
        columns=columns,
        centre=tuple(known[column][0] for column in columns),
        scale=tuple(known[column][1] for column in columns),
        clip=study.gene_clip,
    )


def privacy_json(study: StudyConfig) -> dict[str, Any] | str:
    """What a release says of privacy."""
    if not study.is_private:
        return "off"
    mechanism = mechanism_of(study)
    return {
        "epsilon": study.epsilon,
        "delta": study.delta,
        "accountant": study.accountant,
        "unit": "a case with all its slides",
        "adjacency": "one case added or removed",
        "clipping_norm": study.clipping_norm,
        "sampling_rate": study.sampling_rate,
        "steps": study.rounds * study.private_steps,
        "noise": mechanism.noise,
        "evaluation_noise": histogram_charge(study).noise,
    }
