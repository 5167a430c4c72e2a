#ifndef GATEWAY_AUTH_H
#define GATEWAY_AUTH_H
#include "schemas/config.h"

/* API keys: whose is the one presented? Pure. Only SHA-256 hashes of keys are held; a presented key
 * is hashed before anything is looked up, and the answer takes the same time for every wrong key.
 */
struct auth;

struct auth_who {
    char tenant[CONFIG_NAME_MAX];
    unsigned scopes;    /* of enum config_scope */
    int64_t max_queued; /* 0 = no limit */
};

/* Copies what it needs of the tenants; NULL: no memory, or two tenants with one key. */
struct auth *auth_new(const struct config_tenant *tenants, size_t count);
void auth_free(struct auth *a);

/* Finds the bare key in the values of Authorization ("Bearer KEY", scheme case-insensitive) and
 * x-api-key (used when there is no Authorization); absent fields are VIEW_NONE. False: none, or not
 * of that form. */
bool auth_key_of(struct view authorization, struct view x_api_key, struct view *ret_key);
bool auth_check(const struct auth *a, struct view key, struct auth_who *ret);
/* The tenant of a job token; false when it is no longer configured. Its scope is SCOPE_READ. */
bool auth_tenant(const struct auth *a, struct view tenant, struct auth_who *ret);
/* The tenants there are. Borrowed. */
size_t auth_tenant_count(const struct auth *a);
struct view auth_tenant_name(const struct auth *a, size_t index);

#endif
