"""vLLM's flavour of OpenAI's wire: no key needed, no rate headers, other fields, the older error body with the status
as its code."""

from tests.provider import headers
from tests.provider.dialects.base import dumps
from tests.provider.dialects.chat import Chat

REASONS = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError",
           503: "ServiceUnavailableError"}


def _error(status, message, kind=None):
    return dumps({"object": "error", "message": message, "type": kind or REASONS.get(status, "Error"), "param": None, "code": status})


class Vllm(Chat):
    """POST /vllm/v1/chat/completions."""

    name = "vllm"
    style = None
    needs_key = False

    def head(self, ident, took_ms):
        del ident, took_ms
        return [("server", "uvicorn")]

    def check_strict(self, prompt):
        """It takes unknown fields."""

    def extra(self):
        return {}

    def usage(self, used):
        return {"prompt_tokens": used.input, "total_tokens": used.input + used.output, "completion_tokens": used.output,
                "prompt_tokens_details": None}

    def refusal(self, refusal):
        return _error(refusal.status, refusal.message)

    def failure(self, status, settings, retry):
        if settings["fail_body"] is not None:
            return settings["fail_body"].encode("utf-8", "surrogatepass")
        return _error(status, settings["fail_message"] or "The simulated provider was told to fail.", settings["fail_type"])

    def limited(self, prompt, verdict, told_s):
        return 429, headers.retry_lines(told_s, with_ms=False), _error(429, "Too many requests.")

    def broke(self, code):
        return 402, [], _error(402, "Payment required.", code or "PaymentRequired")

    def slow_down(self, answer, told_s):
        if answer == "slow_down":
            return 429, headers.retry_lines(told_s, with_ms=False), _error(429, "Too many requests.")
        return 503, headers.retry_lines(told_s, with_ms=False), _error(503, "The server is overloaded.")
