"""Reads of the views: as of now, or as of a point of history.

A point is one position, from the first page of a list to its last: the cursors of such a list hold
it, so that no two pages of it, however the point was named, show different states.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, NamedTuple, Self

from daemon.api.answers import Encoded, encode_found, encode_page
from daemon.api.context import Context
from daemon.api.log_reads import position_of
from daemon.api.parameters import Listing, Reading
from daemon.api.waiting import wait_for_views
from domain.epochs import require_reached
from domain.errors import BeingReplayed, InvalidCursor, NotReady
from domain.moments import Point
from projections.cursor import position_in
from projections.paging import Page
from projections.views import Views

_CURSOR: Final = re.compile(r"(\d{1,19})\.(.*)", re.ASCII | re.DOTALL)


class Place(NamedTuple):
    """The position that a read with `as_of` shows, and where its page starts."""

    position: int
    cursor: str | None = None

    @classmethod
    def of(cls, context: Context, asked: Reading, point: Point) -> Self:
        """Find the place; a cursor names the position for the pages after the first.

        Raises:
            BeyondHead, BeforeHistory, InvalidCursor: there is no such place.

        """
        cursor = asked.cursor if isinstance(asked, Listing) else None
        if cursor is None:
            return cls(position_of(context, point))
        match = _CURSOR.fullmatch(cursor)
        if match is None or point.position not in (None, int(match[1])):
            raise InvalidCursor("the cursor belongs to a list as of another point")
        return cls(position_of(context, Point(position=int(match[1]))), match[2])

    def encode(self, page: Page) -> Encoded:
        """Return a page, with the position in its cursor."""
        following = None if page.next is None else f"{self.position}.{page.next}"
        return encode_page(page.items, following, page.as_of)


class Shown(NamedTuple):
    """The views that a read shows, and where its page starts."""

    views: Views
    cursor: str | None
    encode: Callable[[Page], Encoded] = encode_found
    """Makes the answer of a page."""


async def answer(
    context: Context, asked: Reading, names: Collection[str], query: Callable[[Shown], Encoded]
) -> Encoded:
    """Run a query on the views that a read asks for, on a reader's thread.

    Raises:
        BeyondHead, BeforeHistory, InvalidCursor: there is no such state to show.
        NotReady: it was not reached in time; a replay that was begun goes on (`BeingReplayed`).

    """
    await wait_for_views(context, asked, names)
    if asked.point is None:
        cursor = asked.cursor if isinstance(asked, Listing) else None
        return await context.readers.run(_now, context, query, cursor)
    place = await context.readers.run(Place.of, context, asked, asked.point)
    if _stand_at(context, names, place.position):
        # They may go on meanwhile.
        with suppress(NotReady):
            now = context.views.at(place.position)
            return await context.readers.run(query, Shown(now, place.cursor, place.encode))
    views = (await views_at(context, place.position, asked.timeout)).at(place.position)
    return await context.readers.run(query, Shown(views, place.cursor, place.encode))


def _now(context: Context, query: Callable[[Shown], Encoded], cursor: str | None) -> Encoded:
    """Run a query on the live views; a cursor may hold a position of a tail that was lost."""
    if cursor is not None:
        require_reached(context.log, position_in(cursor))
    return query(Shown(context.views, cursor))


def _stand_at(context: Context, names: Collection[str], position: int) -> bool:
    """Whether the live views are just there."""
    statuses = [each for each in context.runner.status() if each.name in names]
    return all(each.position == position and each.state != "building" for each in statuses)


async def views_at(context: Context, position: int, timeout_seconds: float) -> Views:
    """Return the views as of a position, waiting for their replay.

    Raises:
        BeingReplayed: they are not built in time; the replay goes on.
        ReplayFailed, NewerEvent, StorageFailed, DiskFull: they cannot be built.

    """
    moments = context.moments
    if moments is None:
        raise NotReady(f"The views are not as of position {position}, and nothing replays here.")
    try:
        async with asyncio.timeout(timeout_seconds):
            with context.replayed.listen() as woken:
                while (views := moments.views(position)) is None:
                    await woken.wait()
                    woken.clear()
                return views
    except TimeoutError:
        done = moments.reached(position)
        raise BeingReplayed(f"Position {position} is being replayed: at {done}.") from None
