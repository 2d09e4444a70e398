"""Names on the wire: Flower's names of our messages, and the keys inside every message."""

STATISTICS, ROUND, DELIVERY = "statistics", "round", "delivery"
MESSAGE_TYPES = {
    STATISTICS: "query.statistics",
    ROUND: "train.round",
    DELIVERY: "query.delivery",
}
RELEASE, RECALL = "release", "recall"  # what a delivery brings
ARRIVAL_SECONDS = 0.05  # until the second look for a part of a message; Flower's own is 1 s
PRIVATE_CASES = 1  # of every answer of a private round, whatever the cohort's size
FEW_CASES = "few_cases"  # why a site gives no sum
VALUES, ARRAYS, BLOB, ERROR = "values", "arrays", "safetensors", "error"
