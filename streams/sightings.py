"""Sightings: exchanges keyed by what ties their account to others, for the pools that share it.

A row is repeated for every link that its exchange carries. Repeats of one source record stay next to
each other, as `packing` and `shard` want them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.pools import SEPARATOR
from streams import topics
from streams.intake import Taken

LINKS: Mapping[str, str] = {
    "payment": "payment",
    "device": "device",
    "organisation": "organisation",
    "network": "network",
    "address": "address",
    "client": "client",
    "system": "system",
    "opening": "prefix",
}
"""Field of an observation by name of the link; each is a keyed hash, 0 where the event does not carry it."""


def sightings_of(taken: Taken, links: Sequence[str]) -> Taken:
    """Rows once more for every link, their accounts replaced by pool, separator and account.

    Parameters
    ----------
    taken : Taken
    links : sequence of str
        Names in `LINKS`.

    Returns
    -------
    Taken
        Nothing refused. Rows keep their order.
    """
    rows = taken.rows
    columns = [rows[LINKS[link]] for link in links]
    at, which = np.nonzero(np.stack(columns, axis=1)) if len(rows) and columns else (np.empty(0, int),) * 2
    places = at.tolist()
    accounts = [
        f"{links[link]}:{int(columns[link][place]):016x}{SEPARATOR}{taken.accounts[place]}"
        for place, link in zip(places, which.tolist(), strict=True)
    ]
    return Taken(
        rows[at],
        accounts,
        [taken.event_ids[place] for place in places],
        [taken.appended_ms[place] for place in places],
        [],
    )


def partition_of(sighting: str, partitions: int) -> int:
    """Partition of a sighting: that of its pool."""
    return topics.partition_of(sighting.partition(SEPARATOR)[0], partitions)
