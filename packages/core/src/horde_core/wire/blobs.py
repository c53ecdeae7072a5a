"""Input blobs: content that is too large for the body of a job goes up once, by its hash, before the job.

| request | answer |
|---|---|
| GET /api/v1/blobs/{sha256}/                    | 200 `BlobState`, also when there is nothing yet |
| PUT /api/v1/blobs/{sha256}/{offset}?size=BYTES | 200 `BlobState`; 409 `missing_parts`; 413 above a cap |
| GET /executor/v1/attempts/{job}/{n}/blobs/{sha256} | 200, 206: the bytes, for the holder of the attempt |

A piece is plain bytes from `offset` on, of the blob that has `size` bytes in all. What arrived of a piece that
broke off counts, so the next one begins at `arrived`; bytes that arrived before are skipped. A blob whose bytes
have all arrived is checked against its hash before it is `whole`; of a large one each request checks a part, so
the last one (an empty piece at the end) is repeated until it is. A blob belongs to who uploaded it: others learn
nothing of it.
"""

from pydantic import BaseModel, ConfigDict

BLOBS_PATH = "/api/v1/blobs/"
PIECE_BYTES = 16 * 1024**2


class BlobState(BaseModel):
    """How much of a blob is here, in bytes. `piece_bytes` is the largest piece that is taken."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: str
    size: int | None = None
    arrived: int = 0
    checked: int = 0
    whole: bool = False
    piece_bytes: int = PIECE_BYTES
