/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net-tap: the stack as a process of its own, for tests and benches. The TAP device is made in the
 * network namespace --guest-ns, host sockets belong to the namespace the program is started in.
 *
 *	net-tap --guest-ns /run/netns/g --tap tap0 --config '{...}' [--no-offload]
 *		[--faults LOSS%,DUPLICATE%,REORDER%,DELAY_MS] [--no-peek-off]
 *
 * Says "ready" on stdout; on SIGTERM or SIGINT prints counters as JSON and ends. Denials go to
 * stderr, one line each.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "net/tap.h"

struct options {
	const char *guest_ns, *tap, *config;
	bool offload, no_peek_off;
	struct tap_faults faults;
};

static int enter_ns(const char *path, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return err_set(err, errno, "enter network namespace '%s'", path);
	return 0;
}

static int open_tap(const struct options *o, int *ret_fd, struct err *err)
{
	int rc = o->guest_ns ? enter_ns(o->guest_ns, err) : 0, fd;

	if (rc < 0)
		return rc;
	rc = tap_open(o->tap, o->offload, &fd, err);
	if (rc < 0)
		return rc;
	*ret_fd = fd;
	return 0;
}

static void denied(void *ctx, const struct net_denial *d)
{
	static const char *const why[NET_DENY_REASONS] = { "policy", "rebind", "limit", "bypass",
		"strict" };
	char text[IP_STRLEN];

	fprintf(stderr, "denied %s %s %s name=%s rule=%s\n", d->ingress ? "ingress" : "egress",
		why[d->reason], ip_port_format(&d->addr, d->port, text), d->name ? d->name : "-",
		d->rule_text);
}

static void on_signal(void *ctx, int fd, uint32_t events)
{
	loop_stop(ctx, 0);
}

static int watch_signals(struct loop *loop, int *ret_fd, struct err *err)
{
	struct loop_watch *watch;
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (*ret_fd < 0)
		return err_set(err, errno, "watch signals");
	return loop_add(loop, *ret_fd, EPOLLIN, on_signal, loop, &watch, err);
}

static void print_stats(const struct net *net)
{
	struct net_stats s;
	uint64_t denied_all = 0;

	net_get_stats(net, &s);
	for (unsigned i = 0; i < NET_DENY_REASONS; i++)
		denied_all += s.denied[i];
	printf("{\"frames_from_guest\":%llu,\"bytes_from_guest\":%llu,\"frames_to_guest\":%llu,"
	       "\"bytes_to_guest\":%llu,\"malformed\":%llu,\"dropped\":%llu,\"denied\":%llu,"
	       "\"tcp_opened\":%llu,\"tcp_failed\":%llu,\"tcp_retransmits\":%llu,"
	       "\"udp_opened\":%llu,\"dns_queries\":%llu,\"tcp_flows\":%zu,\"udp_flows\":%zu,"
	       "\"held_bytes\":%zu}\n",
		(unsigned long long)s.frames_from_guest, (unsigned long long)s.bytes_from_guest,
		(unsigned long long)s.frames_to_guest, (unsigned long long)s.bytes_to_guest,
		(unsigned long long)s.malformed, (unsigned long long)s.dropped,
		(unsigned long long)denied_all, (unsigned long long)s.tcp_opened,
		(unsigned long long)s.tcp_failed, (unsigned long long)s.tcp_retransmits,
		(unsigned long long)s.udp_opened, (unsigned long long)s.dns_queries, s.tcp_flows,
		s.udp_flows, s.held_bytes);
	(void)fflush(stdout);
}

static int serve(struct loop *loop, const struct options *o, const struct net_config *c, int tap_fd,
	struct err *err)
{
	const struct net_events events = { .denied = denied };
	cleanup_fd int signals = -1;
	struct net_plan plan;
	struct net *net = NULL;
	struct tap *tap = NULL;
	int rc = net_plan_make(c, 0, true, true, &plan, err);

	if (rc == 0)
		rc = watch_signals(loop, &signals, err);
	if (rc == 0)
		rc = net_new(loop, c, &plan, &events, &net, err);
	if (rc == 0 && o->no_peek_off)
		net_without_peek_off(net);
	if (rc == 0)
		rc = tap_new(loop, tap_fd, o->offload, &o->faults, net, &tap, err);
	if (rc == 0) {
		printf("ready\n");
		for (size_t i = 0; i < c->n_ports; i++)
			printf("port %u\n", net_published_port(net, i));
		(void)fflush(stdout);
		rc = loop_run(loop, err);
		print_stats(net);
	}
	tap_free(tap);
	net_free(net);
	return rc;
}

static int run(const struct options *o, struct err *err)
{
	cleanup_net_config struct net_config c;
	cleanup_fd int self_ns = -1, tap_fd = -1;
	struct loop *loop = NULL;
	int rc = net_config_from_json(&c, o->config, strlen(o->config), err);

	if (rc < 0)
		return rc;
	self_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (self_ns < 0)
		return err_set(err, errno, "open own network namespace");
	rc = open_tap(o, &tap_fd, err);
	if (rc < 0)
		return rc;
	if (o->guest_ns && setns(self_ns, CLONE_NEWNET) < 0)
		return err_set(err, errno, "return to own network namespace");
	rc = loop_new(&loop, err);
	if (rc == 0)
		rc = serve(loop, o, &c, tap_fd, err);
	loop_free(loop);
	return rc;
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		bool has = i + 1 < argc;

		if (!strcmp(argv[i], "--guest-ns") && has)
			o->guest_ns = argv[++i];
		else if (!strcmp(argv[i], "--tap") && has)
			o->tap = argv[++i];
		else if (!strcmp(argv[i], "--config") && has)
			o->config = argv[++i];
		else if (!strcmp(argv[i], "--no-offload"))
			o->offload = false;
		else if (!strcmp(argv[i], "--no-peek-off"))
			o->no_peek_off = true;
		else if (!strcmp(argv[i], "--faults") && has)
			(void)sscanf(argv[++i], "%u,%u,%u,%u", &o->faults.loss,
				&o->faults.duplicate, &o->faults.reorder, &o->faults.delay_ms);
		else
			return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .tap = "tap0", .config = "{}", .offload = true };
	struct rlimit files = { 0 };
	struct err err = ERR_INIT;

	if (parse(argc, argv, &o) < 0) {
		fprintf(stderr, "usage: net-tap [--guest-ns FILE] [--tap NAME] [--config JSON] "
				"[--no-offload] [--faults L,D,R,MS] [--no-peek-off]\n");
		return 2;
	}
	(void)getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	if (run(&o, &err) < 0) {
		fprintf(stderr, "net-tap: %s\n", err.msg);
		return 1;
	}
	return 0;
}
