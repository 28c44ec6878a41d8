"""Fixtures of the tests that run worker processes on a real broker."""

import pytest

from tests.integration.deployment import Deployment


@pytest.fixture
def deploy(kafka, unique, tmp_path):
    """Makes deployments on the shared broker; ends their workers afterwards."""
    made = []

    def make(*, on=None, **options) -> Deployment:
        deployment = Deployment(on or kafka, f"{unique}-{len(made)}", tmp_path, **options)
        made.append(deployment)
        deployment.create_topics()
        return deployment

    yield make
    for deployment in made:
        deployment.close()
