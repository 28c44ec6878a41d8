"""`extraction-detector demo`: everything on one machine, with nothing else installed."""

from typing import Annotated

import typer


def demo(
    duration: Annotated[float, typer.Option(min=5, help="How long to send traffic. Seconds.")] = 60,
    rate: Annotated[float, typer.Option(min=1, help="Events per second.")] = 300,
    seed: Annotated[int, typer.Option(help="Another seed hides other accounts.")] = 1,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            help="Use this Kafka instead of the embedded broker; topics named demo-... are made there."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of metrics and health; 0 takes a free one.")] = 0,
) -> None:
    """Watch the pipeline find hidden extraction accounts.

    Starts a broker and a worker, sends traffic of some hundred accounts, a few of which harvest the
    model, prints alerts as they come, and says at the end what was found. Ctrl-C ends it earlier.

    Example:
      extraction-detector demo --duration 60
    """
    import contextlib
    import dataclasses
    import datetime as dt
    import logging
    import os

    from streams import demo as show
    from streams import topics
    from streams.embedded import EmbeddedBroker
    from streams.health import Server
    from streams.settings import load_settings
    from streams.simulate import LIVE, BuiltinPrompts, live

    now = dt.datetime.now(dt.UTC)
    spec = dataclasses.replace(LIVE, seed=seed)
    traffic = live(BuiltinPrompts(), now=now, rate=rate, duration_s=duration, spec=spec)
    labels = {label.account_id: label for label in traffic.labels}
    name = f"demo-{os.getpid()}"
    overrides = {
        "app_id": name,
        "hash_key": "key of the demonstration, known to all",
        "metrics.port": port,
        "topics.partitions": 4,
        "topics.replication_factor": 1,
        # Traffic is condensed: event time runs faster than the clock, and so must waiting end sooner.
        "state.flush_ms": 500,
    }
    # Warnings are for deployments: one broker, a key that everybody knows.
    logging.getLogger("streams").setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        if bootstrap is None:
            planned = {
                topic.name: topic.partitions or 4 for topic in topics.plan(load_settings(None, overrides))
            }
            broker = stack.enter_context(EmbeddedBroker(planned))
            settings = load_settings(None, {**overrides, "kafka.bootstrap_servers": broker.bootstrap_servers})
            where = "an embedded broker"
        else:
            roles = ("requests", "observations", "sightings", "state", "alerts", "control", "deadletter")
            names = {f"topics.{role}": f"{name}.{role}" for role in roles}
            settings = load_settings(None, {**overrides, **names, "kafka.bootstrap_servers": bootstrap})
            topics.create(settings, requests=True)
            where = f"Kafka at {bootstrap}, topics {name}.*"

        def serving(server: Server) -> None:
            hidden = sum(label.label == "extraction" for label in labels.values())
            typer.echo(
                f"Running on {where}; metrics at {server.url}/metrics\n"
                f"{len(labels)} accounts, {hidden} of them extract the model; "
                f"{len(traffic)} events in {duration:.0f} s.\n"
            )

        outcome = show.Demo(
            settings,
            settings.secret_key(),
            traffic,
            on_alert=lambda at_s, alert: typer.echo(show.describe(at_s, alert)),
            on_serving=serving,
        ).run()
        typer.echo("\n" + show.summarise(outcome, labels))
