"""Who an account is and how its requests look, apart from text: drawn before anything is known of the text.

A profile never sees a label. People and extraction accounts that hide among them get theirs from
the same function, so that nothing in it can tell them apart; `tests/streams/simulate/test_leaks.py`
measures that.
"""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.simulate.grammar import pick

MODELS = (
    "atlas-large-2",
    "atlas-medium-2",
    "atlas-small-2",
    "atlas-reason-1",
    "atlas-code-2",
    "atlas-large-1",
)

_COUNTRIES = ("US", "DE", "IN", "BR", "GB", "FR", "JP", "ES", "CA", "NL", "PL", "TR", "MX", "SE", "KE", "VN")
_COUNTRY_WEIGHTS = (30, 9, 12, 7, 8, 6, 5, 4, 4, 3, 3, 3, 3, 2, 1, 2)

# User agent, first digits of the TLS fingerprint it comes with, whether it names a device.
_APPS = (
    ("atlas-web/2026.2", "t13d1516h2", True),
    ("atlas-web/2026.1", "t13d1516h2", True),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "t13d1516h2", False),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5)", "t13d1715h2", False),
    ("atlas-ios/5.3", "t13d2014h2", True),
    ("atlas-android/5.2", "t13d1717h2", True),
    ("atlas-desktop/1.8", "t13d1514h2", True),
)
_KITS = (
    ("atlas-python/1.9.2", "t13d1812h1", False),
    ("atlas-python/1.8.0", "t13d1812h1", False),
    ("atlas-python/2.0.1", "t13d1813h2", False),
    ("atlas-node/4.2.0", "t13d5911h1", False),
    ("atlas-node/4.1.3", "t13d5911h1", False),
    ("atlas-java/0.9", "t13d3512h2", False),
    ("python-httpx/0.28.1", "t13d1812h1", False),
    ("Go-http-client/2.0", "t13d1311h2", False),
    ("curl/8.7.1", "t13d3113h2", False),
)


class Profile(NamedTuple):
    """What stays the same over an account's exchanges, and how the rest is drawn.

    Attributes
    ----------
    account_id : str
        Random-looking; says nothing.
    fixed : dict
        Event fields that do not change, by name; a field that is not there is absent in every event.
    keys : tuple of (str or None)
        API keys it uses; empty when events carry none.
    models : tuple of str
        Models it chooses from, as often as they occur here.
    clients : tuple of dict
        Where its requests come from, as often as they occur here; empty when events carry none.
    params : tuple of dict
        Request parameters, as often as they occur here; empty when events carry none.
    output_mu, output_sigma : float
        Mean and standard deviation of the logarithm of output tokens.
    context_mu : float
        Mean of the logarithm of input tokens that are not on the bus: tool descriptions, retrieved
        passages, files, what the service remembers.
    retrieves : float
        Share of exchanges with retrieved passages or files.
    chars_per_token : float
        Text to input tokens.
    usage, finish : bool
        Whether events carry usage and the finish reason.
    conversation_ids : bool
        Whether events carry one.
    full_history : bool
        Whether a request repeats the conversation, or only its new message.
    """

    account_id: str
    fixed: dict[str, Any]
    keys: tuple[str | None, ...]
    models: tuple[str, ...]
    clients: tuple[dict[str, Any], ...]
    params: tuple[dict[str, Any], ...]
    output_mu: float
    output_sigma: float
    context_mu: float
    retrieves: float
    chars_per_token: float
    usage: bool
    finish: bool
    conversation_ids: bool
    full_history: bool


class World:
    """What accounts share: networks, organisations; drawn once per run.

    Parameters
    ----------
    rng : random.Random
        Randomness of the run's world.
    accounts : int
        How many accounts there will be; more accounts, more organisations. Count.
    """

    def __init__(self, rng: random.Random, accounts: int) -> None:
        # AS numbers for private use (RFC 6996), addresses for private use (RFC 1918) and documentation
        # (RFC 3849): nobody's.
        blocks = rng.sample(range(256), 128)
        self.networks: dict[str, list[tuple[int, int]]] = {}
        numbers = rng.sample(range(64_512, 65_535), 128)
        for at, (block, number) in enumerate(zip(blocks, numbers, strict=True)):
            country = _COUNTRIES[at % len(_COUNTRIES)]
            self.networks.setdefault(country, []).append((number, block))
        self.datacentres = [self.networks[country].pop() for country in ("US", "DE", "NL", "GB", "JP")]
        self.organisations = [
            (
                "org-" + _letters(rng, 12),
                _hex(rng, 16),
                rng.choices(_COUNTRIES, _COUNTRY_WEIGHTS)[0],
                rng.randrange(256),
            )
            for _ in range(max(3, accounts // 25))
        ]


def _letters(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789", k=length))


def _hex(rng: random.Random, digits: int) -> str:
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def of_a_person(rng: random.Random, world: World, first_ms: int) -> Profile:
    """Profile of an ordinary person, or of whoever hides among them.

    Parameters
    ----------
    rng : random.Random
        The account's randomness for metadata.
    world : World
        What accounts share.
    first_ms : int
        The account's first exchange, milliseconds since the Unix epoch; it was made before.
    """
    draw = rng.random
    by_kit = draw() < 0.3
    tools = pick((0, 0, 0, 2, 5, 12), draw) if draw() < 0.3 else 0
    params = _person_params(rng, by_kit=by_kit, tools=tools)
    tiers = ("free", "free", "free", "plus", "plus", "pro", "team", "payg")
    return _profile(rng, world, first_ms, by_kit=by_kit, params=params, tiers=tiers, in_firm=0.25)


def of_a_machine(rng: random.Random, world: World, first_ms: int, *, tools: bool = False) -> Profile:
    """Profile of an account that a program uses: one configuration, few addresses, larger tiers."""
    draw = rng.random
    fixed: dict[str, Any] = {"max_tokens": pick((64, 256, 512, 1024, 2048, 4096), draw)}
    if draw() < 0.8:
        fixed["temperature"] = pick((0.0, 0.0, 0.0, 0.2, 0.3, 0.7, 1.0), draw)
    if draw() < 0.2:
        fixed["top_p"] = pick((0.9, 0.95, 1.0), draw)
    if draw() < 0.15:
        fixed["seed"] = int(draw() * 1000)
    if draw() < 0.04:
        fixed["logprobs"] = True  # confidence of labels, an honest use
    if tools or draw() < 0.1:
        fixed["tools"] = 1 + int(draw() * 20)
    fixed["stream"] = draw() < (0.6 if tools else 0.2)
    tiers = ("payg", "payg", "team", "team", "enterprise", "pro")
    return _profile(rng, world, first_ms, by_kit=True, params=(fixed,), tiers=tiers, in_firm=0.7)


def _person_params(rng: random.Random, *, by_kit: bool, tools: int) -> tuple[dict[str, Any], ...]:
    draw = rng.random
    if draw() < 0.2:
        return ()
    base: dict[str, Any] = {"stream": draw() < (0.4 if by_kit else 0.9)}
    if draw() < 0.7:
        base["max_tokens"] = pick((512, 1024, 2048, 4096, 4096, 8192), draw)
    if draw() < (0.6 if by_kit else 0.2):
        base["temperature"] = pick((0.0, 0.2, 0.3, 0.5, 0.7, 0.7, 1.0, 1.0), draw)
    if draw() < 0.1:
        base["top_p"] = pick((0.8, 0.9, 0.95, 1.0), draw)
    if by_kit and draw() < 0.06:
        base["seed"] = int(draw() * 100)
    if by_kit and draw() < 0.03:
        base.update(logprobs=True, top_logprobs=pick((1, 3, 5), draw))
    if tools:
        base["tools"] = tools
    variants = [base]
    if draw() < 0.15:
        variants += [base, base, {**base, "temperature": pick((0.1, 0.4, 0.9, 1.2), draw)}]
    if draw() < 0.04:
        variants += [base] * 8 + [{**base, "n": 2 + int(draw() * 3)}]
    return tuple(variants)


def _profile(
    rng: random.Random,
    world: World,
    first_ms: int,
    *,
    by_kit: bool,
    params: tuple[dict[str, Any], ...],
    tiers: tuple[str, ...],
    in_firm: float,
) -> Profile:
    draw = rng.random
    firm = pick(world.organisations, draw) if draw() < in_firm else None
    country = firm[2] if firm is not None and draw() < 0.8 else rng.choices(_COUNTRIES, _COUNTRY_WEIGHTS)[0]
    tier = pick(tiers, draw)
    day_ms = 86_400_000
    young = draw() < 0.2
    age_days = draw() * 14 if young else rng.lognormvariate(5.2, 1.0)
    facts = {
        "created_at": first_ms - 1000 - int(age_days * day_ms),
        "tier": tier,
        "pathway": rng.choices(
            ("standard", "education", "research", "startup", "reseller"), (86, 5, 3, 4, 2)
        )[0],
        "verification": pick(("email", "email", "phone", "payment") if tier == "free" else _VERIFIED, draw),
        "payment_fingerprint": None if tier == "free" else (firm[1] if firm else _hex(rng, 16)),
        "country": country if draw() < 0.95 else pick(_COUNTRIES, draw),
    }
    if draw() < 0.15:
        del facts["verification"]
    fixed: dict[str, Any] = {}
    if firm is not None:
        fixed["org_id"] = firm[0]
    elif draw() < 0.5:
        fixed["org_id"] = None
    fixed["operation"] = "completion" if draw() < 0.04 else "chat"
    if draw() < 0.93:
        fixed["account"] = facts
    favourites = rng.sample(MODELS, 1 + int(draw() * 3))
    models = tuple(favourites[:1] * (1 + int(draw() * 6)) + favourites)
    return Profile(
        account_id="acct_" + _letters(rng, 16),
        fixed=fixed,
        keys=_keys(rng, by_kit=by_kit),
        models=models,
        clients=_clients(rng, world, country, None if firm is None else firm[3], by_kit=by_kit),
        params=params,
        output_mu=rng.gauss(5.3, 0.5),  # e^5.3 is about 200 tokens
        output_sigma=0.5 + 0.7 * draw(),
        context_mu=rng.gauss(5.8, 1.1),  # e^5.8 is about 330 tokens
        retrieves=pick((0.0, 0.1, 0.3, 0.6), draw),
        chars_per_token=rng.uniform(3.0, 4.6),
        usage=draw() < 0.95,
        finish=draw() < 0.93,
        conversation_ids=draw() < 0.8,
        full_history=draw() < 0.5,
    )


_VERIFIED = ("payment", "payment", "kyc", "phone")


def _keys(rng: random.Random, *, by_kit: bool) -> tuple[str | None, ...]:
    if not by_kit:
        return () if rng.random() < 0.5 else (None,)
    keys = tuple("key_" + _letters(rng, 10) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    return keys + keys[:1] * int(rng.random() * 4)


def _clients(
    rng: random.Random, world: World, country: str, office: int | None, *, by_kit: bool
) -> tuple[dict[str, Any], ...]:
    draw = rng.random
    if draw() < 0.05:
        return ()
    agent, digits, device = pick(_KITS if by_kit else _APPS, draw)
    shape = {"ja4": f"{digits}_{_hex(rng, 12)}"} if draw() < 0.8 else {}
    if device and draw() < 0.9:
        shape["device_id"] = _hex(rng, 32)
    places = []
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        where = country
        if (by_kit and draw() < 0.6) or draw() < 0.07:
            number, block = pick(world.datacentres, draw)
            where = pick(("US", "DE", "NL", "GB", "JP"), draw)
        else:
            number, block = pick(world.networks[country], draw)
        third = office if office is not None and draw() < 0.6 else int(draw() * 256)
        if draw() < 0.12:
            address = f"2001:db8:{block:x}:{third:x}::{int(draw() * 65_535):x}"
        else:
            address = f"10.{block}.{third}.{1 + int(draw() * 254)}"
        place: dict[str, Any] = {"ip": address, "asn": number, "country": where, "user_agent": agent, **shape}
        if draw() < 0.1:
            place["asn"] = None
        places += [place] * (1 + int(draw() * 4))
    if not by_kit and draw() < 0.3:
        # A second device.
        agent, digits, _device = pick(_APPS, draw)
        places.append({**places[0], "user_agent": agent, "ja4": f"{digits}_{_hex(rng, 12)}"})
    return tuple(places)


def merge_params(params: Mapping[str, Any] | None, probing: Mapping[str, Any]) -> dict[str, Any]:
    """An account's parameters with what its probing sets over them."""
    return {**(params or {}), **probing}
