#ifndef BASE_HASH_H
#define BASE_HASH_H
#include "common/base/view.h"

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

/* A digest cannot fail: if libcrypto cannot compute it, the process ends (a wrong one would make
 * two jobs one). */
void hash_sha256(struct view data, unsigned char ret[SHA256_BYTES]);
/* SHA-256 over a list, each part after its length (8 bytes, big-endian), so that ("ab","c") and
 * ("a","bc") differ. */
void hash_sha256_parts(const struct view *parts, size_t count, unsigned char ret[SHA256_BYTES]);
void hash_hmac_sha256(struct view key, struct view data, unsigned char ret[SHA256_BYTES]);
void hash_hex(const unsigned char *bytes, size_t len, char *ret); /* 2*len + NUL, lower case */
bool hash_equal(const void *a, const void *b, size_t len);        /* constant time */
uint64_t hash_fnv1a(struct view data); /* stable across versions: homes hang on it */
uint16_t hash_crc16(struct view data); /* CCITT polynomial, start 0 (XMODEM; Redis' key slots) */

struct buf;
/* Appends, without padding. False: the buffer is full. */
bool base64url_put(struct buf *b, struct view bytes);
/* Appends. False: not base64url (padding, unused bits set), or full; what was appended is then
 * unspecified. */
bool base64url_decode(struct view text, struct buf *ret);

#endif
