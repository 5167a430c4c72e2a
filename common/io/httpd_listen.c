/* The listening socket. Options set here are inherited by every accepted one, which spares system
 * calls a connection: no Nagle, an end for peers that stopped acknowledging, and a ceiling on bytes
 * the kernel holds unsent, so that a slow reader is seen early and costs little. */
#include "common/io/httpd_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096, LISTEN_UNACKED_MS = 60000 };

static bool listen_split(const char *text, char *host, size_t host_size, char *port,
                         size_t port_size)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1]) return false;
    struct view name = view_make(text, (size_t)(colon - text));
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
        name = view_make(name.ptr + 1, name.len - 2);
    uint64_t number;
    return view_u64(view_of(colon + 1), &number) && number <= 65535 &&
           view_copy(name, host, host_size) && view_copy(view_of(colon + 1), port, port_size);
}

static void listen_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value,
                     sizeof value); /* each is a nicety: the server works without */
}

static int listen_port(int fd)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0) return 0;
    if (at.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)(void *)&at)->sin6_port);
    return ntohs(((struct sockaddr_in *)(void *)&at)->sin_port);
}

static int listen_open(const struct addrinfo *a, bool reuse_port)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0) return -1;
    listen_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (reuse_port) listen_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    listen_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    listen_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, LISTEN_UNACKED_MS);
    listen_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, HTTPD_NOTSENT_BYTES);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int httpd_listen(const char *listen, bool reuse_port, int *ret_port, struct err *err)
{
    char host[256], port[8];
    if (!listen_split(listen, host, sizeof host, port, sizeof port)) {
        err_set(err, ERR_INVALID, "listen address '%.200s': want HOST:PORT", listen);
        return -1;
    }
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0) {
        err_set(err, ERR_INVALID, "listen address '%.200s': %s", listen, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = listen_open(a, reuse_port);
    if (fd < 0) {
        char why[128] = "";
        const char *text = strerror_r(errno, why, sizeof why) == 0 ? why : "failed";
        err_set(err, ERR_UNAVAILABLE, "listen on %.200s: %s", listen, text);
    } else {
        *ret_port = listen_port(fd);
    }
    freeaddrinfo(found);
    return fd;
}
