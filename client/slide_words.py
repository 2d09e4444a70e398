"""What the report of a slide says beside its numbers. Words only."""

BANNER = "Research use only, not for patient management."
UNCHECKED = (
    "Not checked: whether this slide is like those that the model was trained on. Another "
    "stain, scanner, organ or disease gives an answer all the same."
)
USUAL = (
    "This slide is like those of {cases} training cases, as far as its patches' numbers tell: no "
    "distance is more than {most} deviations from theirs. Another organ or disease whose patches "
    "look alike would pass too."
)
UNUSUAL = "This slide is unlike the training slides in {far}."
HIDDEN = (
    "So no number is shown: the model was never tried on such slides. Another stain, scanner, "
    "organ, magnification or a small biopsy may be why."
)
SHOWN_ANYWAY = "Numbers are shown because that was asked for: the model was never tried on such."
NOT_SHOWN = "Not shown: the slide is unlike the training slides."
DEMONSTRATION_GATE = (
    "The encoder is a demonstration: nothing on this page may be believed of a patient's slide."
)
CUTOFFS = (
    "Cut at risks {low} and {high}, set before any evaluation case was looked at. Two "
    "patients in different groups may not differ."
)
PERCENTILE = (
    "Percentile: of 100 training cases, so many have a lower risk. Hospitals tell risks in boxes "
    "that hold at least as many cases as may be told, hence two numbers."
)
NO_PERCENTILE = "Percentile among training cases: not reported by this release."
ARMS = {
    "federated": "slide alone",
    "clinical": "age, sex, grade and stage",
    "stacked": "both together",
}
SIDE_BY_SIDE = (
    "Percentile: of 100 cases that the model was fitted to, so many have a lower risk by it. "
    "Hazard ratio: against a patient at the mean of these; for the slide alone there is none. "
    "C-index: of that model on evaluated cases, see below. What is not known of the patient is "
    "taken as the mean. Where the two differ, neither is known to be right."
)
SURVIVAL = (
    "Predicted probability to be alive. Inside a bin of the study the hazard is constant; "
    "beyond {last} months nothing is estimable."
)
NO_BAND = (
    "There is no band: the release holds one model, and says nothing of how others would differ."
)
BAND = (
    "Band: from the smallest to the largest that this model and those of {rounds} of the same "
    "training say, so how far its last rounds still moved the answer. It is not a confidence "
    "interval: another training, other patients or another slide may differ by more."
)
BAND_COLUMN = "range of the last {count} rounds' models"
BAND_LACKS = "The study asked for more: the release lacks the model of {rounds}."
REFERENCE = (
    "Kaplan-Meier estimate of evaluated cases by group of risk, with 95% bands, from sums "
    "of {hospitals}. Below: cases still followed at that month; numbers below 10 are told over a "
    "span of months only, and spread over it here."
)
OWN_GROUP = "This slide's group: {group}."
NO_REFERENCE = "The release holds no curves of its risk groups."
WITHHELD = (
    "The release holds no curves of its risk groups: in every hospital a group had fewer than 10 "
    "deaths or survivors among evaluated cases, and so small numbers stay untold."
)
HEAT_MAP = (
    "Share of the pooled weight by patch, as ranks: yellow the highest, blue the lowest. "
    "A weight says where the model looked, not why, and not that a patch causes anything."
)
NO_HEAT_MAP = "No picture: the answer was made of a feature file, without its slide."
PATCHES = "Patches of the highest weight, then of the lowest."
GENES = (
    "Mean predicted expression of each gene group, in robust standard deviations from the "
    "training hospitals' median. It is a guess from the slide, not a measurement."
)
RELIABILITY = (
    "r: correlation of predicted and measured activity on held-out cases, inside hospitals. Grey: "
    "its interval is not above {least}, do not read the group."
)
NO_RELIABILITY = (
    "How reliable each is on held-out cases is not reported by this release: do not read them."
)
PERFORMANCE = (
    "C-index over pairs of cases inside one hospital, on cases that training never saw, "
    "with 95% intervals: .5 is chance, 1 is order without error. Clinical is a Cox model "
    "of age, sex, grade and stage on the same cases."
)
TRIPOD = (
    "{not_reported} of {of} TRIPOD+AI items are not reported by this release, {in_part} in part "
    "only: its model card names them."
)
NO_TRIPOD = "Which items of TRIPOD+AI this release reports is not known."
NO_PERFORMANCE = "The release reports no comparison with clinical variables."
RECALIBRATED_COLUMN = "alive, recalibrated for this hospital"
RECALIBRATED = (
    "Recalibrated: {what}. It is no part of the release: group of risk, curve and every other "
    "number are the release's own."
)
NOT_RECALIBRATED = "Predictions are not recalibrated for this hospital."
RECALIBRATED_LIMIT = (
    "Recalibration is right for this hospital on average at most; whether it helps was not tried "
    "on cases other than those it was fitted to."
)
LIMITS = (
    "One slide is one sample of a tumour. A patient's other slides may say otherwise.",
    "C-indices are about many pairs of patients; they say little about one.",
    "The model saw no treatment, and its training hospitals' treatment is in its answers.",
)
