"""`python -m deploy`: writes the generated files of this directory; `make docs` runs it."""

from collections.abc import Callable
from pathlib import Path

from deploy import dashboard, strimzi

HERE = Path(__file__).parent


def _rules() -> str:
    return (HERE / "prometheus/rules.yml").read_text(encoding="utf-8")


FILES: dict[str, Callable[[], str]] = {
    "grafana/extraction-detector.json": dashboard.text,
    "strimzi/topics.yaml": strimzi.topics_text,
    "strimzi/users.yaml": strimzi.users_text,
    # A chart can only read files inside its own directory.
    "helm/extraction-detector/files/rules.yml": _rules,
    "helm/extraction-detector/files/dashboard.json": dashboard.text,
}
"""Path in this directory -> what writes it."""


def main() -> None:
    """Write every generated file."""
    for name, write in FILES.items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(), encoding="utf-8")


if __name__ == "__main__":
    main()
