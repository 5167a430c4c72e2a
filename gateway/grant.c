/* POST /v1/jobs/{id}/token: a short-lived pass to read this one job, for clients that cannot send
 * headers. */
#include "gateway/exchange.h"

#include "common/base/json.h"

enum { GRANT_MAX = 1024 };

static void grant_found(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (e) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis is away");
        return;
    }
    if (!exchange_may_see(x, m)) {
        exchange_unknown(x, m->built);
        return;
    }
    struct token_claim claim = {.job = x->job, .expires_ms = x->s->clock->wall_ms + TOKEN_TTL_MS};
    struct buf token;
    struct jw w;
    struct answer a = {.status = 200};
    memcpy(claim.tenant, x->who.tenant, sizeof claim.tenant);
    buf_init(&token, GRANT_MAX);
    buf_reset(&x->s->scratch);
    bool is_minted = token_mint(&x->s->token_key, &claim, &token);
    jw_init(&w, &x->s->scratch);
    jw_object(&w);
    jw_kstr(&w, "token", buf_view(&token));
    jw_ktime(&w, "expires_at", claim.expires_ms);
    jw_end_object(&w);
    buf_fini(&token);
    a.body = buf_view(&x->s->scratch);
    a.headers[a.header_count++] = (struct httpd_header_out){"Cache-Control", "no-store"};
    if (is_minted)
        exchange_answer(x, &a);
    else
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
}

void grant_token(struct exchange *x)
{
    exchange_hold(x);
    fn_meta(x->s->fn, &x->job, view_of(x->s->boot), grant_found, x);
}
