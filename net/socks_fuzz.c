/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a SOCKS proxy answers, all at once, and as a datagram from its relay. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/num.h"
#include "net/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void converse(
	const struct net_proxy *proxy, enum socks_command command, const uint8_t *data, size_t len)
{
	struct ip_port dst = { .addr = IP_V4(203, 0, 113, 5), .port = 80 };
	struct socks *s = NULL;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) < 0)
		return;
	if (len && write(fd[1], data, len) != (ssize_t)len)
		abort();
	if (socks_start(proxy, command, &dst, fd[0], &s) == 0) {
		(void)socks_run(s, fd[0]);
		(void)socks_bound(s);
	}
	socks_free(s);
	(void)close(fd[0]);
	(void)close(fd[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char user[] = "u", password[] = "p";
	struct net_proxy four = { .kind = NET_PROXY_SOCKS4 };
	struct net_proxy five = { .kind = NET_PROXY_SOCKS5 };
	struct net_proxy auth = { .kind = NET_PROXY_SOCKS5, .user = user, .password = password };
	struct ip_port from;
	int n = socks_read_udp(data, len, &from);

	if (n > (int)len || (n >= 0 && n < 10))
		abort();
	len = MIN_OF(len, (size_t)1024);
	converse(&four, SOCKS_CONNECT, data, len);
	converse(&five, SOCKS_CONNECT, data, len);
	converse(&five, SOCKS_ASSOCIATE, data, len);
	converse(&auth, SOCKS_CONNECT, data, len);
	return 0;
}
