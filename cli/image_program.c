/* SPDX-License-Identifier: Apache-2.0 */
/* Starting msb-image: in place of msb for its commands, as a child for the pull of a run. */
#include "cli/image_program.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/cleanup.h"

#define PROGRAM "msb-image"

/* Beside ourselves: what is on the PATH may be another release. */
static int find_program(char path[static PATH_MAX + sizeof(PROGRAM)], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return err_set(err, errno, "find '" PROGRAM "': read /proc/self/exe");
	path[n] = '\0';
	slash = strrchr(path, '/');
	memcpy(slash ? slash + 1 : path, PROGRAM, sizeof(PROGRAM));
	return 0;
}

/* Returns only if that failed. */
static int exec_program(char *const *argv, struct err *err)
{
	char path[PATH_MAX + sizeof(PROGRAM)];
	int rc = find_program(path, err);

	if (rc < 0)
		return rc;
	(void)execv(path, argv);
	return err_set(err, errno, "start '%s', which belongs to msb", path);
}

/* --- in place of msb */

static int run_there(int argc, char **argv)
{
	cleanup_free char **args = calloc((size_t)argc + 2, sizeof(*args));
	struct err err = ERR_INIT;

	if (!args)
		return cli_error("start " PROGRAM ": out of memory");
	args[0] = (char *)PROGRAM;
	memcpy(args + 1, argv, (size_t)argc * sizeof(*args));
	(void)exec_program(args, &err);
	return cli_error("%s", err.msg);
}

const struct command command_pull = {
	.name = "pull",
	.help = HELP_PULL,
	.run = run_there,
	.elsewhere = true,
};

const struct command command_load = {
	.name = "load",
	.help = HELP_LOAD,
	.run = run_there,
	.elsewhere = true,
};

const struct command command_save = {
	.name = "save",
	.help = HELP_SAVE,
	.run = run_there,
	.elsewhere = true,
};

/* --- as a child */

/* Never returns. Its standard input is the socket: that of msb belongs to the command to be run. */
static void become_program(const char *reference, enum image_policy policy, bool flat,
	enum log_level level, int fd, pid_t parent)
{
	char policy_text[12], level_text[12];
	char *argv[] = { (char *)PROGRAM, (char *)"fetch", policy_text, level_text,
		(char *)(flat ? IMAGE_FETCH_FLAT : IMAGE_FETCH_LAYERED), (char *)reference, NULL };
	struct err err = ERR_INIT;

	(void)snprintf(policy_text, sizeof(policy_text), "%d", (int)policy);
	(void)snprintf(level_text, sizeof(level_text), "%d", (int)level);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILED);
	if (dup2(fd, IMAGE_FETCH_FD) < 0)
		(void)err_set(&err, errno, "start " PROGRAM);
	else
		(void)exec_program(argv, &err);
	(void)send(fd, &err, sizeof(err), MSG_NOSIGNAL);
	_exit(EXIT_FAILED);
}

static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

void image_fetch_end(struct image_fetch *f)
{
	close_fd(&f->fd); /* it waits for that */
	(void)wait_for(f->pid);
}

static int explain_end(int status, struct err *err)
{
	if (WIFSIGNALED(status))
		return err_msg(err, EPIPE, "pull: " PROGRAM " was ended by signal %d (%s)",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	return err_msg(err, EPIPE, "pull: " PROGRAM " ended with exit code %d and said nothing",
		WEXITSTATUS(status));
}

/* Pulls have deadlines of their own; a program that ends closes the socket. */
static int take_report(struct image_fetch *f, struct err *err)
{
	struct err report;
	ssize_t n;

	do
		n = recv(f->fd, &report, sizeof(report), 0);
	while (n < 0 && errno == EINTR);
	if (n == sizeof(report) && report.code == 0)
		return 0;
	close_fd(&f->fd);
	if (n != sizeof(report))
		return explain_end(wait_for(f->pid), err);
	(void)wait_for(f->pid);
	/* Its words come from a process that strangers spoke to. */
	report.msg[sizeof(report.msg) - 1] = '\0';
	log_clean(report.msg);
	return err_msg(err, report.code > 0 ? report.code : EIO, "%s", report.msg);
}

int image_fetch(const char *reference, enum image_policy policy, bool flat, enum log_level level,
	struct image_fetch *ret, struct err *err)
{
	struct image_fetch f = { .fd = -1, .pid = -1 };
	pid_t self = getpid();
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "start " PROGRAM);
	f.pid = fork();
	if (f.pid == 0)
		become_program(reference, policy, flat, level, pair[1], self);
	(void)close(pair[1]);
	f.fd = pair[0];
	if (f.pid < 0) {
		rc = err_set(err, errno, "start " PROGRAM);
		close_fd(&f.fd);
		return rc;
	}
	rc = take_report(&f, err);
	if (rc == 0)
		*ret = f;
	return rc;
}
