/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox's network is to be: plain data, apart from the running thing. Comes from flags, or
 * from the JSON object that launchers send; goes back to JSON.
 */
#ifndef NET_CONFIG_H
#define NET_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "net/addr.h"
#include "net/packet.h"
#include "net/policy.h"

#define NET_MTU_DEFAULT	   1500
#define NET_MTU_MIN	   576
#define NET_MTU_MAX	   65520
#define NET_SLOT_MAX	   65535
#define NET_DNS_TIMEOUT_MS 5000
#define NET_UNSET	   (-1)

/* struct net_publish - a guest port reachable from outside */
struct net_publish {
	bool udp;
	uint16_t host_port, guest_port;
	struct ip_addr bind;
};

/* struct net_bucket - @size units, refilled evenly within @refill_ms; off when size is 0 */
struct net_bucket {
	uint64_t size, refill_ms, burst;
};

/* struct net_rate - one direction: bytes and frames */
struct net_rate {
	struct net_bucket bytes, ops;
};

enum net_proxy_kind { NET_PROXY_NONE, NET_PROXY_SOCKS4, NET_PROXY_SOCKS5 };

/* struct net_proxy - strings owned, NULL when absent */
struct net_proxy {
	enum net_proxy_kind kind;
	struct ip_port addr;
	char *user;	/* SOCKS4 user id, SOCKS5 user name */
	char *password; /* SOCKS5 */
};

/*
 * struct net_config - release with net_config_release()
 * @max_tcp, @max_udp: concurrent flows; NET_UNSET: the default; 0: as many as the stack can
 */
struct net_config {
	bool enabled;
	bool has_mac;
	struct mac mac;
	uint16_t mtu;
	bool has_addr4, has_addr6;
	struct ip_addr addr4, addr6;
	struct ip_cidr pool4, pool6;
	struct net_publish *ports; /* owned */
	size_t n_ports;
	struct policy policy;
	bool rebind_protection;
	/* owned; "IP:PORT", "[IP]:PORT" or, until it is looked up, "NAME:PORT"; none: the host's */
	char **nameservers;
	size_t n_nameservers;
	uint64_t dns_timeout_ms;
	int64_t max_tcp, max_udp;
	bool strict, trust_host_cas;
	struct net_rate to_guest, from_guest;
	struct net_proxy proxy;
};

/* net_config_init() - defaults with the public policy. Return: 0; -ENOMEM. Release in any case. */
int net_config_init(struct net_config *c, struct err *err);
void net_config_release(struct net_config *c);
#define cleanup_net_config __attribute__((cleanup(net_config_release)))

/*
 * net_config_from_json() - the launcher's network object; unknown keys are ignored
 * @c: uninitialised; release it in any case
 * Return: 0; -EINVAL naming the field; -ENOTSUP for TLS interception and secrets; -ENOMEM
 */
int net_config_from_json(struct net_config *c, const char *text, size_t len, struct err *err);

/* net_config_to_json() - the whole configuration, or only its policy. Return: malloc'ed, or NULL.
 */
char *net_config_to_json(const struct net_config *c);
char *policy_to_json(const struct policy *p);

/*
 * net_publish_parse() - one -p value: [BIND:]HOST:GUEST[/tcp|/udp]
 * Return: 0; -EINVAL
 */
int net_publish_parse(const char *text, struct net_publish *ret, struct err *err);
int net_config_add_publish(struct net_config *c, const struct net_publish *p, struct err *err);

/*
 * net_config_add_nameserver() - "IP", "IP:PORT", "[IP]:PORT", "NAME", "NAME:PORT"; net_new()
 * takes no names: who starts a stack looks them up. Return: 0; -EINVAL; -ENOMEM
 */
int net_config_add_nameserver(struct net_config *c, const char *text, struct err *err);

/* net_nameserver_split() - "NAME" or "NAME:PORT"; port 53 if none is given. Return: 0; -EINVAL. */
int net_nameserver_split(const char *text, char ret_name[NAME_BUF], uint16_t *ret_port);

/*
 * net_bucket_parse() - "SIZE[/DURATION]" of --net-*-bandwidth and --net-*-ops
 * @bytes: SIZE may carry K, M, G; DURATION is a number with ms or s and defaults to 1s
 */
int net_bucket_parse(const char *text, bool bytes, struct net_bucket *ret, struct err *err);

/* net_config_check() - limits that span fields. Return: 0; -EINVAL with the reason. */
int net_config_check(const struct net_config *c, struct err *err);

/* What net_config_make_multi_tenant() took away: bits. */
#define NET_DROPPED_INTERFACE	1u
#define NET_DROPPED_PORTS	2u
#define NET_DROPPED_NAMESERVERS 4u
#define NET_DROPPED_REBIND	8u
#define NET_DROPPED_HOST_CAS	16u
#define NET_DROPPED_LIMITS	32u

#define NET_TENANT_FLOWS_MAX 1024 /* TCP, and again UDP */

/*
 * net_config_make_multi_tenant() - what a host of several tenants leaves of a tenant's settings:
 * no say in addresses, published ports and resolvers, protection against rebinding, no trust in the
 * host's certificates, no more than NET_TENANT_FLOWS_MAX flows, and the platform's policy on top of
 * the unchanged own one. After everything else has been set.
 * Return: NET_DROPPED_* of what was asked for and is not given; -ENOMEM
 */
int net_config_make_multi_tenant(struct net_config *c, struct err *err);

/* --- address plan --- */

/* struct net_plan - who is who on the sandbox's link */
struct net_plan {
	struct mac guest_mac, gateway_mac;
	uint16_t mtu;
	bool v4, v6; /* family active */
	struct ip_addr guest4, gateway4, guest6, gateway6;
};

/*
 * net_plan_make() - addresses for sandbox number @slot
 * @v4, @v6: has the host a route of that family? An explicit address activates it regardless.
 * Return: 0; -EINVAL; -ERANGE when the slot is beyond the pool
 */
int net_plan_make(const struct net_config *c, uint64_t slot, bool v4, bool v6, struct net_plan *ret,
	struct err *err);

/* net_host_has_route() - would the host know where to send? No packet is sent. */
bool net_host_has_route(bool v4);

#endif
