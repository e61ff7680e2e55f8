"""Answers of a Bakta server and calls of it; ids, secrets and signatures are our own."""

from __future__ import annotations

from typing import Any, Final

JOB: Final = "5f0c7a52-9d1e-4c3b-8a60-2b7f4f1c9e01"
OTHER_JOB: Final = "77aa1b2c-0000-4d5e-9f10-3c8d6a2b1f02"
SECRET: Final = "q7Zt3LmXw9Rb2KfVs8Hc4NdYp6Gj1TaE"
SIGNATURE: Final = "9c1185a5c5e9fc54612808977ee8f548b2258d31a1b2c3d4e5f60718293a4b5c"
CREDENTIAL: Final = "AKIAIOSFODNN7EXAMPLE"
STARTED: Final = "2026-02-04T17:01:14Z"
HOST: Final = "https://s3.example.org/bakta"
KEYS: Final = {
    "EMBL": "embl", "FAA": "faa", "FAAHypothetical": "hypotheticals.faa", "FFN": "ffn",
    "FNA": "fna", "GBFF": "gbff", "GFF3": "gff3", "JSON": "json", "TSV": "tsv",
    "TSVHypothetical": "hypotheticals.tsv", "TSVInference": "inference.tsv", "TXTLogs": "txt",
    "PNGCircularPlot": "png", "SVGCircularPlot": "svg",
}  # fmt: skip


def presigned(path: str, signed: str = "20260204T181500Z") -> str:
    """Return an address as the object store signs it."""
    return (
        f"{HOST}/{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Credential={CREDENTIAL}%2F20260204%2Fus-east-1%2Fs3%2Faws4_request"
        f"&X-Amz-Date={signed}&X-Amz-Expires=518400&X-Amz-SignedHeaders=host"
        f"&X-Amz-Signature={SIGNATURE}"
    )


def state(status: str, updated: str = "17:04:59.120", job: str = JOB) -> dict[str, Any]:
    """Return what a list says of one job; ``updated`` is a time of one day."""
    return {
        "jobID": job,
        "jobStatus": status,
        "started": STARTED,
        "updated": f"2026-02-04T{updated}Z",
        "name": "pOSAK1.fna",
    }


def listed(*states: dict[str, Any], **failed: str) -> dict[str, Any]:
    """Return an answer of the list; ``failed`` are statuses by the names of their jobs."""
    ids = {"job": JOB, "other": OTHER_JOB}
    return {
        "jobs": list(states),
        "failedJobs": [
            {"jobID": ids[name], "jobStatus": status} for name, status in failed.items()
        ],
    }


def poll(status: str, updated: str = "17:04:59.120") -> dict[str, Any]:
    """Return an answer of the list about the one job."""
    return listed(state(status, updated))


def result(signed: str = "20260204T181500Z") -> dict[str, Any]:
    """Return an answer with the results of the one job."""
    return {
        "jobID": JOB,
        "name": "pOSAK1.fna",
        "started": STARTED,
        "updated": "2026-02-04T17:08:40Z",
        "ResultFiles": {
            key: presigned(f"jobs/{JOB}/results/result.{end}", signed) for key, end in KEYS.items()
        },
    }


INIT: Final[dict[str, Any]] = {
    "request": {"name": "pOSAK1 (2nd).fna", "repliconTableType": "CSV"},
    "response": {
        "job": {"jobID": JOB, "secret": SECRET},
        "uploadLinkFasta": presigned(f"jobs/{JOB}/inputs/fastadata.fasta"),
        "uploadLinkProdigal": presigned(f"jobs/{JOB}/inputs/prodigal.tf"),
        "uploadLinkReplicons": presigned(f"jobs/{JOB}/inputs/replicons.tsv"),
    },
    "time": "2026-02-04T17:00:50Z",
}
START: Final[dict[str, Any]] = {
    "request": {
        "job": {"jobID": JOB, "secret": SECRET},
        "config": {
            "prodigalTrainingFile": None,
            "hasReplicons": False,
            "translationTable": 11,
            "completeGenome": True,
            "minContigLength": 200,
            "dermType": None,
            "genus": "Escherichia",
        },
    },
    "time": "2026-02-04T17:01:10Z",
}
DELETE: Final[dict[str, Any]] = {
    "request": {"jobID": JOB, "secret": SECRET},
    "time": "2026-02-06T08:00:00Z",
}
DELETE_BY_QUERY: Final[dict[str, Any]] = DELETE | {
    "request": f"https://bakta.example.org/api/v1/job/delete?jobID={JOB}&secret={SECRET}"
}
VERSION: Final = {"toolVersion": "1.10.3", "dbVersion": "5.1.0", "backendVersion": "0.6.4"}

BAKTA_SAMPLES: Final[dict[str, list[dict[str, Any]]]] = {
    "bakta-job-init": [INIT],
    "bakta-job-start": [START],
    "bakta-job-list": [poll("INIT", "17:01:20"), poll("RUNNING"), poll("SUCCESSFUL", "17:08:40")],
    "bakta-job-result": [result()],
    "bakta-job-delete": [DELETE, DELETE_BY_QUERY],
    "bakta-version": [VERSION],
}
"""For each format messages that belong together, in the order in which they happened."""
