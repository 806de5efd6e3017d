/* SPDX-License-Identifier: Apache-2.0 */
/* Host datagram sockets: opened connected, with ICMP errors readable from their error queue. */
#include <errno.h>
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/ip.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "net/net_internal.h"

int sock_datagram(const struct ip_addr *dst, uint16_t port, int proto)
{
	bool v4 = ip_is_v4(dst);
	cleanup_fd int fd = -1;
	struct sockaddr_storage ss;
	socklen_t len = ip_to_sockaddr(dst, port, &ss);
	int one = 1;

	fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, proto);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, &one,
		sizeof(one));
	if (connect(fd, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	return take_fd(&fd);
}

void sock_set_ttl(int fd, bool v4, uint8_t ttl)
{
	int value = ttl;

	(void)setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS,
		&value, sizeof(value));
}

static int error_of_icmp4(uint8_t type, uint8_t code)
{
	if (type == ICMP4_TIME_EXCEEDED)
		return ICMP_TTL_EXCEEDED;
	if (type != ICMP4_UNREACH)
		return -1;
	switch (code) {
	case 0:
		return ICMP_NET_UNREACH;
	case 3:
		return ICMP_PORT_UNREACH;
	case 4:
		return ICMP_TOO_BIG;
	case 9:
	case 10:
	case 13:
		return ICMP_PROHIBITED;
	default:
		return ICMP_HOST_UNREACH;
	}
}

static int error_of_icmp6(uint8_t type, uint8_t code)
{
	if (type == ICMP6_TIME_EXCEEDED)
		return ICMP_TTL_EXCEEDED;
	if (type == ICMP6_TOO_BIG)
		return ICMP_TOO_BIG;
	if (type != ICMP6_UNREACH)
		return -1;
	if (code == 4)
		return ICMP_PORT_UNREACH;
	if (code == 1)
		return ICMP_PROHIBITED;
	return code == 0 ? ICMP_NET_UNREACH : ICMP_HOST_UNREACH;
}

static void read_extended(const struct cmsghdr *c, struct sock_error *ret)
{
	struct {
		struct sock_extended_err e;
		struct sockaddr_storage from;
	} m;
	uint16_t port;

	memset(&m, 0, sizeof(m));
	memcpy(&m, CMSG_DATA(c), MIN_OF(sizeof(m), c->cmsg_len - CMSG_LEN(0)));
	if (m.e.ee_origin == SO_EE_ORIGIN_ICMP)
		ret->icmp = error_of_icmp4(m.e.ee_type, m.e.ee_code);
	else if (m.e.ee_origin == SO_EE_ORIGIN_ICMP6)
		ret->icmp = error_of_icmp6(m.e.ee_type, m.e.ee_code);
	else
		ret->icmp = icmp_error_of_errno((int)m.e.ee_errno);
	ret->mtu = m.e.ee_info;
	if (m.e.ee_origin != SO_EE_ORIGIN_LOCAL)
		(void)ip_from_sockaddr(&m.from, &ret->offender, &port);
}

bool sock_next_error(int fd, struct sock_error *ret)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[512];
	} control;
	uint8_t sent[8] = {
		0
	}; /* the beginning of what was sent: of a ping socket, an echo header */
	struct iovec iov = { sent, sizeof(sent) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	*ret = (struct sock_error){ .icmp = -1 };
	if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return false;
	ret->echo_seq = load_be16(sent + 6);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
			(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			read_extended(c, ret);
	}
	return true;
}
