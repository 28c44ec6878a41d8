"""`extraction-detector suppress`: no alerts of some kinds on an account for a while."""

from typing import Annotated

import typer

from streams.cli.decisions import Account, ControlFile, End, Expires, For, From, Owner, Reason, decide
from streams.cli.options import Config


def suppress(
    account: Account,
    kind: Annotated[
        list[str],
        typer.Option("--kind", help="Kind of alert, as alerts name it; several times for several."),
    ],
    reason: Reason,
    lasts: For = None,
    expires: Expires = None,
    end: End = False,
    owner: Owner = None,
    control: ControlFile = None,
    since: From = None,
    config: Config = None,
) -> None:
    """Raise no alerts of some kinds on an account until a given time; other kinds are raised as ever.

    Example: extraction-detector suppress acct_1 --kind templated_harvest --for 24h --reason "batch job"
    """
    decide(
        "suppress",
        account,
        alert_kinds=list(dict.fromkeys(kind)),
        reason=reason,
        lasts=lasts,
        expires=expires,
        end=end,
        owner=owner,
        control=control,
        since=since,
        config=config,
    )
