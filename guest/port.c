/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the console port by name. Its device node is named after bus and port numbers, which
 * depend on the order of devices, and its name arrives some time after the node; each step sends a
 * kernel uevent, so those are what we wait for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/boot.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

#define PORTS_DIR "/sys/class/virtio-ports"

/* Where uevents cannot be had, look again after this time. */
#define RESCAN_MS 2

/* From the kernel's netlink ABI: musl comes without the kernel's headers. */
#define UEVENT_PROTOCOL 15
#define UEVENT_GROUP	1

struct netlink_address {
	uint16_t family, pad;
	uint32_t port_id, groups;
};

static int open_uevents(void)
{
	struct netlink_address addr = { .family = AF_NETLINK, .groups = UEVENT_GROUP };
	cleanup_fd int fd =
		socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, UEVENT_PROTOCOL);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return take_fd(&fd);
}

static bool port_has_name(const char *entry, const char *name)
{
	char path[300], text[64];
	cleanup_fd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), PORTS_DIR "/%s/name", entry);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return strcmp(text, name) == 0;
}

/* Return: 0 and *ret_fd; -ENOENT if there is no such port yet; -errno of opening it. */
static int try_open(const char *name, int *ret_fd)
{
	cleanup_dir DIR *dir = opendir(PORTS_DIR);
	struct dirent *entry;
	char path[300];
	int fd;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !port_has_name(entry->d_name, name))
			continue;
		(void)snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			return -errno;
		*ret_fd = fd;
		return 0;
	}
	return -ENOENT;
}

static void wait_uevent(int fd, int timeout_ms)
{
	struct pollfd pfd = { fd, POLLIN, 0 };
	char event[4096];

	if (poll(&pfd, 1, fd < 0 ? RESCAN_MS : timeout_ms) <= 0)
		return;
	while (recv(fd, event, sizeof(event), MSG_DONTWAIT) > 0)
		;
}

int boot_open_port(const char *name, int timeout_ms, int *ret_fd, struct err *err)
{
	uint64_t now, end = clock_mono_ns() + timeout_ms * NS_PER_MS;
	/* Before the first look, so that nothing is missed in between. */
	cleanup_fd int events = open_uevents();
	int ret;

	while ((ret = try_open(name, ret_fd)) == -ENOENT) {
		now = clock_mono_ns();
		if (now >= end)
			return err_msg(err, ETIMEDOUT, "no console port named '%s' appeared", name);
		wait_uevent(events, (end - now) / NS_PER_MS + 1);
	}
	return ret < 0 ? err_set(err, ret, "open console port '%s'", name) : 0;
}
