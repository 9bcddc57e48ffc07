"""The API of the collector, written with Flask and Redis, for comparison in benchmarks.

Each key is kept once, by a script that is one round trip; a batch is a pipeline of them, one round trip as well. The
durability of an acknowledged report depends on the configuration of Redis (`appendfsync`). Serve it with
`REDIS_URL=... gunicorn --workers 2 --worker-class gthread --threads 32 app:app`.
"""

import json
import math
import os

import redis
from flask import Flask, jsonify, request

RECORD = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  return kept == ARGV[2] and 'repeated' or 'conflict'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'report', ARGV[3])
return 'recorded'
"""

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
record = store.register_script(RECORD)
store.script_load(RECORD)


class Invalid(ValueError):
    pass


def checked(report):
    """Returns the key and the mean of a valid report."""
    if not isinstance(report, dict):
        raise Invalid("not a report")
    mean, epoch, cycle = (report.get(name) for name in ("mean", "epoch", "cycle"))
    if not isinstance(mean, (int, float)) or isinstance(mean, bool) or not math.isfinite(mean):
        raise Invalid("mean is not a finite number")
    if not isinstance(epoch, int) or not isinstance(cycle, int) or epoch < 1 or cycle < 0:
        raise Invalid("epoch and cycle are needed")
    return f"{epoch}-{cycle}-{report.get('unit', '')}", repr(float(mean))


def kept(reports):
    """Stores the reports, and returns the status of each."""
    arguments = [[*checked(report), json.dumps(report)] for report in reports]
    if len(arguments) == 1:
        return [record(keys=["keys", "reports"], args=arguments[0])]
    with store.pipeline(transaction=False) as pipeline:
        for each in arguments:
            record(keys=["keys", "reports"], args=each, client=pipeline)
        return pipeline.execute()


@app.errorhandler(Invalid)
def invalid(error):
    return jsonify(title="The request is not understood", status=400, detail=str(error)), 400


@app.errorhandler(redis.RedisError)
def unavailable(error):
    return jsonify(title="Nothing can be kept", status=503, detail=str(error)), 503, {"Retry-After": "2"}


@app.post("/api/v1/reports")
def reports():
    body = request.get_json()
    if isinstance(body, list):
        return jsonify(results=[{"status": status} for status in kept(body)])
    (status,) = kept([body])
    return jsonify(status=status), {"recorded": 201, "repeated": 200}.get(status, 409)


@app.post("/nuevo")
def nuevo():
    body = request.get_json()
    if isinstance(body, dict) and "dato" in body:
        body["mean"] = body.pop("dato")
    (status,) = kept([body])
    return jsonify(status=status), 409 if status == "conflict" else 200


def checked_sample(sample):
    """Returns the series, the member and the time of a valid sample."""
    if not isinstance(sample, dict):
        raise Invalid("not a sample")
    value, seq, time = (sample.get(name) for name in ("value", "seq", "time_ms"))
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise Invalid("value is not a finite number")
    if not isinstance(seq, int) or not isinstance(time, int):
        raise Invalid("seq and time_ms are needed")
    return (sample["sensor"], sample["quantity"]), f"{seq}:{value}:{sample.get('clock', '')}", time


@app.post("/api/v1/measurements")
def measurements():
    """Keeps each sample once: as a member of the sorted set of its series, without sums."""
    body = request.get_json()
    batch = {}
    for series, member, time in map(checked_sample, body["samples"]):
        batch.setdefault(series, {})[f"{body['boot']}:{member}"] = time
    with store.pipeline(transaction=True) as pipeline:
        for (sensor, quantity), members in batch.items():
            pipeline.zadd(f"samples:{body['node']}:{sensor}:{quantity}", members)
        accepted = sum(pipeline.execute())
    return jsonify(accepted=accepted, repeated=len(body["samples"]) - accepted, refused=[], refused_count=0)
