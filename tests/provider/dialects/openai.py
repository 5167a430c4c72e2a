"""What OpenAI's endpoints share: errors, the codes that tell money from speed, headers."""

import json

from tests.provider import headers
from tests.provider.dialects.base import BAD, Dialect
from tests.provider.rules import INPUT, OUTPUT, RPD, RPM, TOKENS

SHORT = {RPM: "requests per min (RPM)", TOKENS: "tokens per min (TPM)", INPUT: "input tokens per min (ITPM)",
         OUTPUT: "output tokens per min (OTPM)", RPD: "requests per day (RPD)", "concurrency": "concurrent requests"}
MONEY = {
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing details. For more information on "
                          "this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
    "credit_balance_exhausted": "Your credit balance is exhausted. Add credits to continue.",
    "organization_spend_limit_exceeded": "Your organization has reached its spend limit.",
    "project_spend_limit_exceeded": "Your project has reached its spend limit.",
    "organization_usage_limit_exceeded": "Your organization has reached its usage limit.",
}
FAILURES = {
    400: (BAD, None, "The simulated provider was told to refuse this request."),
    401: (BAD, "invalid_api_key", "Incorrect API key provided."),
    403: (BAD, "unsupported_country_region_territory", "Country, region, or territory not supported"),
    404: (BAD, "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again in {retry}."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "server_is_overloaded", "The engine is currently overloaded, please try again later"),
}


def error_body(message, kind, param=None, code=None):
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def rate_message(prompt, verdict, told_s):
    again = "" if told_s is None else f" Please try again in {headers.duration(told_s)}."
    return (f"Rate limit reached for {prompt.model} in organization org-simulated on {SHORT[verdict.reason]}: Limit "
            f"{int(verdict.limit)}, Used {int(verdict.used)}, Requested {int(verdict.cost)}.{again}")


class OpenAI(Dialect):
    style = "openai"

    def head(self, ident, took_ms):
        return [("x-request-id", "req_" + ident[:32]), ("openai-processing-ms", took_ms),
                ("openai-organization", "org-simulated"), ("openai-version", "2020-10-01")]

    def refusal(self, refusal):
        return error_body(refusal.message, refusal.kind, refusal.param, refusal.code)

    def failure(self, status, settings, retry):
        if settings["fail_body"] is not None:
            return settings["fail_body"].encode("utf-8", "surrogatepass")
        kind, code, message = FAILURES.get(status, FAILURES[500 if status >= 500 else 400])
        return error_body(settings["fail_message"] or message.format(retry=retry), settings["fail_type"] or kind, None,
                          settings["fail_code"] or code)

    def limited(self, prompt, verdict, told_s):
        kind = "requests" if verdict.reason in (RPM, RPD, "concurrency") else "tokens"
        body = error_body(rate_message(prompt, verdict, told_s), kind, None, "rate_limit_exceeded")
        return 429, headers.retry_lines(told_s, self.tells_ms), body

    def broke(self, code):
        code = code or "credit_balance_exhausted"
        return 429, [], error_body(MONEY.get(code, MONEY["insufficient_quota"]), "insufficient_quota", None, code)

    def slow_down(self, answer, told_s):
        if answer == "slow_down":
            body = error_body("Your request rate grew too quickly. Slow down and ramp up gradually.", "rate_limit_error", None,
                              "slow_down")
            return 429, headers.retry_lines(told_s, self.tells_ms), body
        body = error_body("The server is overloaded. Please try again later.", "server_error", None, "server_is_overloaded")
        return 503, headers.retry_lines(told_s, self.tells_ms), body
