/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/netcfg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define ROUTE_METRIC 1024

/* Kernel ABI (linux/ipv6.h), whose header does not go together with the C library's. */
struct in6_ifreq_abi {
	struct in6_addr addr;
	uint32_t prefix_len;
	int ifindex;
};

/* ---- checking ---- */

static int bad(const char *what, struct err *err)
{
	return err_msg(err, EINVAL, "bootstrap: malformed %s", what);
}

static int check_family(const struct boot_family *f, size_t len, const char *what, struct err *err)
{
	if (f->address.len == 0)
		return 0;
	if (f->address.len != len || f->gateway.len != len || (f->dns.len && f->dns.len != len) ||
		f->prefix_len > 8 * len)
		return bad(what, err);
	return 0;
}

/* A word for a line of the hosts file. */
static bool is_word(struct text t, size_t max)
{
	for (size_t i = 0; i < t.len; i++) {
		if ((uint8_t)t.s[i] <= ' ' || t.s[i] == 0x7f || t.s[i] == '#')
			return false;
	}
	return t.len > 0 && t.len <= max;
}

static int check_network(const struct boot_network *net, struct err *err)
{
	int ret;

	if (!is_word(net->interface, IFNAMSIZ - 1) ||
		memchr(net->interface.s, '/', net->interface.len))
		return bad("network interface", err);
	if (net->mac.len != 6 || (net->mac.data[0] & 1))
		return bad("network mac", err);
	ret = check_family(&net->ipv4, 4, "network ipv4", err);
	return ret < 0 ? ret : check_family(&net->ipv6, 16, "network ipv6", err);
}

int netcfg_check(const struct bootstrap *boot, struct err *err)
{
	if (boot->host_alias.s && !is_word(boot->host_alias, 253))
		return bad("host_alias", err);
	if (boot->host_cas.s && text_has_nul(boot->host_cas))
		return bad("host_cas", err);
	return boot->network.interface.s ? check_network(&boot->network, err) : 0;
}

/* ---- the link ---- */

static struct ifreq request_for(const struct boot_network *net)
{
	struct ifreq req = { 0 };

	memcpy(req.ifr_name, net->interface.s, net->interface.len);
	return req;
}

/* The device comes with the address already, unless the host is an odd one. */
static int set_mac(const struct boot_network *net, int fd, struct err *err)
{
	struct ifreq req = request_for(net);

	if (ioctl(fd, SIOCGIFHWADDR, &req) < 0)
		return err_set(err, errno, "network interface '%s'", net->interface.s);
	if (memcmp(req.ifr_hwaddr.sa_data, net->mac.data, 6) == 0)
		return 0;
	req.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(req.ifr_hwaddr.sa_data, net->mac.data, 6);
	if (ioctl(fd, SIOCSIFHWADDR, &req) < 0)
		return err_set(err, errno, "set the MAC address of %s", net->interface.s);
	return 0;
}

static int set_mtu(const struct boot_network *net, int fd, struct err *err)
{
	struct ifreq req = request_for(net);

	req.ifr_mtu = net->mtu;
	if (net->mtu && ioctl(fd, SIOCSIFMTU, &req) < 0)
		return err_set(err, errno, "set the MTU of %s to %u", net->interface.s, net->mtu);
	return 0;
}

static int set_up(const struct boot_network *net, int fd, struct err *err)
{
	struct ifreq req = request_for(net);

	if (ioctl(fd, SIOCGIFFLAGS, &req) < 0)
		return err_set(err, errno, "read flags of %s", net->interface.s);
	req.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		return err_set(err, errno, "bring %s up", net->interface.s);
	return 0;
}

/* Best effort: without it the address is usable a second later. */
static void set_ipv6_knob(const struct boot_network *net, const char *knob)
{
	char path[128];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", net->interface.s, knob);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "0", 1);
}

/* ---- addresses and routes ---- */

static void put_v4(struct sockaddr *dst, uint32_t addr_be)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = addr_be };

	memcpy(dst, &sin, sizeof(sin));
}

static uint32_t v4_of(const struct bytes *b)
{
	uint32_t v;

	memcpy(&v, b->data, sizeof(v));
	return v;
}

static uint32_t v4_mask(unsigned prefix_len)
{
	return prefix_len ? htonl(UINT32_MAX << (32 - prefix_len)) : 0;
}

static int add_v4(const struct boot_network *net, int fd, struct err *err)
{
	struct ifreq req = request_for(net);
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

	put_v4(&req.ifr_addr, v4_of(&net->ipv4.address));
	if (ioctl(fd, SIOCSIFADDR, &req) < 0)
		return err_set(err, errno, "set the IPv4 address of %s", net->interface.s);
	put_v4(&req.ifr_netmask, v4_mask(net->ipv4.prefix_len));
	if (ioctl(fd, SIOCSIFNETMASK, &req) < 0)
		return err_set(err, errno, "set the IPv4 netmask of %s", net->interface.s);
	put_v4(&route.rt_dst, 0);
	put_v4(&route.rt_genmask, 0);
	put_v4(&route.rt_gateway, v4_of(&net->ipv4.gateway));
	if (ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST)
		return err_set(err, errno, "set the default route for IPv4");
	return 0;
}

static int add_v6(const struct boot_network *net, int fd4, struct err *err)
{
	cleanup_fd int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in6_rtmsg route = { .rtmsg_flags = RTF_UP | RTF_GATEWAY,
		.rtmsg_metric = ROUTE_METRIC };
	struct in6_ifreq_abi addr = { .prefix_len = net->ipv6.prefix_len };
	struct ifreq req = request_for(net);

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : err_set(err, errno, "open an IPv6 socket");
	if (ioctl(fd4, SIOCGIFINDEX, &req) < 0)
		return err_set(err, errno, "number of %s", net->interface.s);
	memcpy(&addr.addr, net->ipv6.address.data, sizeof(addr.addr));
	addr.ifindex = route.rtmsg_ifindex = req.ifr_ifindex;
	if (ioctl(fd, SIOCSIFADDR, &addr) < 0 && errno != EEXIST)
		return err_set(err, errno, "set the IPv6 address of %s", net->interface.s);
	memcpy(&route.rtmsg_gateway, net->ipv6.gateway.data, sizeof(route.rtmsg_gateway));
	if (ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST)
		return err_set(err, errno, "set the default route for IPv6");
	return 0;
}

int netcfg_apply(const struct boot_network *net, struct err *err)
{
	cleanup_fd int fd = -1;
	int ret;

	if (!net->interface.s)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, errno, "open a socket");
	ret = set_mac(net, fd, err);
	if (ret == 0)
		ret = set_mtu(net, fd, err);
	/* Before the link is up: what it does when it comes up depends on them. */
	set_ipv6_knob(net, "accept_dad");
	set_ipv6_knob(net, "accept_ra");
	if (ret == 0)
		ret = set_up(net, fd, err);
	if (ret == 0 && net->ipv4.address.len)
		ret = add_v4(net, fd, err);
	if (ret == 0 && net->ipv6.address.len)
		ret = add_v6(net, fd, err);
	return ret;
}
