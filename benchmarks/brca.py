"""Fed-TCGA-BRCA: clinical covariates of six centres, split into training and test cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ghanet_model.errors import SettingsError

OUTCOME, FILES = ["pid", "E", "T"], ("brca.csv", "train_test_split.csv")


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Some cases of the data set."""

    x: NDArray[np.float64]  # (n, p) covariates, as the file has them
    time: NDArray[np.float64]  # (n,) days
    event: NDArray[np.bool_]  # (n,) died
    centre: NDArray[np.int_]  # (n,)

    def only(self, chosen: NDArray[np.bool_]) -> "Cases":
        """Some of them, (n,)."""
        return Cases(self.x[chosen], self.time[chosen], self.event[chosen], self.centre[chosen])

    def centres(self) -> list["Cases"]:
        """Those of each centre."""
        return [self.only(self.centre == centre) for centre in np.unique(self.centre)]

    def __str__(self) -> str:
        return f"{len(self.time)} ({self.event.sum()} deaths)"


def read_cases(folder: Path) -> tuple[list[str], Cases, Cases]:
    """Names of covariates, training and test cases; cases that are in no split are left out.

    Raises:
        SettingsError: the folder does not hold the data set.
    """
    try:
        table, split = (pd.read_csv(folder / name) for name in FILES)
        names = [name for name in table.columns if name not in OUTCOME]
        both = table.merge(split, on="pid", validate="one_to_one")
        both[["fold", "centre"]] = both["fold2"].str.split("_", expand=True)
        both = both.astype({**dict.fromkeys([*names, "T", "E"], float), "centre": int})
    except (FileNotFoundError, KeyError, ValueError) as error:
        what = f"{folder}: no Fed-TCGA-BRCA ({error})"
        raise SettingsError(what, hint=f"--data FOLDER with {' and '.join(FILES)}") from None
    return names, *(_cases(both[both["fold"] == fold], names) for fold in ("train", "test"))


def _cases(rows: "pd.DataFrame", names: Sequence[str]) -> Cases:
    time, event = rows["T"].to_numpy(float), rows["E"].to_numpy(float) == 1
    return Cases(rows[names].to_numpy(float), time, event, rows["centre"].to_numpy(int))
