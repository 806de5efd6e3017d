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

/* Kernel ABI (linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h): musl has no kernel headers. */
#define NETLINK_ROUTE_ABI   0
#define NLMSG_ERROR_ABI	    2
#define RTM_NEWADDR_ABI	    20
#define NLM_F_REQUEST_ABI   0x001
#define NLM_F_ACK_ABI	    0x004
#define NLM_F_EXCL_ABI	    0x200
#define NLM_F_CREATE_ABI    0x400
#define IFA_ADDRESS_ABI	    1
#define IFA_LOCAL_ABI	    2
#define IFA_F_NODAD_ABI	    0x02
#define IFA_F_PERMANENT_ABI 0x80

struct nlmsghdr_abi {
	uint32_t len;
	uint16_t type, flags;
	uint32_t seq, pid;
};

struct address_attr {
	uint16_t len, type;
	struct in6_addr addr;
};

struct address_request {
	struct nlmsghdr_abi hdr;
	uint8_t family, prefix_len, flags, scope;
	uint32_t ifindex;
	struct address_attr local, address;
};

struct netlink_answer {
	struct nlmsghdr_abi hdr;
	int32_t error; /* 0, -errno */
	struct nlmsghdr_abi request;
};

_Static_assert(sizeof(struct address_request) == 64, "as on the wire: no padding");
_Static_assert(sizeof(struct netlink_answer) == 36, "as on the wire: no padding");

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

/* Best effort: the kernel's own defaults work too. */
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

/*
 * By netlink, which can say that nobody else has the address: it is usable when this returns. With
 * the older ioctl() it stays tentative until a worker of the kernel has run, even where duplicates
 * are not looked for, and until then nobody can bind to it. The kernel answers a request within
 * send(), so that recv() does not wait.
 */
static int add_address6(const struct boot_network *net, int ifindex, struct err *err)
{
	cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE_ABI);
	struct address_request req = {
		.hdr = { .len = sizeof(req),
			.type = RTM_NEWADDR_ABI,
			.flags = NLM_F_REQUEST_ABI | NLM_F_ACK_ABI | NLM_F_CREATE_ABI |
				 NLM_F_EXCL_ABI },
		.family = AF_INET6,
		.prefix_len = net->ipv6.prefix_len,
		.flags = IFA_F_NODAD_ABI | IFA_F_PERMANENT_ABI,
		.ifindex = (uint32_t)ifindex,
		.local = { .len = sizeof(req.local), .type = IFA_LOCAL_ABI },
		.address = { .len = sizeof(req.address), .type = IFA_ADDRESS_ABI },
	};
	struct netlink_answer answer;
	ssize_t n = -1;

	memcpy(&req.local.addr, net->ipv6.address.data, sizeof(req.local.addr));
	req.address.addr = req.local.addr;
	if (fd >= 0 && send(fd, &req, sizeof(req), 0) == (ssize_t)sizeof(req))
		n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0)
		return err_set(err, errno, "set the IPv6 address of %s", net->interface.s);
	if (n < (ssize_t)sizeof(answer) || answer.hdr.type != NLMSG_ERROR_ABI)
		return err_set(err, EPROTO, "set the IPv6 address of %s", net->interface.s);
	if (answer.error && answer.error != -EEXIST)
		return err_set(err, -answer.error, "set the IPv6 address of %s", net->interface.s);
	return 0;
}

static int add_v6(const struct boot_network *net, int fd4, struct err *err)
{
	cleanup_fd int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in6_rtmsg route = { .rtmsg_flags = RTF_UP | RTF_GATEWAY,
		.rtmsg_metric = ROUTE_METRIC };
	struct ifreq req = request_for(net);
	int ret;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : err_set(err, errno, "open an IPv6 socket");
	if (ioctl(fd4, SIOCGIFINDEX, &req) < 0)
		return err_set(err, errno, "number of %s", net->interface.s);
	ret = add_address6(net, req.ifr_ifindex, err);
	if (ret < 0)
		return ret;
	route.rtmsg_ifindex = req.ifr_ifindex;
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
