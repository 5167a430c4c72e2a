/* Keys to tenants.
 *
 * What is hard: this is the first code a stranger's bytes meet. It does one thing, hash, before any
 * decision; the map is keyed by the whole hash (never by a prefix), and the hash found is compared
 * again in constant time, so that neither the map's compare nor its layout tells anything about
 * stored hashes that the stranger could use to find a key. */
#include "gateway/auth.h"

#include "common/base/hash.h"
#include "common/base/map.h"
#include <assert.h>

enum { AUTH_KEY_MAX = 512, AUTH_KEYS_MAX = 1 << 20 };

struct auth_entry {
    unsigned char sha256[SHA256_BYTES];
    const struct auth_who *tenant;
    unsigned scopes;
};

struct auth {
    struct map *by_hash, *by_tenant;
    struct auth_entry *entries;
    struct auth_who *tenants;
    size_t tenant_count;
};

static bool auth_fill(struct auth *a, const struct config_tenant *tenants, size_t count)
{
    struct auth_entry *e = a->entries;
    for (size_t i = 0; i < count; i++) {
        struct auth_who *who = &a->tenants[i];
        *who = (struct auth_who){.max_queued = tenants[i].max_queued, .scopes = SCOPE_READ};
        memcpy(who->tenant, tenants[i].id, sizeof who->tenant);
        if (!map_put(a->by_tenant, view_of(who->tenant), who)) return false;
        for (size_t k = 0; k < tenants[i].key_count; k++, e++) {
            memcpy(e->sha256, tenants[i].keys[k].sha256, sizeof e->sha256);
            e->tenant = who;
            e->scopes = tenants[i].keys[k].scopes;
            struct view hash = view_make(e->sha256, sizeof e->sha256);
            if (map_get(a->by_hash, hash) || !map_put(a->by_hash, hash, e)) return false;
        }
    }
    return true;
}

struct auth *auth_new(const struct config_tenant *tenants, size_t count)
{
    size_t keys = 0;
    for (size_t i = 0; i < count; i++) keys += tenants[i].key_count;
    struct auth *a = calloc(1, sizeof *a);
    if (!a || keys > AUTH_KEYS_MAX) goto fail;
    a->entries = calloc(keys + 1, sizeof *a->entries);
    a->tenants = calloc(count + 1, sizeof *a->tenants);
    a->by_hash = map_new(keys + 1);
    a->by_tenant = map_new(count + 1);
    if (!a->entries || !a->tenants || !a->by_hash || !a->by_tenant) goto fail;
    if (!auth_fill(a, tenants, count)) goto fail;
    a->tenant_count = count;
    return a;
fail:
    auth_free(a);
    return NULL;
}

void auth_free(struct auth *a)
{
    if (!a) return;
    map_free(a->by_hash);
    map_free(a->by_tenant);
    free(a->entries);
    free(a->tenants);
    free(a);
}

static bool auth_is_key(struct view key)
{
    if (key.len == 0 || key.len > AUTH_KEY_MAX) return false;
    for (size_t i = 0; i < key.len; i++)
        if (key.ptr[i] <= ' ' || key.ptr[i] > '~') return false;
    return true;
}

bool auth_key_of(struct view authorization, struct view x_api_key, struct view *ret_key)
{
    struct view scheme, key = view_trim(x_api_key);
    if (authorization.ptr) {
        if (!view_cut(view_trim(authorization), ' ', &scheme, &key)) return false;
        if (!view_ieq_str(scheme, "bearer")) return false;
        key = view_trim(key);
    }
    if (!key.ptr || !auth_is_key(key)) return false;
    *ret_key = key;
    return true;
}

bool auth_check(const struct auth *a, struct view key, struct auth_who *ret)
{
    unsigned char hash[SHA256_BYTES];
    hash_sha256(key, hash);
    const struct auth_entry *e = map_get(a->by_hash, view_make(hash, sizeof hash));
    if (!e || !hash_equal(e->sha256, hash, sizeof hash)) return false;
    *ret = *e->tenant;
    ret->scopes = e->scopes;
    return true;
}

bool auth_tenant(const struct auth *a, struct view tenant, struct auth_who *ret)
{
    const struct auth_who *who = map_get(a->by_tenant, tenant);
    if (!who) return false;
    *ret = *who;
    return true;
}

size_t auth_tenant_count(const struct auth *a)
{
    return a->tenant_count;
}

struct view auth_tenant_name(const struct auth *a, size_t index)
{
    assert(index < a->tenant_count);
    return view_of(a->tenants[index].tenant);
}
