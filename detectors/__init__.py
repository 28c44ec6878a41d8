"""Detection of model extraction in request streams: events in, findings out, no input or output of its own."""

__version__ = "0.1.0"
