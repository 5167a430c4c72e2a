/* Keyset paging: a position is the entry itself, not a count, so entries that come and go between
 * two pages neither repeat nor hide others. */
#include "gateway/page.h"

#include "common/base/hash.h"

#define PAGE_PREFIX "p1 "

bool page_position_put(struct buf *out, const struct page_position *p)
{
    char text[PAGE_TEXT_MAX];
    int len = snprintf(text, sizeof text, PAGE_PREFIX "%lld %s", (long long)p->score, p->id.text);
    return base64url_put(out, view_make(text, (size_t)len));
}

bool page_position_read(struct view text, struct page_position *ret)
{
    struct buf raw;
    struct view prefix, rest, score, id;
    struct page_position p = {.has = true};
    buf_init(&raw, PAGE_TEXT_MAX);
    bool is_read = text.len > 0 && text.len <= PAGE_TEXT_MAX && base64url_decode(text, &raw) &&
                   view_cut(buf_view(&raw), ' ', &prefix, &rest) && view_eq_str(prefix, "p1") &&
                   view_cut(rest, ' ', &score, &id) && view_i64(score, &p.score) && p.score >= 0 &&
                   id_parse(id, &p.id);
    buf_fini(&raw);
    if (is_read) *ret = p;
    return is_read;
}

bool page_is_after(const struct page_position *p, int64_t score, struct view id)
{
    if (!p->has || score < p->score) return true;
    return score == p->score && view_cmp(id, view_of(p->id.text)) < 0;
}

bool page_passes(const struct page_filter *f, struct view status, struct view workflow)
{
    struct view name, version;
    if (f->status >= 0 && !view_eq_str(status, job_status_name((enum job_status)f->status)))
        return false;
    if (!f->workflow[0]) return true;
    return view_cut(workflow, '@', &name, &version) && view_eq_str(name, f->workflow);
}
