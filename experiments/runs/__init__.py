"""Run directories as they are read: what they hold, what they are called, which belong together."""

from experiments.runs.families import ancestors, in_families
from experiments.runs.index import Row, frame, rows
from experiments.runs.reading import Frame, Run, find, read

__all__ = ["Frame", "Row", "Run", "ancestors", "find", "frame", "in_families", "read", "rows"]
