/* Metadata of a stranger, then a life of adds and completions. Two things must hold: text without
 * our checksum never makes an offset complete, and what a window commits restores to a window that
 * calls nothing complete that was open. */
#include "common/base/hash.h"
#include "consumer/window.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_OFFSETS = 512 };

static void fuzz_life(const uint8_t *data, size_t size)
{
    bool open[FUZZ_OFFSETS] = {false};
    struct window *w = window_new(FUZZ_OFFSETS), *b = window_new(FUZZ_OFFSETS);
    struct buf text;
    int64_t next = 0;

    buf_init(&text, WINDOW_METADATA_MAX);
    (void)window_restore(w, -1, VIEW_NONE, 0);
    for (size_t i = 0; i < size && next < FUZZ_OFFSETS; i++) {
        if (data[i] < 128) {
            if (next + data[i] % 3 >= FUZZ_OFFSETS) break;
            next += data[i] % 3;
            open[next] = window_add(w, next);
            next++;
        } else if (next > 0) {
            int64_t o = (data[i] * 7 + (int64_t)i) % next;
            window_complete(w, o);
            open[o] = false;
        }
    }
    int64_t base = window_commit(w, &text);
    int64_t from = window_restore(b, base, buf_view(&text), 0);
    for (int64_t o = 0; o < next; o++) {
        if (open[o]) assert(o >= from && window_add(b, o));
    }
    buf_fini(&text);
    window_free(w);
    window_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct window *w = window_new(100);
    struct view text = view_make(data, size);
    int64_t from = window_restore(w, 1000, text, size % 2 ? 990 : 1010);
    assert(from >= (size % 2 ? 1000 : 1010));
    if (!view_starts(text, "v1.")) assert(window_add(w, 1010));
    (void)window_add(w, 2000);
    window_complete(w, 2000);
    window_free(w);

    /* The same bytes behind our own frame reach the numbers. */
    if (size >= 3 && size < 2000) {
        unsigned char bytes[2048];
        struct buf framed;
        memcpy(bytes, data, size);
        bytes[0] = 1;
        uint16_t crc = hash_crc16(view_make(bytes + 3, size - 3));
        bytes[1] = (unsigned char)(crc >> 8);
        bytes[2] = (unsigned char)crc;
        buf_init(&framed, WINDOW_METADATA_MAX);
        (void)buf_put_str(&framed, "v1.");
        (void)base64url_put(&framed, view_make(bytes, size));
        w = window_new(100);
        (void)window_restore(w, 5, buf_view(&framed), 0);
        struct buf again;
        buf_init(&again, WINDOW_METADATA_MAX);
        (void)window_commit(w, &again);
        buf_fini(&again);
        buf_fini(&framed);
        window_free(w);
    }
    fuzz_life(data, size);
    return 0;
}
