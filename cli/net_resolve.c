/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getaddrinfo() knows no deadline. It runs in a child that can be killed; a thread could not be,
 * and would still be there when the sandbox's process is forked.
 */
#include "cli/net_resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

/* struct finding - what the child writes, in one piece; @code: EAI_* */
struct finding {
	int code;
	struct ip_addr addr;
};

static bool take_address(const struct addrinfo *ai, struct ip_addr *ret)
{
	struct sockaddr_storage ss = { 0 };
	uint16_t port;

	memcpy(&ss, ai->ai_addr, MIN_OF((size_t)ai->ai_addrlen, sizeof(ss)));
	return ip_from_sockaddr(&ss, ret, &port);
}

int net_lookup_host(const char *name, struct ip_addr *ret)
{
	struct addrinfo hint = { .ai_socktype = SOCK_DGRAM }, *list = NULL;
	int code = getaddrinfo(name, NULL, &hint, &list);
	bool found = false;

	for (const struct addrinfo *ai = list; code == 0 && ai && !found; ai = ai->ai_next)
		found = take_address(ai, ret);
	if (list)
		freeaddrinfo(list);
	return code == 0 && !found ? EAI_NONAME : code;
}

static _Noreturn void run_child(const char *name, net_lookup_fn *lookup, int fd)
{
	struct finding f = { .code = EAI_SYSTEM };

	f.code = lookup(name, &f.addr);
	_exit(write(fd, &f, sizeof(f)) == (ssize_t)sizeof(f) ? 0 : 1);
}

/* Waits for the child's word, or for its end without one. Return: 0, -errno. */
static int wait_finding(int fd, unsigned timeout_ms, struct finding *ret)
{
	uint64_t end = clock_mono_ns() + timeout_ms * NS_PER_MS;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = clock_mono_ns();
		int left = now < end ? (int)((end - now + NS_PER_MS - 1) / NS_PER_MS) : 0;
		int n = poll(&p, 1, left);

		if (n == 0)
			return -ETIMEDOUT;
		if (n > 0)
			return read(fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret) ? 0 : -ECHILD;
		if (errno != EINTR)
			return -errno;
	}
}

static int look_up(
	const char *name, net_lookup_fn *lookup, unsigned timeout_ms, struct finding *ret)
{
	cleanup_fd int reads = -1, writes = -1;
	int fds[2], rc;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	reads = fds[0];
	writes = fds[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(name, lookup, writes);
	close_fd(&writes);
	rc = wait_finding(reads, timeout_ms, ret);
	if (rc < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
	}
	return rc;
}

static int resolve_one(char **server, net_lookup_fn *lookup, unsigned timeout_ms, struct err *err)
{
	char name[NAME_BUF], text[IP_STRLEN], *copy;
	struct finding f;
	uint16_t port;
	int rc = net_nameserver_split(*server, name, &port);

	if (rc == 0)
		rc = look_up(name, lookup, timeout_ms, &f);
	if (rc == -ETIMEDOUT)
		return err_msg(err, ETIMEDOUT,
			"nameserver '%s': no answer about its address within %u ms; give its "
			"address instead",
			*server, timeout_ms);
	if (rc < 0)
		return err_set(err, -rc, "look up nameserver '%s'", *server);
	if (f.code)
		return err_msg(err, EHOSTUNREACH, "nameserver '%s': %s; give its address instead",
			*server, gai_strerror(f.code));
	copy = strdup(ip_port_format(&f.addr, port, text));
	if (!copy)
		return err_set(err, ENOMEM, "keep a nameserver's address");
	free(*server);
	*server = copy;
	return 0;
}

int net_resolve_nameservers(
	struct net_config *c, net_lookup_fn *lookup, unsigned timeout_ms, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < c->n_nameservers && rc == 0; i++) {
		struct ip_port p;

		if (ip_port_parse(c->nameservers[i], &p) < 0)
			rc = resolve_one(&c->nameservers[i], lookup, timeout_ms, err);
	}
	return rc;
}
