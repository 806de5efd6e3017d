/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/net_setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/net_resolve.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/host_cas.h"

/* The stacks of two sandboxes never meet, so both may have the first place in the pools. */
#define SLOT 0

#define PREFIX4 30
#define PREFIX6 64

static int collect_cas(char **ret, struct err *err)
{
	int rc = host_cas_collect(ret, err);

	if (rc != -ENOENT)
		return rc;
	log_warn("--trust-host-cas: this host has no certificates");
	err_clear(err);
	return 0;
}

/* One line: less than was asked for must not look like all of it. */
static void tell_dropped(unsigned dropped)
{
	static const struct {
		unsigned bit;
		const char *text;
	} rows[] = {
		{ NET_DROPPED_INTERFACE, "address pools" },
		{ NET_DROPPED_PORTS, "published ports" },
		{ NET_DROPPED_NAMESERVERS, "nameservers" },
		{ NET_DROPPED_REBIND, "no rebind protection" },
		{ NET_DROPPED_HOST_CAS, "the host's certificates" },
		{ NET_DROPPED_LIMITS, "more connections than 1024" },
	};
	char text[256] = "";
	size_t n = 0;

	_Static_assert(NET_TENANT_FLOWS_MAX == 1024, "in the text above");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (dropped & rows[i].bit)
			n += (size_t)snprintf(
				text + n, sizeof(text) - n, "%s%s", n ? ", " : "", rows[i].text);
	}
	if (n)
		log_warn("--deployment-profile multi-tenant: not given to the guest: %s", text);
}

int net_setup_make(struct net_args *a, struct net_setup *ret, struct err *err)
{
	struct net_setup n = { .vm.config = &a->config };
	bool v6 = a->want_v6 || net_host_has_route(false);
	int rc = net_plan_make(&a->config, SLOT, true, v6, &n.vm.plan, err);

	if (rc == 0)
		rc = net_resolve_nameservers(
			&a->config, net_lookup_host, NET_RESOLVE_TIMEOUT_MS, err);
	if (rc == 0)
		tell_dropped(a->dropped);
	if (rc == 0 && a->config.trust_host_cas)
		rc = collect_cas(&n.host_cas, err);
	if (rc == 0)
		*ret = n;
	return rc;
}

static struct bytes bytes_of(const struct ip_addr *a)
{
	return ip_is_v4(a) ? (struct bytes){ ip_v4_bytes(a), 4 } : (struct bytes){ a->b, 16 };
}

static struct boot_family family(
	const struct ip_addr *guest, uint8_t prefix_len, const struct ip_addr *gateway)
{
	return (struct boot_family){ bytes_of(guest), prefix_len, bytes_of(gateway),
		bytes_of(gateway) };
}

void net_setup_tell(const struct net_setup *n, struct bootstrap *boot)
{
	const struct net_plan *p = &n->vm.plan;

	if (!n->vm.config)
		return;
	boot->host_alias = text_of(NET_HOST_ALIAS);
	boot->host_cas = text_of(n->host_cas);
	boot->network = (struct boot_network){
		.interface = text_of("eth0"),
		.mac = { p->guest_mac.b, sizeof(p->guest_mac.b) },
		.mtu = p->mtu,
	};
	if (p->v4)
		boot->network.ipv4 = family(&p->guest4, PREFIX4, &p->gateway4);
	if (p->v6)
		boot->network.ipv6 = family(&p->guest6, PREFIX6, &p->gateway6);
}

void net_setup_release(struct net_setup *n)
{
	free(n->host_cas);
	*n = (struct net_setup){ 0 };
}
