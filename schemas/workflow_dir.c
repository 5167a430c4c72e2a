/* The only file of workflows that touches the disk: reads every *.yaml and *.yml of a folder, by
 * name. */
#include "schemas/workflow_priv.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>

enum {
    WORKFLOW_FILES_MAX = 1024,
    WORKFLOW_FILE_MAX = 4 << 20,
    WORKFLOW_READ_STEP = 16 << 10,
    WORKFLOW_DIR_PATH_MAX = 4096
};

struct workflow_files {
    char *names[WORKFLOW_FILES_MAX];
    size_t count;
};

static int workflow_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool workflow_is_file(const char *name)
{
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static enum err_code workflow_list(const char *dir, struct workflow_files *files, struct err *err)
{
    DIR *d = opendir(dir);
    enum err_code code = ERR_OK;
    if (!d)
        return err_set(err, ERR_NOT_FOUND, "%.150s: cannot be read: %.60s", dir, strerror(errno));
    for (struct dirent *e; code == ERR_OK && (e = readdir(d)) != NULL;) {
        if (!workflow_is_file(e->d_name)) continue;
        if (files->count == WORKFLOW_FILES_MAX)
            code = err_set(err, ERR_TOO_LARGE, "%.150s: more than %d workflow files", dir,
                           WORKFLOW_FILES_MAX);
        else if (!(files->names[files->count] = view_dup(view_of(e->d_name))))
            code = err_set(err, ERR_NOMEM, "out of memory");
        else
            files->count++;
    }
    closedir(d);
    qsort(files->names, files->count, sizeof files->names[0], workflow_by_name);
    return code;
}

static enum err_code workflow_slurp(const char *path, struct buf *out, struct err *err)
{
    size_t got = 1;
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, ERR_NOT_FOUND, "cannot be read: %s", strerror(errno));
    while (got > 0 && buf_reserve(out, WORKFLOW_READ_STEP)) {
        got = fread(out->data + out->len, 1, WORKFLOW_READ_STEP, f);
        out->len += got;
    }
    int why = ferror(f) ? errno : 0;
    fclose(f);
    if (why) return err_set(err, ERR_NOT_FOUND, "cannot be read: %s", strerror(why));
    return got > 0 ? err_set(err, ERR_TOO_LARGE, "is larger than 4 MiB") : ERR_OK;
}

static enum err_code workflow_load(struct workflows *ws, const char *dir, const char *name,
                                   struct err *err)
{
    char path[WORKFLOW_DIR_PATH_MAX];
    struct workflow *w = NULL;
    struct buf text;
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    buf_init(&text, WORKFLOW_FILE_MAX + WORKFLOW_READ_STEP);
    err->where[0] = '\0';
    enum err_code code = n > 0 && (size_t)n < sizeof path
                             ? ERR_OK
                             : err_set(err, ERR_TOO_LARGE, "the path is too long");
    if (code == ERR_OK) code = workflow_slurp(path, &text, err);
    if (code == ERR_OK) code = workflow_parse(buf_view(&text), name, &w, err);
    if (code == ERR_OK) code = workflows_add(ws, w, err);
    buf_fini(&text);
    if (code != ERR_OK && !err->where[0]) snprintf(err->where, sizeof err->where, "%.120s", name);
    return code;
}

enum err_code workflows_load_dir(const char *dir, struct workflows **ret, struct buf *errors,
                                 struct err *err)
{
    struct workflow_files *files = calloc(1, sizeof *files);
    struct workflows *ws = workflows_new();
    struct err fault, first = {.code = ERR_OK};
    size_t bad = 0;
    assert(dir && ret);
    enum err_code code = files && ws ? ERR_OK : err_set(&first, ERR_NOMEM, "out of memory");
    if (code == ERR_OK) code = workflow_list(dir, files, &first);
    if (code != ERR_OK && errors) buf_printf(errors, "%s\n", first.text);
    for (size_t i = 0; code == ERR_OK && i < files->count; i++) {
        if (workflow_load(ws, dir, files->names[i], &fault) == ERR_OK) continue;
        if (bad++ == 0) first = fault;
        if (errors) buf_printf(errors, "%s/%s: %s\n", dir, fault.where, fault.text);
    }
    if (bad > 0) code = first.code;
    if (code != ERR_OK && err) *err = first;
    for (size_t i = 0; files && i < files->count; i++) free(files->names[i]);
    free(files);
    if (code == ERR_OK)
        *ret = ws;
    else
        workflows_free(ws);
    return code;
}
