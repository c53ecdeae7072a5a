"""Trees that a job leaves in order to harm its reader, read for artifacts and for outputs."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from evil.trees import COUNT, SECRET, TREES, Tree, grown
from horde_core.uploads import SingleFilePut
from horde_executor.collect import Caps, collect
from horde_executor.outputs import open_outputs
from horde_executor.workspace import Place

CAPS = Caps(count=COUNT)


@pytest.mark.parametrize("tree", TREES, ids=[tree.what for tree in TREES])
def test_nothing_but_the_jobs_own_files_is_collected_and_the_rest_is_told(tree: Tree, tmp_path: Path) -> None:
    """What harms is left out with its reason, in no time; what is good comes all the same."""
    with grown(tree, tmp_path) as root:
        began = time.monotonic()
        found = collect(Place(root, ()), "/artifacts", CAPS)
        assert time.monotonic() - began < 5
        contents: dict[str, bytes] = {}
        for artifact in found.artifacts:
            with artifact.open() as file:
                contents[artifact.path] = os.read(file, 1000)
        assert contents["/artifacts/good"] == b"good"
        assert SECRET.encode() not in contents.values()
        assert len(found.artifacts) <= COUNT
        reasons = [left.why for left in found.left_out]
        assert all(left.model_dump_json().encode() for left in found.left_out)
        if tree.artifact is None:
            assert reasons == []
        else:
            assert any(tree.artifact in why for why in reasons), reasons


@pytest.mark.parametrize("tree", TREES, ids=[tree.what for tree in TREES])
def test_nothing_but_the_jobs_own_files_is_opened_to_be_sent(tree: Tree, tmp_path: Path) -> None:
    """The output that leads astray is refused with its reason; the one that is good is opened all the same."""
    (tmp_path / "scratch").mkdir()
    uploads = [
        SingleFilePut(output_upload_type="single_file_put", url="http://a.example/", relative_path=path)
        for path in (tree.path, "good")
    ]
    with grown(tree, tmp_path) as root, ExitStack() as files:
        began = time.monotonic()
        opened = open_outputs(uploads, root, tmp_path / "scratch", lambda _stream, _file: None, files)
        assert time.monotonic() - began < 5
        assert [(output.upload.relative_path, output.size) for output in opened.outputs] == [("good", 4)]
        ((upload, why),) = opened.problems
        assert upload.relative_path == tree.path
        assert why.startswith(f"/output/{tree.path} ")
        assert tree.output in why
