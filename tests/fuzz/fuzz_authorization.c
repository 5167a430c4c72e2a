/* Any bytes as Authorization, x-api-key and job token: nobody is let in by anything but the key,
 * and every token that is taken is one that was signed. The first byte chooses; method and path are
 * fed too. */
#include "common/base/hash.h"
#include "gateway/auth.h"
#include "gateway/cors.h"
#include "gateway/route.h"
#include "gateway/token.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char fuzz_real_key[] = "sk-the-real-one";

static void fuzz_key(struct view text, bool is_authorization)
{
    struct config_key k = {.scopes = SCOPE_READ};
    struct config_tenant tenant = {.id = "acme", .keys = &k, .key_count = 1};
    struct auth_who who;
    struct view key;
    hash_sha256(view_of(fuzz_real_key), k.sha256);
    struct auth *auth = auth_new(&tenant, 1);
    if (!auth) return;
    if (auth_key_of(is_authorization ? text : VIEW_NONE, is_authorization ? VIEW_NONE : text,
                    &key)) {
        assert(key.len > 0 && key.ptr >= text.ptr && key.ptr + key.len <= text.ptr + text.len);
        assert(auth_check(auth, key, &who) == view_eq_str(key, fuzz_real_key));
    }
    auth_free(auth);
}

static void fuzz_token(struct view text)
{
    struct token_key key;
    struct token_claim claim;
    struct buf again;
    assert(token_key_of(VIEW_LIT("a secret that is long enough"), &key));
    if (token_check(&key, text, 0, &claim) != TOKEN_GOOD) return;
    buf_init(&again, TOKEN_TEXT_MAX);
    assert(token_mint(&key, &claim, &again) && view_eq(buf_view(&again), text));
    buf_fini(&again);
}

static void fuzz_path(struct view text)
{
    struct route_match m = {.allow = ""};
    struct view method = VIEW_LIT("GET"), path = text;
    if (!view_cut(text, ' ', &method, &path)) path = text;
    if (route_find(method, path, &m) != ROUTE_FOUND) return;
    assert(m.route && strlen(m.allow) < ROUTE_ALLOW_MAX);
    if (m.param.ptr)
        assert(m.param.len > 0 && m.param.ptr > path.ptr && !memchr(m.param.ptr, '/', m.param.len));
}

static void fuzz_origin(struct view text)
{
    char one[] = "https://app.example", star[] = "*", *origins[] = {one, star};
    struct cors_grant grant;
    cors_decide(origins, 1, text, &grant);
    assert(!grant.origin[0] || view_eq_str(text, one));
    cors_decide(origins, 2, text, &grant);
    assert(!strpbrk(grant.origin, "\r\n "));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view text = size > 1 ? view_make(data + 1, size - 1) : VIEW_LIT("");
    switch (size ? data[0] % 5 : 0) {
    case 0:
        fuzz_key(text, true);
        break;
    case 1:
        fuzz_key(text, false);
        break;
    case 2:
        fuzz_token(text);
        break;
    case 3:
        fuzz_path(text);
        break;
    default:
        fuzz_origin(text);
        break;
    }
    return 0;
}
