/* SPDX-License-Identifier: Apache-2.0 */
/* Segments from the guest, and the life of a flow. See tcp_internal.h for the idea. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/iov.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/tcp_internal.h"

/* --- life --- */

static void tcp_free(struct tcp_flow *tf)
{
	struct net *net = tf->f.net;
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (tf->state == TCP_ST_DIALING)
		net->dialing--;
	if (tf->svc)
		tf->svc->closed(tf);
	if (tf->f.fd >= 0 && tf->reset_host)
		(void)setsockopt(tf->f.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	net->held_bytes -= tf->held.len;
	tcp_ooo_free(tf);
	buf_release(&tf->held);
	buf_release(&tf->out);
	socks_free(tf->socks);
	flow_release(&tf->f);
	free(tf);
}

void tcp_drop(struct flow *f)
{
	if (!tcp_of(f)->dead)
		tcp_of(f)->reset_host = true;
	tcp_free(tcp_of(f));
}

void tcp_end(struct tcp_flow *tf, bool reset_guest, bool reset_host)
{
	if (tf->dead)
		return;
	if (reset_guest) {
		if (tf->state == TCP_ST_DIALING || tf->state == TCP_ST_SYN_SENT)
			tf->rcv_nxt = tf->irs + 1;
		tcp_send_flags(tf, TCP_RST | TCP_ACK, tf->snd_nxt);
	}
	tf->dead = true;
	tf->reset_host = reset_host;
	flow_queue(&tf->f);
}

static size_t tcp_limit(const struct net *net)
{
	int64_t max = net->config.max_tcp;

	return max <= 0 || max > TCP_FLOWS_MAX ? TCP_FLOWS_MAX : (size_t)max;
}

static struct tcp_flow *tcp_new(struct net *net, const struct flow_key *key, int fd)
{
	struct tcp_flow *tf = calloc(1, sizeof(*tf));

	if (!tf)
		return NULL;
	tf->f = (struct flow){ .key = *key, .fd = fd, .run = tcp_run };
	tf->iss = (uint32_t)net_random(net);
	tf->snd_una = tf->snd_nxt = tf->snd_max = tf->recover = tf->iss;
	tf->head_seq = tf->iss + 1;
	tf->cwnd = tf->ssthresh = TCP_CWND_NONE;
	tf->mss = TCP_MSS_UNSAID;
	tf->chunk = 4096;
	tf->heard_ns = tf->sent_ns = clock_mono_ns();
	if (flow_init(net, &tf->f, tcp_on_deadline) < 0) {
		free(tf);
		return NULL;
	}
	return tf;
}

/* The guest's SYN or SYN-ACK: what it offers and where it begins. */
static void take_syn(struct tcp_flow *tf, const struct tcp_hdr *h)
{
	size_t ip_len = ip_hdr_len(&tf->f.key.guest, false);
	uint16_t mss_max = (uint16_t)(tf->f.net->plan.mtu - ip_len - TCP_HDR_LEN);

	tf->irs = h->seq;
	tf->rcv_nxt = tf->rcv_adv = h->seq + 1;
	tf->mss = h->mss ? h->mss : TCP_MSS_UNSAID;
	tf->mss = MAX_OF(MIN_OF(tf->mss, mss_max), TCP_MSS_MIN);
	tf->snd_shift = h->wscale >= 0 ? (uint8_t)h->wscale : 0;
	tf->rcv_shift = h->wscale >= 0 ? TCP_RCV_SHIFT : 0;
	tf->snd_wnd = h->window; /* never scaled in a SYN */
}

/* RST for a segment that belongs to nothing (RFC 9293, 3.5.2). */
static void refuse(struct net *net, const struct pkt *p, const struct tcp_hdr *h, size_t len)
{
	struct flow_key key = {
		.guest = p->ip.src, .peer = p->ip.dst, .guest_port = h->sport, .peer_port = h->dport
	};
	struct tcp_flow nobody = { .f = { .key = key, .net = net } };

	if (h->flags & TCP_ACK) {
		tcp_send_flags(&nobody, TCP_RST, h->ack);
		return;
	}
	nobody.rcv_nxt = h->seq + (uint32_t)len + !!(h->flags & TCP_SYN) + !!(h->flags & TCP_FIN);
	tcp_send_flags(&nobody, TCP_RST | TCP_ACK, 0);
}

/* --- opening --- */

/* Should the guest's connection exist? Otherwise it was reported. */
static enum policy_verdict admit(struct net *net, const struct flow_key *k)
{
	enum net_deny_reason why = NET_DENY_POLICY;

	if (net->flows.kinds[FLOW_TCP].count >= tcp_limit(net))
		why = NET_DENY_LIMIT;
	else if (k->peer_port == 853)
		why = NET_DENY_BYPASS;
	else if (k->peer_port == 53)
		return POLICY_ALLOW; /* judged query by query */
	else
		return net_admit(net, POLICY_EGRESS, POLICY_TCP, &k->peer, true, k->peer_port,
			POLICY_NAME_DEFER, NULL)
			.verdict;
	net_denied(net, &(struct net_denial){ .reason = why,
				.proto = POLICY_TCP,
				.addr = k->peer,
				.port = k->peer_port,
				.rule = -1 });
	return POLICY_DENY;
}

/* May host data pass before the guest has said a name? If no name would be needed for it. */
static bool allowed_unnamed(struct net *net, const struct flow_key *k)
{
	struct policy_env env = net_policy_env(net);
	struct policy_flow flow = { .dir = POLICY_EGRESS,
		.proto = POLICY_TCP,
		.addr = k->peer,
		.has_port = true,
		.port = k->peer_port };

	return !net->config.strict &&
	       policy_eval(&net->config.policy, &env, &flow).verdict == POLICY_ALLOW;
}

static void open_outbound(struct net *net, const struct flow_key *key, const struct tcp_hdr *h,
	enum policy_verdict verdict)
{
	struct tcp_flow *tf = tcp_new(net, key, -1);
	int rc;

	if (!tf)
		return;
	net->dialing++;
	take_syn(tf, h);
	tf->early = true;
	if (verdict == POLICY_DEFER) {
		tf->inspect = INSPECT_WAIT;
		tf->early = allowed_unnamed(net, key);
	}
	if (key->peer_port == 53) {
		tf->svc = &dns_tcp_service;
		tcp_host_opened(tf);
	} else {
		rc = tcp_dial(tf);
		if (rc < 0)
			tcp_dial_failed(tf, -rc);
	}
	flow_queue(&tf->f);
}

static void new_connection(struct net *net, struct pkt *p, const struct tcp_hdr *h,
	const struct flow_key *key, size_t len)
{
	enum policy_verdict verdict;

	if (ip_classify(&key->peer) == IP_CLASS_MULTICAST || (p->eth.dst.b[0] & 1)) {
		net->stats.dropped++;
		return;
	}
	verdict = admit(net, key);
	if (verdict == POLICY_DENY)
		refuse(net, p, h, len);
	else if (net->dialing >= TCP_DIALS_MAX)
		net->stats.dropped++; /* the guest will ask again */
	else
		open_outbound(net, key, h, verdict);
}

void tcp_host_opened(struct tcp_flow *tf)
{
	struct net *net = tf->f.net;

	if (tf->state == TCP_ST_DIALING)
		net->dialing--;
	net->stats.tcp_opened++;
	tf->host_open = true;
	tf->state = TCP_ST_SYN_RCVD;
	tf->retries = 0;
	tf->sent_ns = clock_mono_ns();
	tcp_send_flags(tf, TCP_SYN | TCP_ACK, tf->iss);
	tf->snd_nxt = tf->snd_max = tf->iss + 1;
	flow_queue(&tf->f);
}

int tcp_open_inbound(struct net *net, int fd, const struct flow_key *key)
{
	struct tcp_flow *tf;
	int rc;

	if (flow_find(net, key) || net->flows.kinds[FLOW_TCP].count >= tcp_limit(net)) {
		(void)close(fd);
		return -EBUSY;
	}
	tf = tcp_new(net, key, fd);
	if (!tf) {
		(void)close(fd);
		return -ENOMEM;
	}
	tf->inbound = tf->host_open = tf->early = true;
	tf->state = TCP_ST_SYN_SENT;
	rc = tcp_host_adopt(tf);
	if (rc < 0) {
		tcp_drop(&tf->f);
		return rc;
	}
	tcp_send_flags(tf, TCP_SYN, tf->iss);
	tf->snd_nxt = tf->snd_max = tf->iss + 1;
	flow_queue(&tf->f);
	return 0;
}

static void established(struct tcp_flow *tf)
{
	tf->state = TCP_ST_OPEN;
	tf->snd_una = tf->iss + 1;
	tf->recover = tf->iss;
	tf->retries = 0;
	if (tf->inspect == INSPECT_WAIT)
		tf->inspect_until_ns = clock_mono_ns() + 5 * NS_PER_S;
}

/* --- segments of a known flow --- */

/* RFC 5961: only the exact number resets; anything else in the window is challenged. */
static void take_rst(struct tcp_flow *tf, const struct tcp_hdr *h)
{
	if (tf->state == TCP_ST_SYN_SENT) {
		if ((h->flags & TCP_ACK) && h->ack == tf->snd_nxt)
			tcp_end(tf, false, true);
	} else if (h->seq ==
		   tf->rcv_nxt) { /* also while dialling: strays of the port's last use come */
		tcp_end(tf, false, true);
	} else if (!seq_lt(h->seq, tf->rcv_nxt) && seq_lt(h->seq, tf->rcv_adv)) {
		tf->ack_now = true;
		flow_queue(&tf->f);
	}
}

/* A SYN for a flow that exists. */
static void take_syn_again(struct tcp_flow *tf, const struct tcp_hdr *h)
{
	switch (tf->state) {
	case TCP_ST_DIALING:
		tf->heard_ns = clock_mono_ns();
		if (h->seq != tf->irs) /* it gave up and starts over */
			take_syn(tf, h);
		return;
	case TCP_ST_SYN_SENT: /* SYN-ACK, or a simultaneous open */
		if ((h->flags & TCP_ACK) && h->ack != tf->iss + 1) {
			tcp_send_flags(tf, TCP_RST, h->ack);
			return;
		}
		take_syn(tf, h);
		if (h->flags & TCP_ACK) {
			established(tf);
			tf->ack_now = true;
		} else {
			tf->state = TCP_ST_SYN_RCVD;
			tcp_send_flags(tf, TCP_SYN | TCP_ACK, tf->iss);
		}
		break;
	case TCP_ST_SYN_RCVD:
		if (h->seq == tf->irs && !(h->flags & TCP_ACK))
			tcp_send_flags(tf, TCP_SYN | TCP_ACK, tf->iss);
		else
			tf->ack_now = true;
		break;
	case TCP_ST_OPEN:
		tf->ack_now = true;
		break;
	}
	flow_queue(&tf->f);
}

static void grow_cwnd(struct tcp_flow *tf, uint32_t acked)
{
	if (tf->cwnd == TCP_CWND_NONE)
		return;
	if (tf->cwnd < tf->ssthresh)
		tf->cwnd += acked;
	else
		tf->cwnd += MAX_OF(1u, (uint32_t)((uint64_t)tf->mss * acked / tf->cwnd));
	if (tf->cwnd > MIB(4)) /* the loss is long past */
		tf->cwnd = tf->ssthresh = TCP_CWND_NONE;
}

static void measure_rtt(struct tcp_flow *tf, uint64_t now)
{
	uint64_t rtt;

	if (!tf->rtt_sent_ns || seq_lt(tf->snd_una, tf->rtt_seq))
		return;
	rtt = now - tf->rtt_sent_ns;
	tf->srtt_ns = tf->srtt_ns ? (7 * tf->srtt_ns + rtt) / 8 : rtt;
	tf->rtt_sent_ns = 0;
}

static void take_new_ack(struct tcp_flow *tf, uint32_t ack, uint64_t now)
{
	uint32_t acked = ack - tf->snd_una;

	tf->snd_una = ack;
	if (seq_lt(tf->snd_nxt, ack))
		tf->snd_nxt = ack;
	tf->dupacks = tf->retries = 0;
	tf->sent_ns = now;
	measure_rtt(tf, now);
	grow_cwnd(tf, acked);
	if (tf->fin_known && ack == tf->fin_seq + 1)
		tf->fin_acked = tf->fin_sent = true;
}

/* Return: false if the segment is to be ignored. */
static bool take_ack(struct tcp_flow *tf, const struct tcp_hdr *h, size_t len, uint64_t now)
{
	uint32_t wnd = (uint32_t)h->window << tf->snd_shift;

	if (seq_lt(tf->snd_max, h->ack)) { /* for what was never sent */
		tf->ack_now = true;
		return false;
	}
	if (seq_lt(tf->snd_una, h->ack)) {
		take_new_ack(tf, h->ack, now);
	} else if (h->ack == tf->snd_una && !len && wnd == tf->snd_wnd &&
		   tf->snd_nxt != tf->snd_una && !(h->flags & TCP_FIN)) {
		if (++tf->dupacks == 3 && !seq_lt(tf->snd_una, tf->recover)) {
			tf->recover = tf->snd_max;
			tcp_rewind(tf, MAX_OF((tf->snd_nxt - tf->snd_una) / 2, 2u * tf->mss));
		}
	}
	if (!seq_lt(h->ack, tf->snd_una)) {
		if (wnd)
			tf->backoff = 0;
		tf->snd_wnd = wnd;
	}
	return true;
}

/* Payload and FIN, trimmed to what is new and inside the window. */
static void take_data(struct tcp_flow *tf, struct pkt *p, const struct tcp_hdr *h, size_t len)
{
	bool fin = h->flags & TCP_FIN;
	size_t off = p->ip.l4_off + h->hdr_len, skip, room, n;

	if (!len && !fin) {
		if (h->seq != tf->rcv_nxt) /* a keep-alive probe, or from outside the window */
			tf->ack_now = true;
		return;
	}
	tf->ack_now = true;
	if (tf->guest_fin)
		return;
	if (seq_lt(tf->rcv_nxt, h->seq)) { /* a hole before it: say what is expected */
		if (len && seq_le(h->seq + (uint32_t)len, tf->rcv_adv))
			tcp_ooo_put(tf, h->seq, p->iov, p->iov_n, off, len);
		return;
	}
	skip = tf->rcv_nxt - h->seq;
	if (skip > len || (skip == len && !fin))
		return; /* all of it known */
	off += skip;
	len -= skip;
	room = seq_lt(tf->rcv_nxt, tf->rcv_adv) ? tf->rcv_adv - tf->rcv_nxt : 0;
	n = len ? tcp_host_take(tf, p->iov, p->iov_n, off, MIN_OF(len, room)) : 0;
	tf->rcv_nxt += (uint32_t)n;
	if (n)
		tcp_ooo_drain(tf);
	if (!fin || n < len || tf->dead || tf->rcv_nxt != h->seq + skip + (uint32_t)len)
		return;
	tf->rcv_nxt++;
	tf->guest_fin = true;
	tcp_host_drain(tf);
}

static void take_segment(struct tcp_flow *tf, struct pkt *p, const struct tcp_hdr *h, size_t len)
{
	uint64_t now = clock_mono_ns();

	tf->heard_ns = now;
	tf->probes = 0;
	if (tf->state == TCP_ST_SYN_RCVD) {
		if (h->ack != tf->iss + 1) {
			tcp_send_flags(tf, TCP_RST, h->ack);
			return;
		}
		established(tf);
	}
	flow_queue(&tf->f);
	if (!take_ack(tf, h, len, now))
		return;
	take_data(tf, p, h, len);
}

static void known_flow(struct tcp_flow *tf, struct pkt *p, const struct tcp_hdr *h, size_t len)
{
	if (h->flags & TCP_RST)
		take_rst(tf, h);
	else if (h->flags & TCP_SYN)
		take_syn_again(tf, h);
	else if (!(h->flags & TCP_ACK))
		tf->f.net->stats.dropped++;
	else if (tf->state == TCP_ST_DIALING || tf->state == TCP_ST_SYN_SENT)
		tcp_send_flags(tf, TCP_RST, h->ack);
	else
		take_segment(tf, p, h, len);
}

/*
 * A SYN with another number in an open connection: its RST was lost and the port is used again.
 * RFC 5961 has it challenged, against forgers; here nobody but the guest itself is on the link, and
 * the challenge would cost it a second.
 */
static bool is_restart(const struct tcp_flow *tf, const struct tcp_hdr *h)
{
	return tf->state == TCP_ST_OPEN && h->seq != tf->irs &&
	       (h->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

void tcp_input(struct net *net, struct pkt *p)
{
	struct flow_key key = { .guest = p->ip.src, .peer = p->ip.dst, .kind = FLOW_TCP };
	struct tcp_flow *tf;
	struct tcp_hdr h;
	size_t len;

	if (tcp_read(p->hdr, p->hdr_len, &p->ip, &h) < 0) {
		net->stats.malformed++;
		return;
	}
	len = p->ip.l4_len - h.hdr_len;
	key.guest_port = h.sport;
	key.peer_port = h.dport;
	tf = tcp_of(flow_find(net, &key));
	if (tf && (tf->dead || is_restart(tf, &h))) {
		tcp_drop(&tf->f);
		tf = NULL;
	}
	if (tf)
		known_flow(tf, p, &h, len);
	else if ((h.flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		new_connection(net, p, &h, &key, len);
	else if (!(h.flags & TCP_RST))
		refuse(net, p, &h, len);
}

/* --- running --- */

/* May bytes go to the guest? Not before a name that policy asks for has been judged. */
static bool may_answer(const struct tcp_flow *tf)
{
	return tf->early || tf->inspect == INSPECT_OFF ||
	       (tf->inspect == INSPECT_REQUESTS && tf->http.any);
}

static void discard_acked(struct tcp_flow *tf)
{
	uint32_t end = tf->fin_acked ? tf->fin_seq : tf->snd_una;

	if (tf->state == TCP_ST_OPEN && seq_lt(tf->head_seq, end))
		tcp_host_discard(tf, end - tf->head_seq);
}

void tcp_run(struct flow *f)
{
	struct tcp_flow *tf = tcp_of(f);
	uint64_t now = clock_mono_ns();

	if (!tf->dead && tf->state == TCP_ST_OPEN) {
		discard_acked(tf);
		if (tf->svc)
			tf->svc->input(tf);
		if (tf->inspect == INSPECT_REQUESTS)
			tcp_inspect_answer(tf);
		if (!tf->dead && may_answer(tf))
			tcp_push(tf, now);
		if (!tf->dead && tf->ack_now)
			tcp_send_ack(tf);
		if (tf->guest_fin && tf->host_shut && tf->fin_acked)
			tf->dead = true; /* both directions have ended */
	}
	if (tf->dead)
		tcp_free(tf);
	else
		tcp_arm(tf, now);
}
