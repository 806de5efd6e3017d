/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names in a connection that policy allows or denies by name. The first bytes from the guest are
 * held until they have told the name or that there is none; what could still tell one when time is
 * up is refused, because the rest might. HTTP/1 connections serve one host after another, so there
 * every request is held until it has been judged, until the server makes it a tunnel.
 */
#include "net/inspect.h"
#include "net/tcp_internal.h"

#define ANSWER_LEN 12 /* "HTTP/1.1 200" */

static void report_strict(struct tcp_flow *tf, const char *name, int rule)
{
	net_denied(tf->f.net, &(struct net_denial){ .reason = NET_DENY_STRICT,
				      .proto = POLICY_TCP,
				      .addr = tf->f.key.peer,
				      .port = tf->f.key.peer_port,
				      .name = name,
				      .rule = rule });
}

/* The name is known (NULL: it is known that none comes). Return: may it pass? */
static bool judge(struct tcp_flow *tf, bool http, const char *name)
{
	struct net *net = tf->f.net;
	const struct flow_key *k = &tf->f.key;
	struct policy_answer a = net_admit(net, POLICY_EGRESS, POLICY_TCP, &k->peer, true,
		k->peer_port, name ? POLICY_NAME_SNI : POLICY_NAME_CACHE, name);
	const struct policy_rule *r = a.rule < 0 ? NULL : &net->config.policy.rules[a.rule];
	bool by_name = r && (r->dest == POLICY_DOMAIN || r->dest == POLICY_SUFFIX);

	if (a.verdict == POLICY_ALLOW && net->config.strict && by_name && !(http && name)) {
		report_strict(tf, name, a.rule);
		a.verdict = POLICY_DENY;
	}
	if (a.verdict != POLICY_ALLOW)
		tcp_end(tf, true, true);
	return a.verdict == POLICY_ALLOW;
}

static void refuse_unclear(struct tcp_flow *tf)
{
	report_strict(tf, NULL, -1);
	tcp_end(tf, true, true);
}

/* As many requests as are held whole. */
static void walk_requests(struct tcp_flow *tf)
{
	struct http_request req;
	enum http_event event;

	do {
		size_t n = http_next(&tf->http, buf_head(&tf->held) + tf->cleared,
			tf->held.len - tf->cleared, &event, &req);

		if (event == HTTP_BAD) {
			refuse_unclear(tf);
			return;
		}
		if (event == HTTP_REQUEST && !judge(tf, true, *req.name ? req.name : NULL))
			return;
		tf->cleared += n;
	} while (event == HTTP_REQUEST && tf->cleared < tf->held.len);
	if (tf->http.state == HTTP_TUNNEL) {
		tf->inspect = INSPECT_OFF;
		tf->cleared = 0;
	}
}

static void inspect_requests(struct tcp_flow *tf, bool late)
{
	bool waiting;

	if (tf->held.len > tf->cleared)
		walk_requests(tf);
	waiting = tf->http.state == HTTP_WAIT;
	if (late && !tf->dead && !waiting && tf->inspect == INSPECT_REQUESTS &&
		tf->held.len > tf->cleared)
		refuse_unclear(tf); /* half a request, and then the end */
}

static void inspect_first(struct tcp_flow *tf, bool late)
{
	char name[NAME_BUF];
	enum inspect_result found = inspect_first_bytes(buf_head(&tf->held), tf->held.len, name);

	if (found == INSPECT_MORE && tf->held.len >= INSPECT_MAX) {
		refuse_unclear(tf);
		return;
	}
	if (found == INSPECT_MORE && !late)
		return;
	if (found == INSPECT_MORE && tf->held.len && !tf->guest_fin) {
		refuse_unclear(tf);
		return;
	}
	if (found == INSPECT_HTTP)
		tf->inspect = INSPECT_REQUESTS;
	else if (judge(tf, false, found == INSPECT_TLS_NAME ? name : NULL))
		tf->inspect = INSPECT_OFF;
}

void tcp_inspect(struct tcp_flow *tf, bool late)
{
	if (tf->dead)
		return;
	if (tf->inspect == INSPECT_WAIT)
		inspect_first(tf, late);
	if (tf->inspect == INSPECT_REQUESTS && !tf->dead)
		inspect_requests(tf, late && tf->guest_fin);
	flow_queue(&tf->f);
}

void tcp_inspect_answer(struct tcp_flow *tf)
{
	uint8_t start[ANSWER_LEN] = { 0 };
	struct iovec iov = { start, sizeof(start) };
	ssize_t n;

	if (tf->http.state != HTTP_WAIT)
		return;
	if (tf->head_seq != tf->iss + 1) { /* gone before it was whole */
		http_answered(&tf->http, start, 0);
	} else {
		n = tcp_host_read(tf, 0, &iov, 1);
		if (n < 0 || (n < ANSWER_LEN && !tf->host_rdhup))
			return;
		http_answered(&tf->http, start, (size_t)n);
	}
	tcp_inspect(tf, tf->guest_fin);
	tcp_host_drain(tf);
}
