/* SPDX-License-Identifier: Apache-2.0 */
/* The interface of a guest, set up for real: a TAP device in a network namespace of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/netcfg.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/* linux/if_tun.h */
#define TUN_SET_IFF _IOW('T', 202, int)
#define TUN_TAP	    0x0002
#define TUN_NO_PI   0x1000

static const uint8_t mac[] = { 0x02, 0x6d, 0x73, 0, 1, 2 }, addr4[] = { 172, 16, 0, 6 },
		     gateway4[] = { 172, 16, 0, 5 }, addr6[] = { 0xfd, 0x42, [14] = 0, [15] = 2 },
		     gateway6[] = { 0xfd, 0x42, [14] = 0, [15] = 1 };

static struct boot_network network(void)
{
	return (struct boot_network){
		.interface = text_of("eth0"),
		.mac = { mac, 6 },
		.mtu = 1400,
		.ipv4 = { { addr4, 4 }, 30, { gateway4, 4 }, { gateway4, 4 } },
		.ipv6 = { { addr6, 16 }, 64, { gateway6, 16 }, { gateway6, 16 } },
	};
}

/* Whether "eth0" could be made in a namespace of ours. */
static bool make_interface(int *ret_fd)
{
	struct ifreq req = { .ifr_name = "eth0", .ifr_flags = TUN_TAP | TUN_NO_PI };

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	*ret_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	return *ret_fd >= 0 && ioctl(*ret_fd, TUN_SET_IFF, &req) == 0;
}

static void read_file(const char *path, char *dst, size_t size)
{
	cleanup_file FILE *f = fopen(path, "re");

	assert_non_null(f);
	dst[fread(dst, 1, size - 1, f)] = '\0';
}

/* What a tentative address is not good for. */
static void bind_to(const uint8_t *addr)
{
	cleanup_fd int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };

	memcpy(&sin6.sin6_addr, addr, sizeof(sin6.sin6_addr));
	assert_int_equal(bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)), 0);
}

static void test_sets_everything_up(void **state)
{
	cleanup_fd int tap = -1, fd = -1;
	struct boot_network net = network();
	struct ifreq req = { .ifr_name = "eth0" };
	struct err err = ERR_INIT;
	char text[4096], *line;

	if (!make_interface(&tap)) {
		print_message("impossible here: no network namespace with a TAP device\n");
		skip();
	}
	if (netcfg_apply(&net, &err) < 0)
		fail_msg("%s", err.msg);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &req), 0);
	assert_memory_equal(req.ifr_hwaddr.sa_data, mac, 6);
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &req), 0);
	assert_int_equal(req.ifr_mtu, 1400);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
	assert_true(req.ifr_flags & IFF_UP);
	assert_int_equal(ioctl(fd, SIOCGIFADDR, &req), 0);
	assert_memory_equal(req.ifr_addr.sa_data + 2, addr4, 4);
	assert_int_equal(ioctl(fd, SIOCGIFNETMASK, &req), 0);
	assert_memory_equal(req.ifr_netmask.sa_data + 2, "\xff\xff\xff\xfc", 4);
	read_file("/proc/self/net/route", text, sizeof(text));
	assert_non_null(strstr(text, "eth0\t00000000\t050010AC\t0003"));
	read_file("/proc/self/net/ipv6_route", text, sizeof(text));
	assert_non_null(strstr(text, "fd420000000000000000000000000001 00000400"));
	/* Its flags are 82, permanent and without duplicate detection; not 40, tentative. */
	read_file("/proc/self/net/if_inet6", text, sizeof(text));
	line = strstr(text, "fd420000000000000000000000000002 ");
	assert_non_null(line);
	assert_non_null(strstr(line, " 40 00 82     eth0"));
	bind_to(addr6);
	/* What is there already is no failure. */
	assert_int_equal(netcfg_apply(&net, NULL), 0);
}

static void test_no_interface(void **state)
{
	struct boot_network none = { 0 }, absent = network();
	struct err err = ERR_INIT;

	absent.interface = text_of("absent0");
	assert_int_equal(netcfg_apply(&none, NULL), 0);
	assert_int_equal(netcfg_apply(&absent, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "absent0"));
}

static void refuse(struct bootstrap boot, const char *what)
{
	struct err err = ERR_INIT;

	assert_int_equal(netcfg_check(&boot, &err), -EINVAL);
	if (!strstr(err.msg, what))
		fail_msg("'%s' does not say '%s'", err.msg, what);
}

static void test_check(void **state)
{
	struct bootstrap boot = { .network = network(), .host_alias = text_of("host.internal") }, b;

	assert_int_equal(netcfg_check(&boot, NULL), 0);
	assert_int_equal(netcfg_check(&(struct bootstrap){ 0 }, NULL), 0);
	b = boot;
	b.network.interface = text_of("../../escape");
	refuse(b, "interface");
	b.network.interface = text_of("name-of-sixteen-");
	refuse(b, "interface");
	b.network.interface = text_of("");
	refuse(b, "interface");
	b = boot;
	b.network.mac.len = 5;
	refuse(b, "mac");
	b = boot;
	b.network.ipv4.prefix_len = 33;
	refuse(b, "ipv4");
	b = boot;
	b.network.ipv4.gateway.len = 16;
	refuse(b, "ipv4");
	b = boot;
	b.network.ipv6.address.len = 4;
	refuse(b, "ipv6");
	b = boot;
	b.host_alias = text_of("two words");
	refuse(b, "host_alias");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_no_interface),
		cmocka_unit_test(test_sets_everything_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
