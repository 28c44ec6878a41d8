"""Word lists and sentence patterns of the built-in generator, as data: one TOML file per subject."""
