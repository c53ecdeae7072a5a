"""Which image an attempt runs, and getting it.

The first attempt of a job decides: the machine's own image of that name, else what the registry has. The answer
is reported as the registry's digest (``repository@sha256:…``), or as the id of an image that only this machine
has; every later attempt uses exactly that. Slots that want the same image, with the same credentials, share one
pull.

An image that was pulled with credentials is used for another owner only when its registry gives it to him, too. It
is asked by a request for the manifest. A pull would not do: of what it has the engine pulls a digest again without
asking anybody.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from horde_core.images import DEFAULT_REGISTRY, HUB_HOST, ImageName, parse_image
from horde_core.outcomes import Reason, Stage
from horde_core.wire.executor import ImageLogin, ProgressEvent
from horde_executor.engine import Engine, Image
from horde_executor.errors import EngineError, JobFailure
from horde_executor.holdings import Holdings
from horde_executor.pulling import Progress, Pull, failure_of, unreachable
from horde_executor.tasks import cancel

CheckRegistry = Callable[[str, int], Awaitable[None]]
"""Raises `JobFailure` when pulling from this host and port is not allowed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image as a job names it, the digest that an earlier attempt of the job reported, and for whom it is."""

    name: str
    digest: str | None = None
    owner: str = ""
    login: ImageLogin | None = None

    @property
    def parsed(self) -> ImageName:
        """The name in its parts."""
        return parse_image(self.name)

    @property
    def reference(self) -> str:
        """What the engine is asked for."""
        return self.digest or str(self.parsed)


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image that is present: the engine's id to create from, and the digest to report."""

    image: Image
    digest: str


class Images:
    """The images of one machine. `check_registry` decides from where they may be pulled.

    `budget` tells how many bytes those that were pulled may have, given how many they have now.
    """

    def __init__(
        self, engine: Engine, check_registry: CheckRegistry, holdings: Holdings, budget: Callable[[int], int]
    ) -> None:
        self._engine = engine
        self._check_registry = check_registry
        self._holdings = holdings
        self._budget = budget
        self._pulls: dict[tuple[str, ImageLogin | None], Pull] = {}
        self._used = Counter[str]()
        self._going: dict[str, asyncio.Event] = {}
        self._tidying = asyncio.Lock()

    async def resolve(
        self, wanted: Wanted, *, stall_s: float, report: Callable[[ProgressEvent], None]
    ) -> Resolved:
        """The image of an attempt. It stays on the machine until `let_go`.

        Raises:
            JobFailure: there is no such image, the registry refuses it, or it cannot be reached.
        """
        image = await self._take(wanted.reference)
        if image is None or not await self._is_allowed(image, wanted):
            if wanted.reference.startswith("sha256:"):
                raise unreachable(
                    f"an earlier attempt ran {wanted.name} as the image {wanted.reference}, which no registry gave"
                    " out and this executor does not have"
                )
            await self._pull(wanted, image, stall_s, report)
            image = await self._take(wanted.reference)
            if image is None:
                raise unreachable(f"the engine pulled {wanted.reference}, but does not have it now")
            await self._holdings.vouch(image, _home(image, wanted), wanted.owner if wanted.login else None)
            if not await self._is_allowed(image, wanted):
                raise _for_others(wanted)
        self._holdings.touch(image.id)
        return Resolved(image, wanted.digest or digest_of(image, wanted.parsed))

    async def let_go(self, resolved: Resolved) -> None:
        """An attempt is done with its image. Then those go that are too many, and not used by anybody."""
        self._release(resolved.image)
        await self.tidy()

    async def tidy(self) -> None:
        """Remove images that were pulled, those not used for the longest time first, until the budget is kept."""
        async with self._tidying:
            excess = self._holdings.size - self._budget(self._holdings.size)
            for image_id, known in self._holdings.oldest() if excess > 0 else ():
                if excess <= 0:
                    return
                if self._used[image_id]:
                    continue
                gone = self._going[image_id] = asyncio.Event()
                try:
                    if await self._remove(image_id, known.names):
                        excess -= known.size
                finally:
                    del self._going[image_id]
                    gone.set()

    async def _remove(self, image_id: str, names: tuple[str, ...]) -> bool:
        """Take our names from an image; the engine removes what has no name left. False: somebody uses it."""
        try:
            for name in names:
                image = await self._engine.image(name)
                if image is not None and image.id == image_id:
                    await self._engine.remove_image(name)
            is_gone = await self._engine.image(image_id) is None
        except EngineError as error:
            log.info("image %s stays for now: %s", " ".join(names), error)
            return False
        log.info("image %s was removed to make room", " ".join(names))
        await self._holdings.removed(image_id, is_gone=is_gone)
        return True

    async def _take(self, reference: str) -> Image | None:
        """The image if it is present; from now on it is in use."""
        while (image := await self._engine.image(reference)) is not None:
            going = self._going.get(image.id)
            if going is None:
                self._used[image.id] += 1
                return image
            await going.wait()
        return None

    def _release(self, image: Image) -> None:
        self._used[image.id] -= 1
        if self._used[image.id] <= 0:
            del self._used[image.id]

    async def _is_allowed(self, image: Image, wanted: Wanted) -> bool:
        """Whether the owner may have an image that is in use now. False: its registry has it no more.

        Raises:
            JobFailure: he may not, or nobody says so now. As when the answer is False, it is not in use then.
        """
        try:
            allowed = await self._is_vouched_for(image, wanted)
        except BaseException:
            self._release(image)
            raise
        if not allowed:
            self._release(image)
        return allowed

    async def _is_vouched_for(self, image: Image, wanted: Wanted) -> bool:
        if self._holdings.may_use(image, wanted.owner):
            return True
        failures: list[JobFailure] = []
        for home in self._holdings.homes(image):
            place, here = parse_image(home).home, wanted.parsed.home
            login = wanted.login if place[0] == here[0] else None
            try:
                await self._ask(home, login)
            except JobFailure as failure:
                failures.append(failure if place == here else _for_others(wanted))
            else:
                await self._holdings.vouch(image, home, wanted.owner if login else None)
                return True
        for failure in failures:
            if failure.reason is not Reason.IMAGE_NOT_FOUND:
                raise failure
        return False

    async def _ask(self, reference: str, login: ImageLogin | None) -> None:
        """Ask the registry whether it gives out an image, without pulling it."""
        await self._check(parse_image(reference).registry)
        try:
            await self._engine.ask_registry(reference, login)
        except EngineError as error:
            raise failure_of(reference, str(error), login) from error

    async def _check(self, registry: str) -> None:
        has_port = registry.rpartition(":")[2].isdigit()
        host, _, port = registry.rpartition(":") if has_port else (registry, "", "443")
        await self._check_registry(HUB_HOST if host in (DEFAULT_REGISTRY, "index.docker.io") else host, int(port))

    async def _pull(
        self, wanted: Wanted, before: Image | None, stall_s: float, report: Callable[[ProgressEvent], None]
    ) -> None:
        await self._check(wanted.parsed.registry)
        key = (wanted.reference, wanted.login)
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = self._begin(wanted, before)
        pull.waiting += 1
        try:
            await pull.watch(stall_s, report)
        finally:
            pull.waiting -= 1
            if not pull.waiting:
                self._pulls.pop(key, None)
                await cancel(pull.task)

    def _begin(self, wanted: Wanted, before: Image | None) -> Pull:
        reference, progress, private = wanted.reference, Progress(wanted.reference), wanted.login is not None

        async def run() -> None:
            await self._holdings.begin(reference, private=private)
            try:
                if parse_image(reference).digest:
                    await self._engine.ask_registry(reference, wanted.login)
                await progress.follow(self._engine.pull(reference, wanted.login))
            except EngineError:
                await self._holdings.failed(reference)
                raise
            image = await self._engine.image(reference)
            if image is None:
                await self._holdings.failed(reference)
                return
            before_id = before.id if before else None
            await self._holdings.pulled(reference, image, _home(image, wanted), before_id, private=private)

        return Pull(progress, wanted.login, asyncio.ensure_future(run()))


def _home(image: Image, wanted: Wanted) -> str:
    """Where the image is to be asked for that was pulled from the wanted registry."""
    return wanted.digest or digest_of(image, wanted.parsed)


def _for_others(wanted: Wanted) -> JobFailure:
    """Also when the name leads elsewhere: who has the digests of an image has not yet the image."""
    return JobFailure(
        Stage.PREPARE,
        Reason.IMAGE_REFUSED,
        f"{wanted.name} is an image that this executor has for other owners, from another registry or under"
        " another name. Use that one, with credentials for it",
    )


def digest_of(image: Image, wanted: ImageName) -> str:
    """What later attempts are told to use: the digest in the wanted registry, else the image's id."""
    for digest in image.digests:
        with suppress(ValueError):  # the engine may know names that nobody could ask for
            known = parse_image(digest)
            if known.home == wanted.home and wanted.digest in (None, known.digest):
                return digest
    return image.id
