"""Tells a fleet how often to measure and where to report, as the helper of Kazoo's fleets does.

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
