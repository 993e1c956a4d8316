"""XML and YAML of unknown origin: no entities, no document types, no objects, no aliases that multiply.

Source of the dangers: the Python documentation on XML vulnerabilities (entity expansion, external entities). OpenCV's own reader of its YAML
dialect (`%YAML:1.0`, `!!opencv-matrix`) has ended the process on damaged files, so that dialect is read here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import yaml

from fourfold.errors import FourfoldError
from fourfold.untrusted.files import MOST_MARKUP, read_bytes, read_text
from fourfold.untrusted.records import Record, as_record


def load_xml(path: Path) -> Element:
    """The root of an XML file. FourfoldError if it is missing, damaged, or declares entities."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: Any) -> None:
        raise FourfoldError(f"{path} declares a document type or entities, which are not read: remove the declaration")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(read_bytes(path, MOST_MARKUP), True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError, LookupError, RecursionError) as error:
        raise FourfoldError(f"{path} is not valid XML ({error}): write it again") from error


def load_yaml(path: Path) -> Record:
    """The object in a YAML file, also in OpenCV's dialect, whose matrices are objects with `rows`, `cols` and `data`.

    FourfoldError if it is missing, damaged, or repeats parts of itself by reference.
    """
    text = read_text(path, MOST_MARKUP)
    lines = ["" if line.startswith("%YAML") else line for line in text.splitlines()]
    try:
        loader = _Plain("\n".join(lines))
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise FourfoldError(f"{path} is not valid YAML ({' '.join(str(error).split())[:160]}): write it again") from error
    return as_record(_named(value), str(path))


def _named(value: Any) -> Any:
    """`value` with text for the names of entries, which YAML also lets be numbers, dates or nothing."""
    if isinstance(value, dict):
        return {str(key): _named(entry) for key, entry in value.items()}
    return [_named(entry) for entry in value] if isinstance(value, list) else value


class _Plain(yaml.SafeLoader):
    """Objects, lists, text and numbers; the tag `!!opencv-matrix` is an object like others, and no node may be referred to."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node of the file."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("parts that refer to other parts are not read")
        return super().compose_node(parent, index)


def _matrix(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Plain.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix)
