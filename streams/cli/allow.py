"""`extraction-detector allow`: no alerts on an account for a while."""

from streams.cli.decisions import Account, ControlFile, End, Expires, For, From, Owner, Reason, decide
from streams.cli.options import Config


def allow(
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
    """Raise no alerts on an account until a given time. Its statistics are kept all the same.

    Workers take it up within seconds; it holds for exchanges from now on. For accounts that are to be
    allowed for good, see `detection.allow` in the configuration.

    Example:
      extraction-detector allow acct_1 --for 7d --reason "load test, ticket 4711"
      extraction-detector allow acct_1 --end --reason "load test is over"
    """
    decide(
        "allow",
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
