"""Every error of ours: one root with a hint. Messages name what failed and where, never a case.

GHANetError
├── SettingsError      study.yaml, site.yaml, server.yaml
├── StudyError         a message or file of another study
├── ProtocolError      a message that is not as agreed
├── RefusedError         the other side answered with an error code
├── CohortError        clinical, slides and outcome tables
├── GenesError         gene tables and panels
├── FeaturesError      feature files
├── SlideError         slide images and patch encoders
├── WeightsError       weights and updates that do not fit
├── BehindError        a change of weights that are not held here
├── TrainingError      a round that cannot be trained or has too few sites
├── KeysError          keys and certificates
├── ReleaseError       releases that cannot be made, trusted or used
├── ApprovalError      a study, bundle or distribution that this hospital's IT did not approve
├── GateError          an answer that may not leave the hospital
├── BudgetError        a release that this hospital's privacy budget does not allow
├── LeftError          asked something of a hospital that has left the study
├── LedgerError        a ledger that cannot be written or was changed
└── DeploymentError    processes, ports, connections

``code`` is all that may cross the network about an error; message and hint stay where they arose.
"""


class GHANetError(Exception):
    """Root of our errors: a message (what, where) and a hint (what to do)."""

    code = "failed"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(GHANetError):
    """A settings file is missing, unreadable, or says something impossible."""

    code = "settings"


class StudyError(GHANetError):
    """A message, checkpoint or release belongs to another study."""

    code = "study"


class ProtocolError(GHANetError):
    """A message lacks something, or holds something it must not."""

    code = "protocol"


class RefusedError(GHANetError):
    """The other side answered with an error code; the message is that code."""

    code = "refused"


class CohortError(GHANetError):
    """A clinical or slides table cannot be used."""

    code = "cohort"


class GenesError(GHANetError):
    """A gene table or gene panel cannot be used."""

    code = "genes"


class FeaturesError(GHANetError):
    """A feature file is missing, damaged or of another encoder."""

    code = "features"


class SlideError(GHANetError):
    """A slide image cannot be read or cut, or an encoder cannot be used."""

    code = "slides"


class WeightsError(GHANetError):
    """Weights or an update do not fit the model they claim to belong to."""

    code = "weights"


class BehindError(GHANetError):
    """A change builds on weights that this hospital does not hold; it needs them whole."""

    code = "behind"


class TrainingError(GHANetError):
    """A round cannot be trained or aggregated."""

    code = "training"


class KeysError(GHANetError):
    """A key or certificate is missing, unreadable or of another kind."""

    code = "keys"


class ReleaseError(GHANetError):
    """A release cannot be made, trusted or used."""

    code = "release"


class DeploymentError(GHANetError):
    """A process, port or connection is not as it should be."""

    code = "deployment"


class ApprovalError(GHANetError):
    """A study, bundle or installed distribution that this hospital did not approve."""

    code = "unapproved"


class GateError(GHANetError):
    """An answer that may not leave the hospital."""

    code = "gate"


class BudgetError(GHANetError):
    """The privacy budget of a cohort does not allow what was asked for."""

    code = "budget"


class LeftError(GHANetError):
    """The hospital has left the study and answers no more."""

    code = "left"


class LedgerError(GHANetError):
    """A ledger cannot be written, or is not as it was written."""

    code = "ledger"
