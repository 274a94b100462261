// HTTP connections and their deadlines: one list per phase. Each phase has one constant limit, so that a list in order
// of entry is in order of deadline too, and a sweep looks only at what is due.
#include "api/peers.h"
#include "base/clock.h"

#include <linux/tcp.h> // the C library's tcp_info is older than tcpi_bytes_received
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

struct mosa_peer {
    mosa_peer *prev, *next;
    int fd;
    mosa_peer_phase phase;
    bool listed;
    int64_t due_ms;           // when the sweep looks at it
    int64_t idle_until_ms;    // IDLE
    uint64_t bytes_when_idle; // IDLE: received before the wait began
};

typedef struct peer_list {
    mosa_peer *first, *last;
} peer_list;

struct mosa_peers {
    pthread_mutex_t mutex;
    mosa_peers_limits limits;
    peer_list lists[MOSA_PEER_PHASES];
    int count;
    uint64_t cut;
};

static int64_t now_ms(void) {
    return (int64_t)(mosa_clock_ns() / 1000000);
}

static uint64_t bytes_received(int fd) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) return 0;
    return info.tcpi_bytes_received;
}

static void unlist(mosa_peers *peers, mosa_peer *peer) {
    if (!peer->listed) return;
    peer_list *list = &peers->lists[peer->phase];
    *(peer->prev ? &peer->prev->next : &list->first) = peer->next;
    *(peer->next ? &peer->next->prev : &list->last) = peer->prev;
    peer->listed = false;
}

static void append(mosa_peers *peers, mosa_peer *peer, mosa_peer_phase phase, int64_t due_ms) {
    unlist(peers, peer);
    peer_list *list = &peers->lists[phase];
    peer->phase = phase;
    peer->due_ms = due_ms;
    peer->prev = list->last;
    peer->next = NULL;
    *(list->last ? &list->last->next : &list->first) = peer;
    list->last = peer;
    peer->listed = true;
}

static int64_t limit_of(const mosa_peers *peers, mosa_peer_phase phase) {
    switch (phase) {
    case MOSA_PEER_IDLE: // looked at as often as HEADERS, to see early that a request has begun
    case MOSA_PEER_HEADERS:
        return peers->limits.header_timeout_ms;
    case MOSA_PEER_BODY:
        return peers->limits.body_timeout_ms;
    default:
        return peers->limits.send_timeout_ms;
    }
}

static void enter(mosa_peers *peers, mosa_peer *peer, mosa_peer_phase phase, int64_t now) {
    if (phase == MOSA_PEER_IDLE) {
        peer->idle_until_ms = now + peers->limits.idle_timeout_ms;
        peer->bytes_when_idle = bytes_received(peer->fd);
    }
    if (phase == MOSA_PEER_ACTIVE) {
        unlist(peers, peer);
        peer->phase = phase;
    } else {
        append(peers, peer, phase, now + limit_of(peers, phase));
    }
}

mosa_status mosa_peers_create(const mosa_peers_limits *limits, mosa_peers **out, mosa_error *err) {
    mosa_peers *peers = calloc(1, sizeof *peers);
    if (!peers) return mosa_fail(err, MOSA_ENOMEM, "HTTP server: out of memory");
    peers->limits = *limits;
    pthread_mutex_init(&peers->mutex, NULL);
    *out = peers;
    return MOSA_OK;
}

void mosa_peers_destroy(mosa_peers *peers) {
    if (!peers) return;
    pthread_mutex_destroy(&peers->mutex);
    free(peers);
}

mosa_peer *mosa_peers_add(mosa_peers *peers, int fd) {
    mosa_peer *peer = calloc(1, sizeof *peer);
    if (!peer) return NULL;
    peer->fd = fd;
    int64_t now = now_ms();
    pthread_mutex_lock(&peers->mutex);
    peers->count++;
    // A fresh connection has received nothing, whatever may be in its queue already.
    peer->idle_until_ms = now + peers->limits.idle_timeout_ms;
    append(peers, peer, MOSA_PEER_IDLE, now + peers->limits.header_timeout_ms);
    pthread_mutex_unlock(&peers->mutex);
    return peer;
}

void mosa_peers_remove(mosa_peers *peers, mosa_peer *peer) {
    if (!peer) return;
    pthread_mutex_lock(&peers->mutex);
    unlist(peers, peer);
    peers->count--;
    pthread_mutex_unlock(&peers->mutex);
    free(peer);
}

void mosa_peers_enter(mosa_peers *peers, mosa_peer *peer, mosa_peer_phase phase) {
    if (!peer) return;
    int64_t now = now_ms();
    pthread_mutex_lock(&peers->mutex);
    enter(peers, peer, phase, now);
    pthread_mutex_unlock(&peers->mutex);
}

static void cut(mosa_peers *peers, mosa_peer *peer) {
    unlist(peers, peer);
    shutdown(peer->fd, SHUT_RDWR);
    peers->cut++;
}

static void judge(mosa_peers *peers, mosa_peer *peer, int64_t now) {
    if (peer->phase != MOSA_PEER_IDLE) {
        cut(peers, peer);
    } else if (bytes_received(peer->fd) > peer->bytes_when_idle) {
        enter(peers, peer, MOSA_PEER_HEADERS, now);
    } else if (now >= peer->idle_until_ms) {
        cut(peers, peer);
    } else {
        append(peers, peer, MOSA_PEER_IDLE, now + peers->limits.header_timeout_ms);
    }
}

void mosa_peers_sweep(mosa_peers *peers, int64_t now) {
    pthread_mutex_lock(&peers->mutex);
    for (int phase = 0; phase < MOSA_PEER_PHASES; phase++) {
        peer_list *list = &peers->lists[phase];
        while (list->first && list->first->due_ms <= now) judge(peers, list->first, now);
    }
    pthread_mutex_unlock(&peers->mutex);
}

int mosa_peers_count(mosa_peers *peers) {
    pthread_mutex_lock(&peers->mutex);
    int count = peers->count;
    pthread_mutex_unlock(&peers->mutex);
    return count;
}

uint64_t mosa_peers_cut(mosa_peers *peers) {
    pthread_mutex_lock(&peers->mutex);
    uint64_t n = peers->cut;
    pthread_mutex_unlock(&peers->mutex);
    return n;
}
