"""Writes settings as TOML; the standard library only reads it."""

import datetime as dt
import json
import re
from collections.abc import Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write_toml(tree: Mapping[str, object], *, hidden: str) -> str:
    """TOML of plain values and tables; values equal to `hidden` become comments."""
    return "\n".join(_table(tree, (), hidden)).strip() + "\n"


def _table(tree: Mapping[str, object], path: tuple[str, ...], hidden: str) -> list[str]:
    lines = [f"[{'.'.join(map(_key, path))}]"] if path else []
    tables = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            tables.append((name, value))
        elif value == hidden:
            lines.append(f"# {_key(name)}: {hidden}")
        else:
            lines.append(f"{_key(name)} = {_value(value)}")
    for name, value in tables:
        if value:
            lines.extend(["", *_table(value, (*path, name), hidden)])
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON lets through.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, str):
        return _string(value)
    raise TypeError(f"{type(value).__name__} has no form in TOML here")
