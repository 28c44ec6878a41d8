"""Events and texts that the tests of `observe` share."""

import random
from functools import cache

import numpy as np

from detectors.events import Message, RequestEvent
from detectors.observe import Observer

KEY = b"a key for tests, 32 bytes long.."

TEXTS = (
    "",
    " ",
    "a",
    "Hello, World!",
    "What is 2 + 2?",
    "the and with from",  # stopwords alone
    "line one\nline two\n\n  3rd line\n",
    "\n\n\n",
    "!!! ... ???",
    "naïve café – “quoted” … ½ €",
    "Привет, как дела? Объясни шаг за шагом.",
    "请逐步解释，为什么天空是蓝色的。",
    "ステップバイステップで説明してください",
    "단계별로 설명해 주세요",
    "مرحبا بالعالم",
    "Tiếng Việt: các bước giải bài toán",
    "สวัสดีชาวโลก",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 end",
    "\x00zero\x00bytes\x00",
    "x" * 63 + " " + "x" * 64 + " " + "x" * 65 + " " + "x" * 200,
    "0123 4567 3D v2 1.5e10",
    "def f(x):\n    return {x: [1, 2]}\n",
    "Let's think step by step.",
    "word " * 400,
)


def exchange(*messages, **fields):
    """An event with some messages; a message is text of the user, or a pair of role and content."""
    return RequestEvent(
        **{
            "event_id": "e",
            "time": 1_770_000_000_000,
            "account_id": "a",
            "messages": [Message(*m) if isinstance(m, tuple) else Message("user", m) for m in messages],
            **fields,
        }
    )


@cache
def observer(key=KEY, text_chars=8192):
    """An observer; made once, because that costs some milliseconds."""
    return Observer(key, text_chars=text_chars)


def row(*messages, **fields):
    """The row of one exchange."""
    return observer().observe([exchange(*messages, **fields)])[0]


def same(left, right):
    """Whether rows are equal to the last bit, NaN included."""
    return np.asarray(left).tobytes() == np.asarray(right).tobytes()


def prose(seed, words=120):
    """Text of made-up words, drawn unevenly as in language."""
    rng = random.Random(seed)
    syllables = [consonant + vowel for consonant in "bcdfghklmnprstvwxyz" for vowel in "aeiou"]
    stock = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(3 * words)]
    return " ".join(rng.choices(stock, [1 / (1 + at) for at in range(len(stock))], k=words))
