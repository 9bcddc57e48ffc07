"""A Celery application with one task, for cargo xtask bench tasks. REDIS_URL is the broker and the result store."""

import os
import platform

from celery import Celery

app = Celery("status", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)


@app.task(name="status")
def status():
    return {"host": platform.node(), "pid": os.getpid()}
