"""The configuration: what loads, what goes over what, and how every kind of mistake is told."""

import datetime as dt
import re
import shutil
import ssl
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streams import kafka_properties, reference
from streams.settings import Settings, SettingsError, load_settings
from streams.settings_model import ENV_PREFIX
from streams.toml import write_toml

KEY = "a secret of more than sixteen bytes"
TLS_LOGIN = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanisms": "SCRAM-SHA-512",
    "sasl.username": "detector",
    "sasl.password": "open sesame",
}


def reaching(client):
    """Client settings without the logger, which every client is given."""
    return {name: value for name, value in client.items() if name != "logger"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "detector.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems_of(path=None, overrides=None):
    with pytest.raises(SettingsError) as caught:
        load_settings(path, overrides)
    return caught.value.problems


def only(problems):
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_defaults_need_no_file_and_no_environment():
    settings = load_settings()
    assert settings == Settings()
    assert reaching(settings.kafka.client()) == {"bootstrap.servers": "localhost:9092"}
    assert settings.topics.partitions == 8
    assert settings.events.earliest == dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert settings.hash_key is None


def test_settings_cannot_be_changed():
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.app_id = "other"
    with pytest.raises(ValidationError, match="frozen"):
        settings.topics.partitions = 4


def test_building_settings_reads_no_environment(monkeypatch):
    monkeypatch.setenv("EXTRACTION_APP_ID", "from-environment")
    assert Settings().app_id == "extraction-detector"


def test_each_source_goes_over_the_one_before(toml, monkeypatch):
    path = toml('app_id = "file"\n[ingest]\nlinger_ms = 10\nfetch = 20\nrows_per_message = 30\n')
    monkeypatch.setenv("EXTRACTION_INGEST__FETCH", "200")
    monkeypatch.setenv("EXTRACTION_INGEST__ROWS_PER_MESSAGE", "300")
    settings = load_settings(path, {"ingest.rows_per_message": 1500, "topics": {"partitions": 2}})
    ingest = settings.ingest
    assert (settings.app_id, ingest.linger_ms, ingest.fetch, ingest.rows_per_message) == (
        "file",
        10,
        200,
        1500,
    )
    assert (settings.topics.partitions, ingest.text_chars) == (2, 8192)


def test_the_environment_names_the_file(toml, monkeypatch):
    monkeypatch.setenv("EXTRACTION_CONFIG", str(toml('app_id = "named"\n')))
    assert load_settings().app_id == "named"


def test_an_argument_goes_over_the_file_the_environment_names(toml, monkeypatch, tmp_path):
    monkeypatch.setenv("EXTRACTION_CONFIG", str(tmp_path / "absent.toml"))
    assert load_settings(toml('app_id = "argument"\n')).app_id == "argument"


def test_values_of_every_kind_come_from_the_environment(monkeypatch):
    for name, value in {
        "EXTRACTION_SESSION_TIMEOUT_S": "12.5",
        "EXTRACTION_KAFKA__BOOTSTRAP_SERVERS": "a:1, b:2",
        "EXTRACTION_KAFKA__ALLOW_PLAINTEXT_SASL": "true",
        "EXTRACTION_DETECTION__ALLOW": "one, two",
        "EXTRACTION_EVENTS__EARLIEST": "2024-05-01T00:00:00+02:00",
        "extraction_topics__partitions": "3",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.session_timeout_s == 12.5
    assert settings.kafka.bootstrap_servers == "a:1,b:2"
    assert settings.kafka.allow_plaintext_sasl is True
    assert settings.detection.allow == ("one", "two")
    assert settings.events.earliest.timestamp() == 1714514400
    assert settings.topics.partitions == 3


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("EXTRACTION_TOPICS__PARTITIONS", "")
    assert load_settings().topics.partitions == 8


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[ingest]\nlinger_ms = 'fast'", "ingest.linger_ms", "'fast' is not a whole number"),
        ("[ingest]\nlinger_ms = 1.5", "ingest.linger_ms", "1.5 is not a whole number"),
        ("[ingest]\nlinger_ms = true", "ingest.linger_ms", "not true or false"),
        ("session_timeout_s = true", "session_timeout_s", "not true or false"),
        ("[topics]\npartitions = 0", "topics.partitions", "at least 1"),
        ("[detection]\nbudget = 0.9", "detection.budget", "at most 0.5"),
        ("[detection]\nbudget = 0", "detection.budget", "more than 0"),
        ("[detection]\nbudget = nan", "detection.budget", "finite"),
        ("[detection]\nallow = 5", "detection.allow", "not a list"),
        ("[detection]\nprofile = '/no/such/file'", "detection.profile", "/no/such/file is not a file"),
        ("[topics]\nreplication_factor = 0", "topics.replication_factor", "-1"),
        ("[topics]\nalerts = 'no spaces'", "topics.alerts", "letters, digits"),
        ("[topics]\nformat = 'xml'", "topics.format", "'auto' or 'extraction'"),
        ("[events]\nearliest = 2020-01-01T00:00:00", "events.earliest", "no time zone"),
        ("[events]\nearliest = 'yesterday'", "events.earliest", "2020-01-01T00:00:00Z"),
        ("[kafka]\nbootstrap_servers = 'broker'", "kafka.bootstrap_servers", "not host:port"),
        ("[kafka]\nbootstrap_servers = 'SSL://b:9'", "kafka.bootstrap_servers", "security.protocol"),
        ("[kafka]\nbootstrap_servers = 'b:99999'", "kafka.bootstrap_servers", "not host:port"),
        ("ingest = 5", "ingest", "not a table"),
        ("app_id = 5", "app_id", "not text"),
        ("app_id = 'a/b'", "app_id", "letters, digits"),
        ("hash_key_file = '/no/such/file'", "hash_key_file", "cannot be read"),
        ("[ingest]\nlinger = 5", "ingest.linger", "Did you mean ingest.linger_ms?"),
        ("linger_ms = 5", "linger_ms", "Did you mean ingest.linger_ms?"),
        ("[metric]\nport = 1", "metric", "Did you mean metrics?"),
        (
            "[kafka]\nboostrap_servers = 'a:1'",
            "kafka.boostrap_servers",
            "Did you mean kafka.bootstrap_servers?",
        ),
        ("zzz = 1", "zzz", "docs/configuration.md"),
        ("heartbeat_s = 5", "heartbeat_s", "at most 3.33"),
        ("[topics]\nstate = 'llm.requests'", "topics.state", "also topics.requests"),
        ("[topics]\nstate = '..'", "topics.state", "no topic name"),
    ],
)
def test_a_mistake_names_its_key_and_the_fix(toml, text, key, said):
    problem = only(problems_of(toml(text)))
    assert problem.where == key
    assert said in str(problem)


def test_every_mistake_is_told_at_once(toml, monkeypatch):
    path = toml(
        'app_id = "a b"\nheartbeat_s = 9\n[topics]\nalerts = "llm.requests"\npartitions = 0\n'
        '[ingest]\nfetch = "many"\nlinger = 5\n[kafka.properties]\n"group.id" = "x"\n"sasl.password" = "p"\n'
    )
    monkeypatch.setenv("EXTRACTION_STATE__FLUSH_MS", "soon")
    monkeypatch.setenv("EXTRACTION_APPID", "x")
    assert {problem.where for problem in problems_of(path)} == {
        "app_id",
        "heartbeat_s",
        "topics.alerts",
        "topics.partitions",
        "ingest.fetch",
        "ingest.linger",
        'kafka.properties."group.id"',
        'kafka.properties."sasl.password"',
        "state.flush_ms",
        "environment variable EXTRACTION_APPID",
    }


def test_a_value_wrong_in_itself_is_not_also_told_as_a_contradiction(toml):
    problem = only(problems_of(toml("session_timeout_s = 'long'\nheartbeat_s = 50")))
    assert problem.where == "session_timeout_s"


def test_a_mistake_says_where_it_was_made(toml, monkeypatch):
    path = toml("[ingest]\nfetch = 0")
    assert str(path) in str(only(problems_of(path)))
    monkeypatch.setenv("EXTRACTION_INGEST__FETCH", "-1")
    assert "EXTRACTION_INGEST__FETCH" in str(only(problems_of(path)))
    told = str(only(problems_of(path, {"ingest.fetch": -2})))
    assert "-2" in told
    assert "EXTRACTION_INGEST__FETCH" not in told


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EXTRACTION_APPID", "EXTRACTION_APP_ID"),
        ("EXTRACTION_LINGER_MS", "EXTRACTION_INGEST__LINGER_MS"),
        ("EXTRACTION_INGEST_LINGER_MS", "EXTRACTION_INGEST__LINGER_MS"),
        ("EXTRACTION_INGESTS__FETCH", "EXTRACTION_INGEST__FETCH"),
    ],
)
def test_an_unknown_variable_is_an_error_with_a_suggestion(monkeypatch, name, meant):
    monkeypatch.setenv(name, "5")
    problem = only(problems_of())
    assert name in problem.where
    assert f"Did you mean {meant}?" in problem.fix


def test_an_unknown_variable_inside_a_section_is_an_error_too(monkeypatch):
    monkeypatch.setenv("EXTRACTION_INGEST__LINGER", "5")
    assert only(problems_of()).fix == "Did you mean ingest.linger_ms?"


@pytest.mark.parametrize(
    "name",
    [
        "EXTRACTION_DETECTOR_SERVICE_HOST",
        "EXTRACTION_DETECTOR_SERVICE_PORT_METRICS",
        "EXTRACTION_DETECTOR_PORT",
        "EXTRACTION_DETECTOR_PORT_9464_TCP_ADDR",
        "EXTRACTION_LOG_LEVEL",
    ],
)
def test_variables_that_are_not_settings_do_not_stop_it(monkeypatch, name):
    monkeypatch.setenv(name, "tcp://10.0.0.1:9464")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"app_id = ", "is not TOML"), (b"\xff\xfe", "is not TOML"), (None, "cannot be read")],
)
def test_a_file_that_is_no_configuration_is_told_in_one_line(tmp_path, content, said):
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    assert said in only(problems_of(path)).message


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes()
TREES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def of_keys(model):
    """Tables with the keys of a section, each with anything in it, and perhaps one key more."""
    known = {name: of_keys(inner) | TREES if inner else TREES for name, inner in model.items()}
    return st.fixed_dictionaries({}, optional={**known, "extra": TREES})


PROPERTIES = dict.fromkeys(["security.protocol", "sasl", "ssl.ca.location", "sasl.password_file", "group.id"])
SHAPE = {
    section: dict.fromkeys(values) if isinstance(values, dict) else None
    for section, values in Settings().model_dump().items()
}
SHAPE["kafka"]["properties"] = PROPERTIES


@given(of_keys(SHAPE))
def test_whatever_is_configured_either_loads_or_is_told(tree):
    try:
        problems = load_settings(overrides=tree) and []
    except SettingsError as error:
        problems = error.problems
    assert all(problem.where and problem.message for problem in problems)


# -- secrets ---------------------------------------------------------------------------------------


def test_the_hash_key_comes_from_the_environment_or_a_file(monkeypatch, tmp_path, toml):
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    assert load_settings(toml(f"hash_key_file = '{file}'")).secret_key() == KEY.encode()
    monkeypatch.setenv("EXTRACTION_HASH_KEY", KEY)
    assert load_settings().secret_key() == KEY.encode()
    assert only(problems_of(toml(f"hash_key_file = '{file}'"))).where == "hash_key_file"


@pytest.mark.parametrize("key", ["hunter2", "fifteen bytes!!"])
def test_a_short_hash_key_is_refused_without_being_shown(monkeypatch, key):
    monkeypatch.setenv("EXTRACTION_HASH_KEY", key)
    problem = only(problems_of())
    assert problem.where == "hash_key"
    assert "shorter than 16 bytes" in problem.message
    assert key not in str(problem)


def test_an_empty_key_file_is_no_key(tmp_path, toml):
    (tmp_path / "key").touch()
    assert {p.where for p in problems_of(toml(f"hash_key_file = '{tmp_path / 'key'}'"))} >= {"hash_key_file"}


def test_without_a_key_only_development_goes_on_and_says_so(caplog):
    settings = Settings()
    with pytest.raises(SettingsError, match="EXTRACTION_HASH_KEY"):
        settings.secret_key()
    assert not caplog.records
    assert len(settings.secret_key(development=True)) >= 16
    assert "will not match" in caplog.text


@pytest.mark.parametrize(
    "text", ["hash_key = 'hunter2 hunter2 hunter2'", "[kafka.properties]\nsasl.password = 'hunter2'"]
)
def test_secrets_in_the_file_are_refused_without_being_shown(toml, text):
    problem = only(problems_of(toml(text)))
    assert "must not be in" in problem.message
    assert "EXTRACTION_" in problem.fix
    assert "hunter2" not in str(problem)


def test_secrets_are_shown_nowhere(monkeypatch, tmp_path):
    (tmp_path / "password").write_text("open sesame\n")
    monkeypatch.setenv("EXTRACTION_HASH_KEY", KEY)
    properties = {name: value for name, value in TLS_LOGIN.items() if name != "sasl.password"}
    properties["sasl.password_file"] = str(tmp_path / "password")
    settings = load_settings(overrides={"kafka": {"properties": properties}})
    assert settings.kafka.client()["sasl.password"] == "open sesame"
    for shown in (repr(settings), str(settings), settings.describe(), str(settings.effective())):
        assert KEY not in shown
        assert "open sesame" not in shown
    assert "open sesame" in settings.describe(hide_secrets=False)


# -- Kafka properties ------------------------------------------------------------------------------


def test_properties_may_be_quoted_nested_or_variables(toml, monkeypatch):
    quoted = load_settings(toml('[kafka.properties]\n"socket.keepalive.enable" = true\n"client.id" = "x"'))
    nested = load_settings(toml('[kafka.properties]\nsocket.keepalive.enable = true\nclient.id = "x"'))
    monkeypatch.setenv("EXTRACTION_KAFKA__PROPERTIES__SOCKET_KEEPALIVE_ENABLE", "true")
    monkeypatch.setenv("EXTRACTION_KAFKA__PROPERTIES__CLIENT_ID", "x")
    assert quoted.kafka == nested.kafka == load_settings().kafka
    assert quoted.kafka.properties == {"socket.keepalive.enable": "true", "client.id": "x"}


def test_properties_of_a_source_go_over_those_below_in_any_spelling(toml, monkeypatch):
    path = toml(
        "[kafka.properties]\nsecurity.protocol = 'plaintext'\n'sasl.mechanism' = 'PLAIN'\n"
        "sasl.username = 'kept'\nsasl.password_file = '/no/such/file'\n"
    )
    monkeypatch.setenv("EXTRACTION_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "sasl_ssl")
    monkeypatch.setenv("EXTRACTION_KAFKA__PROPERTIES__SASL_PASSWORD", "open sesame")
    overrides = {"kafka": {"properties": {"sasl.mechanisms": "SCRAM-SHA-256"}}}
    assert kafka_properties.plain(load_settings(path, overrides).kafka.properties) == {
        "security.protocol": "sasl_ssl",
        "sasl.mechanisms": "SCRAM-SHA-256",
        "sasl.username": "kept",
        "sasl.password": "open sesame",
    }


@pytest.mark.parametrize("name", sorted(kafka_properties.OWNED))
def test_properties_of_the_pipeline_are_refused_with_the_reason(name):
    problem = only(problems_of(overrides={"kafka": {"properties": {name: "1"}}}))
    assert name in problem.where
    assert kafka_properties.OWNED[name] in problem.fix


@pytest.mark.parametrize(
    ("properties", "where", "said"),
    [
        ({"security.protocl": "ssl"}, "security.protocl", "Did you mean security.protocol?"),
        ({"no.such.thing.at.all": "1"}, "no.such.thing.at.all", "CONFIGURATION.md"),
        ({"security.protocol": "tls"}, "security.protocol", "tls"),
        ({"socket.timeout.ms": "soon"}, "socket.timeout.ms", "Invalid value"),
        ({"socket.timeout.ms": "1"}, "socket.timeout.ms", "range"),
        ({"socket.keepalive.enable": "maybe"}, "socket.keepalive.enable", "bool"),
        ({"client.id": ["a"]}, "client.id", "must be text"),
        ({"client.id": "a", "client_id": "b"}, "client.id", "twice"),
        ({"ssl.keystore.location": "k.p12"}, "ssl.keystore.location", "PEM"),
        ({"ssl.crl.location": "c.pem"}, "ssl.crl.location", "revocation"),
        ({"sasl.username": "u"}, "security.protocol", "would not be used"),
        ({"ssl.ca.location": "ca.pem"}, "security.protocol", "would not be used"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/ca.pem"}, "ssl.ca.location", "/no/ca.pem"),
        ({"security.protocol": "ssl", "ssl.key.location": "k"}, "ssl.certificate.location", "go together"),
        ({"security.protocol": "ssl", "ssl.certificate.location": "c"}, "ssl.key.location", "go together"),
        ({**TLS_LOGIN, "sasl.mechanisms": "GSSAPI"}, "sasl.mechanisms", "SCRAM-SHA-512"),
        ({**TLS_LOGIN, "sasl.username": ""}, "sasl.username", "missing"),
        ({**TLS_LOGIN, "sasl.password": ""}, "sasl.password", "SASL_PASSWORD"),
        ({**TLS_LOGIN, "security.protocol": "sasl_plaintext"}, "security.protocol", "in clear"),
        ({**TLS_LOGIN, "ssl.cipher.suites": "NONE-SUCH"}, "ssl.cipher.suites", "cannot be used"),
        ({"sasl.password": "a", "sasl.password_file": "/dev/null"}, "sasl.password", "twice"),
        ({"sasl.password_file": "/no/such/file"}, "sasl.password", "cannot be read"),
    ],
)
def test_a_wrong_property_names_itself_and_the_fix(properties, where, said):
    problem = only(problems_of(overrides={"kafka": {"properties": properties}}))
    assert problem.where == f'kafka.properties."{where}"'
    assert said in str(problem)
    assert "open sesame" not in str(problem)


def test_faust_needs_no_credentials_without_security():
    assert Settings().kafka.faust_credentials() is None
    assert load_settings(overrides={"kafka.bootstrap_servers": "a:1,b:2"}).kafka.faust_broker_url == (
        "kafka://a:1;kafka://b:2"
    )


def test_a_password_reaches_faust_with_encryption():
    # Faust takes SASLCredentials without a TLS context for permission to send the password in clear.
    kafka = load_settings(overrides={"kafka": {"properties": TLS_LOGIN}}).kafka
    credentials = kafka.faust_credentials()
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert (credentials.username, credentials.password) == ("detector", "open sesame")
    assert credentials.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert credentials.ssl_context.check_hostname
    assert reaching(kafka.client()) == {"bootstrap.servers": "localhost:9092", **TLS_LOGIN}


def test_a_password_in_clear_is_possible_when_it_is_asked_for():
    kafka = load_settings(
        overrides={
            "kafka": {
                "allow_plaintext_sasl": True,
                "properties": {**TLS_LOGIN, "security.protocol": "SASL_PLAINTEXT"},
            }
        }
    ).kafka
    credentials = kafka.faust_credentials()
    assert credentials.protocol.value == "SASL_PLAINTEXT"
    assert credentials.ssl_context is None


@pytest.mark.parametrize(
    ("extra", "verify", "names"),
    [
        ({}, ssl.CERT_REQUIRED, True),
        ({"ssl.endpoint.identification.algorithm": "none"}, ssl.CERT_REQUIRED, False),
        ({"enable.ssl.certificate.verification": "false"}, ssl.CERT_NONE, False),
    ],
)
def test_tls_means_the_same_to_faust_as_to_librdkafka(extra, verify, names):
    properties = {"security.protocol": "SSL", **extra}
    context = load_settings(overrides={"kafka": {"properties": properties}}).kafka.faust_credentials().context
    assert (context.verify_mode, context.check_hostname) == (verify, names)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the openssl command")
def test_a_client_certificate_with_an_encrypted_key(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 1 -subj /CN=detector"
    passphrase = ["-passout", "pass:opens the key"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *passphrase, *files], check=True, capture_output=True)
    properties = {
        "security.protocol": "ssl",
        "ssl.ca.location": str(certificate),
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
        "ssl.key.password": "opens the key",
    }
    kafka = load_settings(overrides={"kafka": {"properties": properties}}).kafka
    assert kafka.faust_credentials().context.get_ca_certs()[0]["subject"] == ((("commonName", "detector"),),)
    properties["ssl.key.password"] = "does not"
    problem = only(problems_of(overrides={"kafka": {"properties": properties}}))
    assert problem.where == 'kafka.properties."ssl.certificate.location"'


# -- showing ---------------------------------------------------------------------------------------


def test_what_is_shown_loads_again(toml):
    shown = load_settings(
        overrides={
            "app_id": "other",
            "detection": {"allow": ['quote " and \\ and ü', "b"], "budget": 0.01},
            "kafka": {"properties": {"client.id": "x", "socket.timeout.ms": 1000}},
        }
    )
    assert load_settings(toml(shown.describe())) == shown


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans() | st.lists(st.text())))
def test_written_toml_is_read_as_what_was_written(tree):
    import tomllib

    assert tomllib.loads(write_toml({"t": tree}, hidden="(hidden value)")) == ({"t": tree} if tree else {})


def test_the_example_of_the_reference_loads(toml, tmp_path):
    text = reference.EXAMPLE
    for number, path in enumerate(re.findall(r'"(/run/secrets/[^"]+)"', text)):
        secret = tmp_path / f"secret-{number}"
        secret.write_text(KEY)
        text = text.replace(path, str(secret))
    settings = load_settings(toml(text))
    assert settings.secret_key() == KEY.encode()
    assert settings.kafka.client()["sasl.password"] == KEY


def test_the_reference_names_every_key():
    page = reference.reference_markdown()
    for section, values in Settings().model_dump().items():
        keys = [f"{section}.{name}" for name in values] if isinstance(values, dict) else [section]
        for key in keys:
            row = re.search(rf"^\| `{re.escape(key)}` \|.*\| (.+) \|$", page, re.MULTILINE)
            assert row, f"{key} has no row"
            assert row[1].endswith((".", "`")), f"{key} has no description"


def test_the_reference_page_is_current(pytestconfig):
    page = pytestconfig.rootpath / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == reference.reference_markdown(), "run `make docs`"
