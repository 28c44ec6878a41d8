"""The Helm chart: rendered for three sets of values, checked against Kubernetes, its settings loaded."""

import json
import re

import kubernetes_validate
import pytest
import yaml

import detectors
from streams.settings import load_settings
from tests.deploy.test_rules import ALERTS
from tests.deploy.tools import DEPLOY, run, said, tool

CHART = DEPLOY / "helm/extraction-detector"
SETS = sorted((CHART / "ci").glob("*-values.yaml"))
LEAST = CHART / "ci/least-values.yaml"
EVERYTHING = CHART / "ci/everything-values.yaml"
KUBERNETES = ("1.27", "1.34")  # oldest and newest checked
FOREIGN = {"ScaledObject", "PodMonitor", "PrometheusRule"}  # of operators, so not in Kubernetes' own schemas


def template(*options):
    return run(
        tool("helm"), "template", "release", CHART, "--kube-version", "1.34.0", "-n", "test", *options
    )  # fmt: skip


def render(*options):
    done = template(*options)
    assert done.returncode == 0, said(done)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of(manifests, kind):
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pods(manifests):
    """Name -> what runs, of Deployments and Jobs."""
    workloads = {**of(manifests, "Deployment"), **of(manifests, "Job")}
    return {name: one["spec"]["template"]["spec"] for name, one in workloads.items()}


@pytest.fixture(params=SETS, ids=lambda path: path.stem)
def manifests(request):
    return render("-f", request.param)


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_helm_lint_has_nothing_to_say(values):
    done = run(tool("helm"), "lint", "--strict", "--quiet", CHART, "-f", values)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_what_is_rendered(manifests, version):
    checked = [one for one in manifests if one["kind"] not in FOREIGN]
    assert checked
    for one in checked:
        kubernetes_validate.validate(one, version, strict=True)


def test_kubernetes_schemas_would_find_a_typing_error():
    deployment = next(iter(of(render("-f", LEAST), "Deployment").values()))
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize(
    ("given", "about"),
    [
        ({"hashKey.existingSecret": ""}, "existingSecret"),
        ({"image.repository": ""}, "repository"),
        ({"kafka.bootstrapServers": "kafka-1"}, "bootstrapServers"),
        ({"kafka.bootstrapServers": "https://kafka-1:9092"}, "bootstrapServers"),
        ({"kafka.mechanism": "GSSAPI"}, "mechanism"),
        ({"topics.partitions": "0"}, "partitions"),
        ({"roles.ingest.user.name": "somebody"}, "existingSecret"),
        ({"role.ingest.replicas": "3"}, "role"),
        ({"config": "hash_key = 'secret'"}, "config"),
        ({"monitoring.runbookUrl": "https://runbooks.example.net"}, "runbookUrl"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_values_are_refused_by_name(given, about):
    done = template("-f", LEAST, *(word for pair in given.items() for word in ("--set", "=".join(pair))))
    assert done.returncode != 0
    assert about in said(done)


def test_without_values_it_names_what_is_missing():
    done = template()
    assert done.returncode != 0
    for key in ("repository", "existingSecret", "bootstrapServers"):
        assert key in said(done)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Text of a certificate that signs itself."""
    path = tmp_path_factory.mktemp("certificate") / "ca.pem"
    made = run(
        tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "1",
        "-nodes", "-subj", "/CN=test", "-keyout", path.with_name("key.pem"), "-out", path,
    )  # fmt: skip
    assert made.returncode == 0, said(made)
    return path.read_text()


def test_the_settings_that_pods_get_are_valid(manifests, certificate, monkeypatch, tmp_path):
    (config,) = [one for one in of(manifests, "ConfigMap").values() if "detector.toml" in one["data"]]
    for name, pod in pods(manifests).items():
        (container,) = pod["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        directory = tmp_path / name
        for volume in pod["volumes"]:
            place = directory / mounts[volume["name"]].strip("/")
            place.mkdir(parents=True)
            if "configMap" in volume:
                (place / "detector.toml").write_text(config["data"]["detector.toml"])
            for item in volume.get("secret", {}).get("items", ()):
                secret = (
                    certificate if volume["name"] == "kafka-ca" else "a secret of more than sixteen bytes"
                )
                (place / item["path"]).write_text(secret)
        with monkeypatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, f"{directory}{value}" if value.startswith("/etc/") else value)
            settings = load_settings(None)
        assert settings.secret_key() == b"a secret of more than sixteen bytes"
        assert settings.metrics.port == container.get("ports", [{"containerPort": 9464}])[0]["containerPort"]
        if settings.app_id == "extraction-eu":
            assert settings.detection.allow == ("acct-load-test",)
            assert settings.kafka.client()["sasl.mechanisms"] == "SCRAM-SHA-256"


def test_secrets_are_named_and_never_held(manifests):
    assert not of(manifests, "Secret")
    for pod in pods(manifests).values():
        assert all("valueFrom" not in variable for variable in pod["containers"][0]["env"])
        names = {volume["name"] for volume in pod["volumes"] if "secret" in volume}
        assert "hash-key" in names
        assert names <= {"hash-key", "kafka-ca", "kafka-user"}


def test_pods_have_no_rights_they_do_not_need(manifests):
    for pod in pods(manifests).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert "memory" in container["resources"]["limits"]


def test_workers_are_probed_and_given_time_to_save(manifests):
    for deployment in of(manifests, "Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        (worker,) = pod["containers"]
        assert worker["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert worker["startupProbe"]["httpGet"]["path"] == "/healthz"
        assert pod["terminationGracePeriodSeconds"] >= 60
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0


def test_selectors_find_their_pods(manifests):
    deployments = of(manifests, "Deployment")
    assert set(deployments) == set(of(manifests, "PodDisruptionBudget"))
    for name, deployment in deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        budget = of(manifests, "PodDisruptionBudget")[name]
        (policy,) = of(manifests, "NetworkPolicy").values()
        for selector in (
            deployment["spec"]["selector"],
            budget["spec"]["selector"],
            policy["spec"]["podSelector"],
        ):
            assert selector["matchLabels"].items() <= labels.items()
        assert (
            labels["app.kubernetes.io/component"]
            in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        )
    assert len({json.dumps(one["spec"]["selector"]) for one in deployments.values()}) == len(deployments)


def test_only_metrics_come_in_and_only_kafka_and_names_go_out():
    (policy,) = of(render("-f", CHART / "ci/strimzi-values.yaml"), "NetworkPolicy").values()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (into,) = policy["spec"]["ingress"]
    assert into["from"]
    assert [port["port"] for port in into["ports"]] == ["metrics"]
    assert [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]] == [53, 53, 9093]
    assert policy["spec"]["egress"][1]["to"]


def test_scaling_follows_the_groups_and_topics_of_the_worker():
    manifests = render("-f", EVERYTHING)
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in of(manifests, "ScaledObject").values()
    }
    assert scaled.keys() == of(manifests, "Deployment").keys()
    found = {
        (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"], spec["maxReplicaCount"])
        for spec in scaled.values()
        for trigger in spec["triggers"]
    }
    assert found == {
        ("extraction-eu-ingest", "llm.requests.eu", 12),
        ("extraction-eu-detect", "eu.observations", 16),
    }
    for spec in scaled.values():
        (trigger,) = spec["triggers"]
        assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA wants text"
        assert trigger["authenticationRef"] == {"name": "kafka-scaler"}
    assert all("replicas" not in one["spec"] for one in of(manifests, "Deployment").values())


def test_monitoring_gets_the_same_rules_and_job():
    manifests = render("-f", EVERYTHING)
    (rule,) = of(manifests, "PrometheusRule").values()
    alerts = {
        one["alert"]: one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one
    }
    assert alerts.keys() == ALERTS.keys()
    for name, alert in alerts.items():
        assert alert["expr"] == ALERTS[name]["expr"]
        assert alert["annotations"]["runbook_url"] == f"https://runbooks.example.net/extraction/{name}.md"
    (monitor,) = of(manifests, "PodMonitor").values()
    for deployment in of(manifests, "Deployment").values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert labels[monitor["spec"]["jobLabel"]] == "extraction-detector"
    (dashboard,) = [one for name, one in of(manifests, "ConfigMap").items() if name.endswith("-dashboard")]
    assert json.loads(dashboard["data"]["extraction-detector.json"])["uid"] == "extraction-detector"


def test_the_chart_is_of_this_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == detectors.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", chart["version"])
