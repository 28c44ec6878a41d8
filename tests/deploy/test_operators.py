"""Resources of KEDA, Strimzi and the Prometheus operator, checked against the operators' own definitions.

These are in no package, so the test runs where `CRD_DIRECTORY` names a folder of CustomResourceDefinitions:
`keda.sh_scaledobjects.yaml`, `043-Crd-kafkatopic.yaml` and so on, from the operators' repositories.
"""

import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.deploy.test_chart import EVERYTHING, FOREIGN, render
from tests.deploy.test_strimzi import TOPICS, USERS


@pytest.fixture(scope="module")
def definitions():
    """(kind, version of the API) -> schema that refuses unknown fields."""
    directory = os.environ.get("CRD_DIRECTORY")
    if not directory:
        pytest.skip("CRD_DIRECTORY is not set to a folder with the operators' CustomResourceDefinitions")
    found = {}
    for path in Path(directory).glob("*.yaml"):
        for one in yaml.safe_load_all(path.read_text()):
            for version in one["spec"]["versions"]:
                key = one["spec"]["names"]["kind"], f"{one['spec']['group']}/{version['name']}"
                found[key] = strict(version["schema"]["openAPIV3Schema"])
    return found


def strict(schema):
    """The same schema, in which objects have no fields but those listed, as the API server treats them."""
    if isinstance(schema, dict):
        made = {key: strict(value) for key, value in schema.items()}
        closed = made.get("type") == "object" and isinstance(made.get("properties"), dict)
        if closed and not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
        return made
    return [strict(one) for one in schema] if isinstance(schema, list) else schema


def test_operators_accept_their_resources(definitions):
    foreign = [one for one in render("-f", EVERYTHING) if one["kind"] in FOREIGN]
    checked = [*foreign, *TOPICS, *USERS]
    assert {one["kind"] for one in checked} == FOREIGN | {"KafkaTopic", "KafkaUser"}
    for one in checked:
        schema = definitions[one["kind"], one["apiVersion"]]
        schema["properties"]["metadata"] = {"type": "object"}
        # Not `jsonschema.validate`, which refuses definitions with regular expressions in Go's spelling.
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(one))
        assert not errors, f"{one['kind']}: {errors[0].message}"


def test_a_field_that_is_not_theirs_is_found(definitions):
    schema = definitions["KafkaTopic", "kafka.strimzi.io/v1"]
    schema["properties"]["metadata"] = {"type": "object"}
    wrong = {**TOPICS[0], "spec": {**TOPICS[0]["spec"], "partition": 3}}
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(wrong)]
