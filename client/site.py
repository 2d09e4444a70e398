"""Site: a hospital ready to answer one message."""

from collections.abc import Callable
from dataclasses import dataclass

from ghanet_model.study import StudyConfig

from .cache import FeatureCache
from .cohort import Cohort
from .config import SiteConfig
from .features import FeatureFolder, find_features
from .held import Held
from .memory import Memory


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital ready to answer one message."""

    config: SiteConfig
    study: StudyConfig
    memory: Memory  # what outlives the message
    require_wanted: Callable[[], None]  # raises when nobody waits for the answer any more
    notes: list[str]  # about the work, for this hospital's log only
    progress: Callable[[int, int], None] | None = None  # told steps done and steps in all

    @property
    def least(self) -> int:
        """The fewest cases that a sum which leaves may be over."""
        return self.config.policy.least(self.study)

    def cohort(self) -> Cohort:
        """Its cases; refuses tables with a problem."""
        return self.memory.cohort(self.config, self.study)

    def features(self) -> FeatureFolder:
        """Its feature files."""
        return find_features(self.config.features)

    @property
    def cache(self) -> FeatureCache:
        """Features in memory."""
        return self.memory.cache(self.config)

    @property
    def held(self) -> Held:
        """The global weights that it received last."""
        return self.memory.held(self.config)
