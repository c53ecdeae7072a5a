"""Run container jobs on a ComputeHorde: everything that users import is here.

`compute_horde_sdk.v1.blocking` has the same for programs that are not asynchronous.
"""

from compute_horde_sdk.v1._client import ComputeHordeClient
from compute_horde_sdk.v1._errors import ComputeHordeError, ComputeHordeJobTimeoutError, ComputeHordeNotFoundError
from compute_horde_sdk.v1._failures import (
    ComputeHordeHordeFailure,
    ComputeHordeJobFailure,
    ComputeHordeJobRejection,
)
from compute_horde_sdk.v1._job import ComputeHordeJob
from compute_horde_sdk.v1._logs import LogLine, LogPiece
from compute_horde_sdk.v1._result import ComputeHordeJobResult
from compute_horde_sdk.v1._spec import ComputeHordeJobSpec, ExecutorClass
from compute_horde_sdk.v1._status import ComputeHordeJobStatus, ComputeHordeJobStatusEntry
from compute_horde_sdk.v1._verifying import Difference, VerifiedRun
from compute_horde_sdk.v1._volumes import (
    HTTPInputVolume,
    HTTPOutputVolume,
    HttpOutputVolumeResponse,
    HTTPZipInputVolume,
    HuggingfaceInputVolume,
    InlineInputVolume,
    InputVolume,
    OutputVolume,
)

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
    "Difference",
    "ExecutorClass",
    "HTTPInputVolume",
    "HTTPOutputVolume",
    "HTTPZipInputVolume",
    "HttpOutputVolumeResponse",
    "HuggingfaceInputVolume",
    "InlineInputVolume",
    "InputVolume",
    "LogLine",
    "LogPiece",
    "OutputVolume",
    "VerifiedRun",
]
