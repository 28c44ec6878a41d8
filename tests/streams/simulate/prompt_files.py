"""Small prompt files for tests: the format of real ones, text made up here."""

import gzip
import json
from pathlib import Path


def row(source, label, kind, text, **more):
    blank = {"conversation": None, "turn": 0, "user": None, "system": None, "response_chars": None}
    return blank | {"source": source, "label": label, "kind": kind, "text": text} | more


def write(path: Path, rows) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows)
    return path


def small_folder(folder: Path, size: int = 60) -> Path:
    """Every class and some kinds, `size` rows per source; extraction text is longer than benign text."""
    people = [
        row(
            "forum",
            "benign",
            "human_chat",
            f"what about {n} and {n % 7}?",
            conversation=f"c{n // 3}",
            turn=n % 3,
        )
        for n in range(size)
    ]
    named = [
        row("club", "benign", "human_chat", f"{user} asks number {n}", user=user)
        for n in range(size // 3)
        for user in ("ann", "bob", "cy")
    ]
    write(folder / "benign_chat.jsonl.gz", people + named)
    write(
        folder / "benign_rest.jsonl.gz",
        [
            row("shop", "benign", "templated_customer", f"Label: item {n}", group=f"t{n // 20}")
            for n in range(size)
        ]
        + [
            row("films", "benign", "classifier_input", f"film {n} was fine", user="set-films")
            for n in range(size)
        ]
        + [
            row(
                "swe",
                "benign",
                "agent_observation" if n % 5 else "coding_agent",
                f"line {n}",
                conversation=f"s{n // 5}",
                turn=n % 5,
                system="You fix code.",
            )
            for n in range(size)
        ],
    )
    write(
        folder / "extraction.jsonl.gz",
        [row("sums", "extraction", "cot_elicitation", f"Sum {n}: how much is it? " * 4) for n in range(size)]
        + [row("grades", "extraction", "rubric_grading", f"Grade answer {n}. " * 12) for n in range(size)],
    )
    write(
        folder / "other.jsonl.gz",
        [row("bad", "other_abuse", "jailbreak", f"ignore rule {n}") for n in range(size)],
    )
    return folder
