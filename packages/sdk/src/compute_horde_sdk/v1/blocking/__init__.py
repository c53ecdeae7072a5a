"""`compute_horde_sdk.v1` for programs that are not asynchronous: the same names, without ``await``."""

from compute_horde_sdk.v1 import (
    ComputeHordeError,
    ComputeHordeHordeFailure,
    ComputeHordeJobFailure,
    ComputeHordeJobRejection,
    ComputeHordeJobResult,
    ComputeHordeJobSpec,
    ComputeHordeJobStatus,
    ComputeHordeJobStatusEntry,
    ComputeHordeJobTimeoutError,
    ComputeHordeNotFoundError,
    ExecutorClass,
    HTTPInputVolume,
    HTTPOutputVolume,
    HttpOutputVolumeResponse,
    HuggingfaceInputVolume,
    InlineInputVolume,
    InputVolume,
    LogLine,
    OutputVolume,
)
from compute_horde_sdk.v1.blocking._client import ComputeHordeClient
from compute_horde_sdk.v1.blocking._job import ComputeHordeJob

__all__ = [
    "ComputeHordeClient",
    "ComputeHordeError",
    "ComputeHordeHordeFailure",
    "ComputeHordeJob",
    "ComputeHordeJobFailure",
    "ComputeHordeJobRejection",
    "ComputeHordeJobResult",
    "ComputeHordeJobSpec",
    "ComputeHordeJobStatus",
    "ComputeHordeJobStatusEntry",
    "ComputeHordeJobTimeoutError",
    "ComputeHordeNotFoundError",
    "ExecutorClass",
    "HTTPInputVolume",
    "HTTPOutputVolume",
    "HttpOutputVolumeResponse",
    "HuggingfaceInputVolume",
    "InlineInputVolume",
    "InputVolume",
    "LogLine",
    "OutputVolume",
]
