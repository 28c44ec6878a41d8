"""`extraction-detector label`: what an account was found to be."""

import enum
from typing import Annotated

import typer

from streams.cli.decisions import Account, ControlFile, From, Owner, Reason, decide
from streams.cli.options import Config


class Label(enum.StrEnum):
    """What an account may be found to be."""

    EXTRACTION = "extraction"
    ORDINARY = "ordinary"


def label(
    account: Account,
    found: Annotated[Label, typer.Argument(metavar="extraction|ordinary", help="What it was found to be.")],
    reason: Reason,
    owner: Owner = None,
    control: ControlFile = None,
    since: From = None,
    config: Config = None,
) -> None:
    """Say what an account was found to be, so that it is known later. A label never silences alerts.

    Example: extraction-detector label acct_1 ordinary --reason "nightly evaluation, asked the customer"
    """
    decide(
        "label",
        account,
        label=found.value,
        reason=reason,
        owner=owner,
        control=control,
        since=since,
        config=config,
    )
