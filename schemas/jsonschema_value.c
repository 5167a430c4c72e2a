/* Values as JSON Schema compares them: numbers by what they are worth, however they were written.
 *
 * Hard: `multipleOf: 0.01` is a question about decimals, and doubles do not hold them. Both numbers
 * are therefore taken back to their shortest decimal digits and divided exactly, by modular
 * arithmetic, whatever the exponents. Uniqueness of a long list is found by hashes and a sort, not
 * pair by pair. */
#include "common/base/hash.h"
#include "schemas/jsonschema_priv.h"
#include <math.h>

/* --- numbers ---------------------------------------------------------------------------------- */

static long double jsonschema_worth(const json_t *v)
{
    return json_is_integer(v) ? (long double)json_integer_value(v)
                              : (long double)json_real_value(v);
}

int jsonschema_compare(const json_t *a, const json_t *b)
{
    long double x = jsonschema_worth(a), y = jsonschema_worth(b);
    return (x > y) - (x < y);
}

bool jsonschema_is_integer(const json_t *v)
{
    return json_is_integer(v) ||
           (json_is_real(v) && floor(json_real_value(v)) == json_real_value(v));
}

struct jsonschema_decimal { /* digits * 10^exponent */
    uint64_t digits;
    int exponent;
};

/* The fewest digits that read back as the same double: 0.0075 is 75 * 10^-4. */
static struct jsonschema_decimal jsonschema_decimal_of(const json_t *v)
{
    struct jsonschema_decimal d = {0, 0};
    char text[40];
    if (json_is_integer(v)) {
        int64_t n = json_integer_value(v);
        d.digits = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
        return d;
    }
    double x = fabs(json_real_value(v));
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, x);
        if (strtod(text, NULL) == x) break;
    }
    const char *p = text;
    int fraction = 0;
    bool is_behind = false;
    for (; *p && *p != 'e'; p++) {
        if (*p == '.') {
            is_behind = true;
            continue;
        }
        d.digits = d.digits * 10 + (uint64_t)(*p - '0');
        fraction += is_behind;
    }
    d.exponent = (*p == 'e' ? (int)strtol(p + 1, NULL, 10) : 0) - fraction;
    return d;
}

static uint64_t jsonschema_mulmod(uint64_t a, uint64_t b, uint64_t m)
{
    return (uint64_t)((unsigned __int128)a * b % m);
}

bool jsonschema_is_multiple(const json_t *v, const json_t *of)
{
    struct jsonschema_decimal a = jsonschema_decimal_of(v), b = jsonschema_decimal_of(of);
    if (a.digits == 0) return true;
    if (b.digits == 0) return false; /* a denormal that printed as nothing */
    while (b.digits % 10 == 0) b.digits /= 10, b.exponent++;
    /* a * 10^(ae - be) must be a whole multiple of b's digits; a shorter a must bring the tens
     * itself. */
    for (int i = a.exponent; i < b.exponent; i++) {
        if (a.digits % 10) return false;
        a.digits /= 10;
    }
    uint64_t rest = a.digits % b.digits;
    for (int i = b.exponent; i < a.exponent && rest; i++)
        rest = jsonschema_mulmod(rest, 10, b.digits);
    return rest == 0;
}

/* --- equality --------------------------------------------------------------------------------- */

static bool jsonschema_equal_objects(const json_t *a, const json_t *b, int64_t *steps)
{
    const char *key;
    json_t *x;
    if (json_object_size(a) != json_object_size(b)) return false;
    json_object_foreach((json_t *)(uintptr_t)a, key, x)
    {
        const json_t *y = json_object_get(b, key);
        if (!y || !jsonschema_equal(x, y, steps)) return false;
    }
    return true;
}

static bool jsonschema_equal_arrays(const json_t *a, const json_t *b, int64_t *steps)
{
    if (json_array_size(a) != json_array_size(b)) return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!jsonschema_equal(json_array_get(a, i), json_array_get(b, i), steps)) return false;
    return true;
}

bool jsonschema_equal(const json_t *a, const json_t *b, int64_t *steps)
{
    if (--*steps < 0) return false;
    if (json_is_number(a) && json_is_number(b)) return jsonschema_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_object(a)) return jsonschema_equal_objects(a, b, steps);
    if (json_is_array(a)) return jsonschema_equal_arrays(a, b, steps);
    if (!json_is_string(a)) return true;
    size_t len = json_string_length(a);
    return len == json_string_length(b) &&
           memcmp(json_string_value(a), json_string_value(b), len) == 0;
}

/* --- uniqueness ------------------------------------------------------------------------------- */

static uint64_t jsonschema_mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

/* Equal values have equal hashes. */
static uint64_t jsonschema_hash(const json_t *v, int64_t *steps)
{
    uint64_t h = jsonschema_mix(7, json_is_number(v) ? 99 : (uint64_t)json_typeof(v)), sum = 0;
    const char *key;
    json_t *member;
    if (--*steps < 0) return h;
    if (json_is_number(v)) {
        double x = (double)jsonschema_worth(v) + 0.0; /* -0 is 0 */
        uint64_t bits;
        memcpy(&bits, &x, sizeof bits);
        return jsonschema_mix(h, bits);
    }
    if (json_is_string(v))
        return jsonschema_mix(h,
                              hash_fnv1a(view_make(json_string_value(v), json_string_length(v))));
    for (size_t i = 0; i < json_array_size(v); i++)
        h = jsonschema_mix(h, jsonschema_hash(json_array_get(v, i), steps));
    if (!json_is_object(v)) return h;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        sum += jsonschema_mix(hash_fnv1a(view_of(key)),
                              jsonschema_hash(member, steps)); /* in any order */
    }
    return jsonschema_mix(h, sum);
}

struct jsonschema_hashed {
    uint64_t hash;
    size_t index;
};

static int jsonschema_by_hash(const void *a, const void *b)
{
    const struct jsonschema_hashed *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

bool jsonschema_unique(const json_t *array, int64_t *steps, size_t ret_pair[2])
{
    size_t count = json_array_size(array);
    ret_pair[0] = ret_pair[1] = 0;
    if (count < 2) return true;
    struct jsonschema_hashed *list = calloc(count, sizeof *list);
    if (!list) return false;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct jsonschema_hashed){jsonschema_hash(json_array_get(array, i), steps), i};
    qsort(list, count, sizeof *list, jsonschema_by_hash);
    bool is_unique = *steps >= 0;
    for (size_t i = 1; i < count && is_unique; i++) {
        for (size_t k = i; k > 0 && is_unique && list[k - 1].hash == list[i].hash; k--) {
            const json_t *x = json_array_get(array, list[k - 1].index),
                         *y = json_array_get(array, list[i].index);
            is_unique = !jsonschema_equal(x, y, steps) && *steps >= 0;
            if (is_unique || *steps < 0) continue;
            ret_pair[0] = list[k - 1].index;
            ret_pair[1] = list[i].index;
        }
    }
    free(list);
    return is_unique;
}

size_t jsonschema_length(const char *utf8, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)utf8[i] & 0xc0) != 0x80;
    return n;
}
