/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb run: one command in one machine. This process forks the worker that holds the machine, and
 * speaks to the agent in the guest over a socket that reaches it through the machine's console
 * device. It ends when both have ended: the session says what became of the command, the worker
 * what became of the machine; neither is waited for without limit once the other is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/net_setup.h"
#include "cli/phases.h"
#include "cli/run_command.h"
#include "cli/run_setup.h"
#include "cli/terminal.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"
#include "lib/tail.h"
#include "runtime/session.h"
#include "runtime/worker.h"

/* After the command ended, the guest has this long to write its caches back and power off. */
#define POWER_OFF_NS (5 * NS_PER_S)

/* ... and so long if that is more than its own disks, which nobody will look at again. */
#define WRITE_BACK_NS (40 * NS_PER_S)

/* After one of session and machine ended by itself, the other has this long to say its part. */
#define DRAIN_NS NS_PER_S

/* How often the terminal is looked after while the guest boots: raw when the command may read. */
#define BOOT_TICK_NS (50 * NS_PER_MS)

/* Reads of a console for its last words; more than a socket holds. */
#define LAST_WORDS_READS 256

enum { CONSOLE_PORT, AGENT_PORT, N_PORTS };

/* struct run - of one "msb run" */
struct run {
	struct run_args args;
	struct phases phases;
	bool tty;
	struct run_setup setup;
	struct run_command command;
	struct patch_source patches;
	int port[N_PORTS], worker_port[N_PORTS]; /* our and the worker's ends */
	struct net_setup net;

	struct loop *loop;
	struct worker *worker;
	struct session *session;
	int signal_fd;
	struct loop_watch *signal_watch, *console_watch;
	struct loop_timer *deadline, *boot_tick;
	struct tail console;
	char line[256]; /* of the console, so far */
	size_t line_len;

	int signal;   /* received, 0: none */
	bool aborted; /* by a signal, at once: exit_code is set */
	bool session_done, worker_ended;
	unsigned idle; /* deadlines in a row without output */
	int exit_code;
	struct err session_err;
	struct worker_end end;
};

/* ---- the end ---- */

static uint64_t power_off_ns(const struct run *r, bool asked)
{
	if (!asked)
		return DRAIN_NS;
	return r->setup.lasting ? WRITE_BACK_NS : POWER_OFF_NS;
}

static void maybe_stop(struct run *r)
{
	/* A guest whose agent never came up does not power off when asked. */
	bool asked = r->session_done && session_ready(r->session);

	if (r->session_done && r->worker_ended)
		loop_stop(r->loop, 0);
	else if (r->session_done || r->worker_ended)
		loop_timer_arm(r->deadline, clock_mono_ns() + power_off_ns(r, asked));
}

/*
 * The machine has ended, but what the command wrote is taken as fast as its reader likes: that may
 * be for hours, as with any program. Seen idle twice in a row, nothing more is to come.
 */
static bool output_is_moving(struct run *r)
{
	if (!r->worker_ended || r->session_done)
		return false;
	r->idle = session_has_output(r->session) ? 0 : r->idle + 1;
	return r->idle < 2;
}

static void on_deadline(void *ctx)
{
	struct run *r = ctx;

	if (output_is_moving(r)) {
		loop_timer_arm(r->deadline, clock_mono_ns() + DRAIN_NS / 2);
		return;
	}
	if (!r->worker_ended && session_ready(r->session))
		log_warn("the guest did not power off in time; it was killed");
	loop_stop(r->loop, 0);
}

static void on_session_done(void *ctx, int exit_code, const struct err *err)
{
	struct run *r = ctx;

	log_phase("command-ended");
	r->session_done = true;
	r->exit_code = exit_code;
	if (err)
		r->session_err = *err;
	maybe_stop(r);
}

static void on_worker_ended(void *ctx, const struct worker_end *end)
{
	struct run *r = ctx;

	log_phase("machine-ended");
	r->worker_ended = true;
	r->end = *end;
	maybe_stop(r);
}

static void on_prepared(void *ctx, const char *engine, const char *reason)
{
	log_info("engine %s (%s)", engine, reason);
}

/* ---- signals, terminal, console ---- */

/* The command gets the first one; whoever cannot wait for it to react sends a second. */
static void end_by_signal(struct run *r, int sig)
{
	if (r->signal || r->worker_ended || !session_ready(r->session)) {
		r->exit_code = EXIT_SIGNALED + sig;
		r->aborted = true;
		loop_stop(r->loop, 0);
		return;
	}
	r->signal = sig;
	/* The image may want to be asked in another way. */
	session_signal(r->session, sig == SIGTERM ? r->command.stop_signal : sig);
}

static void on_signal(void *ctx, int fd, uint32_t events)
{
	struct signalfd_siginfo info;
	struct run *r = ctx;
	uint16_t rows, cols;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		terminal_size(STDIN_FILENO, &rows, &cols);
		session_resize(r->session, rows, cols);
	} else if (!r->session_done) {
		end_by_signal(r, (int)info.ssi_signo);
	}
}

/*
 * Until the agent is there, Ctrl-C must still end msb, so the terminal is made raw only then. The
 * session has no event for it that would be worth its own callback.
 */
static void on_boot_tick(void *ctx)
{
	struct run *r = ctx;
	struct err err = ERR_INIT;

	if (!session_ready(r->session)) {
		loop_timer_arm(r->boot_tick, clock_mono_ns() + BOOT_TICK_NS);
		return;
	}
	if (terminal_raw(STDIN_FILENO, &err) < 0)
		log_warn("%s", err.msg);
}

/* The guest's console comes in pieces; the log wants lines. */
static void log_console(struct run *r, const char *text, size_t len)
{
	for (size_t i = 0; i < len && log_enabled(LOG_DEBUG); i++) {
		if (text[i] != '\n' && r->line_len < sizeof(r->line))
			r->line[r->line_len++] = text[i];
		if (text[i] != '\n' && r->line_len < sizeof(r->line))
			continue;
		log_debug("console: %.*s", (int)r->line_len, r->line);
		r->line_len = 0;
	}
}

static void on_console(void *ctx, int fd, uint32_t events)
{
	struct run *r = ctx;
	char text[4096];
	ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);

	if (n > 0) {
		tail_add(&r->console, text, (size_t)n);
		log_console(r, text, (size_t)n);
	} else if (n == 0 || errno != EAGAIN) {
		loop_remove(&r->console_watch);
	}
}

/* ---- setting up ---- */

static int open_ports(struct run *r, struct err *err)
{
	for (unsigned i = 0; i < N_PORTS; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return err_set(err, errno, "create console socket");
		r->port[i] = pair[0];
		r->worker_port[i] = pair[1];
	}
	return 0;
}

/* From here on these signals are read from a descriptor. SIGPIPE would end us in mid-write. */
static int catch_signals(struct run *r, struct err *err)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_LEN(caught); i++)
		(void)sigaddset(&set, caught[i]);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->signal_fd < 0 ? err_set(err, errno, "catch signals") : 0;
}

static void describe_machine(struct run *r, struct vm_config *cfg)
{
	*cfg = (struct vm_config){
		.engine = r->args.engine,
		.vcpus = r->args.vcpus,
		.ram_mib = r->args.ram_mib,
		.kernel = { .path = r->args.kernel },
		.cmdline =
			log_enabled(LOG_DEBUG) ? "init=/init.krun loglevel=7" : "init=/init.krun",
		.n_consoles = N_PORTS,
		.net = &r->net.vm,
	};
	cfg->console[CONSOLE_PORT] =
		(struct vm_console){ NULL, r->worker_port[0], r->worker_port[0], true };
	cfg->console[AGENT_PORT] =
		(struct vm_console){ "agent", r->worker_port[1], r->worker_port[1], false };
	setup_describe_machine(&r->setup, cfg);
}

static int start_worker(struct run *r, struct err *err)
{
	static const struct worker_ops ops = { on_prepared, on_worker_ended };
	struct vm_config cfg;
	int rc;

	describe_machine(r, &cfg);
	rc = worker_start(r->loop, &cfg, r->phases.fd, &ops, r, &r->worker, err);
	/* Ours would keep the sockets open when the worker is gone. */
	for (unsigned i = 0; i < N_PORTS; i++)
		close_fd(&r->worker_port[i]);
	setup_close_worker_ends(&r->setup);
	return rc;
}

static int start_session(struct run *r, struct err *err)
{
	const struct run_command *c = &r->command;
	struct session_cfg cfg = {
		.agent_fd = r->port[AGENT_PORT],
		.stdin_fd = STDIN_FILENO,
		.stdout_fd = STDOUT_FILENO,
		.stderr_fd = STDERR_FILENO,
		.boot = { .hostname = text_of("msb") },
		.exec = {
			.cmd = c->argv[0],
			.args = { c->argv + 1, c->argc - 1 },
			.env = { c->env, c->n_env },
			.cwd = c->cwd,
			.make_cwd = c->make_cwd,
			.user = c->user,
			.tty = r->tty,
		},
		.next_patch = r->args.patches.n ? patch_source_next : NULL,
		.patch_ctx = &r->patches,
	};

	setup_describe_guest(&r->setup, &cfg.boot);
	net_setup_tell(&r->net, &cfg.boot);
	terminal_size(STDIN_FILENO, &cfg.exec.rows, &cfg.exec.cols);
	return session_new(r->loop, &cfg, on_session_done, r, &r->session, err);
}

static int start_watching(struct run *r, struct err *err)
{
	int rc;

	rc = loop_add(r->loop, r->signal_fd, EPOLLIN, on_signal, r, &r->signal_watch, err);
	if (rc == 0)
		rc = loop_add(r->loop, r->port[CONSOLE_PORT], EPOLLIN, on_console, r,
			&r->console_watch, err);
	if (rc == 0)
		rc = loop_timer_new(r->loop, on_deadline, r, &r->deadline, err);
	if (rc == 0 && r->tty && isatty(STDIN_FILENO)) {
		rc = loop_timer_new(r->loop, on_boot_tick, r, &r->boot_tick, err);
		if (rc == 0)
			loop_timer_arm(r->boot_tick, clock_mono_ns() + BOOT_TICK_NS);
	}
	return rc;
}

static int start(struct run *r, struct err *err)
{
	int rc;

	rc = phases_start(&r->phases, r->args.timings, r->args.phases, err);
	if (rc == 0)
		rc = setup_suit_kernel(&r->args, err);
	if (rc == 0)
		rc = setup_prepare(&r->setup, &r->args, err);
	if (rc == 0)
		rc = run_command_make(&r->args, setup_config(&r->setup), r->tty, &r->command, err);
	if (rc == 0)
		rc = net_setup_make(&r->args.net, &r->net, err);
	if (rc == 0)
		rc = open_ports(r, err);
	if (rc == 0)
		rc = catch_signals(r, err);
	if (rc == 0)
		rc = loop_new(&r->loop, err);
	if (rc == 0)
		rc = start_worker(r, err);
	if (rc == 0)
		rc = start_session(r, err);
	if (rc == 0)
		rc = start_watching(r, err);
	return rc;
}

/* ---- what to say, and the exit code ---- */

/* What a guest's end may have left on its console: its kernel's panic, or the last lines. */
static size_t last_words(struct run *r, char *words, size_t size)
{
	size_t n;

	/* Bounded: whoever holds the other end still may write faster than we read. */
	for (unsigned i = 0; r->console_watch && i < LAST_WORDS_READS; i++)
		on_console(r, r->port[CONSOLE_PORT], 0);
	n = tail_line_with(&r->console, "Kernel panic", words, size);
	return n ? n : tail_lines(&r->console, 3, "; ", words, size);
}

static int guest_lost(struct run *r, const char *how)
{
	char words[ERR_MSG_MAX];
	size_t n = last_words(r, words, sizeof(words));

	return cli_error("%s%s%s", how, n ? "; its console's last words: " : "", words);
}

static bool console_may_say_why(const struct err *err)
{
	return err->code == ECONNRESET || err->code == ETIMEDOUT;
}

/* The machine's misfortune explains the session's, so it is what is told. */
static int conclude(struct run *r)
{
	if (r->aborted)
		return r->exit_code;
	if (r->worker_ended && r->end.cause != WORKER_VM_ENDED)
		return r->session_done && !r->session_err.code ? r->exit_code
							       : cli_error("%s", r->end.err.msg);
	if (r->session_done && !r->session_err.code)
		return r->exit_code;
	if (r->worker_ended && r->end.exit.end == VM_END_CRASH)
		return cli_error("%s", r->end.exit.detail);
	if (r->worker_ended && !r->session_done)
		return guest_lost(r, "the guest ended before its command did");
	if (console_may_say_why(&r->session_err))
		(void)guest_lost(r, r->session_err.msg);
	else
		(void)cli_error("%s", r->session_err.msg);
	return r->exit_code;
}

static void release(struct run *r)
{
	bool ran = r->session && session_ready(r->session);

	session_free(r->session);
	worker_free(r->worker);
	if (!ran)
		setup_undo(&r->setup);
	loop_free(r->loop);
	for (unsigned i = 0; i < N_PORTS; i++) {
		close_fd(&r->port[i]);
		close_fd(&r->worker_port[i]);
	}
	patch_source_release(&r->patches);
	run_command_release(&r->command);
	setup_release(&r->setup);
	close_fd(&r->signal_fd);
	net_setup_release(&r->net);
	run_args_release(&r->args);
}

static int run_machine(struct run *r)
{
	struct err err = ERR_INIT;
	int code;

	log_set_sink(NULL, NULL, r->args.log_level);
	if (start(r, &err) < 0 || loop_run(r->loop, &err) < 0)
		code = cli_error("%s", err.msg);
	else
		code = -1;
	terminal_restore(); /* messages are not for a raw terminal */
	if (code < 0)
		code = conclude(r);
	phases_finish(&r->phases);
	return code;
}

static bool wants_tty(const struct run_args *args)
{
	if (args->tty != RUN_TTY_AUTO)
		return args->tty == RUN_TTY_YES;
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

static int show_network(const struct net_config *config)
{
	cleanup_free char *json = net_config_to_json(config);

	if (!json || puts(json) < 0 || fflush(stdout) != 0)
		return cli_error("print the network's settings");
	return EXIT_OK;
}

static int run(int argc, char **argv)
{
	struct run r = { .signal_fd = -1, .phases = { .fd = -1, .out_fd = -1 } };
	struct err err = ERR_INIT;
	int rc, code;

	rc = run_args_parse(argc, argv, &r.args, &err);
	if (rc == -EINVAL)
		return cli_usage_error("run", &err);
	if (rc < 0)
		return cli_error("%s", err.msg);
	for (unsigned i = 0; i < N_PORTS; i++)
		r.port[i] = r.worker_port[i] = -1;
	r.tty = wants_tty(&r.args);
	r.patches.args = &r.args.patches;
	code = r.args.net.show ? show_network(&r.args.net.config) : run_machine(&r);
	release(&r);
	return code;
}

static void describe(void)
{
	printf("\nIMAGE is the reference of an image; or, beginning with '/', './' or '../', a "
	       "folder "
	       "with a Linux\nroot file system or a disk image (.raw, .qcow2, .vmdk), which the "
	       "guest "
	       "writes in place.\nWithout a command, the guest runs that of the image, or "
	       "/bin/sh.\n"
	       "\nOptions:\n");
	options_help(run_options, stdout);
	printf("\nExit code: that of the command; 128+N if signal N ended it; 127 command not "
	       "found,"
	       " 126 not\nexecutable; 1 msb or the machine failed; 2 wrong usage.\n");
}

const struct command command_run = {
	.name = "run",
	.usage = "[OPTIONS] IMAGE [-- COMMAND [ARGUMENT...]]",
	.help = "run a command in a new virtual machine",
	.run = run,
	.describe = describe,
};
