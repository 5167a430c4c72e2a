/* What a provider's refusal means.
 *
 * Hard: the same 429 says "slower", "tomorrow" and "pay your bill", and the sentence that comes
 * with it is boilerplate. Told apart by code where there is one, by words of the message where
 * there is none (Azure and the compatible servers), and by status last. What cannot be told apart
 * is taken as speed: waiting is cheap, and a probe will tell. The messages are searched and never
 * kept.
 *
 * 502, 503, 52x, 529 and 530 are outages: nobody began to work on the request, so no attempt is
 * burnt. 500 and 504 are counted: something began, may be billed, and may fail the same way each
 * time. */
#include "consumer/llm_dialect.h"

enum task_fault llm_fault_of_status(int status)
{
    switch (status) {
    case 402:
        return TASK_FAULT_EXHAUSTED;
    case 429:
        return TASK_FAULT_THROTTLE;
    case 408:
    case 409:
    case 425:
        return TASK_FAULT_OVERLOAD;
    case 502:
    case 503:
    case 520:
    case 521:
    case 522:
    case 523:
    case 529:
    case 530:
        return TASK_FAULT_OUTAGE;
    default:
        return status >= 500 ? TASK_FAULT_OVERLOAD : TASK_FAULT_FATAL;
    }
}

void llm_hint(struct llm_out *out, int64_t ms, int64_t max_ms)
{
    if (out->retry_after_ms < 0 && ms >= 0 && ms <= max_ms) out->retry_after_ms = ms;
}

enum llm_verdict llm_fail_inside(struct llm_turn *t, enum task_fault fault, const char *code)
{
    if (fault == TASK_FAULT_OUTAGE && t->has_text) fault = TASK_FAULT_OVERLOAD;
    return llm_fail(t->out, fault, code, "the provider reported an error inside its reply%s%s",
                    code[0] ? ": " : "", code);
}

/* --- the family of OpenAI --------------------------------------------------------------------- */

/* {"error":{message,type,param,code}}; vLLM of old: the same members at the top; FastAPI:
 * {"detail":"..."}; some: {"error":"..."}, {"message":"..."}. */
void llm_error_read(struct view body, struct llm_error *ret)
{
    struct view error = llm_member(body, "error");

    *ret = (struct llm_error){.message = VIEW_NONE};
    if (json_raw_kind(error) == JSON_RAW_STRING) {
        ret->message = error;
        error = body;
    } else if (json_raw_kind(error) != JSON_RAW_OBJECT) {
        error = body;
    }
    if (json_raw_kind(error) != JSON_RAW_OBJECT) return;
    llm_member_word(error, "code", ret->code);
    llm_member_word(error, "type", ret->type);
    if (!ret->message.ptr) ret->message = llm_member_of(error, "message", JSON_RAW_STRING);
    if (!ret->message.ptr) ret->message = llm_member(error, "detail");
}

static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(word, *list) == 0) return true;
    return false;
}

static bool is_out_of_money(const struct llm_error *e)
{
    static const char *const codes[] = {
        "credit_balance_exhausted",     "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
        "insufficient_quota",           "billing_hard_limit_reached",
        "billing_not_active",           NULL};
    /* The type is often insufficient_quota for speed, too: it counts only where no code is. */
    return is_one_of(e->code, codes) || (!e->code[0] && is_one_of(e->type, codes));
}

static bool is_speed(const struct llm_error *e)
{
    static const char *const codes[] = {"rate_limit_exceeded", "slow_down", NULL};

    return is_one_of(e->code, codes);
}

static bool is_too_long(const struct llm_error *e)
{
    static const char *const codes[] = {"context_length_exceeded", "string_above_max_length", NULL};
    static const char *const words[] = {"maximum context length",  "context window",
                                        "context length",          "maximum model length",
                                        "longer than the maximum", NULL};

    if (is_one_of(e->code, codes)) return true;
    for (size_t i = 0; words[i]; i++)
        if (llm_says(e->message, words[i])) return true;
    return false;
}

static bool is_by_the_day(const struct llm_error *e)
{
    return llm_says(e->message, "(RPD)") || llm_says(e->message, "(TPD)") ||
           llm_says(e->message, "per day");
}

/* "Please try again in 7m12.5s." -1: no such words. */
static int64_t told_wait(struct view message)
{
    static const char words[] = "try again in ";
    int64_t ms;

    for (size_t at = 0; at + sizeof words - 1 < message.len; at++) {
        struct view rest = view_make(message.ptr + at, message.len - at);
        size_t n = 0;

        if (!view_starts(rest, words)) continue;
        rest = view_make(rest.ptr + sizeof words - 1, rest.len - (sizeof words - 1));
        while (n < rest.len && rest.ptr[n] != ' ' && rest.ptr[n] != '"' && n < 32) n++;
        while (n > 0 && (rest.ptr[n - 1] == '.' || rest.ptr[n - 1] == ',')) n--;
        return clock_go_duration(view_make(rest.ptr, n), &ms) ? ms : -1;
    }
    return -1;
}

static enum task_fault fault_of(int status, const struct llm_error *e)
{
    if (is_out_of_money(e)) return TASK_FAULT_EXHAUSTED;
    if (is_speed(e)) return TASK_FAULT_THROTTLE;
    return llm_fault_of_status(status);
}

void llm_openai_refusal(struct llm_turn *t, int status, struct view body)
{
    struct llm_error e;
    enum task_fault fault;

    llm_error_read(body, &e);
    fault = fault_of(status, &e);
    if (fault == TASK_FAULT_THROTTLE && is_by_the_day(&e)) {
        fault = TASK_FAULT_EXHAUSTED;
        t->out->is_daily = true;
    }
    if (fault == TASK_FAULT_THROTTLE || t->out->is_daily)
        llm_hint(t->out, told_wait(e.message), LLM_RETRY_AFTER_MAX_MS);
    t->out->context_too_long = fault == TASK_FAULT_FATAL && is_too_long(&e);
    (void)llm_fail(t->out, fault, e.code[0] ? e.code : e.type, "the provider answered %d%s%s",
                   status, e.code[0] ? " " : "", e.code);
}

enum llm_verdict llm_openai_fail_inside(struct llm_turn *t, struct view body)
{
    static const char *const wrong[] = {"invalid_prompt", "invalid_request_error", "content_filter",
                                        "context_length_exceeded", NULL};
    static const char *const away[] = {"server_is_overloaded", "overloaded", "502", "503", NULL};
    struct llm_error e;
    enum task_fault fault = TASK_FAULT_OVERLOAD;

    llm_error_read(body, &e);
    if (is_out_of_money(&e))
        fault = TASK_FAULT_EXHAUSTED;
    else if (is_speed(&e) || strcmp(e.code, "429") == 0)
        fault = TASK_FAULT_THROTTLE;
    else if (is_one_of(e.code, away))
        fault = TASK_FAULT_OUTAGE;
    else if (is_one_of(e.code, wrong) || (!e.code[0] && is_one_of(e.type, wrong)))
        fault = TASK_FAULT_FATAL;
    t->out->context_too_long = fault == TASK_FAULT_FATAL && is_too_long(&e);
    return llm_fail_inside(t, fault, e.code[0] ? e.code : e.type);
}

/* --- midnight in California ------------------------------------------------------------------- */

/* Summer time there: from the second Sunday of March, 10:00 UTC, to the first of November, 9:00. */
static bool is_summer(int64_t wall_ms)
{
    char text[CLOCK_TEXT], at[32];
    int64_t first, begin, end;

    clock_format(wall_ms, text);
    snprintf(at, sizeof at, "%.4s-03-01T10:00:00Z", text);
    if (!clock_parse(view_of(at), &first)) return false;
    begin =
        first + ((7 - (first / 86400000 + 4) % 7) % 7 + 7) * 86400000; /* day 0 was a Thursday */
    snprintf(at, sizeof at, "%.4s-11-01T09:00:00Z", text);
    if (!clock_parse(view_of(at), &first)) return false;
    end = first + (7 - (first / 86400000 + 4) % 7) % 7 * 86400000;
    return wall_ms >= begin && wall_ms < end;
}

int64_t llm_until_pacific_midnight(int64_t wall_ms)
{
    int64_t local = wall_ms - (is_summer(wall_ms) ? 7 : 8) * INT64_C(3600000);
    int64_t in_day = local % 86400000;

    return 86400000 - (in_day < 0 ? in_day + 86400000 : in_day);
}
