// A load generator for one HTTP route: keep-alive connections on one epoll loop, one thread.
//
//   load HOST PORT PATH CONNECTIONS SECONDS RATE KEY BODY
//
// RATE 0 sends the next request when an answer is there (closed loop); otherwise requests are due at a constant rate
// and their latency counts from when they were due, so that a stall is not hidden by requests that were never sent. A
// body with "stream":true gets its longest gap between two pieces of one answer measured too. Prints one JSON object.
// The first fifth of the time warms up and is not counted. Answers need Content-Length or chunks, as Mosa sends them.
#include "base/clock.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, BUCKETS = 1 << 20, BUCKET_US = 10, CONNECTIONS_MAX = 60000 };

typedef struct connection {
    int fd;
    bool busy, chunked, in_body, failed_status;
    int64_t body_left; // with Content-Length
    uint64_t due_ns, last_ns;
    size_t len;
    char buffer[BUFFER_BYTES + 1]; // the head; later the last bytes of the body
} connection;

typedef struct load {
    struct sockaddr_in address;
    mosa_buf request;
    connection *connections; // (n)
    int n, epoll_fd;
    int *idle, n_idle;                                                  // stack of connections without a request
    uint64_t start_ns, count_from_ns, end_ns, next_due_ns, interval_ns; // interval 0 = closed loop
    uint64_t done, failed, late, longest_gap_ns, pieces;
    uint64_t *histogram; // (BUCKETS) of BUCKET_US
} load;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void dial(load *l, int index) {
    connection *c = &l->connections[index];
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&l->address, sizeof l->address) != 0) die("connect");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl");
    c->busy = false;
    l->idle[l->n_idle++] = index;
}

static void redial(load *l, int index) {
    connection *c = &l->connections[index];
    close(c->fd);
    bool was_busy = c->busy;
    if (was_busy) {
        l->failed++;
        dial(l, index);
        return;
    }
    for (int i = 0; i < l->n_idle; i++)
        if (l->idle[i] == index) l->idle[i] = l->idle[--l->n_idle];
    dial(l, index);
}

static void send_one(load *l, uint64_t due_ns) {
    connection *c = &l->connections[l->idle[--l->n_idle]];
    c->busy = true;
    c->chunked = c->in_body = c->failed_status = false;
    c->len = 0;
    c->due_ns = due_ns;
    c->last_ns = 0;
    // Requests are small: the socket's buffer takes all of one.
    if (send(c->fd, l->request.data, l->request.len, MSG_NOSIGNAL) != (ssize_t)l->request.len) l->late++;
}

static void finish(load *l, int index, uint64_t now_ns) {
    connection *c = &l->connections[index];
    c->busy = false;
    l->idle[l->n_idle++] = index;
    if (now_ns < l->count_from_ns) return;
    if (c->failed_status) {
        l->failed++;
        return;
    }
    l->done++;
    uint64_t bucket = (now_ns - c->due_ns) / 1000 / BUCKET_US;
    l->histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

// The head is complete: what kind of body follows. Returns the bytes of the body in `buffer`.
static size_t read_head(connection *c, const char *head_end) {
    c->in_body = true;
    c->failed_status = strncmp(c->buffer, "HTTP/1.1 200", 12) != 0;
    const char *length = strcasestr(c->buffer, "\r\nContent-Length:");
    c->chunked = !length || length > head_end;
    if (!c->chunked) c->body_left = strtoll(length + 17, NULL, 10);
    return c->len - (size_t)(head_end + 4 - c->buffer);
}

// Whether the answer is complete. Chunks end with an empty one: its bytes are the last, since nothing is pipelined.
static bool take(connection *c, size_t fresh) {
    if (!c->in_body) {
        c->buffer[c->len] = 0;
        const char *head_end = strstr(c->buffer, "\r\n\r\n");
        if (!head_end) return false;
        fresh = read_head(c, head_end);
    }
    if (!c->chunked) return (c->body_left -= (int64_t)fresh) <= 0;
    return c->len >= 5 && memcmp(c->buffer + c->len - 5, "0\r\n\r\n", 5) == 0;
}

static void note_gap(load *l, connection *c, uint64_t now_ns) {
    if (c->last_ns && now_ns >= l->count_from_ns) {
        l->pieces++;
        if (now_ns - c->last_ns > l->longest_gap_ns) l->longest_gap_ns = now_ns - c->last_ns;
    }
    c->last_ns = now_ns;
}

static void on_readable(load *l, int index, uint64_t now_ns) {
    connection *c = &l->connections[index];
    if (c->len > BUFFER_BYTES - 1024) { // only the body's end matters
        memmove(c->buffer, c->buffer + c->len - 8, 8);
        c->len = 8;
    }
    ssize_t got = recv(c->fd, c->buffer + c->len, BUFFER_BYTES - c->len, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || !c->busy) {
        redial(l, index);
        return;
    }
    c->len += (size_t)got;
    note_gap(l, c, now_ns);
    if (take(c, (size_t)got)) finish(l, index, now_ns);
}

static void send_due(load *l, uint64_t now_ns) {
    if (!l->interval_ns) {
        while (l->n_idle) send_one(l, now_ns);
        return;
    }
    while (l->next_due_ns <= now_ns && l->n_idle) {
        send_one(l, l->next_due_ns);
        l->next_due_ns += l->interval_ns;
    }
}

static void run(load *l) {
    struct epoll_event events[512];
    for (uint64_t now_ns; (now_ns = mosa_clock_ns()) < l->end_ns;) {
        send_due(l, now_ns);
        int wait_ms = l->interval_ns && l->next_due_ns < now_ns + 1000000 ? 0 : 1;
        int n = epoll_wait(l->epoll_fd, events, 512, wait_ms);
        now_ns = mosa_clock_ns();
        for (int i = 0; i < n; i++) on_readable(l, (int)events[i].data.u32, now_ns);
    }
}

static double percentile_ms(const load *l, double share) {
    uint64_t wanted = (uint64_t)((double)l->done * share), seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += l->histogram[i]) > wanted) return (i + 1) * BUCKET_US / 1000.0;
    return 0;
}

static void report(const load *l) {
    double seconds = (double)(l->end_ns - l->count_from_ns) / 1e9;
    printf("{\"requests\": %llu, \"failed\": %llu, \"per_s\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, "
           "\"p999_ms\": %.2f, \"pieces_per_s\": %.0f, \"longest_gap_ms\": %.1f}\n",
           (unsigned long long)l->done, (unsigned long long)(l->failed + l->late), (double)l->done / seconds,
           percentile_ms(l, 0.5), percentile_ms(l, 0.99), percentile_ms(l, 0.999), (double)l->pieces / seconds,
           (double)l->longest_gap_ns / 1e6);
}

int main(int argc, char **argv) {
    static load l;
    int64_t port, seconds, rate, n;
    if (argc != 9 || !mosa_parse_i64(argv[2], &port) || !mosa_parse_i64(argv[4], &n) || n < 1 || n > CONNECTIONS_MAX ||
        !mosa_parse_i64(argv[5], &seconds) || !mosa_parse_i64(argv[6], &rate)) {
        fprintf(stderr, "usage: load HOST PORT PATH CONNECTIONS SECONDS RATE KEY BODY\n");
        return 2;
    }
    l.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, argv[1], &l.address.sin_addr);
    mosa_buf_printf(&l.request,
                    "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
                    "Content-Length: %zu\r\n\r\n%s",
                    argv[3], argv[1], argv[7], strlen(argv[8]), argv[8]);
    l.n = (int)n;
    l.connections = calloc((size_t)n, sizeof *l.connections);
    l.idle = calloc((size_t)n, sizeof *l.idle);
    l.histogram = calloc(BUCKETS, sizeof *l.histogram);
    l.epoll_fd = epoll_create1(0);
    if (!l.connections || !l.idle || !l.histogram || l.epoll_fd < 0) die("load");
    for (int i = 0; i < l.n; i++) dial(&l, i);
    l.start_ns = l.next_due_ns = mosa_clock_ns();
    l.end_ns = l.start_ns + (uint64_t)seconds * 1000000000u;
    l.count_from_ns = l.start_ns + (uint64_t)seconds * 200000000u;
    l.interval_ns = rate > 0 ? 1000000000u / (uint64_t)rate : 0;
    run(&l);
    report(&l);
    return 0;
}
