"""What can be in the way of applying a plan."""

from __future__ import annotations

from domain.errors import Conflict


class PlanChanged(Conflict):
    """The plan that was shown is no longer what is due."""

    code = "plan_changed"
    title = "The plan has changed"
    hint = "Look at the plan again, and apply that one."
