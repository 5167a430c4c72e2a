/* Digests from libcrypto, two small hashes of our own, and base64url.
 *
 * A digest has no way to fail that a caller could answer: libcrypto refuses only when it is
 * broken or out of memory, and a wrong digest would make two jobs one. So that is a bug-like
 * end: abort, loudly.
 *
 * Every submission is digested twice. libcrypto 3's EVP calls look the algorithm up each time,
 * which costs more than a short digest itself, and keeping the answer would need a global; the
 * plain SHA256 calls are marked deprecated for that reason alone and use the same code. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "common/base/buf.h"
#include "common/base/hash.h"

static void hash_must(bool ok)
{
    if (ok) return;
    fputs("fatal: libcrypto cannot compute SHA-256\n", stderr);
    abort();
}

void hash_sha256(struct view data, unsigned char ret[SHA256_BYTES])
{
    SHA256_CTX ctx;
    hash_must(SHA256_Init(&ctx) == 1);
    hash_must(SHA256_Update(&ctx, data.len ? data.ptr : "", data.len) == 1);
    hash_must(SHA256_Final(ret, &ctx) == 1);
}

void hash_sha256_parts(const struct view *parts, size_t count, unsigned char ret[SHA256_BYTES])
{
    SHA256_CTX ctx;
    hash_must(SHA256_Init(&ctx) == 1);
    for (size_t i = 0; i < count; i++) {
        unsigned char len[8];
        for (unsigned k = 0; k < 8; k++)
            len[k] = (unsigned char)((uint64_t)parts[i].len >> (56 - 8 * k));
        hash_must(SHA256_Update(&ctx, len, sizeof len) == 1);
        if (parts[i].len) hash_must(SHA256_Update(&ctx, parts[i].ptr, parts[i].len) == 1);
    }
    hash_must(SHA256_Final(ret, &ctx) == 1);
}

void hash_hmac_sha256(struct view key, struct view data, unsigned char ret[SHA256_BYTES])
{
    unsigned len = 0;
    const void *bytes = data.len ? data.ptr : "";
    hash_must(key.len <= INT32_MAX &&
              HMAC(EVP_sha256(), key.len ? key.ptr : "", (int)key.len, bytes, data.len, ret,
                   &len) != NULL &&
              len == SHA256_BYTES);
}

void hash_hex(const unsigned char *bytes, size_t len, char *ret)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = hex[bytes[i] >> 4];
        ret[2 * i + 1] = hex[bytes[i] & 15];
    }
    ret[2 * len] = '\0';
}

bool hash_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

uint64_t hash_fnv1a(struct view data)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < data.len; i++) {
        h ^= (unsigned char)data.ptr[i];
        h *= 0x100000001b3u;
    }
    return h;
}

uint16_t hash_crc16(struct view data)
{
    unsigned crc = 0;
    for (size_t i = 0; i < data.len; i++) {
        crc ^= (unsigned)(unsigned char)data.ptr[i] << 8;
        for (int bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0);
        crc &= 0xffff;
    }
    return (uint16_t)crc;
}

bool base64url_put(struct buf *b, struct view bytes)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if (bytes.len > SIZE_MAX / 2 || !buf_reserve(b, (bytes.len * 4 + 2) / 3)) return false;
    unsigned word = 0, bits = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        word = word << 8 | (unsigned char)bytes.ptr[i];
        for (bits += 8; bits >= 6;) {
            bits -= 6;
            b->data[b->len++] = alphabet[word >> bits & 63];
        }
    }
    if (bits) b->data[b->len++] = alphabet[word << (6 - bits) & 63];
    return true;
}

static unsigned base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z') return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z') return (unsigned)(c - 'a' + 26);
    if (c >= '0' && c <= '9') return (unsigned)(c - '0' + 52);
    return c == '-' ? 62 : c == '_' ? 63 : 64;
}

bool base64url_decode(struct view text, struct buf *ret)
{
    if (text.len % 4 == 1 || !buf_reserve(ret, text.len / 4 * 3 + 2)) return false;
    unsigned word = 0, bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned value = base64url_value(text.ptr[i]);
        if (value > 63) return false;
        word = (word << 6 | value) & 0xffff;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        ret->data[ret->len++] = (char)(word >> bits & 0xff);
    }
    return (word & ((1u << bits) - 1)) == 0; /* one text for one value */
}
