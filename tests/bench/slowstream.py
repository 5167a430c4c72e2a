"""A server whose every answer is a slow stream of events, on a plain port and on one with TLS.

    python -m tests.bench.slowstream FOLDER

Prints `plain PORT`, then `tls PORT`; the certificate to trust is FOLDER/cert.pem. Ends with its standard input.
"""

import asyncio
import os
import ssl
import subprocess
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
PAUSE_S = 0.4  # between two events: the pace of a slow model


async def stream(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        await reader.readexactly(length)
        writer.write(HEAD)
        while not writer.is_closing():
            writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            await writer.drain()
            await asyncio.sleep(PAUSE_S)
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        pass
    finally:
        writer.close()


def certificate(folder):
    """A certificate of its own for 127.0.0.1; the context that shows it."""
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert,
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def serve(folder):
    for name, context in (("plain", None), ("tls", certificate(folder))):
        server = await asyncio.start_server(stream, "127.0.0.1", 0, ssl=context, backlog=4096)
        print(name, server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # thousands of streams are open: nobody waits for them


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
