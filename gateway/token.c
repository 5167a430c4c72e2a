/* Tokens that carry their own proof, so that no gateway has to remember or share any.
 *
 * What is hard: nothing may be believed before the mac is checked, and there must be one way only
 * to write a token (a second spelling of the same mac or payload is refused), so that a log or a
 * cache cannot be fooled by twins. Both parts are therefore decoded strictly and the mac is taken
 * over the encoded text. */
#include "gateway/token.h"

#include "common/base/hash.h"
#include <assert.h>

#define TOKEN_PREFIX "sj1."
enum { TOKEN_MAC_TEXT = 43 }; /* 32 bytes in base64url */

bool token_key_of(struct view secret, struct token_key *ret)
{
    secret = view_trim(secret);
    if (secret.len < TOKEN_SECRET_MIN) return false;
    hash_hmac_sha256(VIEW_LIT("sluice job token key"), secret, ret->bytes);
    return true;
}

static void token_mac(const struct token_key *key, struct view signed_text,
                      unsigned char ret[SHA256_BYTES])
{
    hash_hmac_sha256(view_make(key->bytes, sizeof key->bytes), signed_text, ret);
}

bool token_mint(const struct token_key *key, const struct token_claim *claim, struct buf *out)
{
    unsigned char mac[SHA256_BYTES];
    char payload[JOB_ID_LEN + CONFIG_NAME_MAX + 32];
    size_t start = out->len;
    int len = snprintf(payload, sizeof payload, "%s %lld %s", claim->job.text,
                       (long long)claim->expires_ms, claim->tenant);
    assert(len > 0 && (size_t)len < sizeof payload);
    buf_put_str(out, TOKEN_PREFIX);
    base64url_put(out, view_make(payload, (size_t)len));
    if (out->failed) return false;
    token_mac(key, view_make(out->data + start, out->len - start), mac);
    buf_put_char(out, '.');
    return base64url_put(out, view_make(mac, sizeof mac)) && !out->failed;
}

static bool token_mac_is_right(const struct token_key *key, struct view signed_text,
                               struct view mac_text)
{
    unsigned char mac[SHA256_BYTES];
    struct buf want;
    buf_init(&want, TOKEN_MAC_TEXT + 1);
    token_mac(key, signed_text, mac);
    bool is_right = base64url_put(&want, view_make(mac, sizeof mac)) && want.len == mac_text.len &&
                    hash_equal(want.data, mac_text.ptr, want.len);
    buf_fini(&want);
    return is_right;
}

static bool token_read_claim(struct view payload, struct token_claim *ret)
{
    struct view job, rest, expires, tenant;
    struct buf raw;
    buf_init(&raw, TOKEN_TEXT_MAX);
    bool is_read = base64url_decode(payload, &raw) && view_cut(buf_view(&raw), ' ', &job, &rest) &&
                   view_cut(rest, ' ', &expires, &tenant) && id_parse(job, &ret->job) &&
                   view_i64(expires, &ret->expires_ms) && tenant.len > 0 &&
                   view_copy(tenant, ret->tenant, sizeof ret->tenant);
    buf_fini(&raw);
    return is_read;
}

enum token_verdict token_check(const struct token_key *key, struct view text, int64_t wall_ms,
                               struct token_claim *ret)
{
    struct token_claim claim;
    size_t prefix = sizeof TOKEN_PREFIX - 1;
    if (text.len > TOKEN_TEXT_MAX || text.len < prefix + 1 + TOKEN_MAC_TEXT) return TOKEN_BAD;
    if (!view_starts(text, TOKEN_PREFIX)) return TOKEN_BAD;
    struct view mac = view_make(text.ptr + text.len - TOKEN_MAC_TEXT, TOKEN_MAC_TEXT);
    struct view signed_text = view_make(text.ptr, text.len - TOKEN_MAC_TEXT - 1);
    if (text.ptr[signed_text.len] != '.' || signed_text.len < prefix) return TOKEN_BAD;
    if (!token_mac_is_right(key, signed_text, mac)) return TOKEN_BAD;
    struct view payload = view_make(signed_text.ptr + prefix, signed_text.len - prefix);
    if (!token_read_claim(payload, &claim)) return TOKEN_BAD;
    if (claim.expires_ms <= wall_ms) return TOKEN_EXPIRED;
    *ret = claim;
    return TOKEN_GOOD;
}
