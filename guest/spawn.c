/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child reports the step that failed over a close-on-exec pipe, so that the parent knows
 * "started" from "could not be started" without a race.
 */
#include "guest/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "guest/environ.h"
#include "guest/rlimits.h"
#include "guest/user.h"
#include "guest/workdir.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Room in a stream's pipe, so that the command and we take turns seldom. A wish, not a need. */
#define PIPE_ROOM 131072

enum step { STEP_STREAMS, STEP_MAKE_CWD, STEP_CWD, STEP_USER, STEP_LIMITS, STEP_EXEC };

/* struct report - what the child writes when it could not exec */
struct report {
	int error;
	enum step step;
};

/* struct plan - everything decided before the fork */
struct plan {
	const struct exec_request *req;
	const char *cwd;
	bool make_cwd;
	struct user user;
	char **argv;
	struct environ env;
};

/* struct streams - both ends; the child's are closed in the parent after the fork */
struct streams {
	int child_fd[3];
	int parent_fd[3];
};

static void plan_release(struct plan *plan)
{
	free(plan->argv);
	environ_release(&plan->env);
}

static void streams_release(struct streams *s)
{
	for (int i = 0; i < 3; i++) {
		close_fd(&s->child_fd[i]);
		close_fd(&s->parent_fd[i]);
	}
}

static const char *stage_of(const struct exec_request *req)
{
	return req->tty ? "execvp" : "Command::spawn";
}

static bool texts_have_nul(const struct texts *list)
{
	for (size_t i = 0; i < list->n; i++) {
		if (text_has_nul(list->v[i]))
			return true;
	}
	return false;
}

static int check_texts(const struct exec_request *req, struct failure *f)
{
	if (text_has_nul(req->cmd) || text_has_nul(req->cwd) || text_has_nul(req->user) ||
		texts_have_nul(&req->args) || texts_have_nul(&req->env)) {
		failure_set(f, req->tty ? NULL : "Command::spawn",
			"exec session error: NUL byte in command, arguments or environment");
		return -1;
	}
	return 0;
}

static int fail_memory(const struct exec_request *req, struct failure *f)
{
	failure_set_errno(f, stage_of(req), ENOMEM, "spawn \"%s\"", req->cmd.s);
	return -1;
}

static int plan_argv(struct plan *plan, const struct exec_request *req)
{
	plan->argv = calloc(req->args.n + 2, sizeof(*plan->argv));
	if (!plan->argv)
		return -ENOMEM;
	plan->argv[0] = (char *)req->cmd.s;
	for (size_t i = 0; i < req->args.n; i++)
		plan->argv[i + 1] = (char *)req->args.v[i].s;
	return 0;
}

/* Entries without '=' or without a name are ignored. */
static int add_request_env(struct environ *env, const struct texts *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const char *s = list->v[i].s, *eq = strchr(s, '=');

		if (eq && eq > s && environ_set(env, s, eq - s, eq + 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int plan_env(struct plan *plan, const struct exec_defaults *defaults)
{
	const struct env_var *vars = defaults->env.v;
	struct environ *env = &plan->env;

	if (environ_set(env, "PATH", 4, DEFAULT_PATH) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < defaults->env.n; i++) {
		if (environ_set(env, vars[i].key.s, vars[i].key.len, vars[i].value.s) < 0)
			return -ENOMEM;
	}
	if (add_request_env(env, &plan->req->env) < 0)
		return -ENOMEM;
	if (environ_get(env, "HOME"))
		return 0;
	/* Who passwd does not know, or knows without a home, has it where docker puts it. */
	return environ_set(env, "HOME", 4, plan->user.home[0] ? plan->user.home : "/");
}

static int make_plan(struct plan *plan, const struct exec_defaults *defaults, struct failure *f)
{
	const struct exec_request *req = plan->req;
	const char *user = req->user.len > 0 ? req->user.s : defaults->user;
	struct err err = ERR_INIT;

	if (check_texts(req, f) < 0)
		return -1;
	if (user_resolve(user, &plan->user, &err) < 0) {
		failure_set(f, NULL, "exec session error: %s", err.msg);
		return -1;
	}
	plan->cwd = req->cwd.s ? req->cwd.s : defaults->cwd;
	plan->make_cwd = req->cwd.s && req->make_cwd;
	if (plan_argv(plan, req) < 0 || plan_env(plan, defaults) < 0)
		return fail_memory(req, f);
	return 0;
}

static int set_nonblocking(int fd)
{
	return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_terminal(struct streams *s, const struct exec_request *req)
{
	struct winsize size = { .ws_row = req->rows, .ws_col = req->cols };
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[64];

	if (master < 0)
		return -errno;
	s->parent_fd[1] = master;
	if (grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, name, sizeof(name)))
		return -errno;
	s->child_fd[0] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->child_fd[0] < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	/* One descriptor per direction, so that each has one owner. */
	s->parent_fd[0] = fcntl(master, F_DUPFD_CLOEXEC, 3);
	if (s->parent_fd[0] < 0)
		return -errno;
	return set_nonblocking(master);
}

static int open_pipe(int *ret_read, int *ret_write)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

static int open_pipes(struct streams *s)
{
	int ret = open_pipe(&s->child_fd[0], &s->parent_fd[0]);

	if (ret == 0)
		ret = open_pipe(&s->parent_fd[1], &s->child_fd[1]);
	if (ret == 0)
		ret = open_pipe(&s->parent_fd[2], &s->child_fd[2]);
	/* Only our ends: the command expects ordinary, blocking ones. */
	for (int i = 0; i < 3 && ret == 0; i++) {
		(void)fcntl(s->parent_fd[i], F_SETPIPE_SZ, PIPE_ROOM);
		ret = set_nonblocking(s->parent_fd[i]);
	}
	return ret;
}

static int open_streams(struct streams *s, const struct exec_request *req, struct failure *f)
{
	int ret = req->tty ? open_terminal(s, req) : open_pipes(s);

	if (ret == 0)
		return 0;
	if (req->tty)
		failure_set(f, NULL, "nix error: open a terminal: %s", strerror(-ret));
	else
		failure_set_errno(f, "Command::spawn", -ret, "spawn \"%s\"", req->cmd.s);
	return -1;
}

static void reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_streams(const struct streams *s, bool tty)
{
	if (setsid() < 0)
		return -errno;
	if (tty && ioctl(s->child_fd[0], TIOCSCTTY, 0) < 0)
		return -errno;
	for (int i = 0; i < 3; i++) {
		if (dup2(s->child_fd[tty ? 0 : i], i) < 0)
			return -errno;
	}
	return 0;
}

/* One directory of PATH, which may be empty for "here". Return: only on failure, -errno. */
static int exec_in(const char *dir, size_t dir_len, const struct plan *plan)
{
	size_t cmd_len = plan->req->cmd.len;
	char path[4096];

	if (dir_len == 0) {
		dir = ".";
		dir_len = 1;
	}
	if (dir_len + 1 + cmd_len >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(path, dir, dir_len);
	path[dir_len] = '/';
	memcpy(path + dir_len + 1, plan->req->cmd.s, cmd_len + 1);
	(void)execve(path, plan->argv, plan->env.v);
	return -errno;
}

/*
 * execvp() against the command's own PATH, without its fallback of running unknown files with a
 * shell. A file that may not be executed is remembered while later directories are tried.
 */
static int exec_search(const struct plan *plan)
{
	const char *path = environ_get(&plan->env, "PATH");
	int ret, result = -ENOENT;

	for (;;) {
		const char *end = strchrnul(path, ':');

		ret = exec_in(path, end - path, plan);
		if (ret == -EACCES)
			result = ret;
		else if (ret != -ENOENT && ret != -ENOTDIR)
			return ret;
		if (!*end)
			return result;
		path = end + 1;
	}
}

static int child_exec(const struct plan *plan)
{
	if (plan->req->cmd.len == 0)
		return -ENOENT;
	if (!strchr(plan->req->cmd.s, '/'))
		return exec_search(plan);
	(void)execve(plan->req->cmd.s, plan->argv, plan->env.v);
	return -errno;
}

static int child_cwd(const struct plan *plan, enum step *ret_step)
{
	int ret;

	*ret_step = STEP_CWD;
	if (!plan->cwd || chdir(plan->cwd) == 0)
		return 0;
	if (errno != ENOENT || !plan->make_cwd)
		return -errno;
	*ret_step = STEP_MAKE_CWD;
	ret = workdir_make(plan->cwd);
	if (ret < 0)
		return ret;
	*ret_step = STEP_CWD;
	return chdir(plan->cwd) < 0 ? -errno : 0;
}

static int child_steps(const struct plan *plan, const struct streams *s, enum step *ret_step)
{
	int ret = child_streams(s, plan->req->tty);

	*ret_step = STEP_STREAMS;
	if (ret < 0)
		return ret;
	ret = child_cwd(plan, ret_step);
	if (ret < 0)
		return ret;
	*ret_step = STEP_USER;
	ret = user_apply(&plan->user);
	if (ret < 0)
		return ret;
	*ret_step = STEP_LIMITS;
	ret = rlimits_apply(&plan->req->rlimits);
	if (ret < 0)
		return ret;
	*ret_step = STEP_EXEC;
	return child_exec(plan);
}

static _Noreturn void child_main(const struct plan *plan, const struct streams *s, int report_fd)
{
	struct report report;

	reset_signals();
	report.error = -child_steps(plan, s, &report.step);
	(void)!write(report_fd, &report, sizeof(report));
	_exit(127);
}

static void set_failure(struct failure *f, const struct plan *plan, const struct report *report)
{
	const char *stage = stage_of(plan->req);
	int error = report->error;

	switch (report->step) {
	case STEP_STREAMS:
		failure_set_errno(
			f, stage, error, "set up the streams of \"%s\"", plan->req->cmd.s);
		break;
	case STEP_MAKE_CWD:
		failure_set_errno(f, stage, error,
			"make \"%s\", the working directory that the image names", plan->cwd);
		f->kind = "bad_cwd";
		break;
	case STEP_CWD:
		failure_set_errno(f, stage, error, "change to directory \"%s\"", plan->cwd);
		if (error == ENOENT)
			f->kind = "bad_cwd";
		break;
	case STEP_USER:
		failure_set_errno(f, stage, error, "switch to user %u", (unsigned)plan->user.uid);
		break;
	case STEP_LIMITS:
		failure_set_errno(f, stage, error, "set resource limits");
		break;
	case STEP_EXEC:
		failure_set_errno(f, stage, error, "spawn \"%s\"", plan->req->cmd.s);
		/* A file where a folder should be: the fault is not in the working directory. */
		if (error == ENOTDIR)
			f->kind = "not_found";
		break;
	}
}

/* Wait for the exec or its failure. */
static bool child_failed(int report_fd, struct report *ret)
{
	ssize_t n;

	do
		n = read(report_fd, ret, sizeof(*ret));
	while (n < 0 && errno == EINTR);
	return n == sizeof(*ret);
}

static int start(const struct plan *plan, struct streams *s, struct child *ret, struct failure *f)
{
	cleanup_fd int report_read = -1, report_write = -1;
	struct report report;
	pid_t pid = -1;
	int error = -open_pipe(&report_read, &report_write);

	if (!error) {
		pid = fork();
		error = pid < 0 ? errno : 0;
	}
	if (error) {
		failure_set_errno(f, "fork", error, "spawn \"%s\"", plan->req->cmd.s);
		return -1;
	}
	if (pid == 0)
		child_main(plan, s, report_write);
	close_fd(&report_write);
	if (child_failed(report_read, &report)) {
		/* Not waited for here: the reaper takes it like any orphan. */
		set_failure(f, plan, &report);
		return -1;
	}
	*ret = (struct child){ pid, take_fd(&s->parent_fd[0]),
		{ take_fd(&s->parent_fd[1]), take_fd(&s->parent_fd[2]) } };
	return 0;
}

int spawn_command(const struct exec_request *req, const struct exec_defaults *defaults,
	struct child *ret, struct failure *ret_failure)
{
	cleanup_(plan_release) struct plan plan = { .req = req };
	cleanup_(streams_release) struct streams streams = { { -1, -1, -1 }, { -1, -1, -1 } };

	if (make_plan(&plan, defaults, ret_failure) < 0 ||
		open_streams(&streams, req, ret_failure) < 0)
		return -1;
	return start(&plan, &streams, ret, ret_failure);
}
