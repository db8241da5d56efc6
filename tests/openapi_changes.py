"""The rules for changes of the API: `make schema` writes the document if they allow it.

docs/openapi/ has the document of each version. A change that breaks clients needs a new major
version. An addition to a released version needs a new minor version. A version is released if its
heading in CHANGELOG.md does not say "unreleased".
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.openapi.views import document

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "openapi"
# Texts for people, which do not matter to a client.
WORDS = {"description", "summary", "example", "examples", "title", "tags", "links", "info"}


def breaks(old: Any, new: Any) -> list[str]:
    """Return the changes that break clients of `old`, one line each."""
    return list(_paths(old, new))


def adds(old: Any, new: Any) -> bool:
    """Whether the documents differ in more than texts."""
    return bool(_without_words(old) != _without_words(new))


def refusal(old: Any, new: Any, *, is_released: bool) -> str | None:
    """Return why `new` must not follow `old`, or None if it may."""
    before, after = version(old), version(new)
    broken = breaks(old, new)
    if broken and after[0] <= before[0]:
        listed = "\n".join(f"  {line}" for line in broken)
        return f"This breaks clients. Undo it, or increase API_VERSION's major version:\n{listed}"
    if is_released and adds(old, new) and after[:2] <= before[:2]:
        return "This version is released. Increase API_VERSION's minor version and `make schema`."
    return None


def version(document: Any) -> list[int]:
    return [int(number) for number in document["info"]["version"].split(".")]


def kept() -> dict[str, Any]:
    """Return the documents in docs/openapi/ by file name, oldest version first."""
    read = {path.name: json.loads(path.read_text()) for path in KEPT.glob("*.json")}
    return dict(sorted(read.items(), key=lambda item: version(item[1])))


def is_released(document: Any) -> bool:
    heading = rf"^## \[?{re.escape(document['info']['version'])}(?![.\d])(?!.*unreleased)"
    return re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE) is not None


def main(text: str) -> None:
    """Write the document `text`, or exit with the reason why it is refused."""
    new = json.loads(text)
    for old in reversed(kept().values()):
        if why := refusal(old, new, is_released=is_released(old)):
            sys.exit(why)
        break
    KEPT.mkdir(exist_ok=True)
    pretty = json.dumps(new, indent=2, ensure_ascii=False)
    (KEPT / f"{new['info']['version']}.json").write_text(f"{pretty}\n")


def _paths(old: Any, new: Any) -> Iterator[str]:
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            call = f"{method.upper()} {path}"
            successor = new["paths"].get(path, {}).get(method)
            if successor is None:
                yield f"{call}: was removed"
            else:
                yield from _call(call, Pair(old, operation), Pair(new, successor))


class Pair:
    """A part of a document, together with the document, to follow references."""

    def __init__(self, root: Any, value: Any) -> None:
        self.root = root
        self.value = value
        while isinstance(self.value, dict) and "$ref" in self.value:
            self.value = root
            for step in value["$ref"].split("/")[1:]:
                self.value = self.value[step]
            value = self.value

    def __getitem__(self, step: str) -> "Pair":
        return Pair(self.root, self.value[step])

    def get(self, step: str, default: Any = None) -> Any:
        return self.value.get(step, default)

    def at(self, *steps: str) -> "Pair | None":
        found = self
        for step in steps:
            if step not in found.value:
                return None
            found = found[step]
        return found

    def flat(self) -> dict[str, Any]:
        """Merge the branches of `allOf` into one schema, with its properties as pairs."""
        flat: dict[str, Any] = {
            **self.value,
            "properties": {},
            "required": [*self.get("required", [])],
        }
        flat.pop("allOf", None)
        for branch in self.get("allOf", []):
            part = Pair(self.root, branch).flat()
            flat["required"] += part.pop("required")
            properties = flat["properties"]
            for name, schema in part.pop("properties").items():
                properties[name] = [*properties.get(name, []), *schema]
            flat |= part
        for name, schema in self.get("properties", {}).items():
            flat["properties"][name] = [*flat["properties"].get(name, []), Pair(self.root, schema)]
        return flat


JSON = ("content", "application/json", "schema")


def _call(call: str, old: Pair, new: Pair) -> Iterator[str]:
    yield from _asked(call, old, new)
    old_body, new_body = old.at("requestBody", *JSON), new.at("requestBody", *JSON)
    if old_body and new_body:
        yield from _narrower(f"{call}: body", [old_body], [new_body])
    elif old_body or (new_body and new["requestBody"].get("required")):
        yield f"{call}: the body was added or removed"
    for status in old.get("responses"):
        answer = new.at("responses", status)
        if answer is None:
            yield f"{call}: response {status} was removed"
        else:
            yield from _answer(f"{call}: response {status}", old["responses"][status], answer)


def _asked(call: str, old: Pair, new: Pair) -> Iterator[str]:
    before, after = _parameters(old), _parameters(new)
    for name in before.keys() - after.keys():
        yield f"{call}: parameter {name} was removed"
    for name, parameter in after.items():
        if parameter.get("required") and not (name in before and before[name].get("required")):
            yield f"{call}: parameter {name} is now required"
    for name in before.keys() & after.keys():
        yield from _narrower(f"{call}: {name}", [before[name]["schema"]], [after[name]["schema"]])
    if any(way not in new.get("security") for way in old.get("security")):
        yield f"{call}: a security scheme was removed"


def _answer(where: str, old: Pair, new: Pair) -> Iterator[str]:
    for header in old.get("headers", {}).keys() - new.get("headers", {}).keys():
        yield f"{where}: header {header} was removed"
    old_body, new_body = old.at(*JSON), new.at(*JSON)
    if old_body and new_body:
        yield from _wider(where, [old_body], [new_body])
    elif old_body:
        yield f"{where}: has no body"


def _parameters(operation: Pair) -> dict[str, Pair]:
    pairs = [Pair(operation.root, parameter) for parameter in operation.get("parameters", [])]
    return {f"{pair.get('in')} {pair.get('name')}": pair for pair in pairs}


def _one(schemas: list[Pair]) -> dict[str, Any]:
    """Merge the schemas into one."""
    return Pair(schemas[0].root, {"allOf": [schema.value for schema in schemas]}).flat()


def _choices(schemas: list[Pair]) -> list[list[Pair]]:
    """Return the branches of a `oneOf`, or the schema itself as the only choice."""
    branches = schemas[0].get("oneOf") if len(schemas) == 1 else None
    return [[Pair(schemas[0].root, branch)] for branch in branches] if branches else [schemas]


def _types(schema: dict[str, Any]) -> set[str]:
    found = schema.get("type", ["anything"])
    return {found} if isinstance(found, str) else set(found)


def _values(schema: dict[str, Any]) -> set[str] | None:
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if listed is None else {json.dumps(value) for value in listed}


def _narrower(where: str, old_pairs: list[Pair], new_pairs: list[Pair]) -> Iterator[str]:
    """Yield the requests that were valid and no longer are."""
    before, after = _choices(old_pairs), _choices(new_pairs)
    if len(before) > 1 or len(after) > 1:
        for choice in before:
            yield from min((list(_narrower(where, choice, other)) for other in after), key=len)
        return
    old, new = _one(old_pairs), _one(new_pairs)
    yield from _narrower_value(where, old, new)
    for name in sorted({*new["required"]} - {*old["required"]}):
        yield f"{where}: {name} is now required"
    if new.get("additionalProperties") is False:
        for name in old["properties"].keys() - new["properties"].keys():
            yield f"{where}: {name} was removed"
        if old.get("additionalProperties") is not False:
            yield f"{where}: no longer accepts unknown names"
    for name in old["properties"].keys() & new["properties"].keys():
        yield from _narrower(f"{where}.{name}", old["properties"][name], new["properties"][name])


def _narrower_value(where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    if not _types(old) <= _types(new) and _types(new) != {"anything"}:
        yield f"{where}: accepts fewer types"
    if _values(new) is not None and not (_values(old) or {"anything"}) <= (_values(new) or set()):
        yield f"{where}: accepts fewer values"
    for limit in ("maxLength", "maximum", "maxItems"):
        if new.get(limit, float("inf")) < old.get(limit, float("inf")):
            yield f"{where}: {limit} is lower"
    for limit in ("minLength", "minimum", "minItems"):
        if new.get(limit, 0) > old.get(limit, 0):
            yield f"{where}: {limit} is higher"
    for rule in ("pattern", "format"):
        if new.get(rule) not in (None, old.get(rule)):
            yield f"{where}: {rule} has changed"


def _wider(where: str, old_pairs: list[Pair], new_pairs: list[Pair]) -> Iterator[str]:
    """Yield the guarantees for a response that no longer hold. A list of values may grow."""
    old, new = _one(old_pairs), _one(new_pairs)
    if not _types(new) <= _types(old) and _types(old) != {"anything"}:
        yield f"{where}: has more types"
    if "const" in old and old["const"] != new.get("const"):
        yield f"{where}: the value has changed"
    for rule in ("pattern", "format"):
        if rule in old and new.get(rule) != old[rule]:
            yield f"{where}: {rule} has changed"
    for name in old["properties"].keys() - new["properties"].keys():
        yield f"{where}: {name} was removed"
    for name in sorted({*old["required"]} - {*new["required"]}):
        yield f"{where}: {name} may now be missing"
    for name in old["properties"].keys() & new["properties"].keys():
        yield from _wider(f"{where}.{name}", old["properties"][name], new["properties"][name])
    if "items" in old and "items" in new:
        root_old, root_new = old_pairs[0].root, new_pairs[0].root
        yield from _wider(
            f"{where}[]", [Pair(root_old, old["items"])], [Pair(root_new, new["items"])]
        )


def _without_words(value: Any, *, is_named: bool = False) -> Any:
    """Remove the texts for people, but not properties with a name like "description"."""
    if isinstance(value, list):
        return [_without_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_words(item, is_named=name == "properties" and not is_named)
        for name, item in value.items()
        if is_named or name not in WORDS
    }


if __name__ == "__main__":
    main(document().decode())
