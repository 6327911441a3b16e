"""From routing.yaml, the environment and the command line to one checked :class:`Config`.

What a setting means and its default stand in :mod:`gateway.config`; here is only how they are read.
Later sources win: file, ``WAYPOST_*``, command line. Every error says where the value stands.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec
import yaml
from msgspec.structs import fields, replace

from gateway.checks import Places, check
from gateway.config import Config
from gateway.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_FILE: Final = "routing.yaml"
PREFIX: Final = "WAYPOST_"
OTHER_VARIABLES: Final = frozenset(
    {
        "WAYPOST_OPERATOR_TOKEN",
        "WAYPOST_SECRETS_KEY",
        "WAYPOST_API",
        "WAYPOST_TOKEN",
        "WAYPOST_API_TOKEN",
    }
)
"""Variables of the same prefix that are no settings."""

_STRING_TAG: Final = "tag:yaml.org,2002:str"
_NULL_TAG: Final = "tag:yaml.org,2002:null"


def load_config(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, object]
) -> Config:
    """Read the settings of this node. Raises ConfigError.

    ``path`` None: ``routing.yaml`` of the working directory when there is one. ``overrides`` maps
    dotted keys (``listen.port``) to values; a None value is no override.
    """
    places: Places = {}
    config = Config()
    if path is not None or Path(DEFAULT_FILE).is_file():
        file = path or Path(DEFAULT_FILE)
        config = _Reader(str(file), places).config(_text(file))
    for name, value in env.items():
        keys = _variable_keys(name)
        if keys is None:
            continue
        config = _apply(_Override(keys, value, name, text=True), config, places)
    for dotted, given in overrides.items():
        if given is None:
            continue
        option = _Override(tuple(dotted.split(".")), given, f"option {dotted}", text=False)
        config = _apply(option, config, places)
    return check(config, places)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None


class _Reader:
    """Reads one YAML document along the types of Config, so that every value has a line."""

    def __init__(self, name: str, places: Places) -> None:
        self._name = name
        self._places = places
        self._scalars = yaml.constructor.SafeConstructor()

    def config(self, text: str) -> Config:
        """Read the whole document; an empty one gives the defaults."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise ConfigError(f"{self._name}{line}: not YAML: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{self._name}: not YAML: {error}") from None
        if root is None:
            return Config()
        config: Config = self._value(root, Config, ())
        return config

    def _value(self, node: yaml.Node, kind: Any, path: tuple[str, ...]) -> Any:
        self._places[path] = self._at(node)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(node, kind, path)
        if get_origin(kind) is dict:
            return {
                key: self._value(child, get_args(kind)[1], (*path, key))
                for key, child in self._items(node, path)
            }
        if get_origin(kind) is tuple:
            return self._sequence(node, get_args(kind)[0], path)
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, path, f"expected one {_name_of(kind)}")
        try:
            value = self._scalars.construct_object(node)
            return _convert(value, kind, text=False)
        except (yaml.YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or str(error)
            raise self._wrong(node, path, reason) from None

    def _struct(self, node: yaml.Node, kind: type[msgspec.Struct], path: tuple[str, ...]) -> Any:
        if node.tag == _NULL_TAG:
            return kind()
        known = {field.name: field.type for field in fields(kind)}
        values = {}
        for key, child in self._items(node, path):
            if key not in known:
                where = f" in {'.'.join(path)}" if path else ""
                message = f"unknown key {key!r}{where}{_did_you_mean(key, known)}"
                raise ConfigError(f"{self._places[(*path, key)]}: {message}")
            values[key] = self._value(child, known[key], (*path, key))
        return kind(**values)

    def _items(self, node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, path, "expected a mapping (key: value)")
        seen: dict[str, str] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _STRING_TAG:
                shown = key.value if isinstance(key, yaml.ScalarNode) else "…"
                raise self._wrong(key, path, f"key {shown} is not text; put it in quotes")
            if key.value in seen:
                raise self._wrong(key, path, f"key {key.value!r} repeats {seen[key.value]}")
            seen[key.value] = self._places[(*path, key.value)] = self._at(key)
            yield key.value, child

    def _sequence(self, node: yaml.Node, kind: Any, path: tuple[str, ...]) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(node, path, "expected a list (- item)")
        return tuple(
            self._value(child, kind, (*path, str(index))) for index, child in enumerate(node.value)
        )

    def _at(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"

    def _wrong(self, node: yaml.Node, path: tuple[str, ...], reason: str) -> ConfigError:
        where = f"{'.'.join(path)}: " if path else ""
        return ConfigError(f"{self._at(node)}: {where}{reason}")


class _Override(NamedTuple):
    """One value from the environment or the command line."""

    keys: tuple[str, ...]
    value: object
    source: str
    text: bool
    """Whether the value is text to be read as the setting's type."""


def _variable_keys(name: str) -> tuple[str, ...] | None:
    """The setting that a variable names; None when it is none of ours.

    An unknown name is told, not refused: orchestrators set variables of their own after the name
    of a service (``WAYPOST_SERVICE_HOST``).
    """
    if not name.startswith(PREFIX) or name in OTHER_VARIABLES:
        return None
    keys = tuple(name[len(PREFIX) :].lower().split("__"))
    if keys[0] in Config.__struct_fields__:
        return keys
    logger.warning("environment variable is no setting; ignored", extra={"variable": name})
    return None


def _apply(override: _Override, config: Config, places: Places) -> Config:
    places[override.keys] = override.source
    result: Config = _replaced(config, override.keys, override)
    return result


def _replaced(holder: Any, keys: tuple[str, ...], override: _Override) -> Any:
    """A copy of ``holder`` with one value, possibly deep inside, replaced."""
    key, rest = keys[0], keys[1:]
    if isinstance(holder, dict):
        if key not in holder:
            raise _unknown(override, key, holder)
        if not rest:
            raise _has_parts(override, key)
        return {**holder, key: _replaced(holder[key], rest, override)}
    if not isinstance(holder, msgspec.Struct) or key not in holder.__struct_fields__:
        known = holder.__struct_fields__ if isinstance(holder, msgspec.Struct) else ()
        raise _unknown(override, key, known)
    if rest:
        return replace(holder, **{key: _replaced(getattr(holder, key), rest, override)})
    kind = next(field.type for field in fields(holder) if field.name == key)
    if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        raise _has_parts(override, key)
    try:
        return replace(holder, **{key: _convert(override.value, kind, text=override.text)})
    except ValueError as error:
        raise ConfigError(f"{override.source}: {error}") from None


def _unknown(override: _Override, key: str, known: Any) -> ConfigError:
    return ConfigError(f"{override.source}: unknown setting {key!r}{_did_you_mean(key, known)}")


def _has_parts(override: _Override, key: str) -> ConfigError:
    return ConfigError(f"{override.source}: {key!r} has parts; set one of them")


def _convert(value: object, kind: Any, *, text: bool) -> Any:
    """Bring a value to a setting's type. Raises ValueError that says what was expected."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if text and get_origin(kind) is tuple:
        value = [part.strip() for part in str(value).split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=not text)
    except msgspec.ValidationError:
        raise ValueError(f"expected {_name_of(kind)}, got {value!r:.60}") from None


_NAMES: Final[dict[Any, str]] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
}


def _name_of(kind: Any) -> str:
    return _NAMES.get(kind, "list of text")


def _did_you_mean(key: str, known: Any) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
