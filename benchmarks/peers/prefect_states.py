"""Prefect's own server on its SQLite database: one state of a flow run after the other."""

from __future__ import annotations

import httpx

from benchmarks.peers.timing import arguments, figures_of, in_turn, report

BUSY = 503
"""What it answers now and then, mostly after its start; it is asked again."""
STATES = ("PENDING", "RUNNING") * 1_000


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__)
    with httpx.Client(base_url=options.at, timeout=60) as client:

        def post(path: str, document: dict[str, object]) -> str:
            answer = client.post(path, json=document)
            while answer.status_code == BUSY:
                answer = client.post(path, json=document)
            answer.raise_for_status()
            return str(answer.json().get("id"))

        flow = post("/api/flows/", {"name": "bench"})
        run = post("/api/flow_runs/", {"flow_id": flow})

        def set_state(kind: str) -> None:
            state = {"type": kind, "name": kind.title()}
            post(f"/api/flow_runs/{run}/set_state", {"state": state, "force": True})

        in_turn(set_state, STATES[:4], 60)
        took = in_turn(set_state, STATES, options.seconds)
    report(figures_of("Prefect set_state, 1 client", sum(took), took))


if __name__ == "__main__":
    main()
