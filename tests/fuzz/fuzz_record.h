#ifndef TESTS_FUZZ_RECORD_H
#define TESTS_FUZZ_RECORD_H
/* Bytes as a record: lines "name: value" up to an empty line, then the value. */
#include "common/base/port.h"

static inline struct record_in fuzz_record(const uint8_t *data, size_t size)
{
    struct record_in rec = {.topic = "t"};
    struct view line, rest = view_make(size ? data : (const uint8_t *)"", size);
    while (rec.header_count < RECORD_HEADERS_MAX && view_cut(rest, '\n', &line, &rest) && line.len) {
        struct header *h = &rec.headers[rec.header_count];
        if (!view_cut(line, ':', &h->name, &h->value)) continue;
        if (h->value.len && h->value.ptr[0] == ' ') h->value.ptr++, h->value.len--;
        rec.header_count++;
    }
    rec.value = rest;
    return rec;
}

static inline struct record_in fuzz_as_read(const struct record_out *out)
{
    struct record_in in = {.topic = out->topic, .key = out->key, .value = out->value, .header_count = out->header_count};
    memcpy(in.headers, out->headers, sizeof in.headers);
    return in;
}

#endif
