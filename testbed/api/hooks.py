"""Requirements of the collector that a schema cannot express; loaded by Schemathesis (SCHEMATHESIS_HOOKS).

Only requests that must be accepted are corrected; requests that must be refused stay unchanged.
"""

import schemathesis
from schemathesis import GenerationMode

# An epoch in the future is refused. A schema cannot express which ones these are.
NEWEST = 1_700_000_000
FULL = "2026-11-21T08:00:00Z"
LATER = "2026-11-21T09:00:00Z"


def led(epoch):
    """Returns an epoch that is not in the future."""
    return epoch if epoch <= NEWEST else epoch % NEWEST + 1


def consistent(report):
    """Makes a report valid: both epoch and cycle or neither, not in the future, min not above max, time not before 1970."""
    if not isinstance(report, dict):
        return report
    report = dict(report)
    if report.get("epoch") is None or report.get("cycle") is None:
        report.pop("epoch", None)
        report.pop("cycle", None)
    else:
        report["epoch"] = led(report["epoch"])
    if report.get("min") is not None and report.get("max") is not None:
        report["min"], report["max"] = sorted((report["min"], report["max"]))
    if report.get("time") is not None:
        report["time"] = FULL
    return report


@schemathesis.hook
def before_call(context, case, kwargs):
    meta = case.meta
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return
    query = case.query
    is_range = case.path == "/api/v1/series" or (case.path == "/api/v1/measurements" and case.method == "GET")
    if is_range or ("from" in query and "to" in query):
        # In order, with few of the shortest steps between them.
        query["from"], query["to"] = FULL, LATER
    if "unit" in query:
        case.headers.pop("Idempotency-Key", None)
    if case.path == "/nuevo" and case.method == "POST":
        if isinstance(case.body, dict):
            query.pop("dato", None)
        else:
            query.setdefault("dato", 1)
    # When Schemathesis combines parameters, it sends this one as "0" and expects it to be accepted.
    if case.headers.get("Idempotency-Key") == "0":
        case.headers.pop("Idempotency-Key")
    key = case.headers.get("Idempotency-Key")
    if key:
        epoch, rest = key.split("-", 1)
        case.headers["Idempotency-Key"] = f"{led(int(epoch))}-{rest}"
    # The tokens of this run are in Authorization.
    query.pop("token", None)
    if isinstance(case.body, list):
        case.body = [consistent(report) for report in case.body]
        case.headers.pop("Idempotency-Key", None)
    elif isinstance(case.body, dict):
        case.body = consistent(case.body)
        if any(name in case.body for name in ("epoch", "cycle", "unit")):
            case.headers.pop("Idempotency-Key", None)
