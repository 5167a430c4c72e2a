"""Azure OpenAI: OpenAI's bodies under deployment paths, its own errors, and fewer headers.

Deployment paths need `api-version` and take the model from the path; `/openai/v1/...` takes it from the body. Streams
begin with a chunk without choices and without an id (the filter's verdict on the prompt). The combined limit charges
prompt + max_tokens. On Responses the `remaining` headers are -1.
"""

from tests.provider import headers
from tests.provider.dialects.base import Refusal, dumps
from tests.provider.dialects.chat import Chat, Chunks
from tests.provider.dialects.responses import Responses
from tests.provider.rules import RPD, RPM

_SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
PROMPT_FILTER = {"choices": [], "created": 0, "id": "", "model": "", "object": "",
                 "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]}
NOT_FOUND = b'{"error":{"code":"404","message":"Resource not found"}}'


class _Azure:
    """What both endpoints share; stands before OpenAI's class."""

    name = "azure"
    is_combined_sum = True

    def key(self, lines):
        return lines.get("api-key") or super().key(lines)

    def head(self, ident, took_ms):
        del took_ms
        return [("apim-request-id", ident[:32]), ("x-request-id", ident[:32]), ("x-ms-region", "Simulated"),
                ("x-ms-deployment-name", self.route.get("deployment", "")), ("azureml-model-session", "sim")]

    def refusal(self, refusal):
        if refusal.status == 401:
            return dumps({"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint. "
                                    "Make sure to provide a valid key for an active subscription."}})
        if refusal.status == 404:
            if refusal.code == "404":
                return NOT_FOUND
            return dumps({"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}})
        return super().refusal(refusal)

    def limited(self, prompt, verdict, told_s):
        what = "call" if verdict.reason in (RPM, RPD, "concurrency") else "token"
        again = "" if told_s is None else f" Please retry after {max(1, int(told_s + 0.999))} seconds."
        code = "429" if "deployment" in self.route else "RateLimitReached"
        message = (f"Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded {what} rate limit of your "
                   f"current AIServices S0 pricing tier.{again} To increase your default rate limit, visit: "
                   f"https://aka.ms/oai/quotaincrease.")
        return 429, headers.retry_lines(told_s), dumps({"error": {"code": code, "message": message}})

    def check_head(self, lines):
        super().check_head(lines)
        if self.route and not self.query.get("api-version"):
            raise Refusal(404, "Resource not found", code="404")


class AzureChat(_Azure, Chat):
    style = "azure"

    def read(self, body):
        if isinstance(body, dict) and "deployment" in self.route:
            body = {**body, "model": self.route["deployment"]}
        return super().read(body)

    def stream(self, answer):
        return _Chunks(self, answer)


class AzureResponses(_Azure, Responses):
    style = "azure_responses"


class _Chunks(Chunks):
    def open(self):
        return b"data: " + dumps(PROMPT_FILTER) + b"\n\n" + super().open()
