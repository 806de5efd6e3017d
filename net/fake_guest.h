/* SPDX-License-Identifier: Apache-2.0 */
/* A guest for tests: a link in plain memory that keeps the last frames sent to it. */
#ifndef NET_FAKE_GUEST_H
#define NET_FAKE_GUEST_H

#include "lib/loop.h"
#include "net/net.h"
#include "net/packet.h"

#define FAKE_KEEP 32

struct fake_guest {
	struct loop *loop;
	struct net *net;
	struct net_plan plan;
	bool no_room;
	unsigned n_got; /* frames so far; the last FAKE_KEEP are in got[] */
	struct {
		size_t len;
		struct net_offload off;
		uint8_t bytes[2048]; /* the first ones */
	} got[FAKE_KEEP];
	uint8_t room[FRAME_MAX_LEN + 64];
	struct net_denial last_denial;
	unsigned denials, resumes;
};

/*
 * fake_guest_init() - a stack for sandbox slot 0 with @rules (--net-rule text) as its policy
 * @config_json: further configuration, or NULL
 * Return: 0; -errno
 */
int fake_guest_init(struct fake_guest *g, const char *rules, const char *config_json);
void fake_guest_release(struct fake_guest *g);

/* fake_send() - a frame; the batch is ended if @done. Return: as net_from_guest(). */
int fake_send(struct fake_guest *g, const uint8_t *frame, size_t len, bool done);

/* fake_tcp() - a segment from the guest's @sport to @dst:@dport. */
void fake_tcp(struct fake_guest *g, const struct ip_addr *dst, const struct tcp_hdr *h,
	const void *payload, size_t len);

/* fake_udp() - a datagram from the guest. */
void fake_udp(struct fake_guest *g, const struct ip_addr *dst, uint16_t sport, uint16_t dport,
	const void *payload, size_t len);

/* fake_last() - the frame got @back frames ago (0: the last), or NULL. */
const uint8_t *fake_last(const struct fake_guest *g, unsigned back, size_t *ret_len);

/* fake_last_tcp() - the same as a TCP segment. Return: payload length, -1 if it is something else.
 */
int fake_last_tcp(const struct fake_guest *g, unsigned back, struct tcp_hdr *ret);

#endif
