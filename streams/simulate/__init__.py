"""Labelled traffic for a language-model request bus: ordinary accounts, and some that extract the model.

>>> from streams.simulate import BuiltinPrompts, SimulationSpec, compose
>>> traffic = compose(SimulationSpec(accounts=20, days=1, extraction_share=0.2), BuiltinPrompts())
>>> sorted({label.label for label in traffic.labels})
['benign', 'extraction']
>>> times = [event["time"] for event in traffic]
>>> times == sorted(times)
True
"""

from streams.simulate.compose import COLUMNS, Composition, Label, compose, labels_csv
from streams.simulate.generator import BuiltinPrompts
from streams.simulate.live import LIVE, LiveStream, live
from streams.simulate.prompts import FilePrompts, Limits, PromptFileError
from streams.simulate.repeats import Repeating
from streams.simulate.source import CLASSES, MODES, OTHER_ABUSE, PromptSource
from streams.simulate.spec import CLASS_WEIGHTS, MODE_WEIGHTS, SimulationSpec, SpecError

__all__ = [
    "CLASSES",
    "CLASS_WEIGHTS",
    "COLUMNS",
    "LIVE",
    "MODES",
    "MODE_WEIGHTS",
    "OTHER_ABUSE",
    "BuiltinPrompts",
    "Composition",
    "FilePrompts",
    "Label",
    "Limits",
    "LiveStream",
    "PromptFileError",
    "PromptSource",
    "Repeating",
    "SimulationSpec",
    "SpecError",
    "compose",
    "labels_csv",
    "live",
]
