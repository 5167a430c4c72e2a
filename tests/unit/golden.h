#ifndef TESTS_UNIT_GOLDEN_H
#define TESTS_UNIT_GOLDEN_H
#include "common/base/buf.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Golden folders: tests/golden/WHAT/{valid,invalid}/NAME/ with an input and what must come of it.
 * Tests run from the root of the checkout. With UPDATE=1 in the environment the expectations are
 * written instead of compared; read the diff before you commit it. */
enum { GOLDEN_NAMES_MAX = 256, GOLDEN_FILE_MAX = 8 << 20 };

/* A file whole; false when it is not there. */
static inline bool golden_read(const char *path, struct buf *ret)
{
    char bytes[4096];
    size_t n;
    buf_init(ret, GOLDEN_FILE_MAX);
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0) assert_true(buf_put(ret, bytes, n));
    fclose(f);
    return true;
}

static inline void golden_check(const char *path, struct view got)
{
    struct buf want;
    if (getenv("UPDATE")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(got.ptr, 1, got.len, f), got.len);
        assert_int_equal(fclose(f), 0);
        return;
    }
    if (!golden_read(path, &want))
        fail_msg("%s is missing: run with UPDATE=1 and read what it wrote", path);
    if (!view_eq(buf_view(&want), got))
        fail_msg("%s differs.\n--- want\n%.*s\n--- got\n%.*s", path, (int)want.len, want.data,
                 (int)got.len, got.ptr);
    buf_fini(&want);
}

static inline int golden_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Calls each with every folder (or, when suffix is set, every file that ends so) of dir, by name.
 * Fails when there is none. */
static inline size_t golden_each(const char *dir, const char *suffix,
                                 void (*each)(const char *path))
{
    char *names[GOLDEN_NAMES_MAX], path[512];
    size_t count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name), end = suffix ? strlen(suffix) : 0;
        if (e->d_name[0] == '.' || len < end ||
            (suffix && strcmp(e->d_name + len - end, suffix) != 0))
            continue;
        assert_true(count < GOLDEN_NAMES_MAX);
        names[count] = view_dup(view_of(e->d_name));
        assert_non_null(names[count++]);
    }
    closedir(d);
    qsort(names, count, sizeof *names, golden_by_name);
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        each(path);
        free(names[i]);
    }
    assert_true(count > 0);
    return count;
}

/* As printf into a path of its own. */
#define GOLDEN_PATH(name, ...)                                                                     \
    char name[600];                                                                                \
    snprintf(name, sizeof name, __VA_ARGS__)

#endif
