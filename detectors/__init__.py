"""Detection of model extraction in request streams: events in, findings out, no I/O."""

__version__ = "0.1.0"
