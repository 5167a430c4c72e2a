/* Time as text, by our own arithmetic: no time zone, no locale, no libc state, and fast enough
 * for every event.
 *
 * Days and dates convert by Howard Hinnant's civil-calendar formulas: a year begins in March, so
 * the leap day is its last, and 400 years (an era) are always 146,097 days. */
#include "common/base/clock.h"

enum { DAY_MS = CLOCK_DAY_MS, ERA_DAYS = 146097, EPOCH_DAYS = 719468 };
#define CLOCK_MIN_MS (-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define CLOCK_MAX_MS 253402300799999   /* 9999-12-31T23:59:59.999Z */

static void clock_digits(char *at, unsigned value, unsigned count)
{
    while (count--) {
        at[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

void clock_format(int64_t wall_ms, char ret[CLOCK_TEXT])
{
    int64_t ms = wall_ms < CLOCK_MIN_MS ? CLOCK_MIN_MS : wall_ms;
    if (ms > CLOCK_MAX_MS) ms = CLOCK_MAX_MS;
    int64_t shifted =
        ms + (int64_t)EPOCH_DAYS * DAY_MS; /* positive: days from 0000-03-01, less 60 in year 0 */
    int64_t day = shifted / DAY_MS, in_day = shifted % DAY_MS;
    if (in_day < 0) in_day += DAY_MS, day--;
    int64_t era = (day >= 0 ? day : day - (ERA_DAYS - 1)) / ERA_DAYS;
    unsigned doe = (unsigned)(day - era * ERA_DAYS);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    unsigned month = mp < 10 ? mp + 3 : mp - 9;
    unsigned year = (unsigned)((int64_t)yoe + era * 400 + (month <= 2));
    unsigned left = (unsigned)in_day;
    memcpy(ret, "0000-00-00T00:00:00.000Z", CLOCK_TEXT);
    clock_digits(ret, year, 4);
    clock_digits(ret + 5, month, 2);
    clock_digits(ret + 8, doy - (153 * mp + 2) / 5 + 1, 2);
    clock_digits(ret + 20, left % 1000, 3);
    left /= 1000;
    clock_digits(ret + 17, left % 60, 2);
    clock_digits(ret + 14, left / 60 % 60, 2);
    clock_digits(ret + 11, left / 3600, 2);
}

static bool clock_number(struct view *v, unsigned count, unsigned max, unsigned *ret)
{
    unsigned n = 0;
    if (v->len < count) return false;
    for (unsigned i = 0; i < count; i++) {
        unsigned digit = (unsigned)((unsigned char)v->ptr[i] - '0');
        if (digit > 9) return false;
        n = n * 10 + digit;
    }
    if (n > max) return false;
    v->ptr += count;
    v->len -= count;
    *ret = n;
    return true;
}

static bool clock_char(struct view *v, const char *any_of)
{
    if (!v->len || !v->ptr[0] || !strchr(any_of, v->ptr[0])) return false;
    v->ptr++;
    v->len--;
    return true;
}

static unsigned clock_month_days(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

static int64_t clock_days(unsigned year, unsigned month, unsigned day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * ERA_DAYS + yoe * 365 + yoe / 4 - yoe / 100 + doy - EPOCH_DAYS;
}

static bool clock_fraction(struct view *v, unsigned *ret_ms)
{
    unsigned ms = 0, digits = 0;
    for (; v->len && v->ptr[0] >= '0' && v->ptr[0] <= '9'; v->ptr++, v->len--, digits++) {
        if (digits < 3) ms = ms * 10 + (unsigned)(v->ptr[0] - '0');
    }
    if (!digits) return false;
    for (; digits < 3; digits++) ms *= 10;
    *ret_ms = ms;
    return true;
}

static bool clock_offset(struct view *v, int64_t *ret_seconds)
{
    unsigned hours, minutes;
    if (clock_char(v, "Zz")) {
        *ret_seconds = 0;
        return true;
    }
    bool west = v->len && v->ptr[0] == '-';
    if (!clock_char(v, "+-") || !clock_number(v, 2, 23, &hours) || !clock_char(v, ":") ||
        !clock_number(v, 2, 59, &minutes))
        return false;
    int64_t seconds = hours * 3600 + minutes * 60;
    *ret_seconds = west ? -seconds : seconds;
    return true;
}

/* Takes a date off the front of *v. */
static bool clock_date(struct view *v, int64_t *ret_day)
{
    unsigned year, month, day;
    if (!clock_number(v, 4, 9999, &year) || !clock_char(v, "-") ||
        !clock_number(v, 2, 12, &month) || !clock_char(v, "-") || !clock_number(v, 2, 31, &day))
        return false;
    if (!month || !day || day > clock_month_days(year, month)) return false;
    *ret_day = clock_days(year, month, day);
    return true;
}

bool clock_parse(struct view text, int64_t *ret_wall_ms)
{
    unsigned hour, minute, second, ms = 0;
    int64_t day, offset;
    if (!clock_date(&text, &day) || !clock_char(&text, "Tt")) return false;
    if (!clock_number(&text, 2, 23, &hour) || !clock_char(&text, ":") ||
        !clock_number(&text, 2, 59, &minute) || !clock_char(&text, ":") ||
        !clock_number(&text, 2, 60, &second))
        return false;
    if (clock_char(&text, ".") && !clock_fraction(&text, &ms)) return false;
    if (!clock_offset(&text, &offset) || text.len) return false;
    int64_t total = day * 86400 + hour * 3600 + minute * 60 + second - offset;
    if (second == 60 && total % 86400 != 0) return false; /* a leap second ends a UTC day */
    *ret_wall_ms = total * 1000 + ms;
    return true;
}

void clock_day_format(int64_t day, char ret[CLOCK_DAY_TEXT])
{
    int64_t ms;
    char full[CLOCK_TEXT];
    if (__builtin_mul_overflow(day, (int64_t)DAY_MS, &ms))
        ms = day < 0 ? CLOCK_MIN_MS : CLOCK_MAX_MS;
    clock_format(ms, full);
    memcpy(ret, full, CLOCK_DAY_TEXT - 1);
    ret[CLOCK_DAY_TEXT - 1] = '\0';
}

bool clock_day_parse(struct view text, int64_t *ret_day)
{
    int64_t day;
    if (!clock_date(&text, &day) || text.len) return false;
    *ret_day = day;
    return true;
}

bool clock_duration(struct view text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", DAY_MS}};
    size_t digits = 0;
    int64_t n;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9') digits++;
    if (!view_i64((struct view){text.ptr, digits}, &n)) return false;
    struct view unit = {text.ptr + digits, text.len - digits};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (!view_eq_str(unit, units[i].unit)) continue;
        if (__builtin_mul_overflow(n, units[i].ms, &n)) return false;
        *ret_ms = n;
        return true;
    }
    return false;
}

/* Reads the unit at the front of *v; 0 = none. Longer names first: "ms" before "m". */
static uint64_t clock_go_unit(struct view *v)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"ns", 1},           {"us", 1000},         {"\xc2\xb5s", 1000},
                 {"\xce\xbcs", 1000}, {"ms", 1000000},      {"s", 1000000000},
                 {"m", 60000000000},  {"h", 3600000000000}, {"d", 86400000000000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (!view_starts(*v, units[i].unit)) continue;
        v->ptr += strlen(units[i].unit);
        v->len -= strlen(units[i].unit);
        return units[i].ns;
    }
    return 0;
}

/* One "12.5s": adds its nanoseconds to *total. */
static bool clock_go_part(struct view *v, uint64_t *total)
{
    uint64_t whole = 0, part = 0, scale = 1, ns;
    size_t digits = 0;
    for (; v->len && v->ptr[0] >= '0' && v->ptr[0] <= '9'; v->ptr++, v->len--, digits++) {
        if (__builtin_mul_overflow(whole, 10u, &whole) ||
            __builtin_add_overflow(whole, (unsigned)(v->ptr[0] - '0'), &whole))
            return false;
    }
    if (clock_char(v, ".")) {
        for (; v->len && v->ptr[0] >= '0' && v->ptr[0] <= '9'; v->ptr++, v->len--, digits++) {
            if (scale >= 1000000000) continue;
            part = part * 10 + (unsigned)(v->ptr[0] - '0');
            scale *= 10;
        }
    }
    if (!digits || !(ns = clock_go_unit(v))) return false;
    uint64_t fraction = (uint64_t)((unsigned __int128)part * ns / scale);
    return !__builtin_mul_overflow(whole, ns, &whole) &&
           !__builtin_add_overflow(*total, whole, total) &&
           !__builtin_add_overflow(*total, fraction, total);
}

bool clock_go_duration(struct view text, int64_t *ret_ms)
{
    uint64_t total = 0;
    if (view_eq_str(text, "0")) {
        *ret_ms = 0;
        return true;
    }
    if (!text.len) return false;
    while (text.len) {
        if (!clock_go_part(&text, &total)) return false;
    }
    *ret_ms = (int64_t)(total / 1000000 + (total % 1000000 != 0));
    return true;
}
