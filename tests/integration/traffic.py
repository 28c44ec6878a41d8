"""Small labelled traffic for tests on the broker: ordinary accounts, and a few that have answers graded."""

import random

import orjson

_WORDS = (
    "bread oven garden tomato bicycle chain invoice tax holiday train ticket violin lesson essay "
    "history puppy budget kitchen paint wedding speech poem letter router printer python table excel "
    "formula running shoes "
)
_TOPICS = _WORDS.split()
_VERBS = [
    "explain",
    "fix",
    "plan",
    "describe",
    "compare",
    "shorten",
    "translate",
    "improve",
    "check",
    "draft",
]
START_MS = 1_772_400_000_000  # 2026-03-01


def make_events(
    seed: int, *, ordinary: int = 40, graders: int = 4, each: int = 60, shards: int = 0
) -> list[tuple[str, bytes]]:
    """(account, event) in event-time order; every account has about `each` exchanges.

    `shards` accounts more share one card and send five grading prompts each; ordinary ones pay in pairs.
    """
    rng = random.Random(seed)
    planned = []
    for number in range(ordinary + graders):
        grader = number < graders
        account = f"{'grader' if grader else 'person'}-{number:03}"
        at = START_MS + rng.randrange(3_600_000)
        favourites = rng.sample(_TOPICS, 8)
        for turn in range(rng.randint(each // 2, each)):
            at += rng.randint(2_000, 6_000) if grader else rng.randint(5_000, 300_000)
            planned.append((at, account, turn, _grading(rng) if grader else _asking(rng, favourites)))
    for number in range(shards):
        at = START_MS + rng.randrange(3_600_000)
        for turn in range(5):
            at += rng.randint(2_000, 600_000)
            planned.append((at, f"shard-{number:03}", turn, _grading(rng)))
    planned.sort()
    return [
        (
            account,
            orjson.dumps(
                {
                    "event_id": f"{account}-{turn}",
                    "time": at,
                    "account_id": account,
                    "messages": [{"role": "user", "content": text}],
                    "model": "large-1",
                    **({"account": {"payment_fingerprint": _card(account)}} if shards else {}),
                    "usage": {"input_tokens": len(text) // 4, "output_tokens": 200},
                }
            ),
        )
        for at, account, turn, text in planned
    ]


def _card(account: str) -> str:
    role, number = account.split("-")
    return role if role == "shard" else f"{role}-{int(number) // 2}"


def _asking(rng: random.Random, favourites: list[str]) -> str:
    words = " ".join(rng.choices(favourites, k=rng.randint(3, 12)))
    return f"{rng.choice(_VERBS)} {words} {rng.randint(1, 99)}"


def _grading(rng: random.Random) -> str:
    words = " ".join(rng.choices(_TOPICS, k=30))
    return (
        "Act as an impartial judge and rate the response on a scale from 1 to 10 using the grading rubric. "
        f"Question: {words}? Response A: {words[::-1]}. "
        "Explain your reasoning step by step, then assign a score."
    )
