"""What a validation says beside its numbers, on the screen and on its page. Words only."""

BANNER = "Research use only, not for patient management."
STAYS = (
    "All of it is about this hospital's patients, and some numbers are of few of them: it stays "
    "in the hospital."
)
WHICH = {
    "held out": "held-out cases of this hospital, which trained the release with its others",
    "none trained": "cases of this hospital with an outcome, none of which trained the release",
    "training cases among them": "cases of this hospital with an outcome, training cases too",
}
FLATTERS = (
    "{training} of {cases} cases were seen in training. A model looks better on cases it has seen: "
    "every number here flatters. Do not use it to judge the release; run without --all."
)
FEW_DEATHS = (
    "{deaths} of {cases} cases died before {last} months. With fewer than {few} deaths nothing "
    "here can show whether the release is right or wrong; no slope and no recalibration are given."
)
SOME_DEATHS = (
    "{deaths} deaths before {last} months: a validation is usually asked to have {usual} or more. "
    "Read the intervals, not the values."
)
ORDER = (
    "C-index over pairs of this hospital's cases: .5 is chance, 1 is order without error. "
    "Interval: {replicates} bootstrap samples of these cases. The release's own is over pairs "
    "inside one hospital on cases that training never saw{hospitals}. Another mix of patients "
    "alone makes another C-index."
)
NO_PAIR = "No C-index: of no two cases is it known who died first."
NO_RELEASE_C = "The release reports no C-index of its own."
OWN_TOO = ", this hospital's among them"
CALIBRATION = (
    "Mean predicted survival against the Kaplan-Meier estimate with its 95% interval. On the "
    "dotted line predictions are right; below it they are too hopeful."
)
RATIO = (
    "Observed is Kaplan-Meier by whole months. Observed over expected deaths up to that month: "
    "above 1 more die than the release says, below 1 fewer. Intervals are of the observed part "
    "(Greenwood, log-log). A dash: nobody is followed so long, or none or all of the group died, "
    "so that there is no interval."
)
SLOPES = (
    "On the scale of log(-log S). The intercept, with the slope held at 1, is the logarithm of "
    "the deaths that were seen over those expected while cases were followed: 0 is right. The "
    "slope between cases is 1 where predictions are as far apart as outcomes, below 1 where they "
    "are too far apart, 0 where they say nothing (Cox, its baseline left free). The last two are "
    "fitted together, over cases and time, and are what recalibration uses; {recalibrated}."
)
RULE = "With {few} to {most} deaths recalibration is a shift alone, from {slope} on it has a slope"
GROUPS = (
    "Kaplan-Meier estimate of this hospital's cases by the release's groups of risk, cut at {low} "
    "and {high}, with 95% bands (Greenwood, log-log). Below: cases still followed."
)
BRIER = (
    "Mean squared error of predicted survival, weighted for censoring (Graf et al. 1999); smaller "
    "is better. Kaplan-Meier alone gives every case the curve of these same cases: a release that "
    "is not below it does not help here to say who lives how long."
)
NO_BRIER = "Nobody is followed to the first edge of the study."
RECALIBRATION = (
    "Kept apart from the release, which stays as it is: log(-log S') = a + b log(-log S) with "
    "a = {a} and b = {b}, fitted to {deaths} deaths. It moves all predictions of this hospital "
    "alike: nobody changes place with anybody, and the C-index stays as it is. It was fitted to "
    "the very cases of this page, so only later cases can show whether it helps. To see it beside "
    "the release's own survival:"
)
NO_RECALIBRATION = "None was fitted: {why}."
WHY_FEW = "fewer than {few} deaths before the last edge of the study"
WHY_TRAINED = "training cases are among these, on which a release looks better than it is"
LIMITS = (
    (
        "Cases of the past, chosen by who has slides and an outcome here: tomorrow's patients, "
        "scanners, stains and treatments are not among them."
    ),
    (
        "That predictions are right on average, for all or for a group, does not make them right "
        "for one patient."
    ),
    (
        "Intervals and the test hold the luck of the draw of cases, nothing else. Censoring is "
        "taken to be independent of death."
    ),
    (
        "Inside a bin of the study the hazard counts as constant. Beyond {last} months nothing is "
        "predicted, and nothing was compared."
    ),
    "A good validation is no approval: whether the release helps patients needs a trial.",
)
