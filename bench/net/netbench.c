/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netbench - small requests, for bench/net/run
 *
 *	netbench serve PORT                   answers every byte with a byte (TCP and UDP)
 *	netbench rr HOST PORT SECONDS         request latency on one connection
 *	netbench crr HOST PORT SECONDS        connect, one request, close
 *	netbench udp HOST PORT SECONDS        datagram there and back
 *
 * Clients print "count p50_us p99_us".
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"

#define SAMPLES_MAX 4000000

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	(void)inet_pton(AF_INET, host, &sa.sin_addr);
	return sa;
}

static int dial(const struct sockaddr_in *sa, int kind)
{
	struct linger now = { 1, 0 };
	int fd = socket(AF_INET, kind, 0), one = 1;

	if (fd < 0 || connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0) {
		perror("connect");
		exit(1);
	}
	if (kind == SOCK_STREAM) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* no TIME_WAIT: a bench must not run out of ports */
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	return fd;
}

static int ping(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte = 'x';

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || poll(&p, 1, 1000) != 1)
		return -1; /* a datagram may be lost */
	return recv(fd, &byte, 1, 0) == 1 ? 0 : -1;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int client(const char *mode, const struct sockaddr_in *sa, double seconds)
{
	uint32_t *ns = malloc(SAMPLES_MAX * sizeof(*ns));
	uint64_t end = clock_mono_ns() + (uint64_t)(seconds * 1e9), t;
	int crr = !strcmp(mode, "crr"), kind = strcmp(mode, "udp") ? SOCK_STREAM : SOCK_DGRAM;
	int fd = crr ? -1 : dial(sa, kind);
	size_t n = 0;

	for (t = clock_mono_ns(); ns && t < end && n < SAMPLES_MAX;) {
		uint64_t now;

		if (crr)
			fd = dial(sa, kind);
		if (ping(fd) == 0 && (now = clock_mono_ns()) > t)
			ns[n++] = (uint32_t)(now - t);
		if (crr)
			(void)close(fd);
		t = clock_mono_ns();
	}
	if (!n)
		return 1;
	qsort(ns, n, sizeof(*ns), by_value);
	size_t p50 = n / 2, p99 = n / 100 * 99;

	printf("%zu %.1f %.1f\n", n, (double)ns[p50] / 1e3, (double)ns[p99] / 1e3);
	free(ns);
	return 0;
}

static void answer(int ep, int fd, int listener, int datagram)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char byte;

	if (fd == listener) {
		ev.data.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		if (ev.data.fd >= 0)
			(void)epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev);
	} else if (fd == datagram) {
		if (recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &len) >= 0)
			(void)sendto(fd, &byte, 1, 0, (struct sockaddr *)&from, len);
	} else if (recv(fd, &byte, 1, 0) != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1) {
		(void)close(fd);
	}
}

static int serve(const char *port)
{
	struct sockaddr_in sa = address("0.0.0.0", port);
	int one = 1, ep = epoll_create1(0), l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int d = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct epoll_event ev = { .events = EPOLLIN };

	(void)setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(l, 4096) < 0 ||
		bind(d, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		perror("listen");
		return 1;
	}
	ev.data.fd = l;
	(void)epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
	ev.data.fd = d;
	(void)epoll_ctl(ep, EPOLL_CTL_ADD, d, &ev);
	for (;;) {
		struct epoll_event got[64];
		int n = epoll_wait(ep, got, 64, -1);

		for (int i = 0; i < n; i++)
			answer(ep, got[i].data.fd, l, d);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa;

	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc != 5) {
		fprintf(stderr, "usage: netbench serve PORT | rr|crr|udp HOST PORT SECONDS\n");
		return 2;
	}
	sa = address(argv[2], argv[3]);
	return client(argv[1], &sa, atof(argv[4]));
}
