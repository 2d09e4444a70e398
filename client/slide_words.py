"""What the report of a slide says beside its numbers. Words only."""

BANNER = "Research use only, not for patient management."
UNCHECKED = (
    "Not checked: whether this slide is like those that the model was trained on. Another "
    "stain, scanner, organ or disease gives an answer all the same."
)
DEMONSTRATION_GATE = (
    "The encoder is a demonstration: nothing on this page may be believed of a patient's slide."
)
CUTOFFS = (
    "Cut at risks {low} and {high}, set before any evaluation case was looked at. Two "
    "patients in different groups may not differ."
)
NO_PERCENTILE = "Percentile among training cases: not reported by this release."
SURVIVAL = (
    "Predicted probability to be alive. Inside a bin of the study the hazard is constant; "
    "beyond {last} months nothing is estimable."
)
NO_BAND = (
    "There is no band: the release holds one model, and says nothing of how others would differ."
)
REFERENCE = (
    "Kaplan-Meier estimate of evaluated cases by group of risk, with 95% bands, from sums "
    "of {hospitals}; numbers below 10 stay untold. This slide's group: {group}."
)
NO_REFERENCE = "The release holds no curves of its risk groups."
HEAT_MAP = (
    "Share of the pooled weight by patch, as ranks: yellow the highest, blue the lowest. "
    "A weight says where the model looked, not why, and not that a patch causes anything."
)
NO_HEAT_MAP = "No picture: the answer was made of a feature file, without its slide."
PATCHES = "Patches of the highest weight, then of the lowest."
GENES = (
    "Mean predicted expression of each gene group, in robust standard deviations from the "
    "training hospitals' median. How reliable each is on held-out cases is not reported "
    "by this release: do not read it as a measurement."
)
PERFORMANCE = (
    "C-index over pairs of cases inside one hospital, on cases that training never saw, "
    "with 95% intervals: .5 is chance, 1 is order without error. Clinical is a Cox model "
    "of age, sex, grade and stage on the same cases."
)
NO_PERFORMANCE = "The release reports no comparison with clinical variables."
LIMITS = (
    "One slide is one sample of a tumour. A patient's other slides may say otherwise.",
    "Predictions are not recalibrated for this hospital.",
    "C-indices are about many pairs of patients; they say little about one.",
    "The model saw no treatment, and its training hospitals' treatment is in its answers.",
)
