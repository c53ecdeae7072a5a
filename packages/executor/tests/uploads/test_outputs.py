"""Which files are sent: what a job tries in order to send something else is refused, with the reason."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from horde_core.outcomes import Failed, Reason, Stage, Succeeded
from horde_core.uploads import SingleFilePut
from horde_core.wire.executor import UploadAnswer
from horde_executor.outputs import MOST_HOLES, Opened, open_outputs
from horde_executor.upload import ANSWERS, Problem, Uploaded, chosen


def upload(path: str, when: str = "success") -> SingleFilePut:
    return SingleFilePut(output_upload_type="single_file_put", url="http://h/x", relative_path=path, when=when)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret of the host")
    (tmp_path / "tmp").mkdir()
    made = tmp_path / "output"
    made.mkdir()
    return made


@pytest.fixture
def opening(root: Path):
    """Opens outputs of the directory, as long as the test runs."""
    with ExitStack() as files:

        def make(*paths: str) -> Opened:
            uploads = [upload(path) for path in paths]
            return open_outputs(uploads, root, root.parent / "tmp", lambda s, f: f.write(s.encode()), files)

        yield make


def content(opened: Opened) -> dict[str, bytes]:
    return {output.upload.relative_path: os.pread(output.file, output.size, 0) for output in opened.outputs}


def test_files_are_opened_in_any_depth_and_as_often_as_they_are_listed(root, opening):
    (root / "a").mkdir()
    (root / "a" / "ż.bin").write_bytes(b"deep")
    (root / "empty").touch()
    (root / "secret.bin").write_bytes(b"x")
    (root / "secret.bin").chmod(0)
    opened = opening("a/ż.bin", "empty", "a/ż.bin", "secret.bin")
    assert [output.size for output in opened.outputs] == [4, 0, 4, 1]
    assert content(opened)["a/ż.bin"] == b"deep"
    assert opened.problems == ()


def test_whatever_is_no_plain_file_of_the_job_is_refused_with_the_reason(root, opening):
    """Links of both kinds, also on the way; pipes, sockets, devices, directories; holes; what is not there."""
    (root / "real").mkdir()
    (root / "real" / "x").write_text("x")
    (root / "file").write_text("x")
    (root / "link").symlink_to("file")
    (root / "out").symlink_to("../secret")
    (root / "dangling").symlink_to("nowhere")
    (root / "way").symlink_to("real")
    os.link(root / "file", root / "hard")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
    with (root / "holes").open("wb") as file:
        file.truncate(1 << 40)
    words = {
        "link": "is a symbolic link",
        "out": "is a symbolic link",
        "dangling": "is a symbolic link",
        "way/x": "a directory on the way to it is a link",
        "hard": "is a hard link (the file has several names)",
        "pipe": "is a pipe",
        "socket": "is a socket",
        "real": "is a directory; an output is one file: pack it",
        "file/x": "is not there: a directory on the way to it is a file",
        "missing": "is not there: the job did not write it",
        "no/where": "is not there: the job did not write it",
        "holes": "is a sparse file: it claims 1.0 TiB",
    }
    opened = opening(*words)
    assert opened.outputs == ()
    told = {upload.relative_path: problem for upload, problem in opened.problems}
    assert {path: problem.startswith(f"/output/{path} ") for path, problem in told.items()} == dict.fromkeys(
        words, True
    )
    assert [(path, told[path]) for path, says in words.items() if says not in told[path]] == []


def test_a_file_with_small_holes_is_sent_as_it_reads(root, opening):
    """Databases and preallocated files have some; they read as zeros."""
    with (root / "db").open("wb") as file:
        file.seek(MOST_HOLES // 2)
        file.write(b"end")
        file.truncate(MOST_HOLES)
    (output,) = opening("db").outputs
    assert output.size == MOST_HOLES
    assert os.pread(output.file, 4, MOST_HOLES // 2) == b"end\0"


def test_a_file_that_is_swapped_after_it_was_judged_changes_nothing(root, opening):
    """What was opened is sent, not what the name leads to now; and a change in place is noticed."""
    (root / "x").write_bytes(b"good")
    opened = opening("x")
    (root / "x").rename(root / "y")
    (root / "x").symlink_to("../secret")
    assert content(opened) == {"x": b"good"}
    (other,) = opening("y").outputs
    assert not other.has_changed
    with (root / "y").open("ab") as file:
        file.write(b" and more")
    assert other.has_changed


def test_logs_are_there_unless_the_job_wrote_files_of_their_names(root, opening):
    (root / "stderr.txt").write_text("the job's own")
    assert content(opening("stdout.txt", "stderr.txt")) == {
        "stdout.txt": b"stdout",
        "stderr.txt": b"the job's own",
    }
    (root / "stdout.txt").symlink_to("../secret")
    assert "is a symbolic link" in opening("stdout.txt").problems[0][1]
    assert opening("logs/stdout.txt").outputs == ()


FAILED = Failed(stage=Stage.EXECUTION, reason=Reason.NONZERO_RETURN_CODE, message="exit 3", exit_code=3)


@pytest.mark.parametrize(
    ("outcome", "paths"),
    [
        (Succeeded(exit_code=0), ["a", "b", "stdout.txt", "c/stderr.txt"]),
        (Succeeded(exit_code=137, stopped_at_limit=True), ["a", "b", "stdout.txt", "c/stderr.txt"]),
        (FAILED, ["b", "stdout.txt"]),
        (FAILED.model_copy(update={"reason": Reason.CANCELLED}), ["b", "stdout.txt"]),
        (FAILED.model_copy(update={"reason": Reason.EXECUTOR_ERROR}), []),
        (FAILED.model_copy(update={"reason": Reason.DEADLINE_EXCEEDED}), []),
    ],
    ids=["success", "limit", "exit", "cancel", "engine", "deadline"],
)
def test_what_goes_up_depends_on_the_end_of_the_execution(outcome, paths):
    """After a failure of the horde nothing does: the attempt is repeated, and then must not have left a trace."""
    uploads = [upload("a"), upload("b", "always"), upload("stdout.txt"), upload("c/stderr.txt")]
    assert [each.relative_path for each in chosen(uploads, outcome)] == paths


def test_the_first_failure_stays_and_the_others_are_told_beside_it():
    late = Problem("/output/b", Reason.UPLOAD_FAILED, "b was refused")
    limit = Problem("", Reason.TIMEOUT, "too slow")
    done = Succeeded(exit_code=0)
    assert Uploaded().after(done) is done
    assert Uploaded().after(FAILED) is FAILED
    both = Uploaded(problems=[late, limit]).after(done)
    assert (both.stage, both.reason, both.message, both.exit_code) == (Stage.UPLOAD, late.reason, late.message, 0)
    assert both.context == {"upload_problems": {"/output/b": "b was refused"}}
    slow = Uploaded(problems=[limit]).after(done)
    assert (slow.stage, slow.reason, slow.context) == (Stage.UPLOAD, Reason.TIMEOUT, None)
    beside = Uploaded(problems=[late]).after(FAILED)
    assert beside == FAILED.model_copy(update={"context": {"upload_problems": {"/output/b": "b was refused"}}})


def test_answers_have_room_for_so_much_together():
    answers = {n: UploadAnswer(path=str(n), status=200, body="x" * 16000) for n in range(250)}
    kept = Uploaded(answers=answers).kept()
    assert len(kept) == 250
    assert sum(len(answer.body) for answer in kept) <= ANSWERS
    assert kept[0].body
    assert kept[-1] == UploadAnswer(path="249", status=200)
