/* SPDX-License-Identifier: Apache-2.0 */
/* From the first frame to core.ready, one step after the other. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "guest/agent_internal.h"
#include "guest/netcfg.h"
#include "guest/patch.h"
#include "guest/root.h"
#include "guest/user.h"
#include "lib/clock.h"
#include "lib/num.h"

/* The upstream release whose protocol this is: clients choose features by it. */
#define AGENT_VERSION "0.5.10"

/*
 * Wait for the port. Before the host has connected a console port hangs up at once, and nothing
 * tells when that changes, so it is looked at every millisecond.
 */
static int wait_port(struct agent *a, uint64_t deadline_ns)
{
	short events = POLLIN | (a->out.len > 0 ? POLLOUT : 0);
	struct pollfd pfd = { a->port_fd, events, 0 };
	int left = agent_ms_until(deadline_ns);

	if (left == 0)
		return -ETIMEDOUT;
	if (poll(&pfd, 1, left) < 0)
		return errno == EINTR ? 0 : -errno;
	if (!a->host_seen && (pfd.revents & POLLHUP))
		(void)poll(NULL, 0, 1);
	return 0;
}

/* The next frame during start-up. Return: 0; -ETIMEDOUT; -EBADMSG, -EMSGSIZE; -errno. */
static int next_frame(struct agent *a, uint64_t deadline_ns, struct frame *ret_frame)
{
	int ret;

	for (;;) {
		ret = frame_reader_next(&a->in, ret_frame);
		if (ret != 0)
			return MIN_OF(ret, 0);
		ret = agent_flush(a);
		if (ret == 0)
			ret = agent_fill(a);
		if (ret == -ENOTCONN && !a->host_seen)
			ret = 0;
		if (ret == 0)
			ret = wait_port(a, deadline_ns);
		if (ret < 0)
			return ret;
	}
}

/* A frame during start-up that must be of @type, on id 0 and with the flags of the type. */
static int expect(struct agent *a, enum message_type type, struct cbor_pool *pool, void *payload,
	struct err *err)
{
	uint64_t deadline = clock_mono_ns() + HOST_DEADLINE_MS * NS_PER_MS;
	const char *name = message_info(type)->name;
	struct message msg;
	struct frame frame;
	int ret = next_frame(a, deadline, &frame);

	if (ret < 0)
		return err_set(err, ret, "wait for %s", name);
	ret = message_open(&frame, pool, &msg, err);
	if (ret < 0)
		return err_wrap(err, "expected %s", name);
	if (msg.type != type || msg.id != 0 || msg.flags != message_info(type)->flags)
		return err_msg(err, EBADMSG, "expected %s, got %.*s with id %u, flags %u", name,
			(int)MIN_OF(msg.name.len, (size_t)64), msg.name.s, (unsigned)msg.id,
			msg.flags);
	if (message_decode(&msg, pool, payload, err) < 0)
		return err_wrap(err, "decode %s", name);
	return 0;
}

/* ---- start-up ---- */

static int check_supported(const struct bootstrap *boot, struct err *err)
{
	const char *what = boot->has_handoff_init ? "handoff_init" : NULL;

	if (what)
		return err_msg(err, ENOTSUP, "bootstrap: this agent does not support %s", what);
	if (boot->security_profile.s && !text_is(boot->security_profile, "default"))
		return err_msg(err, ENOTSUP,
			"bootstrap: this agent does not support security profile '%s'",
			boot->security_profile.s);
	return root_check(&boot->block_root, err);
}

static int check_env(const struct list *list, struct err *err)
{
	const struct env_var *vars = list->v;

	for (size_t i = 0; i < list->n; i++) {
		const struct env_var *v = &vars[i];

		if (v->key.len == 0 || memchr(v->key.s, '=', v->key.len) || text_has_nul(v->key) ||
			text_has_nul(v->value))
			return err_msg(err, EINVAL,
				"bootstrap: malformed environment variable '%s'", v->key.s);
	}
	return 0;
}

static int check_text(struct text t, const char *what, struct err *err)
{
	if (t.s && (t.len == 0 || text_has_nul(t)))
		return err_msg(err, EINVAL, "bootstrap: malformed %s", what);
	return 0;
}

int agent_receive_bootstrap(struct agent *a, struct err *err)
{
	struct bootstrap *boot = &a->boot;
	int ret = expect(a, MSG_BOOTSTRAP, &a->boot_pool, boot, err);

	if (ret == 0)
		ret = check_supported(boot, err);
	if (ret == 0)
		ret = check_env(&boot->default_env, err);
	if (ret == 0)
		ret = check_text(boot->user, "user", err);
	if (ret == 0)
		ret = check_text(boot->default_cwd, "default_cwd", err);
	if (ret == 0)
		ret = check_text(boot->hostname, "hostname", err);
	if (ret == 0)
		ret = netcfg_check(boot, err);
	if (ret < 0)
		return ret;
	a->defaults = (struct exec_defaults){
		.user = boot->user.s,
		.cwd = boot->default_cwd.s,
		.env = boot->default_env,
	};
	return 0;
}

/* One frame of patches; the pool only lives as long, however many there are. */
static int take_patch(struct agent *a, struct patcher *p, struct err *err)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct patch patch;
	int ret = expect(a, MSG_PATCH, &pool, &patch, err);

	return ret < 0 ? ret : patch_apply(p, &patch, err);
}

int agent_receive_patches(struct agent *a, struct err *err)
{
	struct patcher patcher = PATCHER_INIT("");
	int ret = 0;

	while (a->boot.patches && !patcher.ended && ret == 0)
		ret = take_patch(a, &patcher, err);
	patcher_release(&patcher);
	return ret;
}

int agent_handshake(struct agent *a, struct err *err)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct init_resolved resolved;
	struct user user = { .uid = 0 };

	/* Without one it is root, and reading passwd can wait until a command needs it. */
	if (a->defaults.user && user_resolve(a->defaults.user, &user, err) < 0)
		return err_wrap(err, "default user");
	resolved.default_user.uid = user.uid;
	resolved.default_user.gid = user.gid;
	if (agent_send(a, 0, MSG_INIT_RESOLVED, &resolved) < 0)
		return err_set(err, ENOMEM, "send core.init.resolved");
	return expect(a, MSG_INIT_ACK, &pool, NULL, err);
}

uint64_t agent_boottime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int agent_ready(struct agent *a, uint64_t boot_time_ns, uint64_t init_time_ns, struct err *err)
{
	struct ready ready = {
		.boot_time_ns = boot_time_ns,
		.init_time_ns = init_time_ns,
		.ready_time_ns = agent_boottime_ns(),
		.agent_version = text_of(AGENT_VERSION),
		.stdin_window = a->boot.stdin_ack ? STDIN_WINDOW : 0,
	};
	int ret = agent_send(a, 0, MSG_READY, &ready);

	if (ret == 0)
		ret = agent_flush(a);
	return ret < 0 ? err_set(err, ret, "send core.ready") : 0;
}

void agent_report_failure(struct agent *a, const char *message, int timeout_ms)
{
	uint64_t deadline = clock_mono_ns() + timeout_ms * NS_PER_MS;
	struct frame frame;
	int ret;

	agent_send_error(a, 0, NULL, "init_failed", message);
	do {
		cleanup_cbor_pool struct cbor_pool pool = { 0 };
		struct message msg;

		ret = next_frame(a, deadline, &frame);
		if (ret == 0 && message_open(&frame, &pool, &msg, NULL) == 0 &&
			msg.type == MSG_SHUTDOWN)
			return;
	} while (ret == 0);
}
