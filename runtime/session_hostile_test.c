/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions against guests that are not to be trusted, played by the test. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/num.h"
#include "runtime/session_rig_test.h"

static void guest_say(struct fixture *f, uint32_t id, enum message_type type, const void *payload)
{
	cleanup_buf struct buf out = { 0 };

	assert_int_equal(message_append(&out, id, type, payload), 0);
	assert_int_equal(write(f->guest_fd, buf_head(&out), out.len), out.len);
}

static void guest_ready(struct fixture *f)
{
	struct ready ready = { 1, 2, 3, text_of("x"), 0 };
	struct init_resolved resolved = { { 0, 0 } };

	guest_say(f, 0, MSG_INIT_RESOLVED, &resolved);
	guest_say(f, 0, MSG_READY, &ready);
}

static void guest_exit(struct fixture *f, int32_t code, uint32_t signal)
{
	struct exec_exited exited = { code, signal };

	guest_say(f, 1, MSG_EXEC_EXITED, &exited);
}

/* Nothing but silence: the deadline, with what is known. */
static void test_silent_guest(void **state)
{
	struct init_resolved resolved = { { 0, 0 } };
	struct fixture f;

	setup_fake(&f);
	f.cfg.ready_timeout_ms = 20;
	run(&f, 1, "not ready within 20 ms: nothing was heard");
	teardown(&f);
	setup_fake(&f);
	f.cfg.ready_timeout_ms = 20;
	guest_say(&f, 0, MSG_INIT_RESOLVED, &resolved);
	run(&f, 1, "did not finish starting");
	assert_int_equal(f.ready_calls, 0);
	teardown(&f);
}

static void test_guest_hangs_up(void **state)
{
	struct fixture f;

	setup_fake(&f);
	close_fd(&f.guest_fd);
	run(&f, 1, "ended before it was ready");
	teardown(&f);
	setup_fake(&f);
	guest_ready(&f);
	(void)shutdown(f.guest_fd, SHUT_RDWR);
	run(&f, 1, "ended before the command did");
	teardown(&f);
}

/* What failed in the guest's start-up is passed on, made printable. */
static void test_guest_init_error(void **state)
{
	struct core_error error = { text_of("init_failed"),
		text_of("mount\x1b]0;x\x07 \xc2\x9b"
			"2J failed\n"),
		{ 0 } };
	struct fixture f;

	setup_fake(&f);
	guest_say(&f, 0, MSG_ERROR, &error);
	run(&f, 1, "the guest could not start: mount?]0;x? ??2J failed?");
	teardown(&f);
}

/* struct patches - @left frames to give, then @result */
struct patches {
	unsigned left;
	int result;
	char data[1000];
};

static int next_patch(void *ctx, struct patch *ret, struct err *err)
{
	struct patches *p = ctx;

	if (p->left == 0)
		return p->result < 0 ? err_set(err, p->result, "copy '/x'") : 0;
	p->left--;
	*ret = (struct patch){
		.op = text_of("append"),
		.path = text_of("/x"),
		.data = { (const uint8_t *)p->data, sizeof(p->data) },
	};
	return 1;
}

/* The types of all frames that wait for the guest, in order. */
static unsigned heard(struct fixture *f, enum message_type *types, unsigned max)
{
	struct frame_reader in = { 0 };
	struct frame frame;
	unsigned n = 0;
	uint8_t *room;
	size_t len;
	ssize_t got;

	while (frame_reader_space(&in, &room, &len) == 0 &&
		(got = recv(f->guest_fd, room, len, MSG_DONTWAIT)) > 0) {
		frame_reader_commit(&in, (size_t)got);
		while (frame_reader_next(&in, &frame) == 1 && n < max) {
			cleanup_cbor_pool struct cbor_pool pool = { 0 };
			struct message msg;

			assert_int_equal(message_open(&frame, &pool, &msg, NULL), 0);
			types[n++] = msg.type;
		}
	}
	frame_reader_release(&in);
	return n;
}

/* Between bootstrap and acknowledgement, the last one saying so. */
static void test_patches(void **state)
{
	struct patches patches = { .left = 20 };
	enum message_type types[32];
	struct fixture f;
	unsigned n;

	setup_fake(&f);
	f.cfg.next_patch = next_patch;
	f.cfg.patch_ctx = &patches;
	guest_say(&f, 0, MSG_ERROR, &(struct core_error){ text_of("x"), text_of("enough"), { 0 } });
	run(&f, 1, "enough");
	n = heard(&f, types, 32);
	assert_int_equal(types[0], MSG_BOOTSTRAP);
	assert_true(n >= 2);
	assert_int_equal(types[n - 1], MSG_SHUTDOWN);
	teardown(&f);

	setup_fake(&f);
	patches = (struct patches){ .left = 20 };
	f.cfg.next_patch = next_patch;
	f.cfg.patch_ctx = &patches;
	start(&f);
	session_signal(f.session, SIGTERM);
	guest_ready(&f);
	guest_say(&f, 1, MSG_EXEC_EXITED, &(struct exec_exited){ 3, 0 });
	finish(&f, 3);
	teardown(&f);
}

static void test_patches_that_fail(void **state)
{
	struct patches patches = { .left = 2, .result = -EACCES };
	struct fixture f;

	setup_fake(&f);
	f.cfg.next_patch = next_patch;
	f.cfg.patch_ctx = &patches;
	run(&f, 1, "copy '/x': Permission denied");
	assert_int_equal(patches.left, 0);
	teardown(&f);
}

static void check_garbage(const void *data, size_t len, bool ready, const char *reason)
{
	struct fixture f;

	setup_fake(&f);
	if (ready)
		guest_ready(&f);
	assert_int_equal(write(f.guest_fd, data, len), len);
	run(&f, 1, reason);
	teardown(&f);
}

static void test_garbage(void **state)
{
	for (int ready = 0; ready < 2; ready++) {
		check_garbage("\0\0\0\0", 4, ready, "impossible length");
		check_garbage("\xff\xff\xff\xff", 4, ready, "impossible length");
		check_garbage("\0\0\0\x06\0\0\0\x01\0\xff", 10, ready, "agent protocol");
		check_garbage("\0\0\0\x05\0\0\0\x01\0", 9, ready, "agent protocol");
	}
}

/* Frames on foreign ids, of unknown types, or out of place are ignored; the exit counts once. */
static void test_odd_frames(void **state)
{
	static const char unknown[] =
		"\0\0\0\x15\0\0\0\x01\0\xa3\x61v\x09\x61t\x65other\x61p\x41\xf6";
	cleanup_fd int out = temp_file();
	struct exec_data data = { { (const uint8_t *)"no", 2 } },
			 yes = { { (const uint8_t *)"yes", 3 } };
	struct exec_stdin_ack ack = { UINT32_MAX };
	struct exec_exited other = { 99, 0 };
	struct fixture f;

	setup_fake(&f);
	f.cfg.stdout_fd = out;
	guest_say(&f, 1, MSG_EXEC_STDOUT, &data);
	guest_say(&f, 1, MSG_EXEC_EXITED, &other);
	guest_ready(&f);
	guest_ready(&f);
	assert_int_equal(write(f.guest_fd, unknown, sizeof(unknown) - 1), sizeof(unknown) - 1);
	guest_say(&f, 2, MSG_EXEC_STDOUT, &data);
	guest_say(&f, 2, MSG_EXEC_EXITED, &other);
	guest_say(&f, 1, MSG_EXEC_STDIN_ACK, &ack);
	guest_say(&f, 1, MSG_EXEC_STDOUT, &yes);
	guest_exit(&f, 6, 0);
	guest_exit(&f, 7, 0);
	guest_say(&f, 1, MSG_EXEC_STDOUT, &data);
	run(&f, 6, NULL);
	check_file(out, "yes");
	assert_int_equal(f.ready_calls, 1);
	teardown(&f);
}

static void test_odd_codes(void **state)
{
	static const struct {
		int32_t code;
		uint32_t signal;
		int want;
	} rows[] = { { 256, 0, 255 }, { -1, 0, 255 }, { -1, 9, 137 }, { -1, 65, 255 },
		{ INT32_MIN, UINT32_MAX, 255 }, { 0, 9, 0 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fixture f;

		setup_fake(&f);
		guest_ready(&f);
		guest_exit(&f, rows[i].code, rows[i].signal);
		run(&f, rows[i].want, NULL);
		teardown(&f);
	}
}

/* A guest that never reads: what we keep for it stays small, and the end comes anyway. */
static void test_deaf_guest(void **state)
{
	cleanup_fd int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct fixture f;

	setup_fake(&f);
	f.cfg.stdin_fd = zero;
	guest_ready(&f);
	start(&f);
	for (int i = 0; i < 200; i++)
		assert_int_equal(loop_run_once(f.loop, 0, NULL), 0);
	guest_exit(&f, 3, 0);
	finish(&f, 3);
	teardown(&f);
}

/* Freed in every state without a callback. */
static void test_free_early(void **state)
{
	struct fixture f;

	session_free(NULL);
	setup_fake(&f);
	start(&f);
	teardown(&f);
	setup_fake(&f);
	guest_ready(&f);
	start(&f);
	while (!session_ready(f.session))
		assert_int_equal(loop_run_once(f.loop, 1000, NULL), 0);
	session_signal(f.session, SIGINT);
	session_resize(f.session, 1, 1);
	assert_int_equal(f.calls, 0);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent_guest),
		cmocka_unit_test(test_guest_hangs_up),
		cmocka_unit_test(test_guest_init_error),
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_patches_that_fail),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_odd_frames),
		cmocka_unit_test(test_odd_codes),
		cmocka_unit_test(test_deaf_guest),
		cmocka_unit_test(test_free_early),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
