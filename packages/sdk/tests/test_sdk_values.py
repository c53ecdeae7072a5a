"""Statuses and log lines: plain values."""

from base64 import b64encode

import pytest

from compute_horde_sdk.v1 import ComputeHordeJobStatus, LogLine
from compute_horde_sdk.v1._logs import Lines, Pieces
from horde_core.lifecycle import Status
from horde_core.wire.client import LogChunk


def test_statuses_are_those_of_the_reference():
    """Names, values, and which of them are ends."""
    assert {status.name: status.value for status in ComputeHordeJobStatus} == {
        "SENT": "Sent",
        "RECEIVED": "Received",
        "ACCEPTED": "Accepted",
        "REJECTED": "Rejected",
        "STREAMING_READY": "Streaming Ready",
        "EXECUTOR_READY": "Executor Ready",
        "VOLUMES_READY": "Volumes Ready",
        "EXECUTION_DONE": "Execution Done",
        "COMPLETED": "Completed",
        "FAILED": "Failed",
    }
    ends = {ComputeHordeJobStatus.COMPLETED, ComputeHordeJobStatus.FAILED, ComputeHordeJobStatus.REJECTED}
    assert ComputeHordeJobStatus.end_states() == ends
    for status in ComputeHordeJobStatus:
        assert status.is_in_progress() is (status not in ends)
        assert status.is_successful() is (status == "Completed")
        assert status.is_failed() is (status == "Failed")
        assert status.is_streaming_ready() is (status == "Streaming Ready")


@pytest.mark.parametrize("status", Status)
def test_every_status_of_the_wire_is_read_in_either_spelling(status):
    """And platform failures are failures."""
    expected = ComputeHordeJobStatus[status.name]
    assert ComputeHordeJobStatus(status.value) is ComputeHordeJobStatus(status.reference_name) is expected
    assert ComputeHordeJobStatus("horde_failed") is ComputeHordeJobStatus.FAILED
    with pytest.raises(ValueError, match="nonsense"):
        ComputeHordeJobStatus("nonsense")


def chunk(data: bytes, offset: int = 0, stream: str = "stdout", attempt: int = 1) -> LogChunk:
    return LogChunk(attempt=attempt, stream=stream, offset=offset, data=b64encode(data).decode())


def lines_of(*chunks: LogChunk) -> tuple[list[LogLine], Pieces]:
    pieces, lines = Pieces(), Lines()
    news = [piece for piece in map(pieces.feed, chunks) if piece]
    found = [line for piece in news for line in lines.feed(piece)]
    return [*found, *lines.rest()], pieces


def test_lines_come_whole_whatever_the_pieces():
    """Characters and lines may be torn, pieces may come twice or overlap; each stream has lines of its own."""
    word = "zażółć\n".encode()
    found, pieces = lines_of(
        chunk(word[:3]), chunk(b"err", stream="stderr"), chunk(word[:3]), chunk(word[2:] + b"la", 2)
    )
    assert found == [LogLine("stdout", "zażółć", 1), LogLine("stdout", "la", 1), LogLine("stderr", "err", 1)]
    assert pieces.offsets == {"stdout": len(word) + 2, "stderr": 3}


def test_a_new_attempt_begins_anew():
    """What the lost attempt left unfinished is still a line; late pieces of it are not."""
    found, pieces = lines_of(chunk(b"lost"), chunk(b"new\n", attempt=2), chunk(b"late\n", 4, attempt=1))
    assert found == [LogLine("stdout", "lost", 1), LogLine("stdout", "new", 2)]
    assert (pieces.attempt, pieces.offsets["stdout"]) == (2, 4)
