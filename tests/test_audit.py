"""The audit: AUC inside classes of outcome, intervals that are true and narrow enough."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghanet_model.audit import audit
from ghanet_model.errors import TrainingError


def drawn(n=750, gap=0.0, seed=0, classes=6):
    """Scores and classes of members and others, members higher by ``gap`` deviations."""
    rng = np.random.default_rng(seed)
    kinds = [rng.integers(0, classes, n).tolist() for _ in range(2)]
    members, others = (np.array(kind) * 3.0 + rng.standard_normal(n) for kind in kinds)
    return members + gap, others, kinds[0], kinds[1]


def audited(members, others, member_classes, other_classes, **options):
    """The audit of what ``drawn`` gives."""
    return audit(
        members, others, member_classes=member_classes, other_classes=other_classes, **options
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_auc_counts_pairs_inside_classes(m, n, seed):
    """Equal to counting every pair of the same class, ties by half."""
    rng = np.random.default_rng(seed)
    own, rest = rng.integers(0, 6, m), rng.integers(0, 6, n)
    a, b = rng.integers(0, 2, m), rng.integers(0, 2, n)
    pairs = [
        (x > y) + 0.5 * (x == y)
        for x, i in zip(own, a, strict=True)
        for y, j in zip(rest, b, strict=True)
        if i == j
    ]
    if not pairs:
        with pytest.raises(TrainingError, match="no time bin and event"):
            audited(own, rest, a.tolist(), b.tolist())
    else:
        found = audited(own, rest, a.tolist(), b.tolist(), replicates=20)
        assert found.auc == pytest.approx(np.mean(pairs))


def test_a_guess_is_a_guess():
    """Losses that say nothing: the interval holds .5 and is at most .03 to each side."""
    found = audited(*drawn())
    assert found.low < 0.5 < found.high
    assert (found.high - found.low) / 2 <= 0.035
    assert found.members == found.others == 750
    whole = audited(*drawn(1500, seed=3))
    assert (whole.high - whole.low) / 2 <= 0.03


def test_what_differs_by_class_alone_is_no_leak():
    """Members of other outcomes than the others have other losses, and are not told apart."""
    members, others, a, b = drawn(seed=4)
    keep = np.array(a) >= 2
    found = audited(members[keep], others, np.array(a)[keep].tolist(), b)
    assert found.low < 0.5 < found.high


def test_a_leak_is_found():
    """Members that score a deviation higher: AUC .76, far from a guess."""
    found = audited(*drawn(gap=1.0))
    assert found.low > 0.7
    assert found.low < 0.7602 < found.high


def test_intervals_hold_the_truth():
    """Of a hundred samples about 95 intervals do."""
    held = sum(
        found.low <= 0.5 <= found.high
        for found in (audited(*drawn(120, seed=s), seed=s, replicates=300) for s in range(100))
    )
    assert held >= 86


def test_the_same_seed_repeats():
    """An audit of the same scores is the same audit."""
    assert audited(*drawn(100)) == audited(*drawn(100))


def test_what_is_not_finite_is_refused():
    """A model whose loss is no number has nothing to be audited."""
    members, others, a, b = drawn(10)
    members[3] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        audited(members, others, a, b)
