"""How large everything is, how it grows, and when there is no more room: ``GET /api/size``."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from daemon.api.answers import NO_STORE, JsonResponse
from daemon.api.context import Context, InContext
from daemon.size.documents import size_document
from domain.errors import StorageFailed


async def get_size(context: InContext) -> Response:
    """Say what takes how much room, how that grows, and when a line is reached.

    Files and disk are looked at now. What tables and categories take was measured at
    `measured.time`, by the housekeeping or by the operation `measure`; null before the first time.
    """
    return JsonResponse(await context.readers.run(_size, context), headers=NO_STORE)


def _size(context: Context) -> dict[str, Any]:
    try:
        document = size_document(context.sizes, context.clock())
    except OSError as error:
        raise StorageFailed(f"the data directory cannot be read: {error.strerror}") from error
    return {**document, "as_of": context.log.head(), "readonly": context.readonly}
