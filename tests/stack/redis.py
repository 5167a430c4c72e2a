"""Redis from Debian's package: append-only file synced every second, no snapshots, a folder of its own."""

import os
import shutil

from . import ready
from .errors import StackError
from .parts import Part

CONF = """\
bind 127.0.0.1
port {port}
dir {data}
daemonize no
logfile ""
save ""
appendonly yes
appendfsync everysec
stream-node-max-bytes 1024
hash-max-listpack-value 2048
maxmemory-policy noeviction
enable-debug-command local
"""


class Redis(Part):
    port_names = ("redis",)

    def prepare(self):
        data = self.site.folder("redis")
        with open(self.conf_path, "w", encoding="utf-8") as file:
            file.write(CONF.format(port=self.site.ports.get("redis"), data=data))

    @property
    def conf_path(self):
        return os.path.join(self.site.folder("redis"), "redis.conf")

    def command(self):
        program = self.program or shutil.which("redis-server")
        if not program:
            raise StackError("redis-server is missing: run `make deps`")
        return [program, self.conf_path]

    def probe(self):
        return ready.redis(self.site.ports.get("redis"))
