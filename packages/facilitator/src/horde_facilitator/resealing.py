"""At the start: the keys are read, and what an older key sealed, or none, is sealed with the newest."""

import logging
from pathlib import Path

from sqlalchemy import Engine

from horde_facilitator import database, keyfile
from horde_facilitator.errors import SealError, StartError
from horde_facilitator.records import registries, requests
from horde_facilitator.records.registries import Whose
from horde_facilitator.records.requests import WIPED, Request
from horde_facilitator.sealing import Purpose, SealingKeys

log = logging.getLogger(__name__)


def keys_for(records: Path, path: Path) -> SealingKeys:
    """The keys for the migrated records, which are sealed with the newest when this returns. Blocks.

    Raises:
        StartError: the keys cannot be used, or are missing although the records are sealed.
    """
    engine = database.engine(records)
    try:
        with engine.connect() as connection:
            heads = requests.heads(connection)
            has_plain = requests.has_plain(connection)
            has_passwords = any(registries.every(connection))
        keys = _opened(path, is_needed=bool(heads) or has_passwords)
        if has_plain:
            _seal_plain(engine, keys)
        for head in heads - {keys.newest}:
            if head in keys.known:
                _reseal(engine, keys, head)
            else:
                log.warning("some jobs are sealed with a key that is not in %s; they cannot be run any more", path)
        _reseal_passwords(engine, keys)
    finally:
        engine.dispose()
    return keys


def _opened(path: Path, *, is_needed: bool) -> SealingKeys:
    """The keys in the file. A first one is made where none is needed yet, or the file is there and empty."""
    if is_needed and not path.exists():
        raise StartError(
            f"{path} is missing, and the requests of jobs are sealed with the keys in it. Put it back. If it is "
            "lost, make an empty file in its place, with mode 0600: a new key is made then, jobs that have not "
            "ended fail, and what other jobs were asked with is not shown any more"
        )
    if not path.exists() or not keyfile.read(path):
        return SealingKeys.made(path)
    return SealingKeys.read(path)


def _seal_plain(engine: Engine, keys: SealingKeys) -> None:
    """Seal what is from before there were seals. All of it or nothing; SQLite's log goes with the connection."""
    with engine.begin() as connection:
        for plain in requests.take_plain(connection):
            requests.add(connection, _sealed(plain, keys))


def _reseal(engine: Engine, keys: SealingKeys, head: bytes) -> None:
    last = ""
    while True:
        with engine.begin() as connection:
            some = requests.sealed_with(connection, head, last)
            if not some:
                return
            for job in some:
                try:
                    requests.replace(connection, _sealed(_plain(requests.row(connection, job), keys), keys))
                except SealError as error:  # whoever needs it will find the same
                    log.warning("%s; it stays as it is", error)
            last = some[-1]


def _reseal_passwords(engine: Engine, keys: SealingKeys) -> None:
    with engine.begin() as connection:
        for stored in registries.every(connection):
            if not stored.sealed.startswith(keys.newest):
                whose = Whose(stored.owner, stored.registry)
                try:
                    password = keys.open(stored.sealed, str(whose), Purpose.REGISTRY)
                except SealError as error:
                    log.warning("%s; the owner has to give it again", error)
                else:
                    registries.reseal(connection, whose, keys.seal(password, str(whose), Purpose.REGISTRY))


def _plain(sealed: Request, keys: SealingKeys) -> Request:
    echo = keys.open(sealed.echo, sealed.job, Purpose.ECHO)
    body = keys.open(sealed.body, sealed.job, Purpose.BODY) if sealed.body else WIPED
    return Request(sealed.job, body, echo)


def _sealed(plain: Request, keys: SealingKeys) -> Request:
    echo = keys.seal(plain.echo, plain.job, Purpose.ECHO)
    body = keys.seal(plain.body, plain.job, Purpose.BODY) if plain.body else WIPED
    return Request(plain.job, body, echo)
