"""What the agent remembers of images: which it pulled, when they were used last, and who may have them.

Images that were there before, or that the operator brings, are everybody's and are never removed. Of those that
the agent pulled, the ones that needed credentials belong to the owners whom their registry gave them, for
`AUTHORISED_S` at a time. The file is written, and on the disk, before the engine is told to pull: an image that
appears afterwards is known to be ours, whatever became of the agent. Where the file of a directory that was in use
is lost, nobody knows any more how an image came; then each that has a registry is asked for there, owner by owner.
"""

import asyncio
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from horde_core.images import parse_image
from horde_executor.engine import Image
from horde_executor.errors import WorkspaceError

AUTHORISED_S = 3600.0
"""For how long an owner may use a private image after its registry was asked."""

log = logging.getLogger(__name__)


class Known(BaseModel):
    """An image. `names`: what the agent pulled it as, so what it may remove; `homes`: where it is to be asked for.

    `used` and the times of `owners` are UNIX seconds. `private`: only for those whom a registry gave it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    names: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    size: int = 0
    used: float = 0
    private: bool = False
    owners: dict[str, float] = {}

    def changed(self, **values: object) -> "Known":
        """The same with other values."""
        return self.model_copy(update=values)


class _File(BaseModel):
    """What is on the disk. `pulling`: names whose pull was begun, and whether with credentials."""

    version: Literal[1] = 1
    images: dict[str, Known] = {}
    pulling: dict[str, bool] = {}


class Holdings:
    """The images that an agent knows something of. Changes are on the disk when their method returns."""

    def __init__(self, path: Path, stored: _File) -> None:
        self._path = path
        self._images = stored.images
        self._pulling = stored.pulling
        self._pulls = Counter[str]()
        self._writing = asyncio.Lock()

    @classmethod
    async def opened(cls, path: Path, present: Sequence[Image], *, is_first: bool) -> "Holdings":
        """What is remembered of the images that are there. `is_first`: no agent has used this directory before.

        Raises:
            WorkspaceError: the file cannot be written.
        """
        stored = await asyncio.to_thread(_read, path)
        if stored is None:
            doubtful = () if is_first else (image for image in present if image.digests)
            if not is_first:
                log.warning("%s is lost: images from registries are asked for there before they are used", path)
            stored = _File(images={it.id: Known(homes=it.digests, private=True) for it in doubtful})
        there = {it.id: it for it in present}
        names = {key for it in present for key in keys_of(it)}
        images = {id_: known for id_, known in stored.images.items() if id_ in there}
        pulling = {name: private for name, private in stored.pulling.items() if name in names}
        holdings = cls(path, _File(images=images, pulling=pulling))
        await holdings._settle(present)
        return holdings

    def may_use(self, image: Image, owner: str) -> bool:
        """Whether an owner may have an image without asking anybody."""
        known = self._known(image)
        if known is None or not known.private:
            return True
        return 0 <= time.time() - known.owners.get(owner, float("-inf")) < AUTHORISED_S

    def homes(self, image: Image) -> tuple[str, ...]:
        """Where it is to be asked for whether somebody may have an image."""
        known = self._known(image)
        return known.homes if known else ()

    async def begin(self, name: str, *, private: bool) -> None:
        """A pull is about to begin. Call `pulled` or `failed` when it has ended; a cut off one is found later."""
        key = parse_image(name).key
        self._pulls[key] += 1
        self._pulling[key] = private or self._pulling.get(key, False)
        await self.save()

    async def failed(self, name: str) -> None:
        """A pull brought nothing."""
        self._end(name)
        await self.save()

    async def pulled(self, name: str, image: Image, home: str, before: str | None, *, private: bool) -> None:
        """A pull brought an image, or found that it is there; `before` is the id that had the name before it."""
        key = parse_image(name).key
        known = self._images.get(image.id)
        if known is None:
            if keys_of(image) - self._pulling.keys() - {key, _key(home)}:
                known = Known(names=(name,))  # somebody else's, under another name: ours is the name alone
            else:
                known = Known(names=(name,), homes=(home,), size=image.size, private=private)
        elif image.id != before and name not in known.names:
            known = known.changed(names=(*known.names, name))
        self._images[image.id] = known.changed(used=time.time())
        self._end(name)
        await self.save()

    async def vouch(self, image: Image, home: str, owner: str | None) -> None:
        """A registry gives out an image to an owner, or (None) to everybody. Counts where it is at home there."""
        known = self._known(image)
        if known is None or not known.private or home not in known.homes:
            return
        change = {"private": False} if owner is None else {"owners": {**known.owners, owner: time.time()}}
        self._images[image.id] = known.changed(**change)
        await self.save()

    def touch(self, image_id: str) -> None:
        """An image is used now. Written with the next change, for it matters little."""
        if image_id in self._images:
            self._images[image_id] = self._images[image_id].changed(used=time.time())

    @property
    def size(self) -> int:
        """Bytes of all images that were pulled."""
        return sum(known.size for known in self._images.values() if known.names)

    def oldest(self) -> list[tuple[str, Known]]:
        """The images that were pulled, those first that were not used for the longest time."""
        ours = [(id_, known) for id_, known in self._images.items() if known.names]
        return sorted(ours, key=lambda it: it[1].used)

    async def removed(self, image_id: str, *, is_gone: bool) -> None:
        """Our names of an image are gone, and the image too unless somebody else has another name for it."""
        if is_gone:
            self._images.pop(image_id, None)
        elif image_id in self._images:
            self._images[image_id] = self._images[image_id].changed(names=(), size=0)
        await self.save()

    async def save(self) -> None:
        """Write everything down.

        Raises:
            WorkspaceError: it cannot be written.
        """
        async with self._writing:
            text = _File(images=self._images, pulling=self._pulling).model_dump_json()
            await asyncio.to_thread(_write, self._path, text)

    async def _settle(self, present: Sequence[Image]) -> None:
        """At the start no pull goes on: what those that were cut off brought is known, and the others are over."""
        cut_off = {it.id: known for it in present if it.id not in self._images and (known := self._known(it))}
        self._images |= cut_off
        self._pulling.clear()
        await self.save()

    def _end(self, name: str) -> None:
        key = parse_image(name).key
        self._pulls[key] -= 1
        if self._pulls[key] <= 0:
            del self._pulls[key]
            self._pulling.pop(key, None)

    def _known(self, image: Image) -> Known | None:
        """What is known of an image. What a pull of ours brought that was cut off is ours, and nobody's yet."""
        known = self._images.get(image.id)
        cut_off = keys_of(image) & self._pulling.keys() if known is None and self._pulling else ()
        if not cut_off:
            return known
        names = tuple(name for name in (*image.tags, *image.digests) if _key(name) in cut_off)
        private = any(self._pulling[key] for key in cut_off)
        return Known(names=names, homes=image.digests, size=image.size, private=private)


def share_of_disk(directory: Path, held: int) -> int:
    """Bytes of images for an operator who named none: a quarter of the disk, and at most half of what is free.

    What is `held` already counts as free.
    """
    disk = shutil.disk_usage(directory)
    return min(disk.total // 4, (disk.free + held) // 2)


def keys_of(image: Image) -> set[str]:
    """All that an image is called, in one spelling."""
    return {key for name in (*image.tags, *image.digests) if (key := _key(name))}


def _key(name: str) -> str | None:
    try:
        return parse_image(name).key
    except ValueError:  # the engine may know names that nobody could ask for
        return None


def _read(path: Path) -> _File | None:
    try:
        return _File.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return None


def _write(path: Path, text: str) -> None:
    """Put a file in place of another, so that a crash at any moment leaves one of the two."""
    beside = path.with_suffix(".new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror}") from error
