/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over TCP from the guest: messages with a length of two bytes in front (RFC 7766). Queries are
 * answered as their answers come, in any order; the number in work per connection is bounded.
 */
#include "lib/num.h"
#include "net/dns.h"

#define IN_WORK_MAX 32
#define OUT_MAX	    (256 * 1024)

/* The number of queries in work is all there is to know. */
static uintptr_t in_work(const struct tcp_flow *tf)
{
	return (uintptr_t)tf->svc_ctx;
}

static void set_in_work(struct tcp_flow *tf, uintptr_t n)
{
	tf->svc_ctx = (void *)n;
}

/* One message from the front of what has come. Return: false when there is no whole one. */
static bool take_message(struct tcp_flow *tf)
{
	struct net *net = tf->f.net;
	size_t len;

	if (tf->held.len < 2)
		return false;
	len = load_be16(buf_head(&tf->held));
	if (tf->held.len < 2 + len)
		return false;
	/* dns_query() copies what it keeps, and cannot reach this buffer */
	set_in_work(tf, in_work(tf) + 1);
	if (!dns_query(net, &tf->f.key, tf, buf_head(&tf->held) + 2, len))
		set_in_work(tf, in_work(tf) - 1);
	tcp_held_consume(tf, 2 + len);
	return true;
}

static void input(struct tcp_flow *tf)
{
	tf->out.max = OUT_MAX;
	while (!tf->dead && in_work(tf) < IN_WORK_MAX && tf->out.len < OUT_MAX / 2 &&
		take_message(tf))
		;
	if (tf->guest_fin && !in_work(tf) && !tf->svc_eof)
		tcp_svc_finish(tf);
}

void dns_tcp_answer(struct tcp_flow *tf, const uint8_t *msg, size_t len)
{
	uint8_t prefix[2];

	store_be16(prefix, (uint16_t)len);
	set_in_work(tf, in_work(tf) - 1);
	if (tcp_svc_send(tf, prefix, 2) < 0 || tcp_svc_send(tf, msg, len) < 0)
		tcp_end(tf, true, true);
	flow_queue(&tf->f);
}

static void closed(struct tcp_flow *tf)
{
	dns_forget(tf->f.net, tf);
}

const struct tcp_service dns_tcp_service = { .input = input, .closed = closed };
