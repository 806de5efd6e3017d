/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launcher and worker talk over a SOCK_SEQPACKET pair, one struct report per packet, worker to
 * launcher only. The launcher also watches the worker's pidfd: what the packets did not say, the
 * wait status does.
 */
#include "runtime/worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"
#include "runtime/confine.h"

enum report_kind { REPORT_LOG, REPORT_PREPARED, REPORT_END };

/* struct report - one packet; both ends are the same program, so plain structs will do */
struct report {
	enum report_kind kind;
	union {
		struct {
			enum log_level level;
			char line[1024];
		} log;
		struct {
			char engine[16], reason[256];
		} prepared;
		struct worker_end end;
	};
};

struct worker {
	struct worker_ops ops;
	void *ctx;
	pid_t pid;
	int pidfd, report_fd;
	struct loop_watch *exit_watch, *report_watch;
	struct worker_end end;
	bool has_end;
};

/* ---- in the worker ---- */

static void send_report(int fd, const struct report *r)
{
	/* A launcher that does not read loses log lines; the end waits for room. */
	int flags = MSG_NOSIGNAL | (r->kind == REPORT_LOG ? MSG_DONTWAIT : 0);

	while (send(fd, r, sizeof(*r), flags) < 0 && errno == EINTR)
		;
}

static void log_to_launcher(void *ctx, enum log_level level, const char *line)
{
	struct report r = { .kind = REPORT_LOG };

	r.log.level = level;
	(void)snprintf(r.log.line, sizeof(r.log.line), "%s", line);
	send_report(*(int *)ctx, &r);
}

static enum log_level current_level(void)
{
	enum log_level level = LOG_TRACE;

	while (level > LOG_OFF && !log_enabled(level))
		level--;
	return level;
}

/* struct keep - the descriptors that the worker needs; @full: there were more */
struct keep {
	int fd[CONFINE_MAX_KEEP];
	unsigned n;
	bool full;
};

static void keep_fd(struct keep *k, int fd)
{
	if (k->n == ARRAY_LEN(k->fd))
		k->full = true;
	else
		k->fd[k->n++] = fd;
}

static void keep_share(struct keep *k, const struct fs_config *cfg)
{
	keep_fd(k, cfg->root_fd);
	for (unsigned i = 0; i < cfg->n_extra; i++) {
		if (cfg->extra[i].bound)
			keep_fd(k, cfg->extra[i].fd);
	}
}

static void keep_disk(struct keep *k, const struct vm_disk *disk)
{
	if (!disk->n_parts) {
		keep_fd(k, disk->fd);
		keep_fd(k, disk->dir_fd);
	}
	for (unsigned i = 0; i < disk->n_parts; i++)
		keep_fd(k, disk->parts[i]);
}

static void list_kept(const struct vm_config *cfg, struct keep *k)
{
	for (unsigned i = 0; i < cfg->n_consoles; i++) {
		keep_fd(k, cfg->console[i].in_fd);
		keep_fd(k, cfg->console[i].out_fd);
	}
	for (unsigned i = 0; i < cfg->n_fs; i++)
		keep_share(k, &cfg->fs[i].cfg);
	for (unsigned i = 0; i < cfg->n_disks; i++)
		keep_disk(k, &cfg->disk[i]);
}

static int detach(const struct vm_config *cfg, int report_fd, int phase_fd, struct err *err)
{
	struct keep keep = { .n = 0 };

	keep_fd(&keep, report_fd);
	keep_fd(&keep, phase_fd);
	list_kept(cfg, &keep);
	if (keep.full)
		return err_msg(err, E2BIG, "worker needs too many descriptors");
	return confine_detach(keep.fd, keep.n, err);
}

/* struct reach - what the worker may still open by a path: shared directories and files */
struct reach {
	int fd[CONFINE_MAX_KEEP];
	bool read_only[CONFINE_MAX_KEEP];
	unsigned n;
};

static void reach_add(struct reach *r, int fd, bool read_only)
{
	r->fd[r->n] = fd;
	r->read_only[r->n++] = read_only;
}

static int seal(const struct vm_config *cfg, struct err *err)
{
	struct reach r = { .n = 0 };

	/* They are among those kept, so there is room for them. */
	for (unsigned i = 0; i < cfg->n_fs; i++) {
		const struct fs_config *fs = &cfg->fs[i].cfg;

		reach_add(&r, fs->root_fd, fs->read_only);
		for (unsigned j = 0; j < fs->n_extra; j++) {
			if (fs->extra[j].bound)
				reach_add(&r, fs->extra[j].fd, fs->read_only);
		}
	}
	return confine_seal(r.fd, r.read_only, r.n, cfg->net != NULL, err);
}

static void tell_prepared(int report_fd, const struct vm *vm)
{
	struct report r = { .kind = REPORT_PREPARED };

	(void)snprintf(r.prepared.engine, sizeof(r.prepared.engine), "%s", vm_engine_name(vm));
	(void)snprintf(r.prepared.reason, sizeof(r.prepared.reason), "%s", vm_engine_reason(vm));
	send_report(report_fd, &r);
}

/* prepare -> confine -> run; @end says what came of it */
static void live(const struct vm_config *cfg, int report_fd, int phase_fd, struct worker_end *end)
{
	struct vm *vm = NULL;

	end->cause = WORKER_NOT_PREPARED;
	if (detach(cfg, report_fd, phase_fd, &end->err) < 0)
		return;
	if (vm_new(cfg, &vm, &end->err) < 0)
		return;
	tell_prepared(report_fd, vm);
	end->cause = WORKER_NOT_RUN;
	if (seal(cfg, &end->err) == 0 && vm_run(vm, &end->exit, &end->err) == 0)
		end->cause = WORKER_VM_ENDED;
	vm_free(vm);
}

static void worker_main(const struct vm_config *cfg, int report_fd, int phase_fd, pid_t launcher)
	__attribute__((noreturn));

static void worker_main(const struct vm_config *cfg, int report_fd, int phase_fd, pid_t launcher)
{
	struct report r = { .kind = REPORT_END };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != launcher)
		_exit(1);
	(void)prctl(PR_SET_NAME, "msb-worker");
	log_set_sink(log_to_launcher, &report_fd, current_level());
	live(cfg, report_fd, phase_fd, &r.end);
	send_report(report_fd, &r);
	_exit(0);
}

/* ---- in the launcher ---- */

static void take_report(struct worker *w, const struct report *r)
{
	switch (r->kind) {
	case REPORT_LOG:
		log_write(r->log.level, "%.*s", (int)sizeof(r->log.line) - 1, r->log.line);
		break;
	case REPORT_PREPARED:
		if (w->ops.prepared)
			w->ops.prepared(w->ctx, r->prepared.engine, r->prepared.reason);
		break;
	case REPORT_END:
		w->end = r->end;
		w->has_end = true;
		break;
	}
}

static void terminate_strings(struct report *r)
{
	switch (r->kind) {
	case REPORT_LOG:
		r->log.line[sizeof(r->log.line) - 1] = '\0';
		break;
	case REPORT_PREPARED:
		r->prepared.engine[sizeof(r->prepared.engine) - 1] = '\0';
		r->prepared.reason[sizeof(r->prepared.reason) - 1] = '\0';
		log_clean(r->prepared.engine);
		log_clean(r->prepared.reason);
		break;
	case REPORT_END:
		r->end.exit.detail[sizeof(r->end.exit.detail) - 1] = '\0';
		r->end.err.msg[sizeof(r->end.err.msg) - 1] = '\0';
		log_clean(r->end.exit.detail);
		log_clean(r->end.err.msg);
		break;
	}
}

/* Return: false when there is no more for now. A worker the guest took over may send anything. */
static bool read_report(struct worker *w)
{
	struct report r;
	ssize_t n = recv(w->report_fd, &r, sizeof(r), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EINTR)) {
		if (n == 0)
			loop_remove(&w->report_watch);
		return false;
	}
	if (n == sizeof(r) && (unsigned)r.kind <= REPORT_END) {
		terminate_strings(&r);
		take_report(w, &r);
	}
	return true;
}

static void on_report(void *ctx, int fd, uint32_t events)
{
	(void)read_report(ctx);
}

static void describe_death(struct worker *w, int status)
{
	w->end.cause = WORKER_DIED;
	if (WIFSIGNALED(status))
		(void)err_msg(&w->end.err, ECHILD,
			"the worker process was killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		(void)err_msg(&w->end.err, ECHILD,
			"the worker process ended with status %d without a word",
			WEXITSTATUS(status));
}

static int reap(struct worker *w)
{
	int status = 0;

	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
	return status;
}

static void on_exit_of_worker(void *ctx, int fd, uint32_t events)
{
	struct worker *w = ctx;
	int status;

	loop_remove(&w->exit_watch);
	status = reap(w);
	/* What it said before it went counts; the socket holds a bounded number of packets. */
	while (read_report(w))
		;
	loop_remove(&w->report_watch);
	if (!w->has_end)
		describe_death(w, status);
	w->ops.ended(w->ctx, &w->end);
}

static int watch(struct worker *w, struct loop *loop, struct err *err)
{
	int rc = loop_add(loop, w->pidfd, EPOLLIN, on_exit_of_worker, w, &w->exit_watch, err);

	if (rc < 0)
		return rc;
	return loop_add(loop, w->report_fd, EPOLLIN, on_report, w, &w->report_watch, err);
}

static void worker_freep(struct worker **w)
{
	worker_free(*w);
}

int worker_start(struct loop *loop, const struct vm_config *cfg, int phase_fd,
	const struct worker_ops *ops, void *ctx, struct worker **ret, struct err *err)
{
	cleanup_(worker_freep) struct worker *w = calloc(1, sizeof(*w));
	cleanup_fd int their_end = -1;
	pid_t launcher = getpid();
	int pair[2], rc;

	if (!w)
		return err_set(err, ENOMEM, "start worker");
	w->pidfd = w->report_fd = -1;
	w->ops = *ops;
	w->ctx = ctx;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, errno, "create worker's socket");
	w->report_fd = pair[0];
	their_end = pair[1];
	w->pid = fork();
	if (w->pid < 0)
		return err_set(err, errno, "fork worker");
	if (w->pid == 0)
		worker_main(cfg, their_end, phase_fd, launcher);
	w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
	if (w->pidfd < 0)
		return err_set(err, errno, "watch worker");
	rc = watch(w, loop, err);
	if (rc < 0)
		return rc;
	*ret = take_ptr(&w);
	return 0;
}

pid_t worker_pid(const struct worker *w)
{
	return w->pid;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	loop_remove(&w->exit_watch);
	loop_remove(&w->report_watch);
	if (w->pid > 0) {
		(void)kill(w->pid, SIGKILL);
		(void)reap(w);
	}
	close_fd(&w->pidfd);
	close_fd(&w->report_fd);
	free(w);
}
