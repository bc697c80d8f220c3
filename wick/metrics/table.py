"""All metrics with what computes them, in the order of the schema. Pure. A new family's file is imported here."""

from typing import Final

from wick.metrics import flow, momentum, shape, trend, volatility
from wick.metrics.fields import FIELDS as FIELDS
from wick.metrics.fields import NAMES as NAMES
from wick.metrics.registry import Metric, declared

FAMILIES: Final = (shape, flow, momentum, trend, volatility)
METRICS: Final[tuple[Metric, ...]] = declared()

assert tuple(field for one in METRICS for field in one.fields) == FIELDS, "each field is computed once, in that order"
