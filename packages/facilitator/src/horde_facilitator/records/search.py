"""Finding an owner's jobs: by status, namespace, image and time, newest first."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from horde_core.lifecycle import Status
from horde_facilitator.records.values import Job
from horde_facilitator.tables import jobs


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for; what is None or empty does not narrow it.

    An image without tag and digest means all of its tags and digests. Jobs from `created_from_us` on, and before
    `created_before_us`.
    """

    statuses: tuple[Status, ...] = ()
    namespace: str | None = None
    image: str | None = None
    created_from_us: int | None = None
    created_before_us: int | None = None


def page(connection: Connection, owner: str, search: Search, offset: int, size: int) -> tuple[int, list[Job]]:
    """How many jobs of the owner match, and `size` of them from `offset` on, newest first."""
    conditions = list(_conditions(owner, search))
    count = connection.execute(select(func.count()).select_from(jobs).where(*conditions)).scalar_one()
    query = select(*Job.columns(jobs)).where(*conditions).order_by(jobs.c.id.desc()).offset(offset).limit(size)
    return int(count), [Job.read(row) for row in connection.execute(query).mappings()]


def _conditions(owner: str, search: Search) -> Iterator[ColumnElement[bool]]:
    yield jobs.c.owner == owner
    if search.statuses:
        yield jobs.c.status.in_([status.value for status in search.statuses])
    if search.namespace is not None:
        yield jobs.c.namespace == search.namespace
    if search.image is not None:
        yield _of_image(search.image)
    if search.created_from_us is not None:
        yield jobs.c.created_us >= search.created_from_us
    if search.created_before_us is not None:
        yield jobs.c.created_us < search.created_before_us


def _of_image(image: str) -> ColumnElement[bool]:
    if "@" in image or ":" in image.rpartition("/")[2]:
        return jobs.c.image == image
    # Ranges, so that the index serves them: ";" follows ":", and "A" follows "@".
    tags = and_(jobs.c.image >= f"{image}:", jobs.c.image < f"{image};")
    digests = and_(jobs.c.image >= f"{image}@", jobs.c.image < f"{image}A")
    return or_(jobs.c.image == image, tags, digests)
