"""Read property files and YAML values, without evaluating anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recbole_autorec.errors import ConfigError


def properties_dir() -> Path:
    """Return the folder of property files: inside the package if installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


def property_path(path: str | Path) -> Path:
    """Return the path; a file `properties/...` that is not there may be one that the package ships."""
    path, shipped = Path(path), properties_dir().parent / path
    return shipped if path.parts[:1] == ("properties",) and not path.exists() and shipped.is_file() else path


class YamlLoader(yaml.SafeLoader):
    """Plain YAML, in which 1e-3 and 1.5e2 are numbers (as in RecBole), a date is text, and keys must be unique."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", node.value[number][0].start_mark
                )
        return super().construct_mapping(node, deep)


YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


_OF_YAML_1_1 = re.compile(
    r"on|off|yes|no|y|n|[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?", re.IGNORECASE
)


def parse_value(text: str) -> Any:
    """Parse text as YAML, and None as in Python; other text stays text. Nothing is evaluated.

    Text that only YAML 1.1 converts (on, no, 010, 1:30) stays text too, as in RecBole's flags.
    """
    if _OF_YAML_1_1.fullmatch(text.strip()):
        return text
    try:
        value = yaml.load(text, Loader=YamlLoader)
    except (yaml.YAMLError, ValueError):
        return text
    if text.strip() == "None":
        return None
    return text if value is None and text.strip().lower() not in ("~", "null") else value


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=YamlLoader)
    except OSError as error:
        raise ConfigError(f"config file '{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "not a text file"
        raise ConfigError(f"config file '{path}':{line} invalid YAML: {problem}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"config file '{path}': expected lines such as 'learning_rate: 0.001', got {type(content).__name__}."
        )
    return content
