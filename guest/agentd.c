/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentd: PID 1 of a machine. `agentd --serve FD` serves the protocol on an inherited stream
 * instead, as an ordinary process that mounts nothing and ends with its host: for tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest/agent.h"
#include "guest/boot.h"
#include "guest/poweroff.h"
#include "guest/root.h"
#include "guest/serve.h"
#include "lib/clock.h"
#include "lib/num.h"

#define PORT_NAME	"agent"
#define PORT_TIMEOUT_MS 20000

/* How long a host has to take notice of a failed start-up */
#define FAILURE_TIMEOUT_MS 500

/* On the kernel console, which the host keeps as a log. */
static void complain(const struct err *err)
{
	(void)dprintf(STDERR_FILENO, "agentd: %s\n", err->msg);
}

/* Patches are for the root file system: before anything else is mounted in a new one. */
static int make_root(struct agent *a, int *ret_upper_fd, struct err *err)
{
	bool other = a->boot.block_root.kind.s;
	int ret = root_build(&a->boot.block_root, ret_upper_fd, err);

	if (ret == 0)
		ret = agent_receive_patches(a, err);
	if (ret == 0 && other)
		ret = boot_mount_first(err);
	return ret;
}

static int start_up(struct agent *a, uint64_t boot_ns, int *ret_upper_fd, struct err *err)
{
	uint64_t start_ns = clock_mono_ns();
	int ret = agent_receive_bootstrap(a, err);

	if (ret == 0)
		ret = make_root(a, ret_upper_fd, err);
	if (ret == 0)
		ret = boot_mount_rest(err);
	if (ret == 0)
		ret = agent_handshake(a, err);
	if (ret == 0)
		ret = boot_apply(&a->boot, err);
	if (ret == 0)
		ret = agent_ready(a, boot_ns, clock_mono_ns() - start_ns, err);
	return ret;
}

static int run_machine(uint64_t boot_ns, int *ret_upper_fd, struct err *err)
{
	struct agent agent;
	int port = -1, ret;

	ret = boot_mount_first(err);
	if (ret == 0)
		ret = boot_open_port(PORT_NAME, PORT_TIMEOUT_MS, &port, err);
	if (ret == 0)
		ret = agent_init(&agent, port, err);
	if (ret < 0)
		return ret;
	ret = start_up(&agent, boot_ns, ret_upper_fd, err);
	if (ret < 0) {
		agent_report_failure(&agent, err->msg, FAILURE_TIMEOUT_MS);
		return ret;
	}
	return agent_run(&agent, err);
}

static _Noreturn void be_init(void)
{
	struct err err = ERR_INIT;
	int upper_fd = -1;

	if (run_machine(agent_boottime_ns(), &upper_fd, &err) < 0)
		complain(&err);
	poweroff_now(upper_fd);
}

static int serve(const char *fd_text)
{
	struct err err = ERR_INIT;
	uint64_t fd;

	if (num_parse_u64(fd_text, "descriptor", 0, INT32_MAX, &fd, &err) == 0 &&
		serve_stream(fd, &err) == 0)
		return 0;
	complain(&err);
	return 1;
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		be_init();
	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		return serve(argv[2]);
	(void)dprintf(STDERR_FILENO, "agentd: runs as PID 1 of a virtual machine\n");
	return 2;
}
