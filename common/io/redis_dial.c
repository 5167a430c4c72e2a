/* Where a Redis is and how to begin a connection to it: the URL, addresses, a non-blocking socket.
 *
 * getaddrinfo blocks and has no fd. Numeric addresses and unix paths are answered at once; names go
 * to the thread pool. No error text here repeats the URL: it may hold a password. */
#include "common/io/redis_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

static int dial_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool dial_decode(struct view v, char *dst, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        if (c == '%') {
            int high = i + 2 < v.len ? dial_hex(v.ptr[i + 1]) : -1;
            int low = high >= 0 ? dial_hex(v.ptr[i + 2]) : -1;
            if (low < 0) return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || n + 1 >= size) return false;
        dst[n++] = c;
    }
    dst[n] = '\0';
    return true;
}

static bool dial_credentials(struct view v, struct redis_url *u)
{
    struct view user = VIEW_NONE, password = v;
    if (!view_cut(v, ':', &user, &password)) password = v; /* redis://secret@host */
    if (user.len && !dial_decode(user, u->user, sizeof u->user)) return false;
    return dial_decode(password, u->password, sizeof u->password);
}

static bool dial_host_port(struct view v, struct redis_url *u)
{
    struct view host = v, port = VIEW_NONE;
    if (v.len && v.ptr[0] == '[') {
        struct view tail;
        if (!view_cut(view_make(v.ptr + 1, v.len - 1), ']', &host, &tail)) return false;
        if (tail.len && tail.ptr[0] != ':') return false;
        if (tail.len) port = view_make(tail.ptr + 1, tail.len - 1);
    } else {
        view_cut(v, ':', &host, &port);
    }
    uint64_t number = 6379;
    if (port.ptr && (!view_u64(port, &number) || number == 0 || number > 65535)) return false;
    snprintf(u->port, sizeof u->port, "%u", (unsigned)number);
    return host.len > 0 && view_copy(host, u->host, sizeof u->host);
}

static bool dial_tcp(struct view rest, struct redis_url *u)
{
    struct view place = rest, db = VIEW_NONE;
    uint64_t number = 0;
    view_cut(rest, '/', &place, &db);
    if (db.len && (!view_u64(db, &number) || number > 1000000)) return false;
    u->db = (unsigned)number;
    size_t at = place.len;
    while (at > 0 && place.ptr[at - 1] != '@') at--; /* the last one: a password may hold more */
    if (at > 0 && !dial_credentials(view_make(place.ptr, at - 1), u)) return false;
    return dial_host_port(view_make(place.ptr + at, place.len - at), u);
}

enum err_code redis_url_parse(struct view text, struct redis_url *ret, struct err *err)
{
    static const char tcp[] = "redis://", unix_path[] = "unix://";
    struct redis_url u = {.is_unix = false};
    bool is_good = false;
    if (view_starts(text, tcp)) {
        is_good = dial_tcp(view_make(text.ptr + sizeof tcp - 1, text.len - (sizeof tcp - 1)), &u);
    } else if (view_starts(text, unix_path)) {
        struct view path =
            view_make(text.ptr + sizeof unix_path - 1, text.len - (sizeof unix_path - 1));
        u.is_unix = true;
        is_good = path.len > 0 && path.len < sizeof(((struct sockaddr_un *)NULL)->sun_path) &&
                  view_copy(path, u.host, sizeof u.host);
    }
    if (!is_good)
        return err_set(err, ERR_INVALID,
                       "redis url: must be redis://[user:password@]host:port[/db] or unix:///path");
    *ret = u;
    return ERR_OK;
}

static bool dial_unix(const struct redis_url *u, struct redis_addresses *ret)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&ret->list[0].sa;
    memset(un, 0, sizeof *un);
    un->sun_family = AF_UNIX;
    ret->list[0].len = sizeof *un;
    ret->count = 1;
    return view_copy(view_of(u->host), un->sun_path, sizeof un->sun_path);
}

bool redis_resolve(const struct redis_url *u, bool numeric_only, struct redis_addresses *ret)
{
    ret->count = 0;
    if (u->is_unix) return dial_unix(u, ret);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    if (numeric_only) hints.ai_flags |= AI_NUMERICHOST;
    if (getaddrinfo(u->host, u->port, &hints, &found) != 0) return false;
    for (const struct addrinfo *a = found; a && ret->count < REDIS_ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof ret->list[0].sa) continue;
        memcpy(&ret->list[ret->count].sa, a->ai_addr, a->ai_addrlen);
        ret->list[ret->count++].len = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return ret->count > 0;
}

int redis_connect_start(const struct redis_address *a)
{
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int one = 1;
    if (a->sa.ss_family != AF_UNIX) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0 || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int redis_connect_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) return errno;
    return error;
}
