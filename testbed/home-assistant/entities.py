"""Runs Home Assistant with its MQTT integration, and prints its sensors whenever one changes, as one line of JSON.

usage: entities.py FOLDER PORT

FOLDER is for the configuration of Home Assistant, PORT is that of an MQTT broker on this machine. A line begins with
`entities `; each entity has state, attributes and device. Warnings and errors of Home Assistant are lines that begin with
`log `. The web server of Home Assistant is not started. Ends with its standard input.
"""

import asyncio
import json
import logging
import pathlib
import sys
from unittest import mock

# Packages of other integrations, which are imported and not used.
for package in ["hass_nabucasa"]:
    sys.modules[package] = mock.MagicMock()

from homeassistant import config_entries, core, loader
from homeassistant.helpers import (
    area_registry,
    category_registry,
    device_registry,
    entity,
    entity_registry,
    floor_registry,
    frame,
    issue_registry,
    label_registry,
    restore_state,
    template,
    translation,
)

# Parts of the web server, on which the integration depends for its configuration dialogue.
NOT_STARTED = ["http", "file_upload"]


class Log(logging.Handler):
    """Prints warnings and errors, and the tracebacks of the latter."""

    def emit(self, record):
        print("log", self.format(record).replace("\n", " | "), flush=True)


def entities(hass):
    """Returns the sensors with the names of their devices."""
    registry, devices = entity_registry.async_get(hass), device_registry.async_get(hass)
    found = {}
    for state in hass.states.async_all("sensor"):
        entry = registry.async_get(state.entity_id)
        device = devices.async_get(entry.device_id) if entry and entry.device_id else None
        found[entry.unique_id if entry else state.entity_id] = {
            "entity": state.entity_id,
            "state": state.state,
            "attributes": {name: str(value) for name, value in state.attributes.items()},
            "device": device and {"name": device.name, "manufacturer": device.manufacturer, "sw": device.sw_version},
        }
    return found


async def start(folder, port):
    """Returns Home Assistant, connected to the broker."""
    pathlib.Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config.components.update(NOT_STARTED)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    for part in [entity, frame, template, translation]:
        part.async_setup(hass)
    registries = [area_registry, category_registry, device_registry, entity_registry, floor_registry, issue_registry]
    for part in [*registries, label_registry, restore_state]:
        await part.async_load(hass)
    await hass.config_entries.async_initialize()
    await hass.async_start()
    flow = hass.config_entries.flow
    form = await flow.async_init("mqtt", context={"source": config_entries.SOURCE_USER})
    done = await flow.async_configure(form["flow_id"], {"broker": "127.0.0.1", "port": port})
    assert done["type"] == "create_entry", done
    return hass


async def main():
    logger = logging.getLogger()
    logger.addHandler(Log(logging.WARNING))
    hass = await start(sys.argv[1], int(sys.argv[2]))
    changed = asyncio.Event()
    for event in ["state_changed", "entity_registry_updated", "device_registry_updated"]:
        hass.bus.async_listen(event, lambda _: changed.set())
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    print("started", flush=True)
    while not ended.done():
        changed.clear()
        print("entities", json.dumps(entities(hass)), flush=True)
        change = asyncio.ensure_future(changed.wait())
        await asyncio.wait([change, ended], return_when=asyncio.FIRST_COMPLETED)
        change.cancel()
    await hass.async_stop()


asyncio.run(main())
