"""Definitions of JSON files: what follows from one, on a small one that has every kind of field."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Annotated, Any, Literal

import pytest

from seqdis.bench.core import schema
from seqdis.bench.core.rules import Curve, Length, Range, Text
from seqdis.bench.core.schema import OPTIONAL, OTHERS, Key, Open


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel."""

    size: Annotated[float, Range(0.0, 10.0), "in inches"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner(Open):
    """Who has it."""

    name: Annotated[str, Text(5, "[a-z]+", empty=False)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nobody:
    """Nobody has it."""

    since: int


Pace = Annotated[tuple[tuple[float, float], ...], Curve(highest=9)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cart:
    """A cart | of wood."""

    kind: Literal["two wheels", 4]
    is_: Annotated[bool, Key("is"), "whether | it is"]
    wheels: Annotated[tuple[Wheel, ...], Length(1, 2)]
    owner: Owner | Nobody
    price: Annotated[int | None, Range(0)]
    label: Annotated[str | None, OPTIONAL, Text(20, lines=True)] = None
    pace: Annotated[dict[str, Pace], OPTIONAL] = dataclasses.field(default_factory=dict)
    load: Annotated[dict[str, Wheel], Length(0, 2)] = dataclasses.field(default_factory=dict)
    notes: Any = None
    others: Annotated[dict[str, float], OTHERS] = dataclasses.field(default_factory=dict)


PACE = {"pace": {"up": [[0, 10]]}}
CART = {
    "kind": "two wheels",
    "is": True,
    "wheels": [{"size": 3}],
    "owner": {"name": "ann", "age": [1]},
    "price": None,
    "load": {"a": {"size": 1.5}},
    "notes": {"deep": [None, 1.0]},
    "worth": 2.5,
}


def test_values_come_back_as_they_were_typed_in_between():
    cart = schema.from_json(Cart, CART)
    assert cart.wheels == (Wheel(size=3),)
    assert cart.is_ is True
    assert isinstance(cart.owner, Owner)
    assert cart.owner.others == {"age": [1]}
    assert cart.label is None
    assert cart.others == {"worth": 2.5}
    assert schema.to_json(cart) == CART
    assert [*schema.to_json(cart)] == ["kind", "is", "wheels", "owner", "price", "load", "notes", "worth"]
    labelled = dataclasses.replace(cart, label="x", owner=Nobody(since=3))
    assert schema.to_json(labelled)["label"] == "x"
    assert schema.from_json(Cart, schema.to_json(labelled)) == labelled


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"kind": 2}, "kind", "must be one of two wheels, 4, not 2"),
        ({"kind": 4.0}, "kind", "must be one of"),
        ({"is": 1}, "is", "must be true or false, not 1"),
        ({"wheels": []}, "wheels", "has 0 items, not 1 to 2"),
        ({"wheels": {}}, "wheels", "must be a list, not {}"),
        ({"wheels": [{"size": 11}]}, "wheels[0].size", "is 11, outside [0, 10]"),
        ({"price": -1}, "price", "must be 0 or more, not -1"),
        ({"wheels": [{"size": float("nan")}]}, "wheels[0].size", "is not finite"),
        ({"wheels": [{"size": 1, "tyre": 2}]}, "wheels[0].'tyre'", "is not a key of the schema"),
        ({"wheels": [3]}, "wheels[0]", "must be an object, not 3"),
        ({"owner": {}}, "owner.since", "is missing"),
        ({"owner": {"name": "Ann"}}, "owner.name", "is not of the form [a-z]+"),
        ({"owner": {"name": ""}}, "owner.name", "must not be empty"),
        ({"owner": {"name": "abcdef"}}, "owner.name", "has 6 characters, more than 5"),
        ({"price": 1.5}, "price", "must be a whole number"),
        ({"price": True}, "price", "must be a whole number"),
        ({"label": None}, "label", "must be text, not None"),
        ({"label": "a\nb\x00"}, "label", "holds control characters"),
        ({"load": {"a": {}, "b": {}, "c": {}}}, "load", "has 3 keys, more than 2"),
        ({"load": {"": {"size": 1}}}, "load (a key)", "must not be empty"),
        ({"load": {"x" * 81: {"size": 1}}}, "load (a key)", "has 81 characters"),
        ({"load": {"a\x1b": {"size": 1}}}, "load (a key)", "control characters"),
        ({"pace": None}, "pace", "must be an object"),
        ({"pace": {"up": 3}}, "pace.up", "must be points of progress and value, such as 0.3:20 0.6:1, not 3"),
        ({"pace": {"up": [[0, 1, 2]]}}, "pace.up", "must be points of progress and value"),
        ({"pace": {"up": []}}, "pace.up", "has 0 items, not 1 to 100"),
        ({"pace": {"up": [[0, 1]] * 101}}, "pace.up", "has 101 items, not 1 to 100"),
        ({"pace": {"up": [[1.5, 1]]}}, "pace.up[0]", "progress is 1.5, outside [0, 1]"),
        ({"pace": {"up": [[0, 1], [0.5, 10]]}}, "pace.up[1]", "value is 10, outside [0, 9]"),
        ({"pace": {"up": [[0, -1]]}}, "pace.up[0]", "value is -1, outside [0, 9]"),
        ({"pace": {"up": [[0, "1"]]}}, "pace.up[0]", "value must be a number, not '1'"),
        ({"pace": {"up": [[0.5, 1], [0.5, 2]]}}, "pace.up", "must have points in rising progress, not 0.5:1 0.5:2"),
        ({"notes": [[[[[[[[[[1]]]]]]]]]]}, "notes" + "[0]" * 9, "is nested too deeply"),
        ({"notes": 1 << 63}, "notes", "is too large"),
        ({"worth": "much"}, "worth", "must be a number"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(changes, where, what):
    found = list(schema.problems(Cart, CART | changes))
    assert any(place == where and what in text for place, text in found), found
    with pytest.raises(ValueError, match=re.escape(what)):
        schema.from_json(Cart, CART | changes)


def test_a_curve_is_typed_as_a_text_and_an_empty_mapping_that_is_optional_is_not_written():
    paced = schema.from_json(Cart, CART | {"pace": {"up": [[0, 1], [0.5, 2]]}})
    assert paced.pace == {"up": ((0.0, 1.0), (0.5, 2.0))}
    assert schema.to_json(paced)["pace"] == {"up": [[0.0, 1.0], [0.5, 2.0]]}
    assert "pace" not in schema.to_json(dataclasses.replace(paced, pace={}))
    assert Curve.parsed("0:1 .5:2e3") == [[0.0, 1.0], [0.5, 2000.0]]
    assert Curve.text(Curve.parsed("0:1 .5:2e3")) == "0:1 0.5:2000"
    assert Curve.parsed("soon") == "soon"


def test_line_ends_are_text_where_they_are_allowed():
    assert schema.from_json(Cart, CART | {"label": "a\n\tb"}).label == "a\n\tb"


def test_missing_keys_are_named_but_optional_ones():
    assert [where for where, what in schema.problems(Cart, {}) if what == "is missing"] == [
        *("kind", "is", "wheels", "owner", "price", "load", "notes")
    ]


def test_json_schema_says_the_same():
    found = schema.json_schema(Cart)
    cart = found["$defs"]["Cart"]
    assert found["$ref"] == "#/$defs/Cart"
    assert cart["required"] == ["kind", "is", "wheels", "owner", "price", "load", "notes"]
    assert cart["additionalProperties"] == {"type": "number"}
    assert cart["properties"]["kind"] == {"enum": ["two wheels", 4]}
    assert cart["properties"]["price"] == {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}
    assert cart["properties"]["owner"] == {"anyOf": [{"$ref": "#/$defs/Owner"}, {"$ref": "#/$defs/Nobody"}]}
    assert found["$defs"]["Owner"]["properties"]["name"]["pattern"] == "^(?:[a-z]+)$"
    assert found["$defs"]["Owner"]["additionalProperties"] == {"$ref": "#/$defs/Value"}
    assert found["$defs"]["Wheel"]["additionalProperties"] is False
    assert found["$defs"]["Wheel"]["properties"]["size"]["description"] == "in inches"
    assert {"Cart", "Wheel", "Owner", "Nobody", "Value"} == set(found["$defs"])
    json.dumps(found, allow_nan=False)


def test_json_schema_agrees_with_an_independent_validator():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema.json_schema(Cart))
    assert validator.is_valid(CART)
    for changes in (
        {"kind": 2},
        {"wheels": []},
        {"owner": {}},
        {"price": -1},
        {"label": None},
        {"worth": "much"},
        PACE,
    ):
        assert not validator.is_valid(CART | changes), changes


def test_documentation_has_a_section_for_each_object_and_a_row_for_each_key():
    page = schema.documentation(Cart)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Cart",
        "## Wheel",
        "## Owner",
        "## Nobody",
    ]
    assert "| `is` | yes | true or false | whether \\| it is |" in page
    assert "| `label` | no |" in page
    assert "| `owner` | yes | [Owner](#owner) or [Nobody](#nobody) |  |" in page
    assert "Other keys: number." in page
