"""Which dialect speaks under a path. All of them share one port; a first segment such as /anthropic may stand before
any path."""

import re
from urllib.parse import unquote

from tests.provider.dialects.anthropic import Anthropic
from tests.provider.dialects.azure import AzureChat, AzureResponses
from tests.provider.dialects.chat import Chat
from tests.provider.dialects.gemini import Gemini
from tests.provider.dialects.responses import Responses
from tests.provider.dialects.vllm import Vllm

PREFIX = re.compile(r"/(?:openai-sim|azure|anthropic|gemini)(?=/)")
ROUTES = [(re.compile(pattern), dialect) for pattern, dialect in (
    (r"/v1/chat/completions", Chat),
    (r"/v1/responses", Responses),
    (r"/openai/deployments/(?P<deployment>[^/]+)/chat/completions", AzureChat),
    (r"/openai/v1/chat/completions", AzureChat),
    (r"/openai/v1/responses", AzureResponses),
    (r"/openai/(?P<dated>responses)", AzureResponses),
    (r"/v1/messages", Anthropic),
    (r"/(?:v1beta|v1|v1alpha)/(?:models|tunedModels)/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent)", Gemini),
    (r"/vllm/v1/chat/completions", Vllm),
)]


def find(path):
    """(class, names in the path) or None."""
    path = PREFIX.sub("", path, count=1)
    for pattern, dialect in ROUTES:
        match = pattern.fullmatch(path)
        if match:
            return dialect, {name: unquote(value) for name, value in match.groupdict().items()}
    return None
