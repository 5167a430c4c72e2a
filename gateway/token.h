#ifndef GATEWAY_TOKEN_H
#define GATEWAY_TOKEN_H
#include "common/base/buf.h"
#include "common/base/id.h"
#include "schemas/config.h"

/* Job tokens: read one job and its events, for a while. Pure. A token is "sj1.<payload>.<mac>",
 * both base64url; payload
 * "<job id> <expiry, epoch ms> <tenant>", mac = HMAC-SHA256 over "sj1.<payload>". Any gateway with
 * the key honours it. */
enum {
    TOKEN_KEY_BYTES = 32,
    TOKEN_SECRET_MIN = 16,
    TOKEN_TEXT_MAX = 512,
    TOKEN_TTL_MS = 3600 * 1000
};

struct token_key {
    unsigned char bytes[TOKEN_KEY_BYTES];
};

struct token_claim {
    struct job_id job;
    char tenant[CONFIG_NAME_MAX];
    int64_t expires_ms; /* wall */
};

/* The key made of a secret of any length (a file's content); false: shorter than TOKEN_SECRET_MIN
 * once trimmed. */
bool token_key_of(struct view secret, struct token_key *ret);
bool token_mint(const struct token_key *key, const struct token_claim *claim, struct buf *out);
enum token_verdict { TOKEN_GOOD, TOKEN_BAD, TOKEN_EXPIRED };
/* ret is written for GOOD alone. */
enum token_verdict token_check(const struct token_key *key, struct view text, int64_t wall_ms,
                               struct token_claim *ret);

#endif
