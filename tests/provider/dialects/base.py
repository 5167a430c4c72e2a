"""What every dialect shares: a request as read, an answer to be written, and the face that call.py talks to.

A dialect is pure: it turns bytes into a Prompt and facts into bytes. It is made anew for every request, since a path
may say half of it.
"""

import json

BAD = "invalid_request_error"
SSE_HEAD = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
GARBAGE = b"data: \xff\xfe{{{ not an event ]]\x01\n\n\x80\x81\x82 :::\n\n"


class Refusal(Exception):
    """A request that is answered with an error; the dialect writes it."""

    def __init__(self, status, message, kind=BAD, param=None, code=None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code


class Prompt:
    """A request as the simulation sees it. messages: for hashing and counting, in OpenAI's form; most: max output tokens or None."""

    __slots__ = ("model", "stream", "messages", "most", "schema", "wants_usage", "body")

    def __init__(self, body, model, messages, stream=False, most=None, schema=None, wants_usage=True):
        self.body = body
        self.model = model
        self.messages = messages
        self.stream = stream
        self.most = most
        self.schema = schema
        self.wants_usage = wants_usage


class Used:
    """Reported usage: output is everything billed as output, reasoning the part of it that was thought, not said."""

    __slots__ = ("input", "output", "reasoning")

    def __init__(self, tokens_in, tokens_out, reasoning=0):
        self.input = tokens_in
        self.output = tokens_out
        self.reasoning = reasoning


class Answer:
    """Facts of one answer. ident: hex; finish: stop or length; used: Used, or None to report nothing."""

    __slots__ = ("ident", "created", "prompt", "used", "settings")

    def __init__(self, ident, created, prompt, used, settings):
        self.ident = ident
        self.created = created
        self.prompt = prompt
        self.used = used
        self.settings = settings

    @property
    def model(self):
        return self.prompt.model


def dumps(value):
    return json.dumps(value, separators=(",", ":")).encode()


def joined(tokens, per_event):
    """Tokens (JSON-escaped bytes) put together, per_event of them."""
    if per_event <= 1:
        return tokens
    return [b"".join(tokens[i:i + per_event]) for i in range(0, len(tokens), per_event)]


class Dialect:
    """See the head of the file."""

    name = ""
    style = None           # of rate headers, see headers.STYLES
    is_combined_sum = False  # the combined limit charges prompt + max_tokens
    needs_key = True
    stream_head = SSE_HEAD
    tells_ms = True        # retry-after-ms beside retry-after
    tells_retry = True     # retry-after at all

    def __init__(self, route=None, query=None):
        self.route = route or {}
        self.query = query or {}
        self.ident = ""        # of the call, for bodies that repeat it

    def key(self, headers):
        """The caller's key, "" for none."""
        bearer = headers.get("authorization", "")
        return bearer[7:].strip() if bearer[:7].lower() == "bearer " else headers.get("api-key", "")

    def head(self, ident, took_ms):
        """Headers of every answer, (name, value)."""
        del took_ms
        return [("x-request-id", "req_" + ident[:32])]

    def check_head(self, headers):
        """Raises Refusal where a header is missing."""

    def no_key(self):
        """The Refusal of a call without a key."""
        return Refusal(401, "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")

    def bad_key(self):
        return Refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    def no_model(self, model):
        return Refusal(404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")

    def bad_json(self):
        return Refusal(400, "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
                            "library correctly. The OpenAI API expects a JSON payload.)")

    def read(self, body):
        """The Prompt. Raises Refusal."""
        raise NotImplementedError

    def check_strict(self, prompt):
        """Raises Refusal for what the real service refuses and a lenient one does not."""

    def refusal(self, refusal):
        """The body of a Refusal."""
        raise NotImplementedError

    def failure(self, status, settings, retry):
        """The body of a programmed error (settings fail_*)."""
        raise NotImplementedError

    def limited(self, prompt, verdict, told_s):
        """(status, headers, body) of a refusal by a limit; told_s: seconds to tell or None."""
        raise NotImplementedError

    def broke(self, code):
        """(status, headers, body) where the money is gone; code "": the usual one."""
        raise NotImplementedError

    def slow_down(self, answer, told_s):
        """(status, headers, body) beyond a slow start: answer slow_down or overloaded."""
        raise NotImplementedError

    def whole(self, answer, text, finish):
        """The body of an answer in one piece."""
        raise NotImplementedError

    def stream(self, answer):
        """A Stream."""
        raise NotImplementedError


class Stream:
    """The events of one streamed answer, as bytes."""

    def open(self):
        raise NotImplementedError

    def tokens(self, tokens, per_event):
        raise NotImplementedError

    def ping(self):
        """An event that says nothing, b"" where the dialect has none."""
        return b""

    def finish(self, finish, used):
        """Everything after the last token."""
        raise NotImplementedError

    def error(self):
        """The event that ends a stream in the middle."""
        raise NotImplementedError

    def torn(self):
        """An event whose JSON ends in the middle."""
        raise NotImplementedError
