"""Looking for something newer on disk while requests are answered.

This module does not know what is served, nor to whom.
"""

import asyncio
import logging
from collections.abc import Mapping, MutableMapping

from guidedflow.errors import InputError
from guidedflow.serving.dispatch import Dispatcher
from guidedflow.serving.metrics import Metrics
from guidedflow.serving.sources import Opened, Source

_LOG = logging.getLogger(__name__)


async def watch(
    sources: Mapping[str, Source],
    policies: MutableMapping[str, Opened],
    dispatcher: Dispatcher,
    metrics: Metrics,
    seconds: float,
) -> None:
    """Open what is newer on disk, every so many seconds, never at 0; a version that cannot be used is left alone."""
    seen = {name: opened.version for name, opened in policies.items()}
    while True:
        await asyncio.sleep(seconds or 3600)
        if not seconds:
            continue
        for name, source in sources.items():
            version = await asyncio.to_thread(source.version)
            if version is None or version == seen[name]:
                continue
            try:
                opened = await asyncio.to_thread(source.open)
                if opened.interface != policies[name].interface:
                    raise InputError(f"The newer {name} takes other inputs or gives other actions.")
                await dispatcher.warm(opened)
            except Exception as error:  # whatever is wrong with it, what is served stays
                told = error if isinstance(error, InputError) else repr(error)
                _LOG.warning("%s stays at %s: %s", name, policies[name].version, told)
                metrics.reloads.labels("refused").inc()
            else:
                policies[name] = dispatcher.policies[name] = opened
                _LOG.info("%s is now %s", name, opened.version)
                metrics.reloads.labels("done").inc()
            seen[name] = version
