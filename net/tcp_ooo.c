/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments that came before their turn. On the real link none do; a lossy one would crawl without
 * them. A sorted list, bounded in pieces and bytes, which count as held bytes of the sandbox.
 */
#include <stdlib.h>

#include "lib/iov.h"
#include "lib/num.h"
#include "net/tcp_internal.h"

#define OOO_BYTES_MAX  (512 * 1024)
#define OOO_PIECES_MAX 512

struct ooo {
	struct ooo *next;
	uint32_t seq;
	size_t len;
	uint8_t data[];
};

static void drop_first(struct tcp_flow *tf)
{
	struct ooo *o = tf->ooo;

	tf->ooo = o->next;
	tf->ooo_bytes -= o->len;
	tf->f.net->held_bytes -= o->len;
	free(o);
}

void tcp_ooo_free(struct tcp_flow *tf)
{
	while (tf->ooo)
		drop_first(tf);
}

void tcp_ooo_put(struct tcp_flow *tf, uint32_t seq, const struct iovec *iov, unsigned n, size_t off,
	size_t len)
{
	struct ooo **at = &tf->ooo, *o;
	unsigned pieces = 0;

	while (*at && seq_lt((*at)->seq, seq)) {
		at = &(*at)->next;
		pieces++;
	}
	if ((*at && (*at)->seq == seq && (*at)->len >= len) || pieces >= OOO_PIECES_MAX ||
		tf->ooo_bytes + len > OOO_BYTES_MAX || tf->f.net->held_bytes + len > HELD_BYTES_MAX)
		return;
	o = malloc(sizeof(*o) + len);
	if (!o)
		return;
	o->next = *at;
	o->seq = seq;
	o->len = iov_read(iov, n, off, o->data, len);
	*at = o;
	tf->ooo_bytes += o->len;
	tf->f.net->held_bytes += o->len;
}

void tcp_ooo_drain(struct tcp_flow *tf)
{
	while (tf->ooo && !tf->dead && seq_le(tf->ooo->seq, tf->rcv_nxt)) {
		size_t skip = tf->rcv_nxt - tf->ooo->seq, taken = 0, want;
		struct iovec iov = { tf->ooo->data, tf->ooo->len };

		want = tf->ooo->len - MIN_OF(skip, tf->ooo->len);
		if (want)
			taken = tcp_host_take(tf, &iov, 1, skip, want);
		tf->rcv_nxt += (uint32_t)taken;
		drop_first(tf);
		if (taken < want)
			return;
	}
}
