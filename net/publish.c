/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published ports. TCP: an accepted connection that ingress policy admits becomes a flow towards
 * the guest, from the gateway's address. UDP: each peer outside gets a port of the gateway for
 * itself, so that the guest's answers find their way back; the least recently used gives way.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/net_internal.h"

#define EPHEMERAL_FIRST	  49152
#define EPHEMERAL_COUNT	  16384
#define PEERS_MAX	  256
#define PEER_IDLE_NS	  (60 * NS_PER_S)
#define ACCEPTS_PER_ROUND 32
#define READS_PER_ROUND	  64

struct listener {
	struct net *net;
	struct net_publish conf;
	uint16_t port; /* really bound */
	int fd;
	struct loop_watch *watch;
};

/* struct peer - somebody outside who talks to a published UDP port */
struct peer {
	struct listener *l; /* NULL: free */
	struct ip_addr addr;
	uint16_t port;
	uint16_t local; /* the gateway's port that stands for it */
	bool v4;	/* family towards the guest */
	uint64_t used_ns;
};

struct publish {
	struct listener *listeners;
	size_t n;
	uint16_t next_port;
	struct peer peers[PEERS_MAX];
};

/* The family in which the guest is reached: for UDP that of the peer, if active. */
static bool guest_family(const struct net *net, bool want_v4)
{
	return want_v4 ? net->plan.v4 : !net->plan.v6 && net->plan.v4;
}

static struct flow_key guest_key(struct net *net, const struct listener *l, bool v4, uint16_t local)
{
	return (struct flow_key){ .guest = v4 ? net->plan.guest4 : net->plan.guest6,
		.peer = v4 ? net->plan.gateway4 : net->plan.gateway6,
		.guest_port = l->conf.guest_port,
		.peer_port = local,
		.kind = l->conf.udp ? FLOW_UDP : FLOW_TCP };
}

static uint16_t next_port(struct publish *p)
{
	p->next_port = (uint16_t)((p->next_port + 1) % EPHEMERAL_COUNT);
	return (uint16_t)(EPHEMERAL_FIRST + p->next_port);
}

static bool admit(struct net *net, const struct listener *l, const struct ip_addr *from)
{
	return net_admit(net, POLICY_INGRESS, l->conf.udp ? POLICY_UDP : POLICY_TCP, from, true,
		       l->conf.guest_port, POLICY_NAME_CACHE, NULL)
		       .verdict == POLICY_ALLOW;
}

/* --- TCP --- */

static void refuse_fd(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(fd);
}

static void accepted(struct listener *l, int fd, const struct ip_addr *from)
{
	struct net *net = l->net;
	bool v4 = guest_family(net, true);

	if (!net->link || !admit(net, l, from)) {
		refuse_fd(fd);
		return;
	}
	for (unsigned i = 0; i < 16; i++) { /* a port may be in use for an older connection */
		struct flow_key key = guest_key(net, l, v4, next_port(net->publish));

		if (flow_find(net, &key))
			continue;
		(void)tcp_open_inbound(net, fd, &key);
		return;
	}
	refuse_fd(fd);
}

static void on_connection(void *ctx, int lfd, uint32_t events)
{
	struct listener *l = ctx;
	struct net *net = l->net;

	for (unsigned i = 0; i < ACCEPTS_PER_ROUND; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct ip_addr from;
		uint16_t port;
		int fd = accept4(lfd, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				log_once(net->warned_fds, LOG_WARN, "net: no socket: %s",
					strerror(errno));
			break;
		}
		if (ip_from_sockaddr(&ss, &from, &port))
			accepted(l, fd, &from);
		else
			(void)close(fd);
	}
	flow_run_all(net);
	out_flush(net);
}

/* --- UDP --- */

static struct peer *peer_get(struct listener *l, const struct ip_addr *from, uint16_t port, bool v4)
{
	struct publish *p = l->net->publish;
	uint64_t now = clock_mono_ns();
	struct peer *oldest = &p->peers[0];

	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *q = &p->peers[i];

		if (q->l == l && q->port == port && ip_equal(&q->addr, from)) {
			q->used_ns = now;
			return q;
		}
		if (!q->l || (oldest->l && q->used_ns < oldest->used_ns))
			oldest = q;
	}
	*oldest = (struct peer){
		.l = l, .addr = *from, .port = port, .local = next_port(p), .v4 = v4, .used_ns = now
	};
	return oldest;
}

static void on_datagram(void *ctx, int fd, uint32_t events)
{
	struct listener *l = ctx;
	struct net *net = l->net;

	for (unsigned i = 0; i < READS_PER_ROUND; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		struct ip_addr from;
		struct flow_key key;
		struct peer *q;
		uint16_t port;
		bool v4;
		ssize_t n = recvfrom(
			fd, net->scratch, SCRATCH_LEN, MSG_DONTWAIT, (struct sockaddr *)&ss, &len);

		if (n < 0)
			break;
		if (!ip_from_sockaddr(&ss, &from, &port) || !net->link || !admit(net, l, &from))
			continue;
		v4 = guest_family(net, ip_is_v4(&from));
		q = peer_get(l, &from, port, v4);
		key = guest_key(net, l, v4, q->local);
		out_datagram(net, &key.peer, key.peer_port, &key.guest, key.guest_port,
			net->scratch, (size_t)n);
	}
	out_flush(net);
}

bool publish_udp_reply(
	struct net *net, const struct flow_key *key, const struct iovec *iov, unsigned n)
{
	struct publish *p = net->publish;
	uint64_t now = clock_mono_ns();

	if (key->peer_port < EPHEMERAL_FIRST || !p->n || !net_is_gateway(net, &key->peer))
		return false;
	for (size_t i = 0; i < PEERS_MAX; i++) {
		struct peer *q = &p->peers[i];
		struct sockaddr_storage ss;
		struct msghdr msg = {
			.msg_name = &ss, .msg_iov = (struct iovec *)iov, .msg_iovlen = n
		};

		if (!q->l || q->local != key->peer_port ||
			q->l->conf.guest_port != key->guest_port || now - q->used_ns > PEER_IDLE_NS)
			continue;
		q->used_ns = now;
		msg.msg_namelen = ip_to_sockaddr(&q->addr, q->port, &ss);
		if (sendmsg(q->l->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			net->stats.dropped++;
		return true;
	}
	return false;
}

/* --- life --- */

static int listener_open(struct listener *l, struct err *err)
{
	const struct net_publish *c = &l->conf;
	struct sockaddr_storage ss;
	socklen_t len = ip_to_sockaddr(&c->bind, c->host_port, &ss);
	char text[IP_STRLEN];
	struct ip_addr addr;
	int one = 1, rc;

	(void)ip_port_format(&c->bind, c->host_port, text);
	l->fd = socket(ip_is_v4(&c->bind) ? AF_INET : AF_INET6,
		(c->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return err_set(err, errno, "publish %s", text);
	if (!ip_is_v4(&c->bind))
		(void)setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!c->udp)
		(void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l->fd, (struct sockaddr *)&ss, len) < 0 || (!c->udp && listen(l->fd, 256) < 0))
		return err_set(err, errno, "publish %s", text);
	len = sizeof(ss);
	(void)getsockname(l->fd, (struct sockaddr *)&ss, &len);
	(void)ip_from_sockaddr(&ss, &addr, &l->port);
	rc = loop_add(l->net->loop, l->fd, EPOLLIN, c->udp ? on_datagram : on_connection, l,
		&l->watch, err);
	return rc;
}

int publish_init(struct net *net, struct err *err)
{
	struct publish *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(err, ENOMEM, "publish ports");
	net->publish = p;
	if (!net->plan.v4 && !net->plan.v6)
		return 0;
	p->listeners = calloc(net->config.n_ports + 1, sizeof(*p->listeners));
	if (!p->listeners)
		return err_set(err, ENOMEM, "publish ports");
	for (size_t i = 0; i < net->config.n_ports; i++) {
		struct listener *l = &p->listeners[p->n++];
		int rc;

		*l = (struct listener){ .net = net, .conf = net->config.ports[i], .fd = -1 };
		rc = listener_open(l, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void publish_release(struct net *net)
{
	struct publish *p = net->publish;

	for (size_t i = 0; p && i < p->n; i++) {
		loop_remove(&p->listeners[i].watch);
		close_fd(&p->listeners[i].fd);
	}
	if (p)
		free(p->listeners);
	free(p);
	net->publish = NULL;
}

uint16_t net_published_port(const struct net *net, size_t index)
{
	return index < net->publish->n ? net->publish->listeners[index].port : 0;
}
