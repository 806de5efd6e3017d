/* SPDX-License-Identifier: Apache-2.0 */
/* The address plan: everything follows from the pools and the sandbox's slot. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "net/config.h"

static void plan_macs(const struct net_config *c, uint16_t slot, struct net_plan *p)
{
	const uint8_t hi = (uint8_t)(slot >> 8), lo = (uint8_t)slot;

	p->gateway_mac = (struct mac){ { 0x02, 0x6d, 0x73, hi, lo, 0x01 } };
	p->guest_mac = (struct mac){ { 0x02, 0x6d, 0x73, hi, lo, 0x02 } };
	if (c->has_mac)
		p->guest_mac = c->mac;
}

/* The pool's base with its host bits cleared. */
static struct ip_addr pool_base(const struct ip_cidr *pool, unsigned bits)
{
	struct ip_addr a = pool->addr;

	for (unsigned i = bits; i < 128; i++)
		a.b[i / 8] &= (uint8_t) ~(0x80 >> (i % 8));
	return a;
}

static int plan4(const struct net_config *c, uint64_t slot, struct net_plan *p, struct err *err)
{
	struct ip_addr base = pool_base(&c->pool4, 96u + c->pool4.bits);
	uint32_t n;

	if (c->has_addr4) {
		p->guest4 = p->gateway4 = c->addr4;
		n = load_be32(ip_v4_bytes(&c->addr4));
		store_be32(p->gateway4.b + 12, n - 1);
		return 0;
	}
	if (slot >= 1ULL << (30 - c->pool4.bits))
		return err_msg(
			err, ERANGE, "sandbox slot is beyond the IPv4 pool (/%u)", c->pool4.bits);
	n = load_be32(base.b + 12) + 4 * (uint32_t)slot;
	p->gateway4 = p->guest4 = base;
	store_be32(p->gateway4.b + 12, n + 1);
	store_be32(p->guest4.b + 12, n + 2);
	return 0;
}

static int plan6(const struct net_config *c, uint64_t slot, struct net_plan *p, struct err *err)
{
	struct ip_addr base = pool_base(&c->pool6, c->pool6.bits);

	if (c->has_addr6) {
		p->guest6 = c->addr6;
		p->gateway6 = c->addr6;
		store_be64(p->gateway6.b + 8, 1);
		if (ip_equal(&p->guest6, &p->gateway6))
			return err_msg(
				err, EINVAL, "the IPv6 address ends in ::1, which is the gateway");
		return 0;
	}
	if (c->pool6.bits && slot >> (64 - c->pool6.bits))
		return err_msg(
			err, ERANGE, "sandbox slot is beyond the IPv6 pool (/%u)", c->pool6.bits);
	store_be64(base.b, load_be64(base.b) + slot);
	p->guest6 = p->gateway6 = base;
	store_be64(p->guest6.b + 8, 2);
	store_be64(p->gateway6.b + 8, 1);
	return 0;
}

int net_plan_make(const struct net_config *c, uint64_t slot, bool v4, bool v6, struct net_plan *ret,
	struct err *err)
{
	struct net_plan p = { .mtu = c->mtu, .v4 = v4 || c->has_addr4, .v6 = v6 || c->has_addr6 };
	int rc = net_config_check(c, err);

	if (rc < 0)
		return rc;
	if (slot > NET_SLOT_MAX)
		return err_msg(err, ERANGE, "sandbox slot is above %u", NET_SLOT_MAX);
	plan_macs(c, (uint16_t)slot, &p);
	if (p.v4)
		rc = plan4(c, slot, &p, err);
	if (rc == 0 && p.v6)
		rc = plan6(c, slot, &p, err);
	if (rc == 0)
		*ret = p;
	return rc;
}

bool net_host_has_route(bool v4)
{
	struct ip_addr a = IP_V4(192, 0, 2, 1);
	struct sockaddr_storage ss;
	cleanup_fd int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len;

	if (!v4)
		(void)ip_parse("2001:db8::1", &a);
	len = ip_to_sockaddr(&a, 443, &ss);
	return fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0;
}
