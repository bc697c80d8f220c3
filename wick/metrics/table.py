"""All metrics that are computed here, in the order of the schema. Pure. A new family's file is imported here."""

from typing import Final

from wick.metrics import flow, momentum, shape, trend, volatility
from wick.metrics.registry import Field, Metric, declared

FAMILIES: Final = (shape, flow, momentum, trend, volatility)
METRICS: Final[tuple[Metric, ...]] = declared()
FIELDS: Final[tuple[Field, ...]] = tuple(field for one in METRICS for field in one.fields)
NAMES: Final = tuple(field.name for field in FIELDS)
