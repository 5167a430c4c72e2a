/* Strangers' jq, caged.
 *
 * Hard: libjq cannot be interrupted, and one line of jq can ask for any amount of time and memory.
 * Chosen: a process of its own with a memory limit, a CPU limit renewed before each evaluation and
 * no environment; the parent kills it when the wall clock says so. No module path, an input that is
 * empty, and a stderr that goes nowhere, so `import`, `input`, `$ENV`, `debug` and `stderr` give
 * nothing. Compiled programs are kept, because a compile costs 12 ms in libjq 1.6. */
#define _GNU_SOURCE /* close_range */
#include <fcntl.h>
#include <jq.h>
#include <jv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "consumer/jq_helper.h"

extern char **environ;

enum { PROGRAMS_MAX = 32 };

struct program {
    char *source;
    jq_state *jq; /* NULL: does not compile */
    uint64_t used;
};

struct helper {
    struct program programs[PROGRAMS_MAX];
    uint64_t turn;
};

static bool read_all(void *dst, size_t len)
{
    for (char *p = dst; len > 0;) {
        ssize_t n = read(STDIN_FILENO, p, len);

        if (n <= 0) return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool write_all(const void *src, size_t len)
{
    for (const char *p = src; len > 0;) {
        ssize_t n = write(STDOUT_FILENO, p, len);

        if (n <= 0) return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool answer(enum jq_answer kind, struct view bytes)
{
    const uint32_t head[2] = {(uint32_t)kind, (uint32_t)bytes.len};

    return write_all(head, sizeof head) && write_all(bytes.ptr, bytes.len);
}

static void ignore_message(void *arg, jv message)
{
    (void)arg;
    jv_free(message);
}

/* libjq 1.6 calls the callback of `input` without asking whether there is one. */
static jv no_input(jq_state *jq, void *arg)
{
    (void)jq;
    (void)arg;
    return jv_invalid();
}

static jq_state *compile(const char *source)
{
    jq_state *jq = jq_init();

    if (!jq) return NULL;
    jq_set_error_cb(jq, ignore_message, NULL);
    jq_set_debug_cb(jq, ignore_message, NULL);
    jq_set_input_cb(jq, no_input, NULL);
    jq_set_attr(jq, jv_string("JQ_LIBRARY_PATH"), jv_array());
    if (jq_compile(jq, source)) return jq;
    jq_teardown(&jq);
    return NULL;
}

static struct program *program_for(struct helper *h, const char *source)
{
    struct program *oldest = &h->programs[0];

    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        struct program *p = &h->programs[i];

        if (p->source && strcmp(p->source, source) == 0) {
            p->used = ++h->turn;
            return p;
        }
        if (p->used < oldest->used) oldest = p;
    }
    free(oldest->source);
    if (oldest->jq) jq_teardown(&oldest->jq);
    oldest->source = strdup(source);
    oldest->jq = compile(source);
    oldest->used = ++h->turn;
    return oldest;
}

void jq_error_clean(struct view message, char *dst, size_t size)
{
    static const char *const known[] = {"cannot be",  "Cannot index", "Cannot iterate",
                                        "Cannot use", "Cannot check", "is not"};
    char text[256];
    size_t n = 0;
    int depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < message.len && n + 1 < sizeof text; i++) {
        char c = message.ptr[i];

        if (c == '"' && (i == 0 || message.ptr[i - 1] != '\\')) quoted = !quoted;
        if (quoted || c == '"') continue;
        if (c == '(') depth++;
        if (depth == 0) text[n++] = c;
        if (c == ')' && depth > 0) depth--;
    }
    text[n] = '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strstr(text, known[i])) {
            snprintf(dst, size, "jq: %.120s", text);
            return;
        }
    snprintf(dst, size, "jq: the expression raised an error");
}

static bool answer_error(jv invalid)
{
    char text[200] = "jq: the expression gave no value";
    jv message = jv_invalid_get_msg(invalid);

    if (jv_get_kind(message) == JV_KIND_STRING)
        jq_error_clean(
            view_make(jv_string_value(message), (size_t)jv_string_length_bytes(jv_copy(message))),
            text, sizeof text);
    else if (jv_get_kind(message) != JV_KIND_NULL)
        snprintf(text, sizeof text, "jq: the expression raised an error");
    jv_free(message);
    return answer(JQ_ERROR, view_of(text));
}

static bool evaluate(struct helper *h, const char *source, const char *root, size_t root_len)
{
    struct program *p = program_for(h, source);
    jv input, value, text;
    bool ok;

    if (!p->jq) return answer(JQ_ERROR, VIEW_LIT("jq: the expression does not compile"));
    input = jv_parse_sized(root, (int)root_len);
    if (!jv_is_valid(input)) return answer_error(input);
    jq_start(p->jq, input, 0);
    value = jq_next(p->jq);
    if (!jv_is_valid(value)) return answer_error(value);
    text = jv_dump_string(value, 0);
    if (jv_string_length_bytes(jv_copy(text)) > JQ_VALUE_MAX)
        ok = answer(JQ_TOO_LARGE, VIEW_LIT("jq: the value is over 4 MB"));
    else
        ok = answer(JQ_VALUE, view_make(jv_string_value(text),
                                        (size_t)jv_string_length_bytes(jv_copy(text))));
    jv_free(text);
    return ok;
}

/* The soft limit is moved ahead of what was used so far: each evaluation has its own seconds. */
static void renew_cpu(void)
{
    struct rusage used;
    struct rlimit limit;

    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_CPU, &limit);
    limit.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + JQ_CPU_SECONDS);
    setrlimit(RLIMIT_CPU, &limit);
}

static void cage(void)
{
    static char *empty[] = {NULL};
    const struct rlimit none = {0, 0};
    const struct rlimit memory = {JQ_MEMORY_MAX, JQ_MEMORY_MAX};
    int null;

    (void)close_range(STDERR_FILENO + 1, ~0U,
                      0); /* the parent's sockets: a call it cuts must not live on in here */
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    environ = empty; /* not clearenv: libjq 1.6 reads environ without asking whether it is there */
    if (null >= 0) dup2(null, STDERR_FILENO);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
#ifndef __SANITIZE_ADDRESS__ /* the sanitizer maps terabytes */
    setrlimit(RLIMIT_AS, &memory);
#else
    (void)memory;
#endif
}

int jq_helper_main(void)
{
    struct helper *h = calloc(1, sizeof *h);
    char *bytes = malloc((size_t)JQ_SOURCE_MAX + JQ_ROOT_MAX + 2);
    uint32_t head[2];

    if (!h || !bytes) return 1;
    cage();
    while (read_all(head, sizeof head)) {
        char *root = bytes + JQ_SOURCE_MAX + 1;

        if (head[0] > JQ_SOURCE_MAX || head[1] > JQ_ROOT_MAX) return 1;
        if (!read_all(bytes, head[0]) || !read_all(root, head[1])) break;
        bytes[head[0]] = root[head[1]] = '\0';
        renew_cpu();
        if (!evaluate(h, bytes, root, head[1])) break;
    }
    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        free(h->programs[i].source);
        if (h->programs[i].jq) jq_teardown(&h->programs[i].jq);
    }
    free(h);
    free(bytes);
    return 0;
}
