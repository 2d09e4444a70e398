"""Names on the wire: Flower's names of our messages, and the keys inside every message."""

STATISTICS, ROUND, DELIVERY = "statistics", "round", "delivery"
MESSAGE_TYPES = {
    STATISTICS: "query.statistics",
    ROUND: "train.round",
    DELIVERY: "query.delivery",
}
RELEASE, RECALL = "release", "recall"  # what a delivery brings
PRIVATE_CASES = 1  # of every answer of a private round, whatever the cohort's size
FEW_CASES = "few_cases"  # why a site gives no sum
VALUES, ARRAYS, BLOB, ERROR = "values", "arrays", "safetensors", "error"
