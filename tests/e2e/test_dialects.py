"""Every provider's dialect against an upstream that nobody here wrote: npm's @copilotkit/aimock, which speaks OpenAI (chat and responses),
Azure, Anthropic and Gemini on one port, checks the key in each one's own header, and misbehaves on request. And against the simulated
provider, which is strict about what it is asked."""

import http.server
import json
import os
import subprocess
import threading

import httpx
import pytest

from tests.e2e.client import Api, check_stream, text_of, until
from tests.e2e.conftest import ROOT, make_stack
from tests.stack.ports import PortBook

AIMOCK = ROOT / "build/node/node_modules/@copilotkit/aimock/dist/cli.js"
FOLDER = ROOT / "build/test/dialects"
KEY = "sk-dialects-0123456789"
PROVIDERS = {  # name: (settings, where it lies under the double's address)
    "openai-chat": ({"kind": "openai"}, "/v1"),
    "openai-responses": ({"kind": "openai", "api": "responses"}, "/v1"),
    "azure-chat": ({"kind": "azure"}, ""),
    "azure-v1-chat": ({"kind": "azure"}, "/openai/v1"),
    "azure-v1-responses": ({"kind": "azure", "api": "responses"}, "/openai/v1"),
    "vllm-chat": ({"kind": "vllm"}, "/v1"),
    "anthropic": ({"kind": "anthropic"}, ""),
    "anthropic-2026-10-21": ({"kind": "anthropic", "api_version": "2026-10-21"}, ""),
    "gemini": ({"kind": "gemini"}, ""),
}
BOTH = [(name, stream) for name in PROVIDERS for stream in (True, False)]
TEXT = "Grüße aus 東京: every dialect says the same, each in its own words."
FIXTURES = {"fixtures": [
    {"match": {"userMessage": "greet"}, "response": {"content": TEXT, "usage": {
        "prompt_tokens": 17, "completion_tokens": 9, "total_tokens": 26, "input_tokens": 17, "output_tokens": 9,
        "promptTokenCount": 17, "candidatesTokenCount": 9, "totalTokenCount": 26}}},
    {"match": {"userMessage": "shape"}, "response": {"content": json.dumps({"a": 1.5})}},
]}


class Double:
    """The upstream double, its controls and its journal."""

    def __init__(self):
        self.port = PortBook().get("aimock")
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10)
        (FOLDER / "fixtures.json").write_text(json.dumps(FIXTURES))
        argv = ["node", str(AIMOCK), "-p", str(self.port), "-f", str(FOLDER / "fixtures.json"), "--chunk-size", "7"]
        self.begin = 0
        self.log = open(FOLDER / "aimock.log", "wb")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, "AIMOCK_API_KEYS": KEY})

    def is_up(self):
        assert self.process.poll() is None, (FOLDER / "aimock.log").read_text()
        try:
            return self.http.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def chaos(self, **rates):
        answer = self.http.post("/__aimock/chaos", json=rates) if rates else self.http.delete("/__aimock/chaos")
        assert answer.status_code < 300, answer.text

    def _whole_journal(self):
        answer = self.http.get("/__aimock/journal")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def journal(self):
        """What came since the last clear()."""
        return self._whole_journal()[self.begin:]

    def clear(self):
        self.chaos()
        self.begin = len(self._whole_journal())

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


class Redirector(http.server.ThreadingHTTPServer):
    """Sends whoever comes to the double, and notes who came."""

    def __init__(self, target):
        self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                self.seen.append(handler.path)
                handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
                handler.send_response(307)
                handler.send_header("Location", target + handler.path)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def workflow(name, model, text, more="", stream=True):
    (FOLDER / f"workflows/{name}.yaml").write_text(
        f"name: {name}\nversion: 1\nsteps:\n  - id: say\n    retry: {{max_attempts: 3, initial: 100ms, max: 300ms}}\n    timeout: 60s\n"
        f"    llm: {{model: {model}, stream: {str(stream).lower()}, max_tokens: 200, {more}messages: "
        f"[{{role: system, content: \"Be brief.\"}}, {{role: user, content: \"{text}\"}}]}}\n")


def write_workflows():
    (FOLDER / "workflows").mkdir(parents=True, exist_ok=True)
    schema = "response_schema: {type: object, required: [a], additionalProperties: false, properties: {a: {type: number}}}, "
    for name in PROVIDERS:
        for stream in (True, False):
            workflow(f"{name}-{'stream' if stream else 'whole'}", name, "greet", stream=stream)
        workflow(f"{name}-schema", name, "shape", schema)
        for stream in (True, False):
            workflow(f"sim-{name}-{'stream' if stream else 'whole'}", f"sim-{name}",
                     "[[sim ttft=1 tokens=12 tps=0 text=numbered]] x", stream=stream)
    workflow("seeded", "anthropic", "greet", "seed: 7, ")
    workflow("wrong-key", "wrong-key", "greet")
    workflow("redirected", "redirected", "greet")


@pytest.fixture(scope="module")
def double():
    write_workflows()
    double = Double()
    try:
        until(double.is_up, what="the double")
        yield double
    finally:
        double.close()


@pytest.fixture(scope="module")
def redirector(double):
    server = Redirector(double.url)
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def stack(double, redirector):
    providers = {name: {**settings, "base_url": double.url + path, "api_key_env": "DIALECTS_KEY"}
                 for name, (settings, path) in PROVIDERS.items()}
    providers["wrong-key"] = {**providers["anthropic"], "api_key_env": "DIALECTS_WRONG_KEY"}
    providers["redirected"] = {**providers["vllm-chat"], "base_url": f"http://127.0.0.1:{redirector.server_port}/v1"}
    models = {name: {"route": [{"provider": name, "model": f"model-of-{name}"}]} for name in providers}
    config = {"kafka": {"partitions": 2, "session_timeout": "6s"}, "consumer": {"lease_ttl": "3s", "drain_timeout": "5s"},
              "providers": providers, "models": models, "workflows": {"dir": str(FOLDER / "workflows")}}
    with make_stack("own-dialects", parts=["kafka", "redis", "provider", "gateway", "consumer-1"], config=config,
                    env={"DIALECTS_KEY": KEY, "DIALECTS_WRONG_KEY": "sk-wrong-9876543210"}) as running:
        sims = {f"sim-{name}": {**settings, "base_url": running.provider_url + ("/vllm/v1" if settings["kind"] == "vllm" else path),
                                "api_key_env": "SLUICE_PROVIDER_KEY"} for name, (settings, path) in PROVIDERS.items()}
        running.reconfigure({"providers": sims, "models": {name: {"route": [{"provider": name, "model": name}]} for name in sims}})
        for part in ("gateway", "consumer-1"):
            running.restart(part)
        yield running


@pytest.fixture
def api(stack, double):
    double.clear()
    return Api(stack.url, stack.key)


def calls(double, name):
    """The calls of one dialect, as the double recorded them."""
    return [entry for entry in double.journal() if f"model-of-{name}" in json.dumps(entry.get("body")) + entry.get("path", "")]


@pytest.mark.parametrize("name,stream", BOTH)
def test_a_job_in_each_dialect(api, double, name, stream):
    job = api.submit_ok(f"{name}-{'stream' if stream else 'whole'}")
    events = api.watch(job)
    assert check_stream(events).type == "job.succeeded", events[-1].data
    done = api.job(job)
    assert done["output"] == TEXT
    assert done["usage"]["calls"] == 1
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (17, 9), done["usage"]
    assert text_of(events, "say") == TEXT
    entry, = calls(double, name)
    said = json.dumps(entry["body"])
    assert "Be brief." in said and "greet" in said and "200" in said


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_schema_in_each_dialect(api, double, name):
    done = api.wait(api.submit_ok(f"{name}-schema"))
    assert done["status"] == "succeeded", done
    assert done["output"] == {"a": 1.5}


@pytest.mark.parametrize("name,stream", BOTH)
def test_the_simulated_provider_understands(api, name, stream):
    done = api.wait(api.submit_ok(f"sim-{name}-{'stream' if stream else 'whole'}"))
    assert done["status"] == "succeeded", done
    assert done["output"].split()[0] == "t0" and "t11" in done["output"]
    assert done["usage"]["output_tokens"] == 12 and done["usage"]["input_tokens"] > 0, done["usage"]


@pytest.mark.parametrize("name", ["openai-chat", "anthropic", "gemini"])
def test_a_429_is_waited_out_and_costs_nothing(api, double, name):
    double.chaos(rateLimitRate=1)
    job = api.submit_ok(f"{name}-stream")
    until(lambda: double.journal(), what="a call")
    assert {entry["response"]["status"] for entry in double.journal()} == {429}
    assert api.job(job)["status"] in ("running", "waiting")
    double.chaos()
    done = api.wait(job, limit_s=60)
    assert done["status"] == "succeeded" and done["output"] == TEXT
    assert done["attempt"] == 1 and done["steps"][0]["attempt"] == 1, done["steps"]


@pytest.mark.parametrize("rate", ["malformedRate", "disconnectRate", "dropRate"])
@pytest.mark.parametrize("name,stream", [(n, s) for n, s in BOTH if n in ("openai-responses", "azure-chat", "anthropic", "gemini")])
def test_a_broken_reply_is_tried_again(api, double, name, stream, rate):
    double.chaos(**{rate: 1})
    job = api.submit_ok(f"{name}-{'stream' if stream else 'whole'}")
    until(lambda: double.journal(), what="a call")
    double.chaos()
    done = api.wait(job)
    assert done["status"] == "succeeded" and done["output"] == TEXT, done
    # a connection that ended before any reply is an outage, which burns no attempt
    assert (done["steps"][0]["attempt"] > 1) == (rate != "disconnectRate"), done["steps"]


def test_replies_that_stay_broken_end_the_job(api, double):
    double.chaos(malformedRate=1)
    done = api.wait(api.submit_ok("anthropic-stream"))
    assert done["status"] == "failed"
    assert len(calls(double, "anthropic")) == 3


def test_a_wrong_key_is_fatal_and_not_shown(api, double, stack):
    done = api.wait(api.submit_ok("wrong-key"))
    assert done["status"] == "failed" and done["error"]["code"] == "provider_error", done
    assert "401" in done["error"]["message"]
    assert "sk-wrong" not in json.dumps(done)


def test_what_a_dialect_cannot_say_is_told_before_the_call(api, double):
    done = api.wait(api.submit_ok("seeded"))
    assert done["status"] == "failed" and done["error"]["code"] == "provider_error", done
    assert "seed" in done["error"]["message"]
    assert double.journal() == []


def test_a_key_does_not_follow_a_redirect(api, double, redirector):
    done = api.wait(api.submit_ok("redirected"))
    assert done["status"] == "failed" and "307" in done["error"]["message"], done
    assert len(redirector.seen) == 1
    assert double.journal() == []


def test_keys_are_in_no_log(stack):
    for name in ("gateway", "consumer-1"):
        with open(stack.log(name), encoding="utf-8") as log:
            text = log.read()
        assert "sk-dialects" not in text and "sk-wrong" not in text, name
    shown = subprocess.run([f"{stack.bin_dir}/consumer", "--config", stack.state.path("sluice.yaml"), "--print-config"],
                           env={**stack.environ}, capture_output=True, text=True, timeout=30)
    assert shown.returncode == 0, shown.stderr
    assert "DIALECTS_KEY" in shown.stdout and "sk-dialects" not in shown.stdout + shown.stderr
