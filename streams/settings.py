"""Loads the configuration, and says everything that is wrong with it at once.

Defaults, a TOML file, the environment, the command line: each goes over the one before. Environment
variables begin with `EXTRACTION_` and have `__` where a key is nested. Secrets come from the
environment or from files of their own, never from the TOML file.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource

from streams import kafka_properties
from streams.errors import Problem, SettingsError
from streams.kafka_properties import PropertyError
from streams.settings_model import ENV_PREFIX, Settings, is_section

__all__ = ["Settings", "SettingsError", "load_settings"]

CONFIG_VARIABLE = "EXTRACTION_CONFIG"
_OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "EXTRACTION_LOG_LEVEL", "EXTRACTION_LOG_FORMAT"})

# Kubernetes puts these into every container of a namespace with a Service called `extraction-...`.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")


_ENVIRONMENT = "environment variable "
_Sources = Sequence[tuple[Mapping[str, Any], str]]  # what each gives and what to call it, strongest first


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and validate the configuration.

    Parameters
    ----------
    path : Path or None
        TOML file; None takes the one `EXTRACTION_CONFIG` names, if any.
    overrides : mapping or None
        Values over everything else, nested (`{"topics": {"partitions": 4}}`) or dotted
        (`{"topics.partitions": 4}`).

    Raises
    ------
    SettingsError
        With every problem, not only the first.
    """
    problems: list[Problem] = []
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    from_file = {} if path is None else _read_toml(path, problems)
    from_environment = EnvSettingsSource(Settings)()
    problems.extend(_unknown_variables())
    given = _nested(overrides or {})
    sources = [(given, ""), (from_environment, _ENVIRONMENT), (from_file, str(path))]
    tree = _over(_over(from_file, from_environment, problems), given, problems)
    _read_key_file(tree, problems)
    bad: set[str] = {problem.where for problem in problems}
    settings = None
    # What is wrong is taken out and the rest tried again, so that contradictions show as well.
    for _ in range(4):
        try:
            settings = Settings(**tree)
            break
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                problems.extend(_explain(fault, sources, bad))
                _remove(tree, fault["loc"])
    if problems or settings is None:
        raise SettingsError(list(dict.fromkeys(problems)))
    return settings


def _read_toml(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        problems.append(Problem(str(path), f"the configuration file cannot be read: {error.strerror}"))
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), f"is not TOML: {error}"))
        return {}
    if "hash_key" in tree:
        del tree["hash_key"]
        problems.append(
            Problem(
                "hash_key",
                f"is a secret and must not be in {path}",
                f"Set {ENV_PREFIX}HASH_KEY in the environment, or hash_key_file to a file that holds it",
            )
        )
    properties = tree.get("kafka", {}).get("properties") if isinstance(tree.get("kafka"), dict) else None
    if isinstance(properties, dict):
        problems.extend(_remove_secrets(properties, "", path))
    return tree


def _remove_secrets(table: dict[str, Any], prefix: str, path: Path) -> Iterator[Problem]:
    for name in list(table):
        full = f"{prefix}{name}".lower()
        if isinstance(table[name], dict):
            yield from _remove_secrets(table[name], f"{full}.", path)
        elif full in kafka_properties.SECRETS:
            del table[name]
            variable = f"{ENV_PREFIX}KAFKA__PROPERTIES__{full.replace('.', '_').upper()}"
            yield Problem(
                f'kafka.properties."{full}"',
                f"is a secret and must not be in {path}",
                f'Set {variable} in the environment, or "{full}_file" to a file that holds it',
            )


def _unknown_variables() -> list[Problem]:
    """Environment variables of ours whose first part is no key; deeper ones fail in validation."""
    problems = []
    for variable in sorted(os.environ):
        upper = variable.upper()
        if not upper.startswith(ENV_PREFIX) or upper in _OTHER_VARIABLES or _SERVICE_LINK.search(upper):
            continue
        key = upper.removeprefix(ENV_PREFIX).lower()
        first, *deeper = key.split("__")
        field = Settings.model_fields.get(first)
        if field is None or bool(deeper) != is_section(field.annotation):
            dotted = ".".join(key.split("__"))
            problems.append(
                Problem(f"environment variable {variable}", "names no key", _did_you_mean(dotted, env=True))
            )
    return problems


def _keys() -> list[str]:
    """Every key, dotted."""
    keys: list[str] = []
    for name, field in Settings.model_fields.items():
        if is_section(field.annotation):
            section = cast("type[BaseModel]", field.annotation)
            keys.extend(f"{name}.{inner}" for inner in section.model_fields)
        else:
            keys.append(name)
    return keys


def _did_you_mean(key: str, *, env: bool = False) -> str:
    """A known key like this one, also when only its last part is like it (a key in the wrong section)."""
    keys = _keys()
    sections = [name for name, field in Settings.model_fields.items() if is_section(field.annotation)]
    by_leaf = {known.rpartition(".")[2]: known for known in keys}
    near = difflib.get_close_matches(key, [*keys, *sections], n=1, cutoff=0.75)
    leaf = difflib.get_close_matches(key.rpartition(".")[2], by_leaf, n=1, cutoff=0.8)
    if not near and not leaf:
        return "Remove it; docs/configuration.md lists every key"
    best = near[0] if near else by_leaf[leaf[0]]
    if env:
        best = variable_of(best)
    return f"Did you mean {best}?"


def variable_of(key: str) -> str:
    """Environment variable of a dotted key."""
    return ENV_PREFIX + key.replace(".", "__").upper()


def _nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in overrides.items():
        if value is None:
            continue
        inner: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {}
        # Property names have dots themselves, so no more than section and key are split off.
        *sections, last = key.split(".", 2)
        branch: dict[str, Any] = {last: inner if isinstance(value, Mapping) else value}
        for section in reversed(sections):
            branch = {section: branch}
        tree = _merge(tree, branch)
    return tree


def _over(below: Mapping[str, Any], above: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """One source over another. Kafka properties have several spellings, so they are merged by name."""
    merged = _merge(below, above)
    tables = [
        tree["kafka"].get("properties") for tree in (below, above) if isinstance(tree.get("kafka"), Mapping)
    ]
    if len(tables) == 2 and all(isinstance(table, Mapping) for table in tables):
        try:
            merged["kafka"]["properties"] = kafka_properties.merge(*tables)
        except PropertyError as error:
            problems.append(Problem(f'kafka.properties."{error.name}"', str(error), error.fix))
            merged["kafka"].pop("properties")
    return merged


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _remove(tree: dict[str, Any], location: Sequence[int | str]) -> None:
    """Take the value at a location out, as deep as the location exists in the tree."""
    at: Any = tree
    for part in location[:-1]:
        if not isinstance(at, dict) or not isinstance(at.get(cast("str", part)), dict):
            break
        at[part] = dict(at[part])  # the sources keep their own
        at = at[part]
    else:
        if location and isinstance(at, dict):
            at.pop(location[-1], None)
        return
    if isinstance(at, dict):
        at.pop(part, None)


def _read_key_file(tree: dict[str, Any], problems: list[Problem]) -> None:
    file = tree.get("hash_key_file")
    if not file:
        return
    if tree.get("hash_key"):
        problems.append(Problem("hash_key_file", "is set, and hash_key too", "Keep one of them"))
        return
    try:
        tree["hash_key"] = Path(str(file)).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:  # not there, not UTF-8, no path at all
        problems.append(Problem("hash_key_file", f"{file} cannot be read: {error}"))
        return
    if not tree["hash_key"]:
        problems.append(Problem("hash_key_file", f"{file} is empty"))


def _explain(fault: Any, sources: _Sources, bad: set[str]) -> Iterator[Problem]:
    """Say in plain words what is wrong, where it was said, and what would be right."""
    context = fault.get("ctx", {})
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location[:2])
    if fault["type"] == "contradictions":
        # A contradiction with a value that is wrong in itself would only confuse.
        yield from (problem for keys, problem in context["found"] if not bad.intersection(keys))
        return
    bad.add(key)
    origin = _origin(location, sources)
    if fault["type"] == "extra_forbidden":
        yield Problem(key.strip(".") or '""', f"no such key{origin}", _did_you_mean(key))
    elif fault["type"] == "kafka_property":
        where = f'kafka.properties."{context["name"]}"' if context["name"] else "kafka.properties"
        yield Problem(where, f"{context['text']}{origin}", context["fix"])
    else:
        secret = key in ("hash_key", "kafka.properties")
        given = "" if secret else f"{_show(fault['input'])} "
        yield Problem(key, f"{given}{_in_words(fault)}{origin}", _what_is_right(key))


def _origin(location: Sequence[str], sources: _Sources) -> str:
    for tree, name in sources:
        at: Any = tree
        for part in location[:2]:
            at = at.get(part) if isinstance(at, Mapping) else None
        if at is not None:
            variable = variable_of(".".join(location[:2])) if name == _ENVIRONMENT else ""
            return f" ({name}{variable})" if name else ""
    return ""


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


_WORDS = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is not text",
    "model_type": "is not a table",
    "tuple_type": "is not a list",
    "timezone_aware": "has no time zone",
    "greater_than": "is too small: it must be more than {gt}",
    "greater_than_equal": "is too small: it must be at least {ge}",
    "less_than": "is too large: it must be less than {lt}",
    "less_than_equal": "is too large: it must be at most {le}",
    "string_pattern_mismatch": "may hold only letters, digits, '.', '_' and '-', and not be too long",
    "literal_error": "is not one of {expected}",
}


def _in_words(fault: Any) -> str:
    words = _WORDS.get(fault["type"])
    if words is not None:
        return words.format(**fault.get("ctx", {}))
    if fault["type"].startswith(("datetime", "timezone")):
        return "is not a time like 2020-01-01T00:00:00Z"
    message = str(fault["msg"])
    return message[:1].lower() + message[1:]


def _field(key: str) -> Any:
    section, _, name = key.rpartition(".")
    fields = Settings.model_fields
    if section:
        outer = fields.get(section)
        if outer is None or not is_section(outer.annotation):
            return None
        fields = cast("type[BaseModel]", outer.annotation).model_fields
    return fields.get(name)


def _what_is_right(key: str) -> str:
    field = _field(key)
    if field is None or not field.description:
        return ""
    default = field.default
    text = " ".join(field.description.split())
    known = default is not None and not field.is_required() and isinstance(default, str | int | float)
    return text + (f" Default: {default}" if known else "")
