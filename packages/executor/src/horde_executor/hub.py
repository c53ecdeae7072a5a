"""Hugging Face: which files a volume means, where they are, and what they hash to.

A hub is asked in a process of its own (`ask_hub`), with the job's token and nothing else of this machine. The
files themselves are fetched like all others (`cache`), by their URLs at one commit, and compared with the hashes
that the hub promised.
"""

import asyncio
import json
import logging
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horde_core.outcomes import Reason, Stage
from horde_core.volumes import HuggingfaceVolume
from horde_executor.egress import Egress
from horde_executor.errors import JobFailure
from horde_executor.fetch import pause
from horde_executor.hop import ca_file
from horde_executor.patience import Patience
from horde_executor.tasks import Joint, over

PUBLIC_HUB = "https://huggingface.co"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository at one commit: its path in components, and one of two hashes that it must have."""

    parts: tuple[str, ...]
    size: int
    url: str
    sha256: str | None
    git_sha1: str | None


class Hub:
    """A hub, and how it may be reached.

    `scratch` is a directory for whatever the hub's library should want to write.
    """

    def __init__(self, endpoint: str, egress: Egress, patience: Patience, scratch: Path) -> None:
        self._endpoint = endpoint
        self._egress = egress
        self._patience = patience
        self._scratch = scratch
        self._asking: Joint[dict[str, Any]] = Joint()

    async def files(self, volume: HuggingfaceVolume, *, label: str) -> tuple[HubFile, ...]:
        """The files of a volume. That its token may read them is proven by this.

        Jobs that ask the same with the same token in the same moment ask once.

        Args:
            volume: the repository, revision and patterns.
            label: the path of the volume, which messages begin with.

        Raises:
            JobFailure: at the stage `download`; see `_failure` for what there is.
        """
        failures, question = 0, json.dumps(self._question(volume))
        while True:
            answer = await self._asking.do(question, lambda: self._ask(question))
            if "files" in answer:
                return _read(answer["files"], volume, label)
            kind, detail = answer["failed"], answer.get("detail", "")
            if kind != "unreachable":
                raise self._failure(kind, detail, volume, label)
            failures += 1
            wait = pause(failures, None, self._patience, random.random())  # noqa: S311 - spreads load only
            if wait is None:
                raise JobFailure(
                    Stage.DOWNLOAD,
                    Reason.DOWNLOAD_UNREACHABLE,
                    f"{label} could not be fetched: the hub {self._endpoint} cannot be reached ({detail}),"
                    f" {failures} times. Run the job again when it can.",
                )
            await asyncio.sleep(wait)

    def _question(self, volume: HuggingfaceVolume) -> dict[str, Any]:
        return {
            "parent": os.getpid(),
            "egress": self._egress.entries(),
            "ca_file": ca_file(),
            "timeout_s": {"connect": self._patience.connect_s, "stall": self._patience.stall_s},
            "endpoint": self._endpoint,
            "repo_id": volume.repo_id,
            "repo_type": volume.repo_type or "model",
            "revision": volume.revision,
            "allow_patterns": volume.allow_patterns,
            "token": volume.token,
        }

    async def _ask(self, question: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "horde_executor.ask_hub"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._scratch,
            env=_environment(self._scratch),
        )
        talking = asyncio.ensure_future(process.communicate(question.encode()))
        try:
            await asyncio.wait([talking])
        finally:
            if not talking.done():
                process.kill()
            await over(talking)
        output, errors = talking.result()
        if process.returncode != 0:
            log.warning("the question to the hub failed: %s", errors.decode(errors="replace")[-2000:])
            raise JobFailure(
                Stage.DOWNLOAD, Reason.EXECUTOR_ERROR, "the executor could not ask the hub; its log says why"
            )
        return json.loads(output)

    def _failure(self, kind: str, detail: str, volume: HuggingfaceVolume, label: str) -> JobFailure:
        kind_of = volume.repo_type or "model"
        what = f"the {kind_of} {volume.repo_id!r}"
        page = f"{self._endpoint}/{'' if kind_of == 'model' else f'{kind_of}s/'}{volume.repo_id}"
        owns = volume.token is not None
        words = {
            "no_repository": (
                f"{what} is not on {self._endpoint}, or the volume's token may not read it. Check repo_id,"
                " repo_type and the token."
                if owns
                else f"{what} is not on {self._endpoint}, or not public. Check repo_id and repo_type; if it is"
                " private, give the volume a token that may read it."
            ),
            "gated": (
                f"{what} is gated, and the account of the volume's token was not let in. Ask for access at {page}."
                if owns
                else f"{what} is gated. Ask for access at {page}, and give the volume a token of that account."
            ),
            "no_revision": f"{what} has no revision {volume.revision!r}. Name a branch, tag or commit of it.",
            "disabled": f"{what} was disabled on {self._endpoint}. Ask its owner.",
            "bad_name": f"{volume.repo_id!r} is no name of a repository ({detail}). Write OWNER/NAME.",
            "bad_token": f"{self._endpoint} does not accept the volume's token. Check that it is still valid.",
            "shut": (
                f"a host of the hub is {detail}, which jobs may not reach. The operator of the executor may allow"
                " it with --allow-egress HOST:PORT."
            ),
            "refused": f"{self._endpoint} does not give it: {detail}. Check repo_id, repo_type and revision.",
        }
        return _failed(label, words[kind])


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing of this process's own: a token of the machine's user would open to jobs what is not theirs."""
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "HOME": str(scratch),
        "HF_HOME": str(scratch),
        "HF_TOKEN_PATH": os.devnull,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }


def _read(files: list[dict[str, Any]], volume: HuggingfaceVolume, label: str) -> tuple[HubFile, ...]:
    if not files and volume.allow_patterns is not None:
        raise _failed(label, f"no file of {volume.repo_id!r} matches allow_patterns {volume.allow_patterns!r}.")
    try:
        return tuple(
            HubFile(_parts(file["path"]), file["size"], file["url"], file["sha256"], file["git_sha1"])
            for file in files
        )
    except ValueError as error:
        raise _failed(label, f"{volume.repo_id!r} holds a path that cannot be used: {error}.") from None


def _parts(path: str) -> tuple[str, ...]:
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or any(not " " <= c != "\x7f" for c in path):
        raise ValueError(repr(path))
    return parts


def _failed(label: str, message: str) -> JobFailure:
    return JobFailure(Stage.DOWNLOAD, Reason.DOWNLOAD_FAILED, f"{label} cannot be fetched: {message}")
