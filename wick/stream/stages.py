"""The stages of a tick's way and the figures of each, as stats have them and status and /metrics show them. Pure."""

from typing import Final

STAGES: Final = ("venue", "feed", "queue", "publish")
FIGURES: Final = ("mean", "p99", "max")

Figures = list[float | None]  # of each of STAGES the FIGURES in ms; None where nothing was sampled
