"""Reads whole topics, and the arbitration rule of `state` written down a second time, independently of the product."""

import json

from confluent_kafka import Consumer, TopicPartition

TERMINAL = ("succeeded", "failed", "canceled", "expired")


def read_topic(brokers, topic, partitions):
    """Every record of a topic as a dict, in offset order per partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "checker", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "enable.partition.eof": False})
    rows = []
    try:
        for partition in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            consumer.assign([TopicPartition(topic, partition, low)])
            at = low
            while at < high:
                message = consumer.poll(20)
                assert message is not None and message.error() is None, (topic, partition, at, high)
                at = message.offset() + 1
                headers = {name: (value or b"").decode() for name, value in message.headers() or []}
                rows.append({"partition": partition, "offset": message.offset(), "ms": message.timestamp()[1],
                             "headers": headers, "value": message.value() or b""})
    finally:
        consumer.close()
    return rows


class Story:
    """What state[p] says of one job."""

    def __init__(self):
        self.epoch, self.starts, self.checkpoints, self.ends, self.void = 0, [], {}, [], 0

    def fold(self, row):
        headers = row["headers"]
        kind, epoch = headers["kind"], int(headers.get("epoch") or 0)
        if kind in ("cancel", "signal"):
            return
        if epoch < self.epoch:
            self.void += 1
            return
        if kind == "started":
            self.epoch = max(self.epoch, epoch)
            self.starts.append(row)
        elif kind == "checkpoint":
            self.checkpoints.setdefault((headers["step"], headers.get("item") or "-1"), row)
        elif kind in TERMINAL:
            self.ends.append(row)

    @property
    def end(self):
        return self.ends[0] if self.ends else None

    @property
    def output(self):
        return json.loads(self.end["value"]).get("output")


def stories(rows):
    found = {}
    for row in rows:
        found.setdefault(row["headers"]["job-id"], Story()).fold(row)
    return found
