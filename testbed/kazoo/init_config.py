"""Writes the sampling period and the report URL of a fleet, like the helper of Kazoo's fleets.

    init_config.py HOSTS PERIOD URL
"""

import sys

import secured

hosts, period, url = sys.argv[1:]
client = secured.client(hosts)
client.start()
for path, value in [("/config/sampling_period", period), ("/config/api_url", url)]:
    client.ensure_path(path)
    client.set(path, value.encode())
client.stop()
client.close()
