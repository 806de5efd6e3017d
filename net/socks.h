/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of SOCKS4 and SOCKS5 (RFC 1928, RFC 1929), asked by address only, over a
 * non-blocking socket that belongs to the caller.
 */
#ifndef NET_SOCKS_H
#define NET_SOCKS_H

#include "net/config.h"

struct socks;

enum socks_command { SOCKS_CONNECT = 1, SOCKS_ASSOCIATE = 3 };

/*
 * socks_start() - say hello on the connected socket @fd
 * @proxy: borrowed until socks_free()
 * @dst:   where to connect to; for SOCKS_ASSOCIATE where the datagrams come from, or zero
 * Return: 0 and *ret, for socks_free(); -ENETUNREACH for what the protocol cannot reach; -errno
 */
int socks_start(const struct net_proxy *proxy, enum socks_command command,
	const struct ip_port *dst, int fd, struct socks **ret);

/*
 * socks_run() - go on as far as @fd lets it; not a byte behind the proxy's last answer is read
 * Return: 1 done; 0 more to come; -errno: what connect() would have said, -EACCES, -EPROTO
 */
int socks_run(struct socks *s, int fd);

/* socks_bound() - after 1: the address the proxy gave; zero for one that is a name. */
const struct ip_port *socks_bound(const struct socks *s);

void socks_free(struct socks *s); /* NULL is fine */

#define SOCKS_UDP_MAX 22 /* length of the header in front of each datagram */

/* socks_put_udp() - the header for a datagram to @to. Return: its length. */
size_t socks_put_udp(uint8_t dst[SOCKS_UDP_MAX], const struct ip_port *to);

/* socks_read_udp() - Return: length of the header; -EBADMSG, also for fragments and names. */
int socks_read_udp(const uint8_t *p, size_t len, struct ip_port *ret_from);

#endif
