"""Errors of the detection layer; each message names the thing that is wrong and the fix."""


class DetectorError(Exception):
    """Base of everything `detectors` raises on purpose."""


class ConfigError(DetectorError, ValueError):
    """A parameter or a profile is outside what the detector can work with."""


class StateError(DetectorError):
    """Saved state cannot be restored: wrong version, wrong shape, or damaged."""


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError` with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)
