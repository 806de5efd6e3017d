/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP: theory of operation
 *
 * The stack plays the far end of each of the guest's connections and continues it with a host
 * socket. The link to the guest is memory: it does not lose frames, so there is no retransmission
 * queue and no congestion control worth the name. What can be lost all the same (a guest short of
 * memory, a TAP with netem in tests) is sent again from where it still is:
 *
 *  - To the guest, bytes are read from the host socket with MSG_PEEK straight into the guest's
 *    buffers; they leave the socket only when the guest has acknowledged them. The socket's receive
 *    buffer is the send window, and a guest that does not read stops its peer by itself.
 *    SO_PEEK_OFF tells the kernel where to go on; kernels without it read what is in flight once
 *    more into a scratch area. Resending is setting snd_nxt back (go back N).
 *  - From the guest, bytes are written straight from the guest's buffers to the socket. What the
 *    socket does not take is kept (`held`), at most one receive window per flow and HELD_BYTES_MAX
 *    per sandbox, and acknowledged, so a slow peer costs bounded memory and no retransmissions.
 *    Beyond the bounds bytes are simply not acknowledged. The little that comes out of order is
 *    kept as well (tcp_ooo.c).
 *
 * Way of a connection:  SYN -> admit -> dial (-> proxy) -> SYN-ACK -> open (-> inspect) -> splice.
 * The guest's handshake waits for the host's: refusal is RST, unreachable is the ICMP error, and a
 * silent host stays silent. Inspection holds the first bytes from the guest back until the name in
 * them has been judged, and in HTTP/1 does so for every request. Published ports come the other
 *way: accept -> admit -> SYN to the guest.
 *
 *	DIALING   guest's SYN seen, host connecting; nothing was sent to the guest
 *	SYN_SENT  our SYN is out (published port)
 *	SYN_RCVD  our SYN-ACK is out
 *	OPEN      data flows; each direction ends by itself (guest_fin/host_shut,
 *host_eof/fin_acked)
 *
 * Left out on purpose: SACK, timestamps, delayed ACK (one ACK per batch instead), TIME_WAIT (the
 * guest's kernel has it where it matters), urgent data (delivered in line).
 */
#ifndef NET_TCP_INTERNAL_H
#define NET_TCP_INTERNAL_H

#include "net/http.h"
#include "net/net_internal.h"
#include "net/socks.h"

#define TCP_RCV_WINDOW MIB(1)
#define TCP_RCV_SHIFT  5
#define TCP_MSS_MIN    88
#define TCP_MSS_UNSAID 536
#define TCP_CWND_NONE  UINT32_MAX /* no loss seen: only the guest's window counts */

/* Serial number arithmetic (RFC 1982) */
static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool seq_le(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

enum tcp_state { TCP_ST_DIALING, TCP_ST_SYN_SENT, TCP_ST_SYN_RCVD, TCP_ST_OPEN };

struct tcp_flow;

/* struct tcp_service - a far end that lives here instead of behind a host socket */
struct tcp_service {
	/*
	 * called by each run: tf->held may have grown, guest_fin may have been set; consume with
	 * tcp_held_consume()
	 */
	void (*input)(struct tcp_flow *tf);
	/* the flow ends; forget tf */
	void (*closed)(struct tcp_flow *tf);
};

enum tcp_inspect {
	INSPECT_OFF,
	INSPECT_WAIT,	  /* for the first bytes */
	INSPECT_REQUESTS, /* HTTP/1: each request is judged before it leaves */
};

struct ooo;

struct tcp_flow {
	struct flow f;
	enum tcp_state state;
	bool dead;	 /* freed by the next run */
	bool reset_host; /* when freed: the host peer gets RST instead of FIN */
	bool inbound;

	/* to the guest */
	uint32_t iss, snd_una, snd_nxt, snd_max, snd_wnd;
	uint32_t head_seq; /* of the first byte still in the host socket (or in out) */
	uint32_t peeked;   /* where the kernel's peek offset stands */
	uint32_t cwnd, ssthresh, recover;
	uint32_t chunk; /* how much to ask for next */
	uint16_t mss;
	uint8_t snd_shift, dupacks;
	bool fin_sent, fin_known, fin_acked; /* fin_known: fin_seq is the end of the stream */
	uint32_t fin_seq;

	/* from the guest */
	uint32_t irs, rcv_nxt, rcv_adv;
	uint8_t rcv_shift;
	bool ack_now, guest_fin;
	struct ooo *ooo; /* segments behind a hole, by sequence number */
	size_t ooo_bytes;

	/* time */
	uint8_t retries, probes, backoff;
	uint64_t sent_ns; /* last transmission, or progress, that an answer is awaited for */
	uint64_t heard_ns;
	uint64_t rtt_sent_ns; /* 0: none being measured */
	uint32_t rtt_seq;
	uint64_t srtt_ns;

	/* the host side */
	bool host_open;	 /* connected */
	bool host_rdhup; /* its FIN has come, data may be left */
	bool host_shut;	 /* our FIN was sent to it */
	bool early;	 /* host data may go to the guest before inspection is done */
	uint8_t dial_tries;
	enum tcp_inspect inspect;
	uint64_t inspect_until_ns;
	struct http_stream http; /* INSPECT_REQUESTS */
	size_t cleared;		 /* so much of held may leave */
	struct buf held;
	struct socks *socks;

	const struct tcp_service *svc; /* else NULL */
	void *svc_ctx;
	struct buf out; /* svc: bytes for the guest from head_seq on */
	bool svc_eof;	/* and then no more */
};

static inline struct tcp_flow *tcp_of(struct flow *f)
{
	return (struct tcp_flow *)f;
}

/* --- tcp.c --- */

/* tcp_end() - stop: RST to the guest if it knows of the connection; freed by the next run. */
void tcp_end(struct tcp_flow *tf, bool reset_guest, bool reset_host);
/* tcp_host_opened() - the far end is there: answer the guest's SYN. */
void tcp_host_opened(struct tcp_flow *tf);

/* --- tcp_out.c --- */

void tcp_send_flags(struct tcp_flow *tf, uint8_t flags, uint32_t seq);
void tcp_send_ack(struct tcp_flow *tf);
/* tcp_push() - send what the windows allow. */
void tcp_push(struct tcp_flow *tf, uint64_t now);
void tcp_rewind(struct tcp_flow *tf, uint32_t cwnd);
uint32_t tcp_window(const struct tcp_flow *tf);
void tcp_arm(struct tcp_flow *tf, uint64_t now);
void tcp_on_deadline(struct flow *f);

/* --- tcp_host.c --- */

int tcp_dial(struct tcp_flow *tf);
/* tcp_dial_failed() - tell the guest in its own language. */
void tcp_dial_failed(struct tcp_flow *tf, int error);
/* tcp_host_take() - bytes from the guest, in order. Return: how many were taken. */
size_t tcp_host_take(
	struct tcp_flow *tf, const struct iovec *iov, unsigned n, size_t off, size_t len);
/* tcp_host_drain() - write held bytes, then the end of the stream if it has come. */
void tcp_host_drain(struct tcp_flow *tf);
/*
 * tcp_host_read() - bytes at @off behind head_seq, into @iov
 * Return: bytes; 0 at the end of the stream; -EAGAIN; -errno
 */
ssize_t tcp_host_read(struct tcp_flow *tf, uint32_t off, const struct iovec *iov, unsigned n);
/* tcp_host_discard() - @len bytes from head_seq on are acknowledged. */
void tcp_host_discard(struct tcp_flow *tf, uint32_t len);
void tcp_held_consume(struct tcp_flow *tf, size_t len);
/* tcp_host_adopt() - watch an accepted or connected socket. Return: 0, -errno. */
int tcp_host_adopt(struct tcp_flow *tf);
/* tcp_svc_send() - for services. Return: 0, -ENOMEM, -E2BIG. */
int tcp_svc_send(struct tcp_flow *tf, const void *data, size_t len);
void tcp_svc_finish(struct tcp_flow *tf);

/* --- tcp_inspect.c --- */

/* tcp_inspect() - judge what is held; @late: no more will be waited for. May end the flow. */
void tcp_inspect(struct tcp_flow *tf, bool late);
/* tcp_inspect_answer() - before bytes go to the guest: has the server granted a tunnel? */
void tcp_inspect_answer(struct tcp_flow *tf);

/* --- tcp_ooo.c --- */

/* tcp_ooo_put() - keep [@seq, @seq + @len) at @off of @iov for later; within bounds, else not. */
void tcp_ooo_put(struct tcp_flow *tf, uint32_t seq, const struct iovec *iov, unsigned n, size_t off,
	size_t len);
/* tcp_ooo_drain() - hand on what has become in order. */
void tcp_ooo_drain(struct tcp_flow *tf);
void tcp_ooo_free(struct tcp_flow *tf);

/* --- dns_tcp.c --- */

extern const struct tcp_service dns_tcp_service;

#endif
