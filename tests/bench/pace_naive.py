"""What most programs do: send, and when refused wait as told, or longer each time, and send again. The same provider,
the same calls, as many workers as a pool usually has; what it gets is printed beside ours."""

import asyncio
import json
import time

POOL = 64
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0


async def _answer(reader):
    """Status and headers; the body is read and thrown away."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers


async def _worker(address, request, until, rng, counts):
    reader = writer = None
    while time.monotonic() < until:
        wait = FIRST_WAIT_S
        while time.monotonic() < until:
            if writer is None:
                reader, writer = await asyncio.open_connection(*address)
            writer.write(request)
            status, headers = await _answer(reader)
            counts[status] = counts.get(status, 0) + 1
            if status == 200:
                break
            if headers.get("connection", "") == "close":
                writer.close()
                writer = None
            told = headers.get("retry-after")
            await asyncio.sleep(float(told) if told else rng.uniform(0, wait))  # what such a client does
            wait = min(LONGEST_WAIT_S, wait * 2)
    if writer:
        writer.close()


def run(url, key, model, text, seconds, rng):
    """Calls by status over so many seconds."""
    host, _, port = url.partition("//")[2].partition(":")
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "max_completion_tokens": 200,
                       "stream": True, "stream_options": {"include_usage": True}}).encode()
    request = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    counts = {}

    async def pool():
        until = time.monotonic() + seconds
        await asyncio.gather(*(_worker((host, int(port)), request, until, rng, counts) for _ in range(POOL)))

    asyncio.run(pool())
    return counts
