"""Apache Kafka: one KRaft process that is broker and controller, started with java alone.

The jars are ordinary Maven dependencies (pom.xml), copied once to build/kafka-libs and used again while a stamp
says that they are complete and of this pom. Half of a broker's start is loading 7,000 classes, so the
fetch ends with a trial start that leaves a class-data archive: up in 1.1 s instead of 2.4 s. Chaos runs restart the
broker dozens of times; the archive is a help, never needed, and the JVM ignores one that does not fit.

A broker that was killed may register again only when its old session has run out, hence the short
broker.session.timeout.ms. The quorum is static (controller.quorum.voters in the file, not in the metadata log), so a
later run may use other ports.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile

from . import ready
from .errors import StackError
from .parts import Part
from .ports import PortBook

HERE = os.path.dirname(os.path.abspath(__file__))
POM = os.path.join(HERE, "pom.xml")
STAMP = "complete.json"
ARCHIVE = "classes.jsa"
CLUSTER_ID = "c2x1aWNlLXN0YWNrLTAwMQ"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
"""


# --- the jars --------------------------------------------------------------------------------------------------

def libs_dir(root):
    return os.path.join(root, "build", "kafka-libs")


def _pom_hash():
    with open(POM, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _complete(folder):
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8") as file:
            stamp = json.load(file)
        return stamp["pom"] == _pom_hash() and all(
            os.path.getsize(os.path.join(folder, name)) == size for name, size in stamp["jars"].items())
    except (OSError, ValueError, KeyError):
        return False


def class_path(folder):
    return ":".join(sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".jar")))


def ensure_libs(root, say=lambda text: None):
    """The folder with the broker's jars, fetched now if it is missing or half. Two at once wait for each other."""
    folder = libs_dir(root)
    if _complete(folder):
        return folder
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(folder):
            say("kafka: fetching the broker's jars")
            shutil.rmtree(folder, ignore_errors=True)
            _fetch(folder)
            _archive(folder)
    return folder


def _fetch(folder):
    if not shutil.which("mvn"):
        raise StackError("mvn is missing: run `make deps`")
    done = subprocess.run(["mvn", "-q", "-B", "-f", POM, "dependency:copy-dependencies",
                           f"-DoutputDirectory={folder}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    jars = [name for name in os.listdir(folder) if name.endswith(".jar")] if os.path.isdir(folder) else []
    if done.returncode or not jars:
        raise StackError(f"maven could not fetch Kafka's jars:\n{done.stdout.strip()[-2000:]}")
    stamp = {"pom": _pom_hash(), "jars": {name: os.path.getsize(os.path.join(folder, name)) for name in jars}}
    with open(os.path.join(folder, STAMP + ".tmp"), "w", encoding="utf-8") as file:
        json.dump(stamp, file)
    os.rename(os.path.join(folder, STAMP + ".tmp"), os.path.join(folder, STAMP))


def _archive(folder):
    """A trial start that leaves a class-data archive. Any failure only means slower starts."""
    with tempfile.TemporaryDirectory(prefix="sluice-kafka-") as trial:
        ports = PortBook()
        try:
            conf = write_conf(trial, ports.get("kafka"), ports.get("controller"))
            subprocess.run(format_command(folder, conf), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=60, check=False)
            archive = os.path.join(folder, ARCHIVE)
            broker = subprocess.Popen(java(folder, f"-XX:ArchiveClassesAtExit={archive}") + ["kafka.Kafka", conf],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                _wait_up(broker, ports.get("kafka"))
                broker.terminate()
                broker.wait(60)
            finally:
                if broker.poll() is None:
                    broker.kill()
                    broker.wait()
        except (OSError, subprocess.SubprocessError):
            pass
        finally:
            ports.close()


def _wait_up(broker, port):
    for _ in range(300):
        if ready.kafka(port) is None:
            return
        try:
            broker.wait(0.1)
            return
        except subprocess.TimeoutExpired:
            pass


# --- command lines ---------------------------------------------------------------------------------------------

def java(folder, *options):
    """java with the class path and our small heap, up to the class name."""
    program = shutil.which("java")
    if not program:
        raise StackError("java is missing: run `make deps`")
    return [program, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr",
            *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "-cp", class_path(folder)]


def _shared(folder):
    archive = os.path.join(folder, ARCHIVE)
    return [f"-XX:SharedArchiveFile={archive}"] if os.path.exists(archive) else []


def format_command(folder, conf):
    return java(folder, *_shared(folder)) + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", conf]


def write_conf(folder, port, controller, more=""):
    """server.properties in folder, data beside it. Returns its path."""
    path = os.path.join(folder, "server.properties")
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROPERTIES.format(port=port, controller=controller, data=os.path.join(folder, "data")) + more)
    return path


class Kafka(Part):
    port_names = ("kafka", "kafka-controller")
    clean_statuses = (0, 143)  # the JVM's own exit status for TERM
    grace_s = 15

    def __init__(self, site, name, say=lambda text: None, properties=None):
        """properties: more lines for server.properties, by name."""
        super().__init__(site, name)
        self.say = say
        self.properties = dict(properties or {})
        self.libs = None

    def prepare(self):
        self.libs = ensure_libs(self.site.root, self.say)
        folder = self.site.folder("kafka")
        more = "".join(f"{key}={value}\n" for key, value in self.properties.items())
        conf = write_conf(folder, self.site.ports.get("kafka"), self.site.ports.get("kafka-controller"), more)
        if not os.path.exists(os.path.join(folder, "data", "meta.properties")):
            with open(self.log_path, "ab") as log:
                if subprocess.run(format_command(self.libs, conf), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  env=self.site.env, check=False).returncode:
                    raise StackError(f"kafka: storage format failed; the end of {self.log_path}:\n{self.log_tail()}")

    def command(self):
        conf = os.path.join(self.site.folder("kafka"), "server.properties")
        return java(self.libs, *_shared(self.libs)) + ["kafka.Kafka", conf]

    def probe(self):
        return ready.kafka(self.site.ports.get("kafka"))
