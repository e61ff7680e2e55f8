"""The projections there are."""

from __future__ import annotations

from typing import Final

from projections.alerts import Alerts
from projections.files import Files
from projections.job_history import JobHistory
from projections.jobs import Jobs
from projections.queues import Queues
from projections.seam import Projection
from projections.search import Search
from projections.summary import Summary
from projections.tasks import Tasks
from projections.ties import Ties
from projections.workflows import Workflows

PROJECTIONS: Final[tuple[Projection, ...]] = (
    Jobs(), JobHistory(), Alerts(), Files(), Summary(), Search(), Ties(), Tasks(),
    Workflows(), Queues(),
)  # fmt: skip
"""Every projection of this program, in the order in which a batch is applied to them."""
