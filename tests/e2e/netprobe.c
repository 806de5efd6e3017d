/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest can do with its network, one request per line of standard input, one answer per line
 * of standard output; test_network.py drives it. Bytes travel as hexadecimal digits, "-" for none.
 *
 *	tcp HOST PORT MS HEX	connect, send, half-close, read to the end: "ok HEX"
 *	udp HOST PORT MS HEX	send a datagram, wait for one: "ok HEX"
 *	resolve NAME		by the C library: "ok ADDRESS..."
 *	serve PORT		echo on TCP and UDP, both families, from now on: "ok"
 *	sh COMMAND		"ok HEX" of its outputs
 *
 * Otherwise "timeout", or "error" with an errno's name.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MAX 100000

static unsigned char data[MAX];
static char line[3 * MAX];

static void answer(int code)
{
	static const struct {
		int code;
		const char *name;
	} names[] = { { ECONNREFUSED, "ECONNREFUSED" }, { ECONNRESET, "ECONNRESET" },
		{ EHOSTUNREACH, "EHOSTUNREACH" }, { ENETUNREACH, "ENETUNREACH" },
		{ ETIMEDOUT, "ETIMEDOUT" }, { EPIPE, "EPIPE" }, { EACCES, "EACCES" } };

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].code == code) {
			printf("error %s\n", names[i].name);
			return;
		}
	}
	if (code == EAGAIN)
		printf("timeout\n");
	else
		printf("error %d %s\n", code, strerror(code));
}

static void answer_bytes(size_t len)
{
	printf("ok ");
	for (size_t i = 0; i < len; i++)
		printf("%02x", data[i]);
	printf(len ? "\n" : "-\n");
}

static int from_hex(const char *hex, size_t *len)
{
	unsigned v;

	for (*len = 0; *len < MAX && sscanf(hex + 2 * *len, "%2x", &v) == 1; (*len)++)
		data[*len] = (unsigned char)v;
	return 0;
}

static int connect_to(const char *host, const char *port, int type, int ms)
{
	struct addrinfo hint = { .ai_socktype = type, .ai_flags = AI_NUMERICHOST }, *ai;
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
	int fd, code = 0;
	socklen_t len = sizeof(code);

	if (getaddrinfo(host, port, &hint, &ai) != 0)
		return -EINVAL;
	fd = socket(ai->ai_family, type | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
		struct pollfd p = { fd, POLLOUT, 0 };

		code = errno;
		if (code == EINPROGRESS) {
			if (poll(&p, 1, ms) == 0)
				code = EAGAIN;
			else
				(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len);
		}
	}
	freeaddrinfo(ai);
	if (code) {
		(void)close(fd);
		return -code;
	}
	(void)fcntl(fd, F_SETFL, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static int exchange_tcp(int fd, size_t *len)
{
	size_t got = 0;
	ssize_t n = 1;

	for (size_t sent = 0; sent < *len; sent += (size_t)n) {
		n = send(fd, data + sent, *len - sent, MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
	}
	if (shutdown(fd, SHUT_WR) < 0)
		return -errno;
	while (got < MAX && (n = recv(fd, data + got, MAX - got, 0)) > 0)
		got += (size_t)n;
	*len = got;
	return n < 0 ? -errno : 0;
}

static int exchange_udp(int fd, size_t *len)
{
	ssize_t n;

	if (send(fd, data, *len, 0) < 0 || (n = recv(fd, data, MAX, 0)) < 0)
		return -errno;
	*len = (size_t)n;
	return 0;
}

static void talk(int type, const char *host, const char *port, int ms, const char *hex)
{
	int fd = connect_to(host, port, type, ms), ret = fd;
	size_t len;

	if (fd >= 0) {
		(void)from_hex(hex, &len);
		ret = type == SOCK_STREAM ? exchange_tcp(fd, &len) : exchange_udp(fd, &len);
		(void)close(fd);
	}
	if (ret < 0)
		answer(-ret);
	else
		answer_bytes(len);
}

static void resolve(const char *name)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
	char text[INET6_ADDRSTRLEN];
	int ret = getaddrinfo(name, NULL, &hint, &ai);

	if (ret != 0) {
		printf("error %s\n", ret == EAI_NONAME	? "NONAME"
				     : ret == EAI_AGAIN ? "AGAIN"
							: "OTHER");
		return;
	}
	printf("ok");
	for (struct addrinfo *a = ai; a; a = a->ai_next) {
		(void)getnameinfo(
			a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
		printf(" %s", text);
	}
	printf("\n");
	freeaddrinfo(ai);
}

/* A process per server, and per connection. */
static int listen_on(int type, const char *port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET6, type, 0), off = 0;

	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 ||
		(type == SOCK_STREAM && listen(fd, 64) < 0))
		return -errno;
	return fd;
}

static void echo_udp(int fd)
{
	struct sockaddr_storage peer;

	for (;;) {
		socklen_t len = sizeof(peer);
		ssize_t n = recvfrom(fd, data, MAX, 0, (struct sockaddr *)&peer, &len);

		if (n >= 0)
			(void)sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&peer, len);
	}
}

static void echo_tcp(int fd)
{
	ssize_t n;

	for (;;) {
		int client = accept(fd, NULL, NULL);

		if (client < 0 || fork() != 0) {
			(void)close(client);
			continue;
		}
		while ((n = read(client, data, MAX)) > 0)
			(void)!write(client, data, (size_t)n);
		_exit(0);
	}
}

static void serve(const char *port)
{
	int udp = listen_on(SOCK_DGRAM, port), tcp = listen_on(SOCK_STREAM, port);

	if (udp < 0 || tcp < 0) {
		answer(udp < 0 ? -udp : -tcp);
		return;
	}
	if (fork() == 0)
		echo_udp(udp);
	if (fork() == 0)
		echo_tcp(tcp);
	(void)close(udp);
	(void)close(tcp);
	printf("ok\n");
}

static void run_shell(const char *command)
{
	FILE *f;
	size_t len;

	(void)setenv("COMMAND", command, 1);
	f = popen("eval \"$COMMAND\" 2>&1", "r");
	len = f ? fread(data, 1, MAX, f) : 0;
	if (f)
		(void)pclose(f);
	answer_bytes(len);
}

static void handle(char *request)
{
	char *rest = request, *word = strsep(&rest, " "), *arg[4];

	if (strcmp(word, "sh") == 0 && rest) {
		run_shell(rest);
		return;
	}
	for (int i = 0; i < 4; i++) {
		arg[i] = strsep(&rest, " ");
		if (!arg[i])
			arg[i] = (char *)"";
	}
	if (strcmp(word, "tcp") == 0)
		talk(SOCK_STREAM, arg[0], arg[1], atoi(arg[2]), arg[3]);
	else if (strcmp(word, "udp") == 0)
		talk(SOCK_DGRAM, arg[0], arg[1], atoi(arg[2]), arg[3]);
	else if (strcmp(word, "resolve") == 0)
		resolve(arg[0]);
	else if (strcmp(word, "serve") == 0)
		serve(arg[0]);
	else
		printf("error unknown request\n");
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	printf("ready\n");
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		handle(line);
		(void)fflush(stdout);
	}
	return 0;
}
