"""From request events to observations: everything that needs the text of a prompt."""

from detectors.observe.marks import MARKS
from detectors.observe.observer import FEATURE_VERSION, Observer

__all__ = ["FEATURE_VERSION", "MARKS", "Observer"]
