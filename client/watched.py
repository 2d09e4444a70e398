"""Bags of work that may be given up: each is read only while somebody waits for the answer."""

from collections.abc import Callable, Sequence
from typing import overload

from ghanet_model.bag import Bag, Bags


class Watched(Sequence[Bag]):
    """The same bags, with a look before each one."""

    def __init__(self, bags: Bags, require_wanted: Callable[[], None]) -> None:
        """Call ``require_wanted`` before each bag; what it raises ends the work."""
        self._bags, self._require_wanted = bags, require_wanted

    def __len__(self) -> int:
        return len(self._bags)

    @overload
    def __getitem__(self, index: int) -> Bag: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Bag]: ...
    def __getitem__(self, index: int | slice) -> Bag | Sequence[Bag]:
        self._require_wanted()
        return self._bags[index]
