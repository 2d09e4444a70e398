"""What the report says beside its numbers. Words only."""

LATER = "Evaluated after the last round."
NO_COHORT = "The hospitals have not described their cohorts yet."
UNTOLD_NOTE = (
    "Untold: a hospital keeps this cell to itself, because it, or another that could be had from "
    "it, is smaller than the study's minimum of cases. It is not 0. Sums over all hospitals leave "
    "untold cells out and say at how many hospitals. A dash: known for too few cases to say."
)
C_CURVE = (
    "C-index of the federated model on evaluation cases, pairs inside each hospital: every "
    "hospital faint, all by pairs bold. Dotted: chance. It is shown, and chooses nothing."
)
LOSS_CURVE = (
    "Mean negative log-likelihood per case: training loss of every hospital faint, all by cases "
    "bold."
)
VALIDATION_CURVE = " Dashed: on validation cases."
CHOSEN_ROUND = " Circle: the round that is released."
ARMS = {
    "federated": "the released model, trained by all hospitals",
    "alone": "at each hospital the same network, trained on its own cases only",
    "clinical": "Cox model of age, sex, grade and stage, fitted over all hospitals",
    "stacked": "Cox model of the same four and the released model's risk",
}
FOREST = (
    "C-index with 95% interval, over all hospitals and at each. Dotted: chance. Intervals of a "
    "single hospital are wide: the order of models at one hospital is no finding."
)
HOW_C = (
    "C within hospitals is Harrell's C over pairs of cases of one hospital, its pairs added over "
    "hospitals, so each hospital weighs by its pairs. Intervals: {replicates} bootstrap "
    "replicates of cases inside hospitals, the same draws for every model. C over all pairs "
    "compares cases of different hospitals too, from counts on a grid of months and risks; its "
    "brackets are bounds that hold wherever cases lie in their boxes, not an interval. Models "
    "that differ between hospitals have none: their risks do not compare."
)
WITHHELD_GROUPS = (
    "{hospitals} did not tell every group ({where}), because few of its cases there died or few "
    "lived. "
    "Who is missing depends on the outcome, so curves, log-rank test and calibration may be "
    "biased."
)
NO_GROUP = "No group could be told: too few of its cases died, or too few lived, at every hospital."
CUTOFFS = (
    "Groups are cut at risks {low} and {high}, the tertiles of the training cases' risk, fixed "
    "before any evaluation case was looked at."
)
KAPLAN_MEIER = (
    "Kaplan-Meier estimate by month with 95% bands (Greenwood, log-log). Below: cases still "
    "followed at that month, rounded where small numbers are spread over a span of months."
)
CALIBRATION = (
    "Mean predicted survival of a group against its Kaplan-Meier estimate, 95% interval. On the "
    "dotted line predictions are right; below it they are too hopeful."
)
BRIER = (
    "Mean squared error of predicted survival, weighted for censoring (Graf et al. 1999); smaller "
    "is better. Kaplan-Meier alone gives every case the same curve: a model that is not below it "
    "does not help to say who lives how long. Gained: the share of that error that the model "
    "takes away."
)
COX = "Fitted on {cases} training cases, {deaths} deaths, {hospitals}.{left_out}"
HOW_COX = (
    "Each hospital is a stratum with a baseline of its own. Ties: {ties}. Covariates are "
    "standardised by mean and standard deviation (SD) over all hospitals; an unknown value counts "
    "as the mean. Ridge: the total log-likelihood less {half:g} times the sum of squared "
    "coefficients is made largest, which pulls hazard ratios towards 1. Intervals and p are Wald's."
)
SIMILARITY = (
    "Similarity of a hospital's mean features to those of the others, 1 at most. Below {least} "
    "another encoder, magnification or normalisation is likely."
)
NOT_COMPARED = "The hospitals' features have not been compared."
NO_PANEL = "The gene panel is fixed before the first round."
SELECTIONS = {
    "all": "Every column that all hospitals with genes measured and that varies is learnt.",
    "fdr": (
        "Selected by Welch's t-test at a false discovery rate of {gene_selection_level:g}, one "
        "list for all hospitals."
    ),
    "top": (
        "Of each group the {gene_selection_top} columns with the smallest p of Welch's t-test, "
        "one list for all hospitals."
    ),
}
MISSING_NOTE = "What is missing is in no number of this report, unless the number says so."
SUMS = (
    "Every number comes from sums that hospitals sent. Evaluation cases are the held-out ones of "
    "hospitals that train ({held_out:g} of their cases where tables have no split) and all cases "
    "of hospitals that only infer. None of them had a part in training, in the choice of the "
    "round or in the fits."
)
VALIDATION = "A share of {validation:g} of training cases chooses the round and fits the stack."
HORIZONS = "Survival is predicted at {horizons} months and never beyond the last."
SMALL_NUMBERS = (
    "No sum over fewer than {minimum_cases} cases leaves a hospital. Counts on a grid leave with "
    "small cells merged into larger boxes; bounds beside a value say how much that can change it."
)
TIES = (
    "Time is counted in whole months, deaths of a month before its censorings. A pair: one died, "
    "the other was seen alive later or was censored at the same time; two deaths at the same time "
    "are no pair; equal risks count half."
)
TRIAL = (
    "Whether the model helps a patient: that needs a trial. These are cases of the past, chosen "
    "by who has slides."
)
ELSEWHERE = (
    "How good it is elsewhere: every number is of the hospitals above. Those that only infer are "
    "the nearest to external ones."
)
ONE_HOSPITAL = (
    "Which of two models is better at one hospital: intervals of single hospitals are too wide."
)
ONE_CASE = "Anything about a single case: no number is of fewer cases than the minimum above."
TRUTH = (
    "That hospitals told the truth: sums that cannot be are refused, false ones that could be are "
    "not seen."
)
LIMITS = (TRIAL, ELSEWHERE, ONE_HOSPITAL, ONE_CASE, TRUTH)
