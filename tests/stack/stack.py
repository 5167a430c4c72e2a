"""A whole stack as one object: real Kafka, real Redis, the simulated provider, gateways and consumers.

    from tests.stack import Stack
    with Stack("build/e2e/state", workers=2, flavour="asan", tenants=["acme"]) as stack:
        stack.kill("consumer-1")            # SIGKILL, and gone when the call returns
        stack.start_part("consumer-1")      # same ports, same folders; returns when it is ready
        stack.pause("kafka"); stack.resume("kafka")
        stack.sim.behave({"default": {"ttft_ms": 5}})

`make run` drives the same object from supervise.py. What is started, killed or paused is always one
process by its own pid. Kafka, Redis and the provider come up side by side, then gateways and consumers: those could
wait for the servers, but the back-off of their connections would be added to every start.
"""

import atexit
import os
import re
import resource
import secrets
import time

from tests.provider.client import SimClient

from . import config as conf
from .errors import StackError
from .kafka import Kafka
from .parts import POLL_S, Consumer, Gateway, Provider, Site
from .ports import PortBook
from .procs import Proc, describe_status, start_ticks
from .redis import Redis
from .state import State, write_private

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVERS = ("kafka", "redis", "provider")
PARTS_MAX = 64
PART_NAME = re.compile(r"(kafka|redis|provider|gateway(-([2-9]|[1-9][0-9]))?|consumer-[1-9][0-9]?)\Z")
LEFTOVER_GRACE_S = 5
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1",
              "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
SANITIZER_MARKS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", ": runtime error: ")


def part_names(gateways, workers):
    """The names of a full stack, in the order of starting."""
    names = list(SERVERS) + ["gateway"] + [f"gateway-{n}" for n in range(2, gateways + 1)]
    return names + [f"consumer-{n}" for n in range(1, workers + 1)]


def stop_rank(name):
    """Place in the order of ending: gateways, consumers, provider, redis, kafka."""
    kinds = ("gateway", "consumer", "provider", "redis", "kafka")
    return kinds.index(name.partition("-")[0])


class Stack:
    """See the head of the file. All times are seconds; every wait has a limit."""

    def __init__(self, state, *, parts=None, workers=2, gateways=1, flavour="plain", port=None, config_file=None,
                 config=None, tenants=(), partitions=None, session_timeout=None, lease_ttl=None, behavior=None,
                 kafka_properties=None, env=None, bin_dir=None, folders=None, real_provider=False, fresh=False, say=None,
                 check=lambda: None):
        """state: folder. parts: names to start (default: all). port: the gateway's. config_file: a user's CONFIG;
        config: a mapping laid over everything last. tenants: more tenants, each a name or a mapping with `id` (a key
        is made: stack.keys[id]). partitions, session_timeout, lease_ttl: short for config. behavior: path of the
        provider's settings. kafka_properties: more lines for the broker. env: laid over the environment of every
        part. bin_dir: where gateway and consumer lie (default: build/FLAVOUR/bin). folders: parts whose folder lies
        elsewhere ({"kafka": a small tmpfs}), never wiped by us. real_provider: use the real service when its key is
        in the environment (tests never do). fresh: wipe the state first. say: gets lines for the user; check: see
        Site."""
        self.state = State(state)
        self.flavour = flavour
        self.bin_dir = os.path.abspath(bin_dir or os.path.join(ROOT, "build", flavour, "bin"))
        self.names = list(parts) if parts is not None else part_names(gateways, workers)
        self._check = check
        self.say = say or (lambda text: None)
        self.parts = {}
        self.keys = {}
        self._port = port
        self._fresh = fresh
        self._config_file = config_file
        self._tenants = [{"id": entry} if isinstance(entry, str) else dict(entry) for entry in tenants]
        short = {"kafka": {"partitions": partitions, "session_timeout": session_timeout},
                 "consumer": {"lease_ttl": lease_ttl}}
        short = {section: {k: v for k, v in values.items() if v is not None} for section, values in short.items()}
        self._overrides = conf.deep_merge(short, config or {})
        self._behavior = behavior or os.path.join(conf.HERE, "provider.json")
        self._kafka_properties = dict(kafka_properties or {})
        self.environ = {**SANITIZERS, conf.SIM_KEY_ENV: conf.SIM_KEY, **os.environ, **(env or {})}
        self.real_provider = bool(real_provider and self.environ.get(conf.REAL_KEY_ENV))
        if not real_provider:
            for name in conf.REAL_KEYS.values():
                self.environ.pop(name, None)
        if self.real_provider and "provider" in self.names:
            self.names.remove("provider")
        self._folders = dict(folders or {})
        self.config = {}
        self.site = None
        self._recorded_drain_s = 30
        self._check_names()

    def _check_names(self):
        for name in self.names:
            if not PART_NAME.match(name):
                raise StackError(f"no part is called {name}; parts are kafka redis provider gateway consumer-N")
        if len(self.names) > PARTS_MAX:
            raise StackError(f"at most {PARTS_MAX} parts")

    # --- as a context ------------------------------------------------------------------------------------------

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # --- addresses ---------------------------------------------------------------------------------------------

    @property
    def brokers(self):
        return f"127.0.0.1:{self.site.ports.get('kafka')}"

    @property
    def redis_url(self):
        return f"redis://127.0.0.1:{self.site.ports.get('redis')}/0"

    @property
    def provider_url(self):
        if self.real_provider:
            return conf.REAL_URL.rpartition("/")[0]
        return f"http://127.0.0.1:{self.site.ports.get('provider')}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.site.ports.get('gateway')}"

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.site.ports.get('gateway-admin')}"

    @property
    def key(self):
        return self.keys["SLUICE_KEY"]

    @property
    def key_2(self):
        return self.keys["SLUICE_KEY_2"]

    @property
    def provider_control_url(self):
        return f"http://127.0.0.1:{self.site.ports.get('provider-control')}"

    @property
    def sim(self):
        """A client of the simulated provider's controls, on their own port: it answers while an outage has closed the other."""
        return SimClient(self.provider_control_url)

    @property
    def journal(self):
        """The path of the provider's journal."""
        return os.path.join(self.state.folder, "provider", "journal.jsonl")

    def log(self, name):
        return os.path.join(self.state.folder, "log", name + ".log")

    def __getitem__(self, name):
        return self.parts[name]

    # --- starting ----------------------------------------------------------------------------------------------

    def start(self, any_consumer=False, timeout_s=60):
        """Start every part and return self when all are ready (any_consumer: with the first consumer that is).
        Raises StackError, with nothing left running, when a part ends or does not come up in timeout_s."""
        if not self.state.take():
            raise StackError(f"a stack runs in {self.state.folder} already; end it, or use another STATE")
        atexit.register(self.stop)
        try:
            self._prepare()
            self._start_servers(timeout_s)
            self._start_programs(any_consumer, timeout_s)
            self.write_env()
        except BaseException:
            self.stop(hurry=True)
            raise
        return self

    def _prepare(self):
        self.parts = {}
        self.state.remove_env()
        before = self.state.read()
        end_leftovers(before, self.say)
        if self._fresh:
            self.state.wipe()
            before = {}
        _lift_file_limit()
        ports = PortBook(before.get("ports"))
        self.site = Site(ROOT, self.state.folder, self.bin_dir, ports, self.environ, self._check,
                         self._folders)
        if self._port and not ports.claim("gateway", int(self._port)):
            raise StackError(f"port {self._port} of 127.0.0.1 is in use")
        for name in ("kafka", "redis", "gateway", "gateway-admin") + (() if self.real_provider else ("provider", "provider-control")):
            ports.get(name)
        self.keys = dict(before.get("keys") or {})
        self._write_config()
        with self.state.edit() as record:
            record.clear()
            owner = {"pid": os.getpid(), "ticks": start_ticks(os.getpid())}
            record.update({"supervisor": owner, "stopping": False, "bin_dir": self.bin_dir, "keys": self.keys,
                           "real_provider": self.real_provider, "behavior": self._behavior, "parts": {},
                           "drain_s": self._drain_s(), "kafka_properties": self._kafka_properties,
                           "ports": ports.ports})

    def _write_config(self):
        config = conf.base(self._config_file)
        config = conf.fill_providers(config, self.provider_url, self.environ)
        config["kafka"] = {**(config.get("kafka") or {}), "brokers": self.brokers}
        config["redis"] = {**(config.get("redis") or {}), "url": self.redis_url}
        addresses = {"listen": self.url.partition("://")[2], "admin": self.admin_url.partition("://")[2]}
        config["gateway"] = {**(config.get("gateway") or {}), **addresses}
        config["gateway"].setdefault("token_key_file", self._token_key())
        config["consumer"] = {**(config.get("consumer") or {}), "admin": "127.0.0.1:0"}
        config["tenants"] = list(config.get("tenants") or []) + self._made_tenants(config.get("tenants") or [])
        self.config = conf.deep_merge(config, self._overrides)
        write_private(self.state.path("sluice.yaml"), conf.dump(self.config))

    def _made_tenants(self, given):
        taken = {str(entry.get("id")) for entry in given if isinstance(entry, dict)}
        made = []
        for name, key_name in (("local-1", "SLUICE_KEY"), ("local-2", "SLUICE_KEY_2")):
            while name in taken:
                name += "x"
            made.append(conf.tenant(name, self._key(key_name), max_queued=1000000))
        for entry in self._tenants:
            more = {key: value for key, value in entry.items() if key != "id"}
            made.append(conf.tenant(entry["id"], self._key(entry["id"]), **more))
        return made

    def _key(self, name):
        return self.keys.setdefault(name, "sk-" + secrets.token_hex(20))

    def _token_key(self):
        path = self.state.path("token.key")
        if not os.path.exists(path):
            write_private(path, secrets.token_hex(32) + "\n")
        return path

    def _drain_s(self):
        return conf.duration_s(self.config.get("consumer", {}).get("drain_timeout"), 30)

    def reconfigure(self, config):
        """Lay config over the effective one and write it again; parts read it on SIGHUP or when they start."""
        self._overrides = conf.deep_merge(self._overrides, config)
        self._write_config()

    def _start_servers(self, timeout_s):
        # Kafka last: its storage is formatted in the foreground while the others come up.
        names = sorted((name for name in self.names if name in SERVERS), key=lambda name: name == "kafka")
        for name in names:
            self._start_quietly(name)
        for name in names:
            self.parts[name].wait_ready(timeout_s)

    def _start_programs(self, any_consumer, timeout_s):
        names = [name for name in self.names if name not in SERVERS]
        for name in names:
            self._start_quietly(name)
        consumers = [name for name in names if name.startswith("consumer")]
        waited = [name for name in names if not (any_consumer and name in consumers)]
        for name in waited:
            self.parts[name].wait_ready(timeout_s)
        if any_consumer and consumers:
            self._wait_any([self.parts[name] for name in consumers], timeout_s)

    def _wait_any(self, parts, timeout_s):
        until = time.monotonic() + timeout_s
        while True:
            live = [part for part in parts if part.alive()]
            reasons = [part.probe() for part in live]
            if None in reasons:
                return
            if not live:
                raise StackError(f"no consumer came up: {parts[0].name} {parts[0].last_words()}")
            self._check()
            if time.monotonic() > until:
                raise StackError(f"no consumer is ready after {timeout_s} s: {reasons[0]}; see {live[0].log_path}")
            time.sleep(POLL_S)

    # --- parts -------------------------------------------------------------------------------------------------

    def part(self, name):
        """The part of this name, made (not started) if need be."""
        if not PART_NAME.match(name):
            raise StackError(f"no part is called {name}; parts are kafka redis provider gateway consumer-N")
        if name == "provider" and self.real_provider:
            raise StackError("this stack uses the real provider")
        if name not in self.parts:
            self.parts[name] = self._make(name)
        return self.parts[name]

    def _make(self, name):
        if name == "kafka":
            return Kafka(self.site, name, self.say, self._kafka_properties)
        if name == "redis":
            return Redis(self.site, name)
        if name == "provider":
            return Provider(self.site, name, self._behavior)
        if name.startswith("gateway"):
            return Gateway(self.site, name)
        return Consumer(self.site, name, self._drain_s() if self.config else self._recorded_drain_s)

    def _start_quietly(self, name):
        part = self.part(name)
        part.start()
        self._note(part)

    def start_part(self, name, *, env=None, program=None, prefix=None, wait=True, timeout_s=60):
        """Start one part, one more or again, on the ports it had; returns it when it is ready (wait=False: at once).
        env, program, prefix (words that exec the rest) hold for later starts of the part too."""
        part = self.part(name)
        if env is not None:
            part.env = dict(env)
        if program is not None:
            part.program = program
        if prefix is not None:
            part.prefix = list(prefix)
        part.start()
        self._note(part)
        if wait:
            part.wait_ready(timeout_s)
        self.write_env()
        return part

    def stop_part(self, name, grace_s=None):
        """TERM and wait, KILL after the grace; returns the exit status."""
        return self.parts[name].stop(grace_s)

    def restart(self, name, grace_s=None, **options):
        """Stop, then start_part."""
        self.stop_part(name, grace_s)
        return self.start_part(name, **options)

    def kill(self, name):
        self.parts[name].kill()

    def pause(self, name):
        self.parts[name].pause()

    def resume(self, name):
        self.parts[name].resume()

    def signal(self, name, signum):
        self.parts[name].proc.send(signum)

    def alive(self, name):
        return name in self.parts and self.parts[name].alive()

    def pid(self, name):
        return self.parts[name].pid

    def wait_ready(self, name, timeout_s=60):
        self.parts[name].wait_ready(timeout_s)

    def sanitizer_reports(self):
        """Log lines in which ASan, LSan or UBSan speak, as (part, line)."""
        found = []
        for name in self.parts:
            with open(self.log(name), encoding="utf-8", errors="replace") as file:
                found += [(name, line.strip()) for line in file if any(mark in line for mark in SANITIZER_MARKS)]
        return found

    # --- the record --------------------------------------------------------------------------------------------

    def _note(self, part):
        with self.state.edit() as record:
            if record.get("stopping"):
                part.kill()
                raise StackError(f"the stack in {self.state.folder} is being stopped")
            entry = {"pid": part.pid, "ticks": part.proc.ticks, "foreign": part.foreign}
            record.setdefault("parts", {})[part.name] = entry
            record["ports"] = {**record.get("ports", {}), **self.site.ports.ports}

    @classmethod
    def attach(cls, state, say=None, check=lambda: None):
        """The stack that another process runs in this folder. Raises StackError when none does."""
        found = cls(state, parts=[], real_provider=True, say=say)
        record = found.state.read()
        if not record or not found.state.is_taken() or record.get("stopping"):
            raise StackError(f"no stack runs in {found.state.folder}; start one with `make run`")
        found.bin_dir = record["bin_dir"]
        found.keys = record["keys"]
        found.real_provider = record["real_provider"]
        found._behavior = record["behavior"]
        found._kafka_properties = record["kafka_properties"]
        found._recorded_drain_s = record["drain_s"]
        ports = PortBook()
        for name, port in record["ports"].items():
            ports.adopt(name, port)
        found.site = Site(ROOT, found.state.folder, found.bin_dir, ports, found.environ, check)
        found.adopt(record)
        return found

    def adopt(self, record):
        """Take over the processes of the record that are not ours; returns the names of the new ones."""
        new = []
        for name, entry in (record.get("parts") or {}).items():
            part = self.part(name)
            if part.pid == entry["pid"] and part.proc.ticks == entry["ticks"]:
                continue
            part.proc = Proc.adopt(entry["pid"], entry["ticks"])
            part.foreign = True
            new.append(name)
        for name, port in (record.get("ports") or {}).items():
            self.site.ports.adopt(name, port)
        return new

    def env_values(self):
        """What STATE/env says, by name."""
        values = {"SLUICE_URL": self.url, "SLUICE_ADMIN_URL": self.admin_url, "SLUICE_KEY": self.key,
                  "SLUICE_KEY_2": self.key_2, "SLUICE_CONFIG": self.state.path("sluice.yaml"),
                  "KAFKA_BROKERS": self.brokers, "REDIS_URL": self.redis_url, "PROVIDER_URL": self.provider_url}
        if not self.real_provider:
            values["PROVIDER_CONTROL_URL"] = self.provider_control_url
        for name, part in sorted(self.parts.items()):
            if part.pid is not None:
                values["PID_" + name.upper().replace("-", "_")] = part.pid
        for name, part in sorted(self.parts.items()):
            if name.startswith("gateway-"):
                values["URL_" + name.upper().replace("-", "_")] = part.url
            if name.startswith(("gateway-", "consumer-")):
                values["ADMIN_URL_" + name.upper().replace("-", "_")] = part.admin_url
        return values

    def write_env(self):
        self.state.write_env(self.env_values())

    # --- ending ------------------------------------------------------------------------------------------------

    def stop(self, hurry=False, should_hurry=lambda: False):
        """End every part in order: gateways, consumers (with their drain), provider, redis, kafka. hurry: KILL at once.
        should_hurry is asked several times a second. Returns exit statuses by name. Doing it twice does no harm."""
        atexit.unregister(self.stop)
        if self.site is None:
            self.state.let_go()
            return {}
        with self.state.edit() as record:
            record["stopping"] = True
        self.adopt(self.state.read())
        statuses = {}
        for rank in range(5):
            group = [part for part in self.parts.values() if stop_rank(part.name) == rank and part.proc is not None]
            self._end_group(group, hurry, should_hurry)
            statuses.update({part.name: part.proc.status() for part in group})
        self.state.remove_env()
        with self.state.edit() as record:
            record["parts"] = {}
        self.site.ports.close()
        self.site = None
        self.state.let_go()
        return statuses

    def _end_group(self, group, hurry, should_hurry):
        group = [part for part in group if part.alive()]
        if not hurry:
            for part in group:
                part.ask_to_stop()
        asked = time.monotonic()
        for part in group:
            while not hurry and not part.proc.wait(0.1):
                hurry = should_hurry() or time.monotonic() - asked > part.grace_s
            if part.alive():
                self.say(f"{part.name}: killed (pid {part.pid})")
                part.kill()
        for part in group:
            status = part.proc.status()
            if not hurry and status is not None and status not in part.clean_statuses:
                self.say(f"{part.name}: ended with {describe_status(status)}; see {part.log_path}")


def end_leftovers(record, say):
    """End what an earlier stack of this folder left running: only processes whose pid and start time both match."""
    parts = record.get("parts") or {}
    for name in sorted(parts, key=stop_rank):
        proc = Proc.adopt(parts[name]["pid"], parts[name]["ticks"])
        if proc.alive():
            say(f"{name}: ending the one an earlier run left (pid {proc.pid})")
            proc.end(LEFTOVER_GRACE_S)


def _lift_file_limit():
    """Watchers are sockets: let the parts open as many files as this user may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
