/* SPDX-License-Identifier: Apache-2.0 */
/* Segments to the guest, and what is done when it does not answer. */
#include <errno.h>
#include <stdlib.h>

#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/num.h"
#include "net/checksum.h"
#include "net/tcp_internal.h"

#define PUSH_BURST	16 /* frames per flow and run: others want their turn */
#define RTO_MIN_NS	(300 * NS_PER_MS)
#define RTO_MAX_NS	(20 * NS_PER_S)
#define RETRIES_MAX	8
#define SYN_RETRIES_MAX 6
#define DIAL_PATIENCE_NS                                                                           \
	(75 * NS_PER_S) /* the guest's kernel repeats a SYN at least that often                    \
			 */
#define IDLE_NS	   (600 * NS_PER_S)
#define PROBE_NS   (30 * NS_PER_S)
#define PROBES_MAX 6

/* --- segments --- */

uint32_t tcp_window(const struct tcp_flow *tf)
{
	uint64_t room = tf->rcv_shift ? TCP_RCV_WINDOW : UINT16_MAX;

	if (tf->f.net->held_bytes > HELD_BYTES_MAX / 2)
		room = MIN_OF(room, KIB(32));
	return tf->held.len < room ? (uint32_t)(room - tf->held.len) : 0;
}

/* The window field, having moved the promise along; a promise is never taken back. */
static uint16_t advertise(struct tcp_flow *tf, bool syn)
{
	uint8_t shift = syn ? 0 : tf->rcv_shift;
	uint32_t edge = tf->rcv_nxt + tcp_window(tf);

	if (seq_lt(tf->rcv_adv, edge))
		tf->rcv_adv = edge;
	if (!seq_lt(tf->rcv_nxt, tf->rcv_adv))
		return 0;
	return (uint16_t)MIN_OF((tf->rcv_adv - tf->rcv_nxt) >> shift, (uint32_t)UINT16_MAX);
}

/* All headers of a segment with @len bytes of payload, checksum over headers only. */
static uint8_t *put_headers(struct tcp_flow *tf, uint8_t *p, struct tcp_hdr *h, size_t len)
{
	const struct flow_key *k = &tf->f.key;
	size_t l4_len = tcp_hdr_size(h) + len;
	struct ip_out ip = { .src = &k->peer,
		.dst = &k->guest,
		.proto = IP_PROTO_TCP,
		.ttl = PKT_TTL,
		.l4_len = l4_len };
	uint32_t sum = csum_pseudo(&k->peer, &k->guest, IP_PROTO_TCP, (uint32_t)l4_len);

	h->sport = k->peer_port;
	h->dport = k->guest_port;
	p = ip_put(out_eth(tf->f.net, p, ip_is_v4(&k->peer)), &ip);
	return tcp_put(p, h, csum_fold(sum));
}

void tcp_send_flags(struct tcp_flow *tf, uint8_t flags, uint32_t seq)
{
	uint8_t frame[ETH_HDR_LEN + IP6_HDR_LEN + TCP_HDR_LEN + 8];
	size_t ip_len = ip_hdr_len(&tf->f.key.guest, false), l4 = ETH_HDR_LEN + ip_len, len;
	struct tcp_hdr h = { .seq = seq, .flags = flags, .wscale = -1 };
	uint16_t csum;

	if (flags & TCP_ACK)
		h.ack = tf->rcv_nxt;
	if (!(flags & TCP_RST))
		h.window = advertise(tf, flags & TCP_SYN);
	if (flags & TCP_SYN) {
		h.mss = (uint16_t)(tf->f.net->plan.mtu - ip_len - TCP_HDR_LEN);
		if (tf->rcv_shift || !(flags & TCP_ACK))
			h.wscale = TCP_RCV_SHIFT;
	}
	len = (size_t)(put_headers(tf, frame, &h, 0) - frame);
	csum = csum_finish(csum_add(0, frame + l4, len - l4));
	store_be16(frame + l4 + 16, csum);
	(void)out_frame(tf->f.net, frame, len);
}

void tcp_send_ack(struct tcp_flow *tf)
{
	uint64_t dropped = tf->f.net->stats.dropped;

	tcp_send_flags(tf, TCP_ACK, tf->snd_nxt);
	tf->ack_now = false;
	if (tf->f.net->stats.dropped != dropped) { /* no room: when there is */
		tf->ack_now = true;
		flow_queue(&tf->f);
	}
}

/* --- data --- */

static bool can_tso(const struct tcp_flow *tf)
{
	unsigned need = ip_is_v4(&tf->f.key.peer) ? NET_TAKES_TSO4 : NET_TAKES_TSO6;

	return tf->f.net->takes & need;
}

/* Bytes one frame may carry: whole segments. */
static uint32_t frame_room(const struct tcp_flow *tf)
{
	uint32_t most = IP_MAX_LEN - TCP_HDR_LEN - IP6_HDR_LEN;

	return can_tso(tf) && most > tf->mss ? most / tf->mss * tf->mss : tf->mss;
}

static void finish_checksum(struct out *o, size_t l4, size_t len)
{
	uint16_t csum;
	uint8_t be[2];

	csum = csum_finish(csum_add_iov(0, o->iov, o->n, l4, len));
	store_be16(be, csum);
	(void)iov_write(o->iov, o->n, l4 + 16, be, 2);
}

/* Headers for @n bytes already in place behind them, then off it goes. */
static void commit_data(struct tcp_flow *tf, struct out *o, size_t hlen, uint32_t n)
{
	struct net *net = tf->f.net;
	bool v4 = ip_is_v4(&tf->f.key.peer);
	size_t l4 = hlen - TCP_HDR_LEN;
	struct tcp_hdr h = { .seq = tf->snd_nxt,
		.ack = tf->rcv_nxt,
		.flags = TCP_ACK | TCP_PSH,
		.window = advertise(tf, false),
		.wscale = -1 };
	struct net_offload off = { 0 };
	uint8_t hdr[ETH_HDR_LEN + IP6_HDR_LEN + TCP_HDR_LEN];

	(void)put_headers(tf, hdr, &h, n);
	(void)iov_write(o->iov, o->n, 0, hdr, hlen);
	if (net->takes & NET_TAKES_CSUM) {
		off.flags = NET_HDR_NEEDS_CSUM;
		off.csum_start = (uint16_t)l4;
		off.csum_offset = 16;
	} else {
		finish_checksum(o, l4, TCP_HDR_LEN + (size_t)n);
	}
	if (n > tf->mss) {
		off.gso_type = v4 ? NET_GSO_TCP4 : NET_GSO_TCP6;
		off.gso_size = tf->mss;
		off.hdr_len = (uint16_t)hlen;
	}
	out_commit(net, o, &off, hlen + n);
	tf->ack_now = false;
}

/*
 * One frame of at most @want bytes. Return: bytes sent; 0 at the end of the stream; -EAGAIN nothing
 * there; -ENOBUFS no room (the flow is queued); -errno of the host socket.
 */
static ssize_t send_data(struct tcp_flow *tf, uint32_t want)
{
	struct net *net = tf->f.net;
	size_t hlen = ETH_HDR_LEN + ip_hdr_len(&tf->f.key.peer, false) + TCP_HDR_LEN;
	struct iovec body[NET_LINK_IOV];
	struct out o;
	unsigned n_body;
	ssize_t n;

	if (!out_begin(net, hlen + want, &o)) {
		flow_queue(&tf->f);
		return -ENOBUFS;
	}
	n_body = iov_slice(o.iov, o.n, hlen, want, body, NET_LINK_IOV);
	n = tcp_host_read(tf, tf->snd_nxt - tf->head_seq, body, n_body);
	if (n <= 0) {
		out_cancel(net);
		return n;
	}
	commit_data(tf, &o, hlen, (uint32_t)n);
	return n;
}

static void note_sent(struct tcp_flow *tf, uint32_t n, uint64_t now)
{
	if (tf->snd_nxt == tf->snd_una)
		tf->sent_ns = now;
	tf->snd_nxt += n;
	if (seq_lt(tf->snd_max, tf->snd_nxt)) {
		tf->snd_max = tf->snd_nxt;
		if (!tf->rtt_sent_ns) {
			tf->rtt_sent_ns = now;
			tf->rtt_seq = tf->snd_nxt;
		}
	} else {
		tf->f.net->stats.tcp_retransmits++;
	}
}

static void send_fin(struct tcp_flow *tf, uint64_t now)
{
	uint64_t dropped = tf->f.net->stats.dropped;

	tcp_send_flags(tf, TCP_FIN | TCP_ACK, tf->snd_nxt);
	if (tf->f.net->stats.dropped != dropped) {
		flow_queue(&tf->f);
		return;
	}
	tf->fin_known = tf->fin_sent = true;
	tf->fin_seq = tf->snd_nxt;
	tf->ack_now = false;
	note_sent(tf, 1, now);
}

/* How much may be sent now; 0: wait for the guest. */
static uint32_t sendable(const struct tcp_flow *tf)
{
	uint32_t flight = tf->snd_nxt - tf->snd_una, wnd = MIN_OF(tf->snd_wnd, tf->cwnd);
	uint32_t room = wnd > flight ? wnd - flight : 0;

	if (room < tf->mss && flight) /* no small change while an ACK is coming anyway */
		return 0;
	room = MIN_OF(room, frame_room(tf));
	return room > tf->mss ? room / tf->mss * tf->mss : room;
}

/* Ask for about what the last read gave: room for 64 KiB is dear when 100 bytes come. */
static void adapt_chunk(struct tcp_flow *tf, uint32_t asked, uint32_t got)
{
	if (got == asked)
		tf->chunk = MIN_OF(2 * tf->chunk, 65536u);
	else if (got < tf->chunk / 4)
		tf->chunk = MAX_OF(tf->chunk / 2, 2048u);
}

void tcp_push(struct tcp_flow *tf, uint64_t now)
{
	if (tf->fin_sent)
		return;
	for (unsigned i = 0; i < PUSH_BURST; i++) {
		uint32_t want = MIN_OF(sendable(tf), MAX_OF(tf->chunk, (uint32_t)tf->mss));
		ssize_t n;

		if (!want)
			return;
		n = send_data(tf, want);
		if (n == 0) {
			send_fin(tf, now);
			return;
		}
		if (n < 0) {
			if (n != -EAGAIN && n != -ENOBUFS)
				tcp_end(tf, true, true);
			return;
		}
		note_sent(tf, (uint32_t)n, now);
		adapt_chunk(tf, want, (uint32_t)n);
		/* less than asked for: more, or the end, will be told of (or was, by host_rdhup) */
		if ((uint32_t)n < want && !tf->host_rdhup && !tf->svc)
			return;
	}
	flow_queue(&tf->f);
}

void tcp_rewind(struct tcp_flow *tf, uint32_t cwnd)
{
	tf->ssthresh = tf->cwnd = cwnd;
	tf->snd_nxt = tf->snd_una;
	tf->fin_sent = false;
	tf->rtt_sent_ns = 0;
	flow_queue(&tf->f);
}

/* --- time --- */

enum wait { WAIT_DIAL, WAIT_SYN, WAIT_ACK, WAIT_WINDOW, WAIT_NAME, WAIT_IDLE };

static uint64_t rto_ns(const struct tcp_flow *tf)
{
	uint64_t rto = MAX_OF(2 * tf->srtt_ns + 200 * NS_PER_MS, RTO_MIN_NS);

	return MIN_OF(rto << MIN_OF(tf->retries, (uint8_t)10), RTO_MAX_NS);
}

/* What the flow waits for, and until when. */
static enum wait next_wait(const struct tcp_flow *tf, uint64_t *ret_at)
{
	enum wait what = WAIT_IDLE;

	if (tf->state == TCP_ST_DIALING) {
		*ret_at = tf->heard_ns + DIAL_PATIENCE_NS;
		return WAIT_DIAL;
	}
	if (tf->state != TCP_ST_OPEN) {
		*ret_at = tf->sent_ns + (NS_PER_S << tf->retries);
		return WAIT_SYN;
	}
	if (tf->snd_nxt != tf->snd_una) {
		*ret_at = tf->sent_ns + rto_ns(tf);
		what = WAIT_ACK;
	} else if (!tf->snd_wnd && !tf->fin_acked) {
		*ret_at = MAX_OF(tf->heard_ns, tf->sent_ns) +
			  MIN_OF((500 * NS_PER_MS) << MIN_OF(tf->backoff, (uint8_t)6), PROBE_NS);
		what = WAIT_WINDOW;
	} else {
		*ret_at = tf->probes ? tf->sent_ns + PROBE_NS : tf->heard_ns + IDLE_NS;
	}
	if (tf->inspect == INSPECT_WAIT && tf->inspect_until_ns < *ret_at) {
		*ret_at = tf->inspect_until_ns;
		what = WAIT_NAME;
	}
	return what;
}

void tcp_arm(struct tcp_flow *tf, uint64_t now)
{
	uint64_t at;

	(void)next_wait(tf, &at);
	flow_deadline(&tf->f, MAX_OF(at, now + NS_PER_MS));
}

static void repeat_syn(struct tcp_flow *tf, uint64_t now)
{
	if (tf->retries++ >= SYN_RETRIES_MAX) {
		tcp_end(tf, false, true);
		return;
	}
	tf->sent_ns = now;
	tcp_send_flags(tf, tf->state == TCP_ST_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK, tf->iss);
}

static void retransmit(struct tcp_flow *tf, uint64_t now)
{
	if (tf->retries++ >= RETRIES_MAX) {
		tcp_end(tf, true, true);
		return;
	}
	tf->sent_ns = now;
	tf->recover = tf->snd_max;
	tcp_rewind(tf, 2u * tf->mss);
}

/* An old number makes any living TCP say where it is; probes counts the unanswered ones. */
static void probe(struct tcp_flow *tf, uint64_t now)
{
	if (tf->probes++ >= PROBES_MAX) {
		tcp_end(tf, true, true);
		return;
	}
	tf->backoff++;
	tf->sent_ns = now;
	tcp_send_flags(tf, TCP_ACK, tf->snd_una - 1);
}

void tcp_on_deadline(struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	struct net *net = f->net;
	uint64_t now = clock_mono_ns(), at;
	enum wait what = next_wait(tf, &at);

	if (now >= at) {
		switch (what) {
		case WAIT_DIAL: /* the guest has lost interest */
			tcp_end(tf, false, true);
			break;
		case WAIT_SYN:
			repeat_syn(tf, now);
			break;
		case WAIT_NAME:
			tcp_inspect(tf, true);
			tcp_host_drain(tf);
			break;
		case WAIT_ACK:
			retransmit(tf, now);
			break;
		case WAIT_WINDOW:
		case WAIT_IDLE:
			probe(tf, now);
			break;
		}
	}
	tcp_run(f);
	out_flush(net);
}
