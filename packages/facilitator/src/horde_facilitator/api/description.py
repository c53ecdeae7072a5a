"""The API's own description (OpenAPI), for bodies that routes read themselves.

Routes read their bodies by hand, to bound them and to parse large ones off the event loop; so they say here what
they read, and `describe` puts the schemas into the document.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from horde_core import signing

JSON = "application/json"
_PLACE = "#/components/schemas/{model}"
_MALFORMED = {
    "anyOf": [
        {"$ref": _PLACE.format(model="Detail")},
        {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    ]
}
_models: set[type[BaseModel]] = set()


def described(model: type[BaseModel]) -> dict[str, Any]:
    """What to say of a route whose body is a `model`."""
    _models.add(model)
    schema = {"$ref": _PLACE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "description": description, "schema": schema}


SIGNATURE: list[dict[str, Any]] = [
    _header("X-CH-Signature-Type", "The kind of the signature.", const=signing.SIGNATURE_TYPE, type="string"),
    _header("X-CH-Signatory", "The SS58 address of the hotkey that signed; it must be the one that logged in."),
    _header("X-CH-Timestamp-NS", "When it was signed, in UNIX nanoseconds.", type="string", pattern="^[0-9]+$"),
    _header("X-CH-Signature", "The base64 of the 64 bytes of the sr25519 signature.", type="string"),
    {
        **_header("X-CH-Signature-Scope", "What is signed.", enum=[each.value for each in signing.Scope]),
        "required": False,
    },
]
"""The headers of a signed request."""


def raw(description: str) -> dict[str, Any]:
    """What to say of a route whose body is plain bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def stream_of(model: type[BaseModel]) -> dict[str, Any]:
    """What to say of an answer that is a stream of server-sent events, each of them a `model`."""
    _models.add(model)
    content = {"contentMediaType": JSON, "contentSchema": {"$ref": _PLACE.format(model=model.__name__)}}
    event = {"type": "object", "properties": {"data": {"type": "string", **content}}}
    description = f"Server-sent events; the data of each is a {model.__name__}."
    return {"description": description, "content": {"text/event-stream": {"schema": event}}}


def describe(app: FastAPI) -> None:
    """Let the app's description hold the schemas that routes refer to, and say of errors what is true here."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        models = sorted(_models, key=lambda model: model.__name__)
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_PLACE)
        components = document.setdefault("components", {})
        known = components.setdefault("schemas", {})
        for name, schema in schemas.get("$defs", {}).items():
            known.setdefault(name, schema)
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _correct(operation["responses"])
                if "401" in operation["responses"] and not path.startswith("/auth/"):
                    operation["security"] = [{"token": []}]
        for name in ("HTTPValidationError", "ValidationError"):
            known.pop(name, None)
        return document

    app.openapi = openapi


def _correct(responses: dict[str, Any]) -> None:
    """What is malformed is a 400, where FastAPI says 422; errors are JSON, also those of a route that streams."""
    if responses.pop("422", None):
        responses.setdefault("400", {"description": "Bad Request", "content": {JSON: {"schema": _MALFORMED}}})
    for status, response in responses.items():
        if status >= "400" and "content" in response:
            (content,) = response["content"].values()
            response["content"] = {JSON: content}
