"""Credentials for registries: sealed when they come, opened for the claim of a job whose image needs them."""

import logging

from horde_core.wire.executor import ImageLogin
from horde_core.wire.registries import RegistryLogin
from horde_facilitator.errors import SealError
from horde_facilitator.records.registries import Whose
from horde_facilitator.records.values import Credentials
from horde_facilitator.sealing import Purpose, SealingKeys

log = logging.getLogger(__name__)


def sealed(whose: Whose, login: RegistryLogin, keys: SealingKeys) -> Credentials:
    """The credentials as they are stored."""
    seal = keys.seal(login.password.encode(), str(whose), Purpose.REGISTRY)
    return Credentials(whose.owner, whose.registry, login.username, seal)


def opened(stored: Credentials, keys: SealingKeys) -> ImageLogin | None:
    """What an executor is given. None if the key is lost: then a public image still runs, a private one fails."""
    whose = Whose(stored.owner, stored.registry)
    try:
        password = keys.open(stored.sealed, str(whose), Purpose.REGISTRY)
    except SealError as error:
        log.warning("%s; the owner has to give it again", error)
        return None
    return ImageLogin(username=stored.username, password=password.decode())
