"""The question for a rehearsal: how long a round takes at a hospital, and how many cases it is on.

The hospital does what a round does with a few of its cases and a model of the study's size, and
throws the model away. What leaves are numbers of cases and seconds, worked out for all cases.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from .errors import ProtocolError
from .evaluation import flag_of
from .genes import GenePanel, candidate_columns, candidate_groups
from .question import Shapes, Sums, require_counts, require_keys, require_large
from .study import StudyConfig

SIZES = ("cases", "training", "with_genes", "evaluated")  # with_genes: of the training cases
SECONDS = ("training", "evaluation")  # of one round, all its epochs


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The question; its parts are what a round would ask."""

    topic: ClassVar[str] = "rehearsal"
    trains: bool
    genes: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any], study: StudyConfig) -> Self:  # noqa: ARG003
        """Read what ``to_json`` wrote."""
        require_keys(value, ("trains", "genes"), cls.topic)
        return cls(flag_of(value["trains"], cls.topic), flag_of(value["genes"], cls.topic))

    def to_json(self) -> dict[str, Any]:
        """The question as JSON."""
        return {"trains": self.trains, "genes": self.genes}

    def shapes(self, study: StudyConfig) -> Shapes:  # noqa: ARG002
        """Numbers of cases, 0 where they are a few; seconds; megabytes of feature files."""
        return {"sizes": (len(SIZES),), "seconds": (len(SECONDS),), "megabytes": (1,)}

    def require_possible(self, sums: Sums, study: StudyConfig) -> None:  # noqa: ARG002
        """Parts of the cases, and seconds for those only that there are."""
        require_counts(sums, ("sizes",))
        cases, training, with_genes, evaluated = sums["sizes"]
        training_seconds, evaluation_seconds = sums["seconds"]
        if (
            max(training, evaluated) > cases
            or (self.trains and training + evaluated > cases)
            or with_genes > training
            or (training and not self.trains)
            or (with_genes and not self.genes)
            or min(sums["seconds"].min(), sums["megabytes"][0]) < 0
            or (training_seconds and not training)
            or (evaluation_seconds and not cases)
        ):
            raise ProtocolError("message has a rehearsal that no hospital can have had")

    def require_enough(self, sums: Sums, least: int) -> None:
        """No small number of cases."""
        require_large(sums, ("sizes",), least)

    def cases(self, sums: Sums) -> int:
        """All of them."""
        return int(sums["sizes"][0])


def stand_in_panel(study: StudyConfig, columns: Collection[str] | None = None) -> GenePanel:
    """A panel of the size that a model will have, before the real one is known; it scales nothing.

    Args:
        study: names groups and their candidate columns.
        columns: those that are measured everywhere; None: all of them.

    Raises:
        GenesError: a group without any.
    """
    known = candidate_columns(study) if columns is None else columns
    groups = tuple(
        (name, tuple(column for column in candidates if column in known))
        for name, candidates in candidate_groups(study)
    )
    used = tuple(sorted({column for _, own in groups for column in own}))
    return GenePanel(groups, used, (0.0,) * len(used), (1.0,) * len(used), study.gene_clip)
