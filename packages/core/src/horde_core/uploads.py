"""Output uploads as they travel on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from horde_core.volumes import FilePath, Url

MOUNT = "/output"


class _Upload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: Url
    relative_path: FilePath
    signed_headers: dict[str, str] | None = None


class SingleFilePut(_Upload):
    """One file, sent as the body of a PUT."""

    output_upload_type: Literal["single_file_put"]


class SingleFilePost(_Upload):
    """One file, sent as the last part of a multipart form."""

    output_upload_type: Literal["single_file_post"]
    form_fields: dict[str, str] | None = None


Upload = Annotated[SingleFilePut | SingleFilePost, Field(discriminator="output_upload_type")]
