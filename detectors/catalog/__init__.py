"""One detector per file; `detectors.registry` lists them."""
