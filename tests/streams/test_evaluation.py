"""Quality against labels: intervals as published, labels refused with line and fix, the right counts."""

import pytest

from streams.errors import StreamsError
from streams.evaluation import Label, LabelError, Row, clopper_pearson, read_labels, score, table
from tests.streams.stub_engine import alert_of


def alert(account_id, event_count):
    return alert_of(account_id, [f"e{event_count}"], count=event_count)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high", "why"),
    [
        (0, 10, 0.0, 0.3085, "no hits: 1 - 0.025 ** (1 / 10)"),
        (10, 10, 0.6915, 1.0, "its mirror image"),
        (5, 10, 0.1871, 0.8129, "tables of the exact interval"),
        (1, 10, 0.0025, 0.4450, "tables of the exact interval"),
        (4, 20, 0.0573, 0.4366, "tables of the exact interval"),
        (1, 1, 0.025, 1.0, "one of one"),
        (0, 0, 0.0, 1.0, "nothing is known"),
    ],
)
def test_clopper_pearson(hits, trials, low, high, why):
    assert clopper_pearson(hits, trials) == pytest.approx((low, high), abs=5e-5), why


def test_clopper_pearson_covers_and_narrows():
    for trials in (1, 7, 50):
        for hits in range(trials + 1):
            low, high = clopper_pearson(hits, trials)
            assert 0 <= low <= hits / trials <= high <= 1
            inner = clopper_pearson(hits, trials, 0.5)
            assert low <= inner[0]
            assert inner[1] <= high


def labels_file(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "account_id,label,kind,campaign\na,benign,person,\nb,extraction,overt,c1\n",
            "as simulate writes it",
        ),
        ("account_id,label,kind,campaign\r\na,benign,person,\r\nb,extraction,overt,c1\r\n", "DOS line ends"),
        (
            "\ufeffaccount_id,label,kind,campaign\na,benign,person,\nb,extraction,overt,c1\n",
            "a spreadsheet's mark",
        ),
        (
            "campaign,kind,label,account_id,note\n,person,benign,a,x\nc1,overt,extraction,b,y\n",
            "other order, more",
        ),
        ('account_id,label,kind,campaign\n"a",benign,person\nb,extraction,overt,c1\n\n', "campaign left out"),
    ],
)
def test_labels(tmp_path, content, why):
    assert read_labels(labels_file(tmp_path, content)) == {
        "a": Label("benign", "person", ""),
        "b": Label("extraction", "overt", "c1"),
    }, why


def test_labels_without_campaigns(tmp_path):
    path = labels_file(tmp_path, "account_id,label,kind\na,benign,person\n")
    assert read_labels(path) == {"a": Label("benign", "person", "")}


HEAD = "account_id,label,kind,campaign\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no column account_id, label, kind"),
        ("account_id,kind\n", "no column label; expected account_id,label,kind,campaign"),
        (HEAD + "a,benign,p,\nb,evil,p,\n", r"labels\.csv:3: label 'evil' must be benign or extraction"),
        (HEAD + "a,Benign,p,\n", "label 'Benign' must be"),
        (HEAD + "a,,p,\n", "label '' must be"),
        (HEAD + "a,benign\n", r"labels\.csv:2: too few columns"),
        (HEAD + "a\n", r"labels\.csv:2: too few columns"),
        (HEAD + "a,benign,p,\na,extraction,p,\n", r"labels\.csv:3: a second label"),
        (HEAD + "a,benign,all,\n", "kind 'all' stands for all kinds"),
        (HEAD.encode() + b"\xff,benign,p,\n", r"labels\.csv: .*utf-8"),
        (HEAD + "a" * 200_000 + ",benign,p,\n", "field larger than field limit"),
    ],
)
def test_unusable_labels(tmp_path, content, says):
    with pytest.raises(LabelError, match=says) as caught:
        read_labels(labels_file(tmp_path, content))
    assert isinstance(caught.value, StreamsError)


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_labels_that_cannot_be_read(tmp_path, name):
    with pytest.raises(LabelError, match=r"No such file|Is a directory"):
        read_labels(tmp_path / name)


LABELS = {
    "e1": Label("extraction", "overt", ""),
    "e2": Label("extraction", "overt", ""),
    "e3": Label("extraction", "paced", ""),
    "b1": Label("benign", "person", ""),
    "b2": Label("benign", "person", ""),
}


def test_score_counts_accounts_once_with_their_first_alert():
    alerts = [alert("e1", 90), alert("e1", 40), alert("e3", 10), alert("b2", 7), alert("unlabelled", 1)]
    rows = score(LABELS, alerts)
    counts = [(r.label, r.kind, r.accounts, r.alerted, r.share, r.median_exchanges) for r in rows]
    assert counts == [
        ("extraction", "all", 3, 2, pytest.approx(2 / 3), 40),
        ("extraction", "overt", 2, 1, 0.5, 40),
        ("extraction", "paced", 1, 1, 1.0, 10),
        ("benign", "all", 2, 1, 0.5, 7),
        ("benign", "person", 2, 1, 0.5, 7),
    ]
    assert all((r.low, r.high) == clopper_pearson(r.alerted, r.accounts) for r in rows)


def test_score_does_not_depend_on_the_order_of_alerts():
    alerts = [alert("e1", 90), alert("e1", 40), alert("e3", 10)]
    assert score(LABELS, alerts) == score(LABELS, reversed(alerts))


def test_nothing_found_and_nothing_labelled():
    assert [(r.alerted, r.share, r.low, r.median_exchanges) for r in score(LABELS, [])] == [
        (0, 0, 0, None)
    ] * 5
    assert score({}, [alert("a", 1)]) == []


def test_table_shows_every_row_in_line_with_its_head():
    rows = [
        Row("extraction", "all", 120, 118, 118 / 120, 0.941, 0.998, 35),
        Row("benign", "person", 1000, 0, 0.0, 0.0, 0.0037, None),
    ]
    head, *body = table(rows).splitlines()
    assert [line.split() for line in body] == [
        ["extraction", "all", "120", "118", "98.3%", "94.1%", "..", "99.8%", "35"],
        ["benign", "person", "1000", "0", "0.0%", "0.0%", "..", "0.4%", "-"],
    ]
    assert {len(line) for line in (head, *body)} == {len(head)}
