"""Reference populations that ship with the release."""
