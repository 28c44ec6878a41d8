"""Builds the reference population that ships with the program: what `make profile` runs."""

import argparse
from pathlib import Path

from streams.profile import build_profile

SHIPPED = Path(__file__).parent.parent / "detectors" / "profiles" / "default.json"


def main() -> None:
    """Fit and write the profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--prompts", type=Path, help="folder with prompt files; without, built-in traffic alone"
    )
    parser.add_argument("--name", default="default-5", help="version of the profile, named on every alert")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    profile = build_profile(options.prompts, version=options.name)
    options.out.write_bytes(profile.encode())
    for source in profile.provenance.sources:
        size = f"{source.accounts:>6} accounts {source.exchanges:>9} exchanges"
        print(f"{source.name:<28} {size}  {source.licence}")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
