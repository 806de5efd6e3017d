/* SPDX-License-Identifier: Apache-2.0 */
#include "net/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

static const struct ip_cidr default_pool4 = { IP_V4(172, 16, 0, 0), 12 },
			    default_pool6 = { { { 0xfd, 0x42, 0x6d, 0x73, 0x00, 0x62 } }, 48 };

static void reset_interface(struct net_config *c)
{
	c->has_mac = c->has_addr4 = c->has_addr6 = false;
	c->mtu = NET_MTU_DEFAULT;
	c->pool4 = default_pool4;
	c->pool6 = default_pool6;
}

int net_config_init(struct net_config *c, struct err *err)
{
	*c = (struct net_config){ .enabled = true,
		.rebind_protection = true,
		.dns_timeout_ms = NET_DNS_TIMEOUT_MS,
		.max_tcp = NET_UNSET,
		.max_udp = NET_UNSET };
	reset_interface(c);
	return policy_set_public(&c->policy, err);
}

static void drop_nameservers(struct net_config *c)
{
	for (size_t i = 0; i < c->n_nameservers; i++)
		free(c->nameservers[i]);
	free(c->nameservers);
	c->nameservers = NULL;
	c->n_nameservers = 0;
}

void net_config_release(struct net_config *c)
{
	policy_release(&c->policy);
	free(c->ports);
	drop_nameservers(c);
	free(c->proxy.user);
	if (c->proxy.password)
		explicit_bzero(c->proxy.password, strlen(c->proxy.password));
	free(c->proxy.password);
	memset(c, 0, sizeof(*c));
}

int net_config_add_publish(struct net_config *c, const struct net_publish *p, struct err *err)
{
	struct net_publish *ports;

	if (c->n_ports >= UINT16_MAX)
		return err_msg(err, E2BIG, "too many published ports");
	ports = reallocarray(c->ports, c->n_ports + 1, sizeof(*ports));
	if (!ports)
		return err_set(err, ENOMEM, "publish a port");
	c->ports = ports;
	ports[c->n_ports++] = *p;
	return 0;
}

/* "10.0.0.300" is a slip of the pen: no name ends in a number. */
static bool looks_like_address(const char *name)
{
	const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;

	return last[strspn(last, "0123456789")] == 0;
}

int net_nameserver_split(const char *text, char ret_name[NAME_BUF], uint16_t *ret_port)
{
	size_t n = strcspn(text, ":");
	uint64_t port = 53;
	char name[NAME_BUF];

	if (text[n] && num_parse_u64(text + n + 1, "port", 1, UINT16_MAX, &port, NULL) < 0)
		return -EINVAL;
	if (name_canon(text, n, name) < 0 || looks_like_address(name))
		return -EINVAL;
	memcpy(ret_name, name, sizeof(name));
	*ret_port = (uint16_t)port;
	return 0;
}

/* In one spelling, always with a port. Return: 0, -EINVAL. */
static int normalise_nameserver(const char *text, char *dst, size_t len)
{
	struct ip_port p = { .port = 53 };
	char copy[NAME_BUF + 8], name[NAME_BUF], ip[IP_STRLEN];
	size_t n;

	text += strspn(text, " \t");
	n = strlen(text);
	while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
		n--;
	if (n >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, n);
	copy[n] = 0;
	if (ip_port_parse(copy, &p) == 0 || ip_parse(copy, &p.addr) == 0) {
		(void)snprintf(dst, len, "%s", ip_port_format(&p.addr, p.port, ip));
		return p.port ? 0 : -EINVAL;
	}
	if (net_nameserver_split(copy, name, &p.port) < 0)
		return -EINVAL;
	(void)snprintf(dst, len, "%s:%u", name, p.port);
	return 0;
}

int net_config_add_nameserver(struct net_config *c, const char *text, struct err *err)
{
	char norm[NAME_BUF + 8];
	char **list, *copy;

	if (normalise_nameserver(text, norm, sizeof(norm)) < 0)
		return err_msg(err, EINVAL,
			"nameserver '%.300s' is no address and no host name, with or without a "
			"port",
			text);
	list = reallocarray(c->nameservers, c->n_nameservers + 1, sizeof(*list));
	if (list)
		c->nameservers = list;
	copy = strdup(norm);
	if (!list || !copy) {
		free(copy);
		return err_set(err, ENOMEM, "add nameserver");
	}
	list[c->n_nameservers++] = copy;
	return 0;
}

/* --- several tenants --- */

static bool same_pool(const struct ip_cidr *a, const struct ip_cidr *b)
{
	return a->bits == b->bits && ip_equal(&a->addr, &b->addr);
}

static bool has_own_interface(const struct net_config *c)
{
	return c->has_mac || c->has_addr4 || c->has_addr6 || c->mtu != NET_MTU_DEFAULT ||
	       !same_pool(&c->pool4, &default_pool4) || !same_pool(&c->pool6, &default_pool6);
}

/* Return: was more asked for? */
static bool cap_flows(int64_t *max)
{
	bool more = *max == 0 || *max > NET_TENANT_FLOWS_MAX;

	if (more || *max == NET_UNSET)
		*max = NET_TENANT_FLOWS_MAX;
	return more;
}

static unsigned dropped(const struct net_config *c)
{
	return (has_own_interface(c) ? NET_DROPPED_INTERFACE : 0) |
	       (c->n_ports ? NET_DROPPED_PORTS : 0) |
	       (c->n_nameservers ? NET_DROPPED_NAMESERVERS : 0) |
	       (c->rebind_protection ? 0 : NET_DROPPED_REBIND) |
	       (c->trust_host_cas ? NET_DROPPED_HOST_CAS : 0);
}

int net_config_make_multi_tenant(struct net_config *c, struct err *err)
{
	unsigned ret = dropped(c);
	int rc = policy_set_platform(&c->policy, err);

	if (rc < 0)
		return rc;
	reset_interface(c);
	free(c->ports);
	c->ports = NULL;
	c->n_ports = 0;
	drop_nameservers(c);
	c->rebind_protection = true;
	c->trust_host_cas = false;
	if ((int)cap_flows(&c->max_tcp) | (int)cap_flows(&c->max_udp))
		ret |= NET_DROPPED_LIMITS;
	return (int)ret;
}

/* --- -p --- */

static int publish_port(const char *text, const char *which, uint16_t *ret, struct err *err)
{
	uint64_t v;

	text += strspn(text, " ");
	if (num_parse_u64(text, "port", 0, UINT16_MAX, &v, NULL) < 0)
		return err_msg(err, EINVAL, "invalid %s port: %s", which, text);
	*ret = (uint16_t)v;
	return 0;
}

/* Cuts "/tcp" or "/udp" off. */
static int publish_proto(char *text, bool *udp, struct err *err)
{
	char *slash = strrchr(text, '/');

	*udp = false;
	if (!slash)
		return 0;
	if (strcmp(slash, "/udp") != 0 && strcmp(slash, "/tcp") != 0)
		return err_msg(err, EINVAL, "invalid protocol '%s': tcp or udp", slash + 1);
	*udp = slash[1] == 'u';
	*slash = 0;
	return 0;
}

/* Cuts "BIND:" or "[BIND]:" off the front of what lies before the host port. */
static int publish_bind(char *text, struct ip_addr *ret, struct err *err)
{
	size_t n = strlen(text);
	char *ip = text;

	if (*text == '[') {
		if (text[n - 1] != ']')
			return err_msg(err, EINVAL, "invalid bind address '%s'", text);
		text[n - 1] = 0;
		ip = text + 1;
	}
	if (ip_parse(ip, ret) < 0 || (ip != text) != !ip_is_v4(ret))
		return err_msg(err, EINVAL, "invalid bind address '%s'", ip);
	return 0;
}

int net_publish_parse(const char *text, struct net_publish *ret, struct err *err)
{
	struct net_publish p = { .bind = IP_V4(127, 0, 0, 1) };
	char copy[128];
	char *guest, *host;
	int rc;

	if (strlen(text) >= sizeof(copy))
		return err_msg(err, EINVAL, "published port is too long");
	memcpy(copy, text, strlen(text) + 1);
	rc = publish_proto(copy, &p.udp, err);
	if (rc < 0)
		return rc;
	guest = strrchr(copy, ':');
	if (!guest)
		return err_msg(err, EINVAL, "published port '%s' is not [BIND:]HOST:GUEST", text);
	*guest++ = 0;
	host = strrchr(copy, ':');
	if (host) {
		*host++ = 0;
		rc = publish_bind(copy, &p.bind, err);
	}
	if (rc == 0)
		rc = publish_port(host ? host : copy, "host", &p.host_port, err);
	if (rc == 0)
		rc = publish_port(guest, "guest", &p.guest_port, err);
	if (rc == 0 && !p.guest_port)
		rc = err_msg(err, EINVAL, "invalid guest port: 0");
	if (rc == 0)
		*ret = p;
	return rc < 0 ? err_wrap(err, "'%s'", text) : 0;
}

/* --- rates --- */

static int parse_interval_ms(const char *text, uint64_t *ret)
{
	char num[24];
	size_t n = strspn(text, "0123456789");
	uint64_t v;

	if (!n || n >= sizeof(num))
		return -EINVAL;
	memcpy(num, text, n);
	num[n] = 0;
	if (num_parse_u64(num, "interval", 1, 86400000, &v, NULL) < 0)
		return -EINVAL;
	if (!strcmp(text + n, "s"))
		v *= 1000;
	else if (strcmp(text + n, "ms") != 0)
		return -EINVAL;
	*ret = v;
	return 0;
}

int net_bucket_parse(const char *text, bool bytes, struct net_bucket *ret, struct err *err)
{
	struct net_bucket b = { .refill_ms = 1000 };
	size_t n = strcspn(text, "/");
	char size[32];
	int rc;

	if (!n || n >= sizeof(size))
		return err_msg(err, EINVAL, "rate '%s' is not SIZE[/DURATION]", text);
	memcpy(size, text, n);
	size[n] = 0;
	rc = bytes ? num_parse_size(size, "rate", 1, &b.size, err)
		   : num_parse_u64(size, "rate", 1, UINT32_MAX, &b.size, err);
	if (rc < 0)
		return rc;
	if (!b.size)
		return err_msg(err, EINVAL, "rate '%s' is zero", text);
	if (text[n] && parse_interval_ms(text + n + 1, &b.refill_ms) < 0)
		return err_msg(
			err, EINVAL, "rate '%s': the duration is not a number with s or ms", text);
	*ret = b;
	return 0;
}

static int check_bucket(const struct net_bucket *b, const char *name, struct err *err)
{
	if (!b->size && b->burst)
		return err_msg(err, EINVAL, "%s: a burst needs its rate", name);
	if (b->size && !b->refill_ms)
		return err_msg(err, EINVAL, "%s: refill_time_ms is 0", name);
	if (b->size > UINT64_MAX / 4000000000ULL || b->burst > UINT64_MAX / 4000000000ULL)
		return err_msg(err, EINVAL, "%s: too large", name);
	return 0;
}

int net_config_check(const struct net_config *c, struct err *err)
{
	int rc = check_bucket(&c->to_guest.bytes, "ingress bandwidth", err);

	if (rc == 0)
		rc = check_bucket(&c->to_guest.ops, "ingress ops", err);
	if (rc == 0)
		rc = check_bucket(&c->from_guest.bytes, "egress bandwidth", err);
	if (rc == 0)
		rc = check_bucket(&c->from_guest.ops, "egress ops", err);
	if (rc < 0)
		return rc;
	if (c->mtu < NET_MTU_MIN || c->mtu > NET_MTU_MAX)
		return err_msg(err, EINVAL, "mtu %u is out of range: %u to %u are allowed", c->mtu,
			NET_MTU_MIN, NET_MTU_MAX);
	if (c->pool4.bits > 30 || !ip_is_v4(&c->pool4.addr))
		return err_msg(err, EINVAL, "IPv4 pool: a prefix of at most /30 is needed");
	if (c->pool6.bits > 64 || ip_is_v4(&c->pool6.addr))
		return err_msg(err, EINVAL, "IPv6 pool: a prefix of at most /64 is needed");
	if (c->has_mac && (c->mac.b[0] & 1))
		return err_msg(err, EINVAL, "the MAC address is a group address");
	return 0;
}
