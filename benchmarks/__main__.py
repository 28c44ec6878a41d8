"""`python -m benchmarks`: what `make bench` runs."""

from benchmarks.bench_pipeline import main

main()
