/* Terminal, standard streams, files.
 *
 * Writes block: a reader that is slow slows the watch down, TCP slows the gateway's sending down,
 * and the gateway cuts a watcher that lags too far, which then comes back with its last id. Nothing
 * piles up here. */
#include "producer/cli_term.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

enum { READ_STEP = 16 << 10, SAY_MAX = 4096, COLUMNS = 80, ROWS = 24 };

bool cli_term_write(int fd, struct view text)
{
    size_t done = 0;

    while (done < text.len) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);

        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            if (poll(&p, 1, -1) < 0 && errno != EINTR) return false;
        } else if (n == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

void cli_term_say(const char *fmt, ...)
{
    char text[SAY_MAX];
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    (void)(cli_term_write(CLI_STDERR, VIEW_LIT("sluice: ")) &&
           cli_term_write(CLI_STDERR, view_make(text, len)) &&
           cli_term_write(CLI_STDERR, VIEW_LIT("\n")));
}

bool cli_term_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

bool cli_term_is_screen(int fd)
{
    const char *term = getenv("TERM");

    return cli_term_is_terminal(fd) && term && term[0] && strcmp(term, "dumb") != 0;
}

bool cli_term_has_color(int fd)
{
    const char *no = getenv("NO_COLOR");

    return cli_term_is_screen(fd) && !(no && no[0]);
}

void cli_term_size(int fd, unsigned *ret_columns, unsigned *ret_rows)
{
    struct winsize w;
    bool known = ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0;

    *ret_columns = known ? w.ws_col : COLUMNS;
    *ret_rows = known ? w.ws_row : ROWS;
}

static enum err_code term_read_fd(int fd, const char *name, struct buf *out, struct err *err)
{
    char bytes[READ_STEP];

    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);

        if (n == 0) return ERR_OK;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(err, ERR_NOT_FOUND, "%s: %s", name, strerror(errno));
        if (!buf_put(out, bytes, (size_t)n))
            return err_set(err, ERR_TOO_LARGE, "%s holds more than %zu bytes", name, out->max);
    }
}

enum err_code cli_term_read(const char *path, struct buf *out, struct err *err)
{
    if (!path) return term_read_fd(CLI_STDIN, "standard input", out, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_set(err, ERR_NOT_FOUND, "%.150s: %s", path, strerror(errno));
    enum err_code code = term_read_fd(fd, path, out, err);
    close(fd);
    return code;
}

enum err_code cli_term_random(unsigned char *ret, size_t len, struct err *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = getrandom(ret + done, len - done, 0);

        if (n < 0 && errno != EINTR)
            return err_set(err, ERR_INTERNAL, "getrandom: %s", strerror(errno));
        if (n > 0) done += (size_t)n;
    }
    return ERR_OK;
}
