"""Output uploads as they travel on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from horde_core.volumes import FilePath, Url

MOUNT = "/output"


class _Upload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    url: Annotated[Url, Field(repr=False)]
    relative_path: FilePath
    signed_headers: Annotated[dict[str, str] | None, Field(repr=False)] = None


class SingleFilePut(_Upload):
    """One file, sent as the body of a PUT."""

    output_upload_type: Literal["single_file_put"]


class SingleFilePost(_Upload):
    """One file, sent as the last part of a multipart form."""

    output_upload_type: Literal["single_file_post"]
    form_fields: Annotated[dict[str, str] | None, Field(repr=False)] = None


Upload = Annotated[SingleFilePut | SingleFilePost, Field(discriminator="output_upload_type")]
