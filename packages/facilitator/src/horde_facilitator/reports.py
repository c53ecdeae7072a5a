"""What an attempt's report said besides the outcome, read back from the records."""

from pydantic import BaseModel, ConfigDict

from horde_core.wire.executor import LeftOut, LogTotal, UploadAnswer
from horde_facilitator.logview import LogView
from horde_facilitator.records.values import Attempt

STREAMS = ("stdout", "stderr")


class Report(BaseModel):
    """The stored part of an `OutcomeReport`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    logs: dict[str, LogTotal] = {}
    left_out: list[LeftOut] = []
    uploads: list[UploadAnswer] = []
    stage_seconds: dict[str, float] = {}


def report_of(attempt: Attempt | None) -> Report:
    """What the attempt reported; empty if it did not."""
    return Report.model_validate_json(attempt.report) if attempt and attempt.report else Report()


def log_view(report: Report, stream: str, arrived: int, log_bytes: int) -> LogView:
    """What readers see of a stream of which `arrived` bytes are stored."""
    total = report.logs.get(stream)
    if total is None:
        return LogView.running(arrived, log_bytes)
    return LogView(total.size, total.head if total.dropped else total.size, total.dropped, total.whole)
