"""What is done to the stack: one fault at a time, chosen by the seed, each undone before the next of its kind."""

import random
import signal
import time

import redis

from tests.e2e.client import until


class Faults:
    def __init__(self, stack, seed, say=print):
        self.stack, self.rng, self.say, self.done = stack, random.Random(seed), say, []

    def run(self, count, every_s=(0.2, 1.2)):
        kinds = [self.kill_consumer] * 5 + [self.pause_consumer] * 3 + [self.drain_consumer] * 2 + [self.drain_newcomer] * 2 + [self.kill_gateway] * 3 + \
                [self.flush_redis] * 2 + [self.kill_redis] * 2 + [self.pause_redis, self.pause_kafka, self.kill_kafka, self.pause_kafka_long,
                                                                  self.pause_gateway, self.kill_provider]
        plan = [self.flush_redis, self.kill_redis, self.kill_kafka, self.pause_kafka_long, self.pause_consumer, self.kill_consumer, self.drain_consumer,
                self.kill_gateway]  # in every run
        plan += [self.rng.choice(kinds) for _ in range(count - len(plan))]
        self.rng.shuffle(plan)
        for fault in plan:
            started = time.monotonic()
            fault()
            self.done.append(fault.__name__)
            self.say(f"  {fault.__name__} ({time.monotonic() - started:.1f} s)")
            time.sleep(self.rng.uniform(*every_s))  # the load goes on meanwhile: this is the pace of the faults, not a wait

    def _consumer(self):
        return self.rng.choice([name for name in self.stack.parts if name.startswith("consumer")])

    def _gateway(self):
        return self.rng.choice([name for name in self.stack.parts if name.startswith("gateway")])

    def _pause(self, name, low_s, high_s):
        self.stack.pause(name)
        time.sleep(self.rng.uniform(low_s, high_s))  # the fault itself: how long it stands still
        self.stack.resume(name)

    def kill_consumer(self):
        name = self._consumer()
        self.stack.kill(name)
        self.stack.start_part(name, wait=False)

    def pause_consumer(self):
        self._pause(self._consumer(), 4, 9)  # longer than its lease (3 s), sometimes than its session (6 s)

    def drain_newcomer(self):
        """Told to go seconds after its start, whatever it is at: connecting, joining, reading the log."""
        name = self._consumer()
        self.stack.kill(name)
        self.stack.start_part(name, wait=False)
        time.sleep(self.rng.uniform(0, 3))  # the fault itself: when it is told
        self._drain(name)

    def drain_consumer(self):
        self._drain(self._consumer())

    def _drain(self, name):
        self.stack.signal(name, signal.SIGTERM)
        until(lambda: not self.stack.alive(name), 40, what=f"the exit of {name}")
        status = self.stack[name].proc.status()
        assert status == 0, f"{name} ended its drain with {status}"
        self.stack.start_part(name, wait=False)

    def kill_gateway(self):
        name = self._gateway()
        self.stack.kill(name)
        self.stack.start_part(name, wait=False)

    def pause_gateway(self):
        self._pause(self._gateway(), 1, 4)

    def flush_redis(self):
        redis.Redis.from_url(self.stack.redis_url).flushall()

    def kill_redis(self):
        self.stack.kill("redis")
        time.sleep(self.rng.uniform(0, 2))  # the fault itself
        self.stack.start_part("redis")

    def pause_redis(self):
        self._pause("redis", 0.5, 5)

    def pause_kafka(self):
        self._pause("kafka", 0.5, 3)

    def pause_kafka_long(self):
        self._pause("kafka", 11, 13)  # longer than the produce time-out

    def kill_kafka(self):
        self.stack.kill("kafka")
        self.stack.start_part("kafka")

    def kill_provider(self):
        self.stack.kill("provider")
        time.sleep(self.rng.uniform(0, 2))  # the fault itself
        self.stack.start_part("provider")

    def heal(self):
        for name in list(self.stack.parts):
            if not self.stack.alive(name):
                self.stack.start_part(name, wait=False)
        for name in list(self.stack.parts):
            self.stack.wait_ready(name, 90)
