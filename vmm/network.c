/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/network.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/net.h"
#include "virtio/net.h"

#define STACK_SIZE KIB(512)

struct vm_network {
	struct net_plan plan;
	struct loop *loop;
	struct net *net;
	struct virtio_dev *dev; /* until an engine takes it */
	pthread_t thread;
	bool started;
};

/* ---- refusals ---- */

static const char *proto_name(uint8_t proto)
{
	switch (proto) {
	case POLICY_TCP:
		return "tcp";
	case POLICY_UDP:
		return "udp";
	case POLICY_ICMP4:
	case POLICY_ICMP6:
		return "icmp";
	default:
		return "ip";
	}
}

static const char *const reasons[] = {
	[NET_DENY_POLICY] = "by policy",
	[NET_DENY_REBIND] = "an answer of DNS with a reserved address",
	[NET_DENY_LIMIT] = "too many connections",
	[NET_DENY_BYPASS] = "names are resolved by the gateway only",
	[NET_DENY_STRICT] = "the name could not be verified",
};
_Static_assert(ARRAY_LEN(reasons) == NET_DENY_REASONS, "a text for every reason");

/* One line of the sandbox's log per refusal; net/ bounds how many there are. */
static void on_denied(void *ctx, const struct net_denial *d)
{
	char addr[IP_STRLEN], more[64] = "";

	if (d->port)
		(void)ip_port_format(&d->addr, d->port, addr);
	else
		(void)ip_format(&d->addr, addr);
	if (d->unreported)
		(void)snprintf(more, sizeof(more), "; %llu more were not logged",
			(unsigned long long)d->unreported);
	/* Programs try mDNS and the like without being asked to: that is no news. */
	log_write(d->reason == NET_DENY_BYPASS ? LOG_INFO : LOG_WARN,
		"network: denied %s %s %s%s%s%s: %s%s%s%s", proto_name(d->proto),
		d->ingress ? "from" : "to", addr, d->name ? " (" : "", d->name ? d->name : "",
		d->name ? ")" : "", reasons[d->reason],
		d->reason == NET_DENY_POLICY ? ", rule " : "",
		d->reason == NET_DENY_POLICY ? d->rule_text : "", more);
}

/* ---- life ---- */

static void network_freep(struct vm_network **network)
{
	vm_network_free(*network);
}

int vm_network_new(const struct vm_net *cfg, struct vm_network **ret, struct err *err)
{
	cleanup_(network_freep) struct vm_network *n = calloc(1, sizeof(*n));
	const struct net_events events = { .denied = on_denied };
	int rc;

	if (!n)
		return err_set(err, ENOMEM, "create network");
	n->plan = cfg->plan;
	rc = loop_new(&n->loop, err);
	if (rc == 0)
		rc = net_new(n->loop, cfg->config, &cfg->plan, &events, &n->net, err);
	if (rc < 0)
		return rc;
	const struct virtio_net_params params = {
		.net = n->net, .loop = n->loop, .mac = n->plan.guest_mac, .mtu = n->plan.mtu
	};

	rc = virtio_net_new(&params, &n->dev, err);
	if (rc < 0)
		return rc;
	*ret = take_ptr(&n);
	return 0;
}

void vm_network_free(struct vm_network *n)
{
	if (!n)
		return;
	vm_network_stop(n);
	virtio_dev_free(n->dev);
	net_free(n->net);
	loop_free(n->loop);
	free(n);
}

struct virtio_dev *vm_network_take_dev(struct vm_network *n)
{
	return take_ptr(&n->dev);
}

struct loop *vm_network_loop(struct vm_network *n)
{
	return n->loop;
}

const struct net_plan *vm_network_plan(const struct vm_network *n)
{
	return &n->plan;
}

/* ---- the thread ---- */

static void *network_main(void *arg)
{
	struct vm_network *n = arg;
	struct err err = ERR_INIT;

	(void)pthread_setname_np(pthread_self(), "msb-net");
	if (loop_run(n->loop, &err) < 0)
		log_error("network: %s; the guest has none from now on", err.msg);
	return NULL;
}

/* With all signals blocked: they belong to the main thread. */
static int start_thread(struct vm_network *n)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int rc;

	rc = pthread_attr_init(&attr);
	if (rc)
		return -rc;
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&n->thread, &attr, network_main, n);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	return -rc;
}

int vm_network_start(struct vm_network *n, struct err *err)
{
	int rc;

	if (!n)
		return 0;
	rc = start_thread(n);
	if (rc < 0)
		return err_set(err, rc, "start the network's thread");
	n->started = true;
	return 0;
}

/* For the end of a run; a network nobody used is not worth a line. */
static void log_sums(const struct net *net)
{
	struct net_stats s;
	uint64_t refused = 0;

	net_get_stats(net, &s);
	for (size_t i = 0; i < NET_DENY_REASONS; i++)
		refused += s.denied[i];
	if (s.frames_from_guest == 0)
		return;
	log_info("network: from the guest %llu bytes in %llu frames, to the guest %llu in %llu; "
		 "%llu TCP connections (%llu failed), %llu UDP, %llu names asked for (%llu failed)",
		(unsigned long long)s.bytes_from_guest, (unsigned long long)s.frames_from_guest,
		(unsigned long long)s.bytes_to_guest, (unsigned long long)s.frames_to_guest,
		(unsigned long long)s.tcp_opened, (unsigned long long)s.tcp_failed,
		(unsigned long long)s.udp_opened, (unsigned long long)s.dns_queries,
		(unsigned long long)s.dns_failures);
	log_info("network: refused %llu: %llu by policy, %llu answers of DNS, %llu above a limit, "
		 "%llu other ways to resolve names, %llu unverified names; %llu malformed frames, "
		 "%llu dropped",
		(unsigned long long)refused, (unsigned long long)s.denied[NET_DENY_POLICY],
		(unsigned long long)s.denied[NET_DENY_REBIND],
		(unsigned long long)s.denied[NET_DENY_LIMIT],
		(unsigned long long)s.denied[NET_DENY_BYPASS],
		(unsigned long long)s.denied[NET_DENY_STRICT], (unsigned long long)s.malformed,
		(unsigned long long)s.dropped);
}

void vm_network_stop(struct vm_network *n)
{
	if (!n || !n->started)
		return;
	loop_stop(n->loop, 0);
	(void)pthread_join(n->thread, NULL);
	n->started = false;
	log_sums(n->net);
}
