"""The Faust application: built from settings, without effects on import."""

import os
import tempfile
from typing import Any

import faust

from streams.settings import Settings


def build_app(settings: Settings) -> faust.App:
    """A Faust application for the detect role.

    Topics are declared by `extraction-detector topics create`, offsets are acknowledged by hand
    (see `agents.py`), and state lives in a topic of our own (see `state.py`): so Faust's own topic
    declaration, leader topic, tables and web server stay off.
    """
    options: dict[str, Any] = {}
    credentials = settings.kafka.faust_credentials()
    if credentials is not None:
        options["broker_credentials"] = credentials
    return faust.App(
        f"{settings.app_id}-detect",
        broker=settings.kafka.faust_broker_url,
        autodiscover=False,
        store="memory://",
        # Faust makes this directory at start; nothing is kept in it.
        datadir=os.path.join(tempfile.gettempdir(), "extraction-detector-faust"),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.topics.partitions,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=max(30.0, 2 * settings.session_timeout_s),
        broker_request_timeout=max(40.0, 3 * settings.session_timeout_s),
        broker_commit_interval=1.0,
        # Held events would otherwise delay the revocation signal until a flush acknowledges them.
        stream_wait_empty=False,
        # Messages hold up to hundreds of observations; Faust's default of 4,096 would be gigabytes.
        stream_buffer_maxsize=256,
        producer_acks=-1,
        **options,
    )
