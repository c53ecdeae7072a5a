"""The API's own description (OpenAPI), for bodies that routes read themselves.

Routes read their bodies by hand, to bound them and to parse large ones off the event loop; so they say here what
they read, and `describe` puts the schemas into the document.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_PLACE = "#/components/schemas/{model}"
_models: set[type[BaseModel]] = set()


def described(model: type[BaseModel]) -> dict[str, Any]:
    """What to say of a route whose body is a `model`."""
    _models.add(model)
    schema = {"$ref": _PLACE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def raw(description: str) -> dict[str, Any]:
    """What to say of a route whose body is plain bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def describe(app: FastAPI) -> None:
    """Let the app's description hold the schemas that routes refer to."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        models = sorted(_models, key=lambda model: model.__name__)
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_PLACE)
        known = document.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in schemas.get("$defs", {}).items():
            known.setdefault(name, schema)
        return document

    app.openapi = openapi
