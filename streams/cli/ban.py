"""`extraction-detector ban`: an account was stopped."""

from streams.cli.decisions import Account, ControlFile, End, Expires, For, From, Owner, Reason, decide
from streams.cli.options import Config


def ban(
    account: Account,
    reason: Reason,
    lasts: For = None,
    expires: Expires = None,
    end: End = False,
    owner: Owner = None,
    control: ControlFile = None,
    since: From = None,
    config: Config = None,
) -> None:
    """Record that an account was stopped. This stops nothing itself, and silences nothing.

    Without --for or --expires it holds until a later record.

    Example: extraction-detector ban acct_1 --reason "harvests answers, case 12"
    """
    decide(
        "ban",
        account,
        reason=reason,
        lasts=lasts,
        expires=expires,
        end=end,
        owner=owner,
        control=control,
        since=since,
        config=config,
    )
