/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sessions, shared between those that go straight out and those that take a SOCKS5 proxy. */
#ifndef NET_UDP_INTERNAL_H
#define NET_UDP_INTERNAL_H

#include "net/net_internal.h"

struct udp_relay;

struct udp_flow {
	struct flow
		f; /* fd: connected to the peer, or to the proxy's relay; -1 until there is one */
	uint8_t ttl;
	struct udp_relay *relay; /* NULL: no proxy */
};

/* --- udp.c --- */

/* udp_listen() - wait for datagrams on uf->f.fd. Return: 0, -errno. */
int udp_listen(struct udp_flow *uf);

/* --- udp_proxy.c --- */

/* udp_relay_open() - begin to ask the proxy for a relay. Return: 0, -errno. */
int udp_relay_open(struct udp_flow *uf);
void udp_relay_free(struct udp_flow *uf);
/*
 * udp_relay_send() - a datagram from the guest; kept until the relay is known, within bounds
 * @seg: cut the payload in pieces of this size; 0: do not
 */
void udp_relay_send(struct udp_flow *uf, const struct iovec *iov, unsigned n, size_t seg);
/* udp_relay_receive() - one datagram to the guest. Return: false when there is none. */
bool udp_relay_receive(struct udp_flow *uf);

#endif
