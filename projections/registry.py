"""The projections there are."""

from __future__ import annotations

from typing import Final

from projections.seam import Projection

PROJECTIONS: Final[tuple[Projection, ...]] = ()
"""Every projection of this program, in the order in which a batch is applied to them."""
