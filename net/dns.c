/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS at the gateway. Every query to port 53, whatever address it is sent to, ends here: the name
 * is judged by policy, then the query goes on to a resolver from a socket and with an identifier of
 * its own. The answer is checked, remembered in the name index, and passed on unchanged.
 *
 * A query to the gateway goes to the configured resolvers, one after another until one answers; a
 * query to another address goes to that address, if policy lets the guest reach it.
 *
 * UDP is asked over UDP and TCP over TCP, one socket per query. Queries in flight are bounded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/dns.h"

#define QUERIES_MAX   256
#define SERVERS_MAX   8
#define QUERY_UDP_MAX 4096
#define ALIAS_TTL_S   60

/* struct query - one in flight */
struct query {
	struct query *prev, *next;
	struct net *net;
	struct flow_key key;	/* of the asker; UDP only */
	struct tcp_flow *asker; /* TCP only */
	struct dns_query q;
	uint8_t *msg; /* the query with our identifier, behind two bytes of length */
	size_t len;
	uint16_t id;
	bool direct;
	unsigned server; /* index of the one being asked */
	int fd;
	struct loop_watch *watch;
	struct loop_timer *timer;
	size_t sent;	/* TCP: bytes of length and query */
	struct buf got; /* TCP: length and answer so far */
};

struct dns {
	struct ip_port servers[SERVERS_MAX];
	unsigned n_servers;
	struct query *queries;
	unsigned count;
	int warned;
};

/* --- resolvers --- */

static void add_server(struct dns *d, const struct ip_port *p)
{
	if (d->n_servers < SERVERS_MAX)
		d->servers[d->n_servers++] = *p;
}

/* "nameserver IP" lines; a scope (fe80::1%eth0) cannot be used and is left out. */
static void read_resolv_conf(struct dns *d)
{
	cleanup_file FILE *f = fopen("/etc/resolv.conf", "re");
	char line[256], ip[IP_STRLEN];

	while (f && fgets(line, sizeof(line), f)) {
		struct ip_port p = { .port = 53 };

		if (sscanf(line, " nameserver %63s", ip) == 1 && ip_parse(ip, &p.addr) == 0)
			add_server(d, &p);
	}
}

int dns_init(struct net *net, struct err *err)
{
	struct dns *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(err, ENOMEM, "set up DNS");
	net->dns = d;
	for (size_t i = 0; i < net->config.n_nameservers; i++) {
		struct ip_port p;

		if (ip_port_parse(net->config.nameservers[i], &p) < 0)
			return err_msg(err, EINVAL, "nameserver '%s' has not been looked up",
				net->config.nameservers[i]);
		add_server(d, &p);
	}
	if (!d->n_servers)
		read_resolv_conf(d);
	if (!d->n_servers)
		log_warn("net: no resolver is configured; names will not resolve");
	return 0;
}

/* --- one query --- */

static void query_close_socket(struct query *x)
{
	loop_remove(&x->watch);
	close_fd(&x->fd);
	buf_release(&x->got);
	x->sent = 0;
}

static void query_free(struct query *x)
{
	struct dns *d = x->net->dns;

	query_close_socket(x);
	loop_timer_remove(&x->timer);
	if (x->prev)
		x->prev->next = x->next;
	else
		d->queries = x->next;
	if (x->next)
		x->next->prev = x->prev;
	d->count--;
	free(x->msg);
	free(x);
}

void dns_release(struct net *net)
{
	while (net->dns && net->dns->queries)
		query_free(net->dns->queries);
	free(net->dns);
	net->dns = NULL;
}

void dns_forget(struct net *net, const struct tcp_flow *asker)
{
	struct query *next;

	for (struct query *x = net->dns->queries; x; x = next) {
		next = x->next;
		if (x->asker == asker)
			query_free(x);
	}
}

/* Sends an answer to whoever asked. */
static void reply(struct net *net, const struct flow_key *key, struct tcp_flow *asker,
	const uint8_t *msg, size_t len)
{
	if (asker)
		dns_tcp_answer(asker, msg, len);
	else
		out_datagram(
			net, &key->peer, key->peer_port, &key->guest, key->guest_port, msg, len);
}

static void reply_status(struct net *net, const struct flow_key *key, struct tcp_flow *asker,
	const uint8_t *msg, const struct dns_query *q, uint8_t rcode)
{
	uint8_t answer[DNS_SHORT_MAX];

	if (rcode == DNS_SERVFAIL)
		net->stats.dns_failures++;
	reply(net, key, asker, answer, dns_put_status(answer, msg, q, rcode, false));
}

/* Ends a query with a status of our own. */
static void query_end(struct query *x, uint8_t rcode)
{
	struct net *net = x->net;

	reply_status(net, &x->key, x->asker, x->msg + 2, &x->q, rcode);
	query_free(x);
}

static struct ip_port current_server(const struct query *x)
{
	if (x->direct)
		return (struct ip_port){ x->key.peer, 53 };
	return x->net->dns->servers[x->server];
}

static void query_ready(void *ctx, int fd, uint32_t events);

/* Opens a socket to the current server. Return: 0, -errno. */
static int query_open(struct query *x)
{
	struct ip_port s = current_server(x);
	bool tcp = x->asker != NULL;
	struct sockaddr_storage ss;
	socklen_t len = ip_to_sockaddr(&s.addr, s.port, &ss);

	x->fd = socket(ip_is_v4(&s.addr) ? AF_INET : AF_INET6,
		(tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (x->fd < 0)
		return -errno;
	if (connect(x->fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
		return -errno;
	if (!tcp && send(x->fd, x->msg + 2, x->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return loop_add(x->net->loop, x->fd, tcp ? EPOLLIN | EPOLLOUT : EPOLLIN, query_ready, x,
		&x->watch, NULL);
}

/* Asks the current server or, while that fails at once, those behind it. */
static void query_ask(struct query *x)
{
	unsigned servers = x->direct ? 1 : x->net->dns->n_servers;

	for (; x->server < servers; x->server++) {
		if (query_open(x) == 0) {
			loop_timer_arm(x->timer,
				clock_mono_ns() + x->net->config.dns_timeout_ms * NS_PER_MS);
			return;
		}
		query_close_socket(x);
	}
	query_end(x, DNS_SERVFAIL);
}

static void query_next_server(struct query *x)
{
	query_close_socket(x);
	x->server++;
	query_ask(x);
}

/* After a callback of ours: connections may have got answers to send. */
static void settle(struct net *net)
{
	flow_run_all(net);
	out_flush(net);
}

static void query_timeout(void *ctx)
{
	struct query *x = ctx;
	struct net *net = x->net;

	query_next_server(x);
	settle(net);
}

/* --- answers --- */

/* Does a record name an address that neither the public DNS nor policy stands for? */
static bool is_rebinding(struct query *x, const struct dns_answer *a)
{
	struct net *net = x->net;
	struct policy_env env = net_policy_env(net);

	if (!net->config.rebind_protection)
		return false;
	for (size_t i = 0; i < a->n_all; i++) {
		if (!ip_is_reserved(&a->all[i]) ||
			policy_lifts_rebind(&net->config.policy, &env, &a->all[i]))
			continue;
		net_denied(net, &(struct net_denial){ .reason = NET_DENY_REBIND,
					.proto = x->asker ? POLICY_TCP : POLICY_UDP,
					.addr = a->all[i],
					.port = 53,
					.name = x->q.name,
					.rule = -1 });
		return true;
	}
	return a->overflow; /* more addresses than were looked at */
}

static void remember(struct query *x, const struct dns_answer *a)
{
	struct net *net = x->net;
	bool v4 = x->q.type == DNS_TYPE_A;
	uint64_t ttl_ns = a->ttl_s * NS_PER_S;

	if (!x->q.is_host || (!v4 && x->q.type != DNS_TYPE_AAAA) || a->truncated)
		return;
	(void)name_index_put(net->names, x->q.name, v4, a->addrs,
		a->rcode == DNS_NOERROR ? a->n_addrs : 0, clock_mono_ns() + ttl_ns);
	net_want_sweep(net);
}

/* Return: false if it is no answer to our question: go on waiting. */
static bool take_answer(struct query *x, uint8_t *msg, size_t len)
{
	struct net *net = x->net;
	struct dns_answer a;
	uint8_t cut[DNS_SHORT_MAX];

	if (dns_read_answer(msg, len, &x->q, x->id, &a) < 0)
		return false;
	if (is_rebinding(x, &a)) {
		query_end(x, DNS_NXDOMAIN);
		return true;
	}
	remember(x, &a);
	store_be16(msg, x->q.id);
	if (!x->asker && len > x->q.udp_max)
		reply(net, &x->key, NULL, cut,
			dns_put_status(cut, x->msg + 2, &x->q, DNS_NOERROR, true));
	else
		reply(net, &x->key, x->asker, msg, len);
	query_free(x);
	return true;
}

static void read_udp(struct query *x)
{
	for (unsigned i = 0; i < 8; i++) { /* strays are skipped, not endlessly */
		ssize_t n = recv(x->fd, x->net->scratch, SCRATCH_LEN, MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			query_next_server(x); /* refused: the next one, at once */
		if (n < 0 || take_answer(x, x->net->scratch, (size_t)n))
			return;
	}
}

/* Return: 0; -errno: this server is of no use. */
static int write_tcp(struct query *x)
{
	ssize_t n;

	if (x->sent == x->len + 2)
		return 0;
	n = send(x->fd, x->msg + x->sent, x->len + 2 - x->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	x->sent += (size_t)n;
	if (x->sent == x->len + 2)
		loop_modify(x->watch, EPOLLIN);
	return 0;
}

/* Return: 1 there is a whole answer in x->got; 0 not yet; -errno. */
static int read_tcp(struct query *x)
{
	uint8_t *dst;
	ssize_t n;

	for (;;) {
		size_t have = x->got.len, want = 2;

		if (have >= 2)
			want += load_be16(buf_head(&x->got));
		if (have >= 2 && have == want)
			return 1;
		if (buf_reserve(&x->got, want - have, &dst) < 0)
			return -ENOMEM;
		n = recv(x->fd, dst, want - have, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		buf_commit(&x->got, (size_t)n);
	}
}

static void run_tcp(struct query *x)
{
	size_t len;
	int rc = write_tcp(x);

	if (rc == 0)
		rc = read_tcp(x);
	if (rc == 0)
		return;
	if (rc == 1) {
		len = x->got.len - 2;
		memcpy(x->net->scratch, buf_head(&x->got) + 2, len);
		if (take_answer(x, x->net->scratch, len))
			return;
	}
	query_next_server(x);
}

static void query_ready(void *ctx, int fd, uint32_t events)
{
	struct query *x = ctx;
	struct net *net = x->net;

	if (x->asker)
		run_tcp(x);
	else
		read_udp(x);
	settle(net);
}

/* --- questions --- */

static struct query *query_new(struct net *net, const struct flow_key *key, struct tcp_flow *asker,
	const uint8_t *msg, size_t len)
{
	struct dns *d = net->dns;
	struct query *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->net = net;
	x->key = *key;
	x->asker = asker;
	x->fd = -1;
	x->len = len;
	x->id = (uint16_t)net_random(net);
	x->msg = malloc(len + 2);
	if (!x->msg || loop_timer_new(net->loop, query_timeout, x, &x->timer, NULL) < 0) {
		free(x->msg);
		free(x);
		return NULL;
	}
	store_be16(x->msg, (uint16_t)len);
	memcpy(x->msg + 2, msg, len);
	store_be16(x->msg + 2, x->id);
	x->next = d->queries;
	if (x->next)
		x->next->prev = x;
	d->queries = x;
	d->count++;
	return x;
}

/* May this name be asked for, of this resolver? */
static bool admit_query(
	struct net *net, const struct flow_key *key, bool tcp, const struct dns_query *q)
{
	uint8_t proto = tcp ? POLICY_TCP : POLICY_UDP;
	struct policy_answer a =
		policy_eval_query(&net->config.policy, proto, 53, q->is_host ? q->name : NULL);

	if (a.verdict != POLICY_ALLOW) {
		net_denied(net, &(struct net_denial){ .reason = NET_DENY_POLICY,
					.proto = proto,
					.addr = key->peer,
					.port = 53,
					.name = q->is_host ? q->name : "(not a host name)",
					.rule = a.rule });
		return false;
	}
	return net_is_gateway(net, &key->peer) ||
	       net_admit(net, POLICY_EGRESS, proto, &key->peer, true, 53, POLICY_NAME_CACHE, NULL)
			       .verdict == POLICY_ALLOW;
}

/* What the gateway knows itself: its own name, and that a family is not in use. */
static bool answer_locally(struct net *net, const struct flow_key *key, struct tcp_flow *asker,
	const uint8_t *msg, const struct dns_query *q)
{
	bool v4 = q->type == DNS_TYPE_A, v6 = q->type == DNS_TYPE_AAAA;
	bool alias = q->is_host && !strcmp(q->name, NAME_HOST_ALIAS);
	uint8_t answer[DNS_SHORT_MAX];

	if (q->class != DNS_CLASS_IN)
		return false;
	if ((v4 && !net->plan.v4) || (v6 && !net->plan.v6)) {
		if (q->is_host)
			name_index_clear(net->names, q->name, v4);
		reply_status(net, key, asker, msg, q, DNS_NOERROR);
		return true;
	}
	if (!alias)
		return false;
	if (v4 || v6)
		reply(net, key, asker, answer,
			dns_put_address(answer, msg, q,
				v4 ? &net->plan.gateway4 : &net->plan.gateway6, ALIAS_TTL_S));
	else /* nobody outside should hear of this name */
		reply_status(net, key, asker, msg, q, DNS_NOERROR);
	return true;
}

bool dns_query(struct net *net, const struct flow_key *key, struct tcp_flow *asker,
	const uint8_t *msg, size_t len)
{
	struct dns *d = net->dns;
	struct dns_query q;
	struct query *x;
	int rc = dns_read_query(msg, len, &q);

	if (rc == -EBADMSG) {
		net->stats.malformed++;
		return false;
	}
	net->stats.dns_queries++;
	if (rc < 0) {
		reply_status(net, key, asker, msg, &q, DNS_FORMERR);
		return true;
	}
	if (!admit_query(net, key, asker != NULL, &q)) {
		reply_status(net, key, asker, msg, &q, DNS_NXDOMAIN);
		return true;
	}
	if (answer_locally(net, key, asker, msg, &q))
		return true;
	x = d->count < QUERIES_MAX ? query_new(net, key, asker, msg, len) : NULL;
	if (!x) {
		reply_status(net, key, asker, msg, &q, DNS_SERVFAIL);
		return true;
	}
	x->q = q;
	x->direct = !net_is_gateway(net, &key->peer);
	query_ask(x);
	return true;
}

void dns_udp_query(struct net *net, const struct flow_key *key, const uint8_t *msg, size_t len)
{
	uint8_t copy[QUERY_UDP_MAX]; /* answering reuses the scratch area */

	if (len > sizeof(copy)) {
		net->stats.dropped++;
		return;
	}
	memcpy(copy, msg, len);
	(void)dns_query(net, key, NULL, copy, len);
}
