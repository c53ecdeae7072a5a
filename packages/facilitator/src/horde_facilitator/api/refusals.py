"""Errors as HTTP answers. What is raised anywhere below becomes an answer here, and only here."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from horde_core.wire.executor import Refusal
from horde_facilitator import errors

log = logging.getLogger(__name__)

STATUS: dict[type[errors.FacilitatorError], int] = {
    errors.BadRequest: 400,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.TooLarge: 413,
    errors.KeyReused: 409,
    errors.StaleAttempt: 409,
    errors.MissingParts: 409,
    errors.TooMany: 429,
    errors.StoreError: 503,
}
CODE = {errors.StaleAttempt: "stale_attempt", errors.MissingParts: "missing_parts"}


class Detail(BaseModel):
    """The body of most errors."""

    detail: str


Fields = dict[str, list[str]]
"""The body of a 400 that says of each wrong field what is wrong with it."""


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of a route's description that lists its errors."""
    models: dict[int, Any] = {400: Detail | Fields, 409: Refusal}
    return {status: {"model": models.get(status, Detail)} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer for every error that a route raises."""
    app.add_exception_handler(errors.FacilitatorError, _known)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _defect)


async def _known(_request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    detail = str(error)
    if isinstance(error, errors.BadRequest) and error.fields is not None:
        return JSONResponse(error.fields, status)
    if isinstance(error, (errors.StaleAttempt, errors.MissingParts)):
        return JSONResponse({"code": CODE[type(error)], "detail": detail}, status)
    return JSONResponse({"detail": detail}, status, headers_of(error))


def headers_of(error: Exception) -> dict[str, str] | None:
    """The headers that the answer to a refusal carries."""
    if isinstance(error, errors.NotAuthenticated):
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(error.retry_s)} if isinstance(error, errors.TooMany) else None


async def _malformed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    fields: dict[str, list[str]] = {}
    for item in error.errors():
        fields.setdefault(str(item["loc"][-1]), []).append(str(item["msg"]))
    return JSONResponse(fields, 400)


async def _http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": str(error.detail)}, error.status_code, dict(error.headers or {}))


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _defect(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": "The facilitator made a mistake; its log says which."}, 500)
