"""One stack for most tests: real Kafka, real Redis, the simulated provider, two gateways and two workers, our programs under ASan.
Tests that break servers take a stack of their own (`own_stack`)."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.client import Api
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "kafka": {"partitions": 4, "session_timeout": "6s"},
    "consumer": {"lease_ttl": "3s", "drain_timeout": "20s"},
    "gateway": {"heartbeat": "1s", "cors_origins": ["https://app.example"]},
    "workflows": {"dir": str(ROOT / "tests/e2e/workflows")},
}


def make_stack(name, **options):
    options = {"flavour": "asan", "fresh": True, "workers": 2, "gateways": 2, "config": CONFIG,
               "tenants": [{"id": "small", "max_queued": 3}, {"id": "counted", "scopes": ["submit", "read"]}, {"id": "boss"}],
               **options}
    return Stack(ROOT / "build/test" / name, **options)


@contextmanager
def paced_stack(folder, name, models, rpm, **options):
    """A stack as `make run CONFIG=...` makes it of this YAML, and a provider that holds so many requests a minute and answers briefly."""
    path = folder / f"{name}.yaml"
    path.write_text(models)
    with make_stack(name, gateways=1, config_file=str(path), **options) as running:
        running.sim.patch({"limits": [{"key": "*", "model": "*", "rpm": rpm, "algorithm": "sliding"}],
                           "default": {"ttft_ms": 20, "tokens_per_s": 0, "output_tokens": 5}})
        yield running


@pytest.fixture(scope="session")
def stack():
    with make_stack("e2e") as running:
        yield running


@pytest.fixture(scope="module")
def own_stack(request):
    """A stack that a module may break."""
    with make_stack("own-" + request.module.__name__.rpartition(".")[2]) as running:
        yield running


@pytest.fixture
def api(stack):
    return Api(stack.url, stack.key)


@pytest.fixture
def other(stack):
    """Another tenant's client."""
    return Api(stack.url, stack.key_2)


@pytest.fixture
def second_url(stack):
    return f"http://127.0.0.1:{stack.site.ports.get('gateway-2')}"
