"""What a hospital keeps in memory between messages: only while the files behind it are unchanged.

Settings are small and the folder of features is a list of names: both are read for every message.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghanet_model.study import StudyConfig

from .cache import MEGABYTE, FeatureCache
from .cohort import Cohort, require_cohort
from .config import SiteConfig
from .consent import WITHDRAWN_FILE
from .held import Held

MOST_PREDICTED = 8  # models and choices of cases; a few thousand numbers each
Predicted: TypeAlias = NDArray[np.float64]
SETTLED_SECONDS = 2.0  # a file changed twice within a tick of its clock looks changed once


class Memory:
    """One hospital's memory. What could not be read is not remembered."""

    def __init__(self, *, durable: bool = True) -> None:
        """If not ``durable``, nothing of it is written to a file."""
        self.durable = durable
        self.forget()

    def forget(self) -> None:
        """Read everything again when it is asked for."""
        self._cohort: Cohort | None = None
        self._known_by: object = None
        self._cache = FeatureCache(0)
        self._held: Held | None = None
        self._predicted: dict[tuple[str, str], Predicted] = {}
        self._predicted_of: Cohort | None = None

    def cohort(self, config: SiteConfig, study: StudyConfig) -> Cohort:
        """The cohort of these settings; read again when they or a table have changed.

        Raises:
            CohortError, GenesError, FeaturesError: a table has a problem.
        """
        withdrawn = config.folder / WITHDRAWN_FILE
        stamps = [stamp_of(table) for table in config.tables]
        known_by = (config, study, stamps, withdrawn.exists() and stamp_of(withdrawn))
        if self._cohort is None or known_by != self._known_by:
            self._cohort = None
            self._cohort = require_cohort(config, study)
            self._known_by = known_by  # as it was before reading
        return self._cohort

    def cache(self, config: SiteConfig) -> FeatureCache:
        """Features, within the budget of these settings."""
        budget = config.cache_megabytes * MEGABYTE
        if self._cache.budget != budget:
            self._cache = FeatureCache(budget)
        return self._cache

    def predicted(
        self, cohort: Cohort, key: tuple[str, str], make: Callable[[], Predicted]
    ) -> Predicted:
        """What a model says of some cases of this very cohort; ``key`` is the model and which."""
        if self._predicted_of is not cohort:
            self._predicted, self._predicted_of = {}, cohort
        if key not in self._predicted:
            while len(self._predicted) >= MOST_PREDICTED:
                self._predicted.pop(next(iter(self._predicted)))
            self._predicted[key] = make()
        return self._predicted[key]

    def held(self, config: SiteConfig) -> Held:
        """The global weights that were received last."""
        self._held = self._held or Held(config.folder / "state", durable=self.durable)
        return self._held


def stamp_of(path: Path) -> object:
    """What differs as soon as a file does; of a file changed just now, never the same twice."""
    try:
        found = path.stat()
    except OSError:
        return time.monotonic_ns()
    stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    settled = abs(time.time_ns() - changed) > SETTLED_SECONDS * 1e9
    return stamp if settled else (*stamp, time.monotonic_ns())
