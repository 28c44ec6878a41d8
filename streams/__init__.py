"""Everything that touches Kafka, Faust, files, the clock or the environment."""
