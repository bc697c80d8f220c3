/* The load generator: many clients of a front in one process, over one epoll. _load.py builds and drives it.

   Told on stdin what to do, a line each; each line is answered by a JSON line, at once:

     server HOST PORT SOURCES SUBPROTOCOL DEFLATE RECEIVE_BUFFER
                      where to; from how many addresses (127.0.0.2 and on); "-": no subprotocol; 1: offer deflate;
                      the receive buffer of clients of group 1 (0: the kernel's)
     topic TEXT       the next topic of the table
     client GROUP N.. one more client, in group 0 or 1, subscribed to these topics of the table
     open AT_ONCE     connect all that are not; so many handshakes under way at most. Positions are resumed
     again            connect those once more whose handshake failed; the time counts from `open`
     stall | wake     group 1 stops reading, and reads again
     cut              all connections are closed
     report           what was counted since the last report
     states           the distinct states that clients hold, by topic

   Every client keeps what wick's session protocol (wick/wire/session.py) makes it keep: of each topic position, state
   and rows; a DIFF that does not start where the client stands is counted as a hole. A PONG of eight bytes is a stamp
   (CLOCK_MONOTONIC, ns): the age of the next message is counted. Text and compressed messages are counted only. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GROUPS = 2, WIDTH = 16, BUFFER = 1 << 20, STEPS = 128, BUCKETS = 64 * STEPS, CODES = 5000, EVENTS = 512 };
enum { ACK = 1, ERROR, SNAPSHOT, DIFF, CLOSE, BATCH = 9, SUBSCRIBE = 16, KINDS = 32 };
enum { OFF, CONNECTING, SHAKING, OPEN };

typedef struct { uint64_t open_time, hash; } Row;

typedef struct {
    uint32_t topic, handle, row_count;
    uint8_t known, acked, told; /* has a state; since it is open: was ACKed, was told a state or a change */
    uint64_t epoch, seq;
    int64_t groups[GROUPS][WIDTH];
    Row *rows;
} Sub;

typedef struct {
    int fd, number;
    uint8_t state, group;
    uint16_t sub_count, next_sub, acked, told;
    uint32_t frames, rest_length;
    uint64_t stamp;
    uint8_t *rest; /* the start of a frame, or of the handshake's answer */
    Sub *subs;
} Client;

static struct {
    uint64_t frames, bytes, messages[KINDS], holes, bad, resumed, fresh, failed, closed[CODES];
    uint64_t latency[2][BUCKETS], most[2];
} seen;

static Client *clients;
static char **topics, upgrade[1024];
static int client_count, topic_count, epoll, sources, receive_buffer, at_once, under_way, next_open, stalled;
static int open_count, acked_count, told_count;
static uint64_t opened_at, acked_at, told_at, reported_at;
static struct sockaddr_in server;
static uint8_t *buffer;

static uint64_t now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *resized(void *old, size_t size) {
    void *made = realloc(old, size);
    if (!made && size) die("memory");
    return made;
}

/* ---------------------------------------------------------------------- latency: buckets of 1/128 of a power of two */

static int bucket_of(uint64_t value) {
    if (value < STEPS) return (int)value;
    int shift = 63 - __builtin_clzll(value) - 7;
    return (shift + 1) * STEPS + (int)(value >> shift) - STEPS;
}

static uint64_t bucket_end(int bucket) {
    int shift = bucket / STEPS - 1;
    return shift < 0 ? (uint64_t)bucket : ((uint64_t)(bucket % STEPS + STEPS + 1) << shift) - 1;
}

/* ---------------------------------------------------------------------- msgpack: a cursor; past its end comes nil */

typedef struct { const uint8_t *at, *end; int bad; } Cursor;
typedef enum { NIL, INTEGER, TEXT, ARRAY, MAP, OTHER } Type;
typedef struct { Type type; int64_t integer; uint32_t length; const uint8_t *bytes; } Value;

static uint64_t big(Cursor *cursor, int width) {
    uint64_t value = 0;
    if (cursor->end - cursor->at < width) { cursor->bad = 1; cursor->at = cursor->end; return 0; }
    while (width--) value = value << 8 | *cursor->at++;
    return value;
}

static Value bytes_of(Cursor *cursor, Type type, uint64_t length) {
    Value value = {type, 0, (uint32_t)length, cursor->at};
    uint64_t left = (uint64_t)(cursor->end - cursor->at);
    if (left < length) cursor->bad = 1, length = left;
    cursor->at += length;
    return value;
}

static Value next(Cursor *cursor) {
    uint8_t tag = (uint8_t)big(cursor, 1);
    if (cursor->bad) return (Value){NIL, 0, 0, NULL};
    if (tag < 0x80 || tag >= 0xe0) return (Value){INTEGER, (int8_t)tag, 0, NULL};
    if (tag < 0x90) return (Value){MAP, 0, tag & 15, NULL};
    if (tag < 0xa0) return (Value){ARRAY, 0, tag & 15, NULL};
    if (tag < 0xc0) return bytes_of(cursor, TEXT, tag & 31);
    switch (tag) {
    case 0xc0: return (Value){NIL, 0, 0, NULL};
    case 0xc2: case 0xc3: return (Value){INTEGER, tag & 1, 0, NULL};
    case 0xc4: case 0xc5: case 0xc6: return bytes_of(cursor, OTHER, big(cursor, 1 << (tag - 0xc4)));
    case 0xc7: case 0xc8: case 0xc9: return bytes_of(cursor, OTHER, big(cursor, 1 << (tag - 0xc7)) + 1);
    case 0xca: return bytes_of(cursor, OTHER, 4);
    case 0xcb: return bytes_of(cursor, OTHER, 8);
    case 0xcc: case 0xcd: case 0xce: case 0xcf:
        return (Value){INTEGER, (int64_t)big(cursor, 1 << (tag - 0xcc)), 0, NULL};
    case 0xd0: return (Value){INTEGER, (int8_t)big(cursor, 1), 0, NULL};
    case 0xd1: return (Value){INTEGER, (int16_t)big(cursor, 2), 0, NULL};
    case 0xd2: return (Value){INTEGER, (int32_t)big(cursor, 4), 0, NULL};
    case 0xd3: return (Value){INTEGER, (int64_t)big(cursor, 8), 0, NULL};
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return bytes_of(cursor, OTHER, (1u << (tag - 0xd4)) + 1);
    case 0xd9: case 0xda: case 0xdb: return bytes_of(cursor, TEXT, big(cursor, 1 << (tag - 0xd9)));
    case 0xdc: case 0xdd: return (Value){ARRAY, 0, (uint32_t)big(cursor, 2 << (tag - 0xdc)), NULL};
    case 0xde: case 0xdf: return (Value){MAP, 0, (uint32_t)big(cursor, 2 << (tag - 0xde)), NULL};
    }
    cursor->bad = 1;
    return (Value){NIL, 0, 0, NULL};
}

static void skip(Cursor *cursor) {
    uint64_t left = 1;
    while (left && !cursor->bad) {
        Value value = next(cursor);
        left += (value.type == ARRAY ? value.length : value.type == MAP ? 2ull * value.length : 0) - 1;
    }
}

static int64_t integer(Cursor *cursor) {
    Value value = next(cursor);
    if (value.type != INTEGER) cursor->bad = 1; /* beyond 64 bits (ext) too: the benchmarks have no such */
    return value.integer;
}

static uint32_t array(Cursor *cursor) {
    Value value = next(cursor);
    if (value.type != ARRAY) cursor->bad = 1;
    return value.type == ARRAY ? value.length : 0;
}

static uint8_t *put_integer(uint8_t *at, uint64_t value) {
    *at++ = 0xcf;
    for (int shift = 56; shift >= 0; shift -= 8) *at++ = (uint8_t)(value >> shift);
    return at;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
    size_t length = strlen(text);
    *at++ = 0xd9, *at++ = (uint8_t)length;
    memcpy(at, text, length);
    return at + length;
}

/* ---------------------------------------------------------------------- a client: what it holds */

static void told(Client *client, Sub *sub) {
    if (sub->told || !sub->acked) return;
    sub->told = 1;
    if (++client->told == client->sub_count) told_count++, told_at = now(CLOCK_MONOTONIC);
}

static Sub *find(Client *client, uint32_t handle) {
    for (int tried = 0; tried < client->sub_count; tried++) { /* mostly they come in the order of the subscriptions */
        Sub *sub = &client->subs[client->next_sub];
        client->next_sub = (uint16_t)((client->next_sub + 1) % client->sub_count);
        if (sub->acked && sub->handle == handle) return sub;
    }
    return NULL;
}

static void take_ack(Client *client, Cursor *cursor) {
    skip(cursor);
    for (uint32_t left = array(cursor); left && !cursor->bad; left--) {
        uint32_t parts = array(cursor);
        Value name = next(cursor);
        uint32_t handle = (uint32_t)integer(cursor);
        int resumed = parts > 2 && integer(cursor);
        for (Sub *sub = client->subs; sub < client->subs + client->sub_count; sub++) {
            const char *topic = topics[sub->topic];
            if (sub->acked || strlen(topic) != name.length || memcmp(topic, name.bytes, name.length)) continue;
            sub->handle = handle, sub->acked = 1;
            if (resumed) seen.resumed++; else seen.fresh++, sub->known = 0;
            if (++client->acked == client->sub_count) acked_count++, acked_at = now(CLOCK_MONOTONIC);
        }
    }
}

static void take_row(Sub *sub, Cursor *cursor) {
    Cursor row = *cursor;
    uint64_t hash = 14695981039346656037u; /* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */
    uint32_t at;
    skip(cursor);
    for (const uint8_t *byte = row.at; byte < cursor->at; byte++) hash = (hash ^ *byte) * 1099511628211u;
    array(&row);
    uint64_t open_time = (uint64_t)integer(&row);
    cursor->bad |= row.bad;
    for (at = sub->row_count; at && sub->rows[at - 1].open_time != open_time; at--) {}
    if (!at) {
        sub->rows = resized(sub->rows, (sub->row_count + 1) * sizeof(Row));
        at = ++sub->row_count;
    }
    sub->rows[at - 1] = (Row){open_time, hash};
}

static void take_snapshot(Client *client, Sub *sub, Cursor *cursor) {
    sub->epoch = (uint64_t)integer(cursor), sub->seq = (uint64_t)integer(cursor);
    uint32_t groups = array(cursor);
    for (uint32_t group = 0; group < groups && !cursor->bad; group++) {
        uint32_t width = array(cursor);
        if (group >= GROUPS || width > WIDTH) cursor->bad = 1;
        else for (uint32_t field = 0; field < width; field++) sub->groups[group][field] = integer(cursor);
    }
    for (uint32_t rows = array(cursor); rows && !cursor->bad; rows--) take_row(sub, cursor);
    sub->known = 1;
    told(client, sub);
}

static void take_diff(Client *client, Sub *sub, Cursor *cursor) {
    uint64_t seq = (uint64_t)integer(cursor), back = (uint64_t)integer(cursor);
    if (!sub->known || seq - back != sub->seq) {
        seen.holes++;
        sub->known = 0;
        return;
    }
    sub->seq = seq;
    for (uint32_t left = array(cursor); left > 1 && !cursor->bad;) {
        uint64_t group = (uint64_t)integer(cursor), mask = (uint64_t)integer(cursor);
        if (group >= GROUPS || mask >> WIDTH) { cursor->bad = 1; return; }
        left -= 2 + (uint32_t)__builtin_popcountll(mask);
        for (int field = 0; mask; field++, mask >>= 1)
            if (mask & 1) sub->groups[group][field] += integer(cursor);
    }
    told(client, sub);
}

static void take_close(Client *client, Sub *sub, Cursor *cursor) {
    uint64_t seq = (uint64_t)integer(cursor);
    if (!strncmp(topics[sub->topic], "closes:", 7)) sub->seq = seq;
    take_row(sub, cursor);
    told(client, sub);
}

static void take_message(Client *client, Cursor *cursor) {
    const uint8_t *start = cursor->at;
    uint32_t length = array(cursor);
    uint64_t kind = (uint64_t)integer(cursor);
    seen.messages[kind < KINDS ? kind : 0]++;
    if (kind == BATCH) {
        for (; length > 1 && !cursor->bad; length--) take_message(client, cursor);
        return;
    }
    Cursor rest = *cursor;
    cursor->at = start;
    skip(cursor);
    rest.end = cursor->at;
    if (kind == ACK) take_ack(client, &rest);
    else if (kind == SNAPSHOT || kind == DIFF || kind == CLOSE) {
        Sub *sub = find(client, (uint32_t)integer(&rest));
        if (!sub) rest.bad = 1;
        else if (kind == SNAPSHOT) take_snapshot(client, sub, &rest);
        else if (kind == DIFF) take_diff(client, sub, &rest);
        else take_close(client, sub, &rest);
    }
    cursor->bad |= rest.bad;
}

/* ---------------------------------------------------------------------- a client: its connection */

static void leave(Client *client, unsigned code) {
    if (client->state == CONNECTING || client->state == SHAKING) under_way--, seen.failed++;
    if (client->state == OPEN) {
        open_count--, seen.closed[code < CODES ? code : 0]++;
        acked_count -= client->acked == client->sub_count, told_count -= client->told == client->sub_count;
    }
    close(client->fd);
    free(client->rest);
    client->rest = NULL, client->rest_length = 0, client->state = OFF, client->stamp = 0;
}

static void say(Client *client, int opcode, const uint8_t *payload, size_t length) {
    static uint8_t frame[1 << 16];
    uint8_t *at = frame;
    *at++ = (uint8_t)(0x80 | opcode);
    if (length < 126) *at++ = (uint8_t)(0x80 | length);
    else *at++ = 0x80 | 126, *at++ = (uint8_t)(length >> 8), *at++ = (uint8_t)length;
    memset(at, 0, 4); /* the mask: nothing between us looks for patterns */
    memcpy(at + 4, payload, length);
    size_t all = (size_t)(at + 4 - frame) + length;
    if (send(client->fd, frame, all, MSG_NOSIGNAL) != (ssize_t)all) seen.bad++;
}

static void subscribe(Client *client) {
    static uint8_t message[1 << 16];
    uint8_t *at = message;
    if (!client->sub_count) { acked_count++, told_count++; return; }
    *at++ = 0x93, *at++ = SUBSCRIBE, *at++ = 1, *at++ = 0xdc;
    *at++ = (uint8_t)(client->sub_count >> 8), *at++ = (uint8_t)client->sub_count;
    for (Sub *sub = client->subs; sub < client->subs + client->sub_count; sub++) {
        if ((size_t)(at - message) + 300 > sizeof message) die("too many topics of one client");
        sub->acked = sub->told = 0;
        if (sub->known) *at++ = 0x93;
        at = put_text(at, topics[sub->topic]);
        if (sub->known) at = put_integer(put_integer(at, sub->epoch), sub->seq);
    }
    say(client, 2, message, (size_t)(at - message));
}

/* The answer to the handshake: how much of the data it is, 0 while it is not all there. */
static size_t shaken(Client *client, const uint8_t *data, size_t length) {
    const uint8_t *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", length < 12 ? length : 12)) { leave(client, 0); return 0; }
    client->state = OPEN, client->acked = client->told = 0;
    under_way--, open_count++;
    subscribe(client);
    return (size_t)(end + 4 - data);
}

static void take_frame(Client *client, uint8_t first, const uint8_t *payload, size_t length, uint64_t at) {
    int opcode = first & 15;
    if (opcode == 1 || opcode == 2) {
        client->frames++, seen.frames++;
        if (client->stamp) {
            uint64_t age = at - client->stamp;
            seen.latency[client->group][bucket_of(age)]++;
            if (age > seen.most[client->group]) seen.most[client->group] = age;
            client->stamp = 0;
        }
        if (opcode == 2 && !(first & 0x40) && client->sub_count) {
            Cursor cursor = {payload, payload + length, 0};
            take_message(client, &cursor);
            if (cursor.bad || cursor.at != cursor.end) seen.bad++;
        }
        if (!(first & 0x80)) seen.bad++; /* nothing that we ask for comes in fragments */
    } else if (opcode == 10 && length == 8) memcpy(&client->stamp, payload, 8);
    else if (opcode == 9) say(client, 10, payload, length);
    else if (opcode == 8) leave(client, length > 1 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005);
    else if (opcode != 10) seen.bad++;
}

/* How much of the data whole frames are. */
static size_t take_frames(Client *client, const uint8_t *data, size_t length, uint64_t at) {
    size_t taken = 0;
    while (client->state == OPEN) {
        const uint8_t *head = data + taken;
        size_t left = length - taken, size = left > 1 ? head[1] : 0, start = size == 127 ? 10 : size == 126 ? 4 : 2;
        if (left < start) break;
        if (start > 2) {
            size = 0;
            for (size_t byte = 2; byte < start; byte++) size = size << 8 | head[byte];
        }
        if (left < start + size) break;
        take_frame(client, head[0], head + start, size, at);
        taken += start + size;
    }
    return taken;
}

static void readable(Client *client) {
    size_t have = client->rest_length;
    if (have) memcpy(buffer, client->rest, have);
    ssize_t got = recv(client->fd, buffer + have, BUFFER - have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { leave(client, 1006); return; }
    uint64_t at = now(CLOCK_MONOTONIC);
    seen.bytes += (uint64_t)got;
    size_t length = have + (size_t)got, taken = 0;
    if (client->state == SHAKING) taken = shaken(client, buffer, length);
    if (client->state == OPEN) taken += take_frames(client, buffer + taken, length - taken, at);
    if (client->state == OFF) return;
    uint32_t rest = (uint32_t)(length - taken);
    if (rest >= BUFFER) die("a message is longer than the buffer");
    if (rest || client->rest) client->rest = resized(client->rest, rest ? rest : 1);
    memcpy(client->rest ? client->rest : buffer, buffer + taken, rest);
    client->rest_length = rest;
}

static void watch(Client *client, int how, uint32_t events) {
    struct epoll_event event = {events, {.u32 = (uint32_t)client->number}};
    if (epoll_ctl(epoll, how, client->fd, &event)) die("epoll_ctl");
}

static void connect_one(Client *client) {
    uint32_t source = 0x7f000002u + (uint32_t)(client->number % sources);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT: ports are an address's own */, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (client->group && receive_buffer) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) die("bind");
    client->fd = fd, client->state = CONNECTING;
    under_way++;
    if (connect(fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) leave(client, 0);
    else watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void connected(Client *client) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error || send(client->fd, upgrade, strlen(upgrade), MSG_NOSIGNAL) != (ssize_t)strlen(upgrade)) {
        leave(client, 0);
        return;
    }
    client->state = SHAKING;
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

static void connect_some(void) {
    for (; next_open < client_count && under_way < at_once; next_open++)
        if (clients[next_open].state == OFF) connect_one(&clients[next_open]);
}

/* ---------------------------------------------------------------------- commands */

static void set_server(char *line) {
    char host[64], subprotocol[64], named[128] = "";
    int port, deflate;
    if (sscanf(line, "%63s %d %d %63s %d %d", host, &port, &sources, subprotocol, &deflate, &receive_buffer) != 6)
        die(line);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (!inet_aton(host, &server.sin_addr)) die(host);
    if (strcmp(subprotocol, "-")) snprintf(named, sizeof named, "Sec-WebSocket-Protocol: %s\r\n", subprotocol);
    snprintf(upgrade, sizeof upgrade,
        "GET /ws HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s\r\n", host, port, named,
        deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n" : "");
}

static void add_client(char *line) {
    char *at = line;
    clients = resized(clients, (size_t)(client_count + 1) * sizeof(Client));
    Client *client = &clients[client_count];
    *client = (Client){.fd = -1, .number = client_count, .group = strtol(at, &at, 10) != 0};
    for (char *end;; at = end) {
        long topic = strtol(at, &end, 10);
        if (end == at) break;
        if (topic < 0 || topic >= topic_count) die(line);
        client->subs = resized(client->subs, (size_t)(client->sub_count + 1) * sizeof(Sub));
        client->subs[client->sub_count++] = (Sub){.topic = (uint32_t)topic};
    }
    client_count++;
}

static void add_topic(const char *text) {
    topics = resized(topics, (size_t)(topic_count + 1) * sizeof(char *));
    if (strlen(text) > 200 || !(topics[topic_count++] = strdup(text))) die(text);
}

static void open_all(int most) {
    at_once = most, next_open = 0;
    opened_at = acked_at = told_at = now(CLOCK_MONOTONIC);
    connect_some();
}

static void stall(int stop) {
    stalled = stop;
    for (Client *client = clients; client < clients + client_count; client++)
        if (client->group && client->state == OPEN) watch(client, EPOLL_CTL_MOD, stop ? 0 : EPOLLIN);
}

static void print_latency(int group) {
    static const struct { const char *name; double share; } points[] = {
        {"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}};
    uint64_t count = 0, below = 0;
    int bucket = 0;
    for (int at = 0; at < BUCKETS; at++) count += seen.latency[group][at];
    printf("{\"count\":%lu", count);
    for (size_t point = 0; point < sizeof points / sizeof *points && count; point++) {
        while ((double)(below + seen.latency[group][bucket]) < points[point].share * (double)count)
            below += seen.latency[group][bucket++];
        printf(",\"%s\":%.6f", points[point].name, (double)bucket_end(bucket) / 1e6);
    }
    printf(",\"most\":%.6f}", (double)seen.most[group] / 1e6);
}

static void report(void) {
    static const char *names[KINDS] = {
        "hello", "ack", "error", "snapshot", "diff", "close", "heartbeat", "bye", "live", "batch"};
    uint64_t at = now(CLOCK_MONOTONIC);
    uint32_t least[2] = {UINT32_MAX, UINT32_MAX}, most[2] = {0, 0}, count[2] = {0, 0};
    for (Client *client = clients; client < clients + client_count; client->frames = 0, client++) {
        if (client->state != OPEN) continue;
        int group = client->group;
        count[group]++;
        if (client->frames < least[group]) least[group] = client->frames;
        if (client->frames > most[group]) most[group] = client->frames;
    }
    printf("{\"seconds\":%.6f,\"cpu_s\":%.6f,\"clients\":%d,\"open\":%d,\"acked\":%d,\"told\":%d,\"acked_s\":%.6f,\"told_s\":%.6f",
        (double)(at - reported_at) / 1e9, (double)now(CLOCK_PROCESS_CPUTIME_ID) / 1e9, client_count, open_count,
        acked_count, told_count, (double)(acked_at - opened_at) / 1e9, (double)(told_at - opened_at) / 1e9);
    printf(",\"frames\":%lu,\"bytes\":%lu,\"holes\":%lu,\"bad\":%lu,\"resumed\":%lu,\"fresh\":%lu,\"failed\":%lu,\"messages\":{",
        seen.frames, seen.bytes, seen.holes, seen.bad, seen.resumed, seen.fresh, seen.failed);
    const char *comma = "";
    for (int kind = 0; kind < KINDS; kind++)
        if (seen.messages[kind] && names[kind]) printf("%s\"%s\":%lu", comma, names[kind], seen.messages[kind]), comma = ",";
    printf("},\"closed\":{"), comma = "";
    for (int code = 0; code < CODES; code++)
        if (seen.closed[code]) printf("%s\"%d\":%lu", comma, code, seen.closed[code]), comma = ",";
    printf("},\"groups\":[");
    for (int group = 0; group < 2; group++) {
        printf("%s{\"open\":%u,\"least\":%u,\"most\":%u,\"latency_ms\":", group ? "," : "", count[group], count[group] ? least[group] : 0, most[group]);
        print_latency(group);
        printf("}");
    }
    printf("]}\n");
    memset(&seen, 0, sizeof seen);
    reported_at = at;
}

static int same(const Sub *one, const Sub *other) {
    if (one->topic != other->topic || one->known != other->known || one->epoch != other->epoch || one->seq != other->seq) return 0;
    if (memcmp(one->groups, other->groups, sizeof one->groups) || one->row_count != other->row_count) return 0;
    uint64_t hash = 0;
    for (uint32_t row = 0; row < one->row_count; row++) hash += one->rows[row].hash - other->rows[row].hash;
    return !hash;
}

/* {topic: [[clients, known, epoch, seq, groups, [rows, first, last]], ...]}: each distinct state once. */
static void states(void) {
    struct { Sub *sub; uint32_t count; } distinct[64];
    printf("{");
    for (int topic = 0; topic < topic_count; topic++) {
        int known = 0;
        for (Client *client = clients; client < clients + client_count; client++) {
            for (Sub *sub = client->subs; sub < client->subs + client->sub_count; sub++) {
                if (sub->topic != (uint32_t)topic) continue;
                int at = 0;
                while (at < known && !same(distinct[at].sub, sub)) at++;
                if (at == known && known < 64) distinct[known].sub = sub, distinct[known++].count = 0;
                if (at < 64) distinct[at].count++;
            }
        }
        printf("%s\"%s\":[", topic ? "," : "", topics[topic]);
        for (int at = 0; at < known; at++) {
            Sub *sub = distinct[at].sub;
            uint64_t first = UINT64_MAX, last = 0;
            printf("%s[%u,%u,%lu,%lu,[", at ? "," : "", distinct[at].count, sub->known, sub->epoch, sub->seq);
            for (int field = 0; field < GROUPS * WIDTH; field++) printf("%s%ld", field ? "," : "", sub->groups[field / WIDTH][field % WIDTH]);
            for (uint32_t row = 0; row < sub->row_count; row++) {
                if (sub->rows[row].open_time < first) first = sub->rows[row].open_time;
                if (sub->rows[row].open_time > last) last = sub->rows[row].open_time;
            }
            printf("],[%u,%lu,%lu]]", sub->row_count, sub->row_count ? first : 0, last);
        }
        printf("]");
    }
    printf("}\n");
}

static void command(char *line) {
    char *rest = strchr(line, ' ');
    if (rest) *rest++ = 0; else rest = "";
    if (!strcmp(line, "topic")) { add_topic(rest); return; }
    if (!strcmp(line, "client")) { add_client(rest); return; }
    if (!strcmp(line, "server")) { set_server(rest); return; }
    if (!strcmp(line, "report")) report();
    else if (!strcmp(line, "states")) states();
    else {
        if (!strcmp(line, "open")) open_all(atoi(rest));
        else if (!strcmp(line, "again")) next_open = 0, connect_some();
        else if (!strcmp(line, "stall")) stall(1);
        else if (!strcmp(line, "wake")) stall(0);
        else if (!strcmp(line, "cut")) {
            for (Client *client = clients; client < clients + client_count; client++)
                if (client->state != OFF) leave(client, 1000);
        } else die(line);
        printf("{}\n");
    }
    fflush(stdout);
}

static void read_commands(void) {
    static char waiting[1 << 16];
    static size_t length;
    ssize_t got = read(0, waiting + length, sizeof waiting - length);
    if (got <= 0) exit(0);
    length += (size_t)got;
    char *line = waiting, *end;
    while ((end = memchr(line, '\n', length - (size_t)(line - waiting)))) {
        *end = 0;
        command(line);
        line = end + 1;
    }
    length -= (size_t)(line - waiting);
    memmove(waiting, line, length);
}

int main(void) {
    struct rlimit files;
    struct epoll_event events[EVENTS], commands = {EPOLLIN, {.u32 = UINT32_MAX}};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    buffer = resized(NULL, BUFFER);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &commands)) die("epoll");
    reported_at = now(CLOCK_MONOTONIC);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int at = 0; at < count; at++) {
            if (events[at].data.u32 == UINT32_MAX) { read_commands(); break; } /* it may close what comes next */
            Client *client = &clients[events[at].data.u32];
            if (client->state == CONNECTING) connected(client);
            else if (client->state != OFF && !(stalled && client->group && !(events[at].events & EPOLLIN))) readable(client);
            else if (client->state == OPEN && events[at].events & (EPOLLHUP | EPOLLERR)) leave(client, 1006);
        }
        connect_some();
    }
}
