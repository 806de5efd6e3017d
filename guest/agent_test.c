/* SPDX-License-Identifier: Apache-2.0 */
/* The agent over a socket pair: start-up, commands, streams, and hosts that get it wrong. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/peer.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static void check_text(const struct buf *out, const char *want)
{
	const char *got = out->len > 0 ? (const char *)buf_head(out) : "";

	if (out->len != strlen(want) || memcmp(got, want, out->len) != 0)
		fail_msg("got '%.*s', want '%s'", (int)out->len, got, want);
}

/* Run a script; check its output and exit code. */
static void check_script(
	struct peer *p, uint32_t id, const char *script, int code, const char *want)
{
	cleanup_buf struct buf out = { 0 };

	peer_exec(p, id, script);
	peer_expect(p, id, MSG_EXEC_STARTED);
	assert_true(p->payload.exec_started.pid > 0);
	assert_int_equal(peer_finish(p, id, &out), code);
	check_text(&out, want);
}

static void test_run(void **state)
{
	struct peer p;

	peer_open(&p, NULL);
	assert_int_equal(p.payload.ready.stdin_window, STDIN_WINDOW);
	assert_true(p.payload.ready.ready_time_ns >= p.payload.ready.boot_time_ns);
	check_script(&p, 1, "echo hi", 0, "hi\n");
	check_script(&p, 2, "echo err >&2; exit 7", 7, "err\n");
	check_script(&p, 1, "exit 255", 255, "");
	peer_close(&p);
}

static void test_signal_death(void **state)
{
	struct peer p;

	peer_open(&p, NULL);
	check_script(&p, 1, "kill -KILL $$", -1, "");
	assert_int_equal(p.payload.exec_exited.signal, SIGKILL);
	peer_close(&p);
}

/* A signal reaches the whole group; without a window the exit is still reported. */
static void test_signal_group(void **state)
{
	struct exec_signal sig = { SIGTERM }, none = { 0 }, realtime = { 40 };
	struct exec_data eof = { 0 };
	struct peer p;

	peer_open(&p, NULL);
	peer_exec(&p, 5, "sleep 1000 & echo up; wait; sleep 1000");
	peer_expect(&p, 5, MSG_EXEC_STARTED);
	peer_expect(&p, 5, MSG_EXEC_STDOUT);
	peer_send(&p, 5, MSG_EXEC_SIGNAL, &none);
	peer_send(&p, 5, MSG_EXEC_SIGNAL, &realtime);
	peer_send(&p, 6, MSG_EXEC_SIGNAL, &sig);
	peer_send(&p, 6, MSG_EXEC_STDIN, &eof);
	peer_send(&p, 5, MSG_EXEC_SIGNAL, &sig);
	peer_expect(&p, 5, MSG_EXEC_EXITED);
	assert_int_equal(p.payload.exec_exited.code, -1);
	assert_int_equal(p.payload.exec_exited.signal, SIGTERM);
	peer_close(&p);
}

static void check_failed(
	struct peer *p, const struct exec_request *req, const char *kind, int error)
{
	peer_send(p, 9, MSG_EXEC_REQUEST, req);
	peer_expect(p, 9, MSG_EXEC_FAILED);
	if (!text_is(p->payload.exec_failed.kind, kind))
		fail_msg("%s: kind %s, want %s", req->cmd.s, p->payload.exec_failed.kind.s, kind);
	assert_int_equal(p->payload.exec_failed.error.set, error != 0);
	assert_int_equal(p->payload.exec_failed.error.v, error);
}

static void test_spawn_failures(void **state)
{
	struct exec_request req = { .cmd = text_of("no-such-command") };
	struct exec_request dir = { .cmd = text_of("/etc") },
			    data = { .cmd = text_of("/etc/passwd") };
	struct exec_request cwd = { .cmd = text_of("true"), .cwd = text_of("/no/such") };
	struct exec_request user = { .cmd = text_of("true"), .user = text_of("nobody-here") };
	struct exec_request nul = { .cmd = { "a\0b", 3 } };
	struct exec_request empty = { .cmd = text_of("") };
	struct exec_request below_file = { .cmd = text_of("/etc/passwd/x") };
	struct peer p;

	peer_open(&p, NULL);
	check_failed(&p, &req, "not_found", ENOENT);
	assert_string_equal(p.payload.exec_failed.message.s,
		"spawn \"no-such-command\": No such file or directory (os error 2)");
	assert_string_equal(p.payload.exec_failed.errno_name.s, "ENOENT");
	assert_string_equal(p.payload.exec_failed.stage.s, "Command::spawn");
	req.tty = true;
	check_failed(&p, &req, "not_found", ENOENT);
	assert_string_equal(p.payload.exec_failed.stage.s, "execvp");
	check_failed(&p, &dir, "permission_denied", EACCES);
	check_failed(&p, &data, "permission_denied", EACCES);
	check_failed(&p, &below_file, "not_found", ENOTDIR);
	check_failed(&p, &cwd, "bad_cwd", ENOENT);
	check_failed(&p, &user, "other", 0);
	assert_string_equal(p.payload.exec_failed.message.s,
		"exec session error: guest user not found: nobody-here");
	check_failed(&p, &nul, "other", 0);
	check_failed(&p, &empty, "not_found", ENOENT);
	peer_close(&p);
}

/* A file with x bits and no known format is not handed to a shell. */
static void test_not_executable(void **state)
{
	char path[] = "/tmp/agent-test-XXXXXX";
	struct exec_request req = { .cmd = text_of(path) };
	int fd = mkstemp(path);
	struct peer p;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "echo no\n", 8), 8);
	assert_int_equal(fchmod(fd, 0755), 0);
	(void)close(fd);
	peer_open(&p, NULL);
	check_failed(&p, &req, "not_executable", ENOEXEC);
	peer_close(&p);
	(void)unlink(path);
}

static void test_environment(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct env_var base[] = { { text_of("A"), text_of("base") },
		{ text_of("B"), text_of("x=y") } };
	struct bootstrap boot = { .security_profile = text_of("default"),
		.default_env = { base, 2 },
		.default_cwd = text_of("/usr") };
	struct text env[] = { text_of("A=mine"), text_of("ignored"), text_of("HOME=/h") };
	struct text args[] = { text_of("-c"), text_of("echo $A $B $HOME $PATH $PWD; ulimit -n") };
	struct rlimit_spec limits[] = { { text_of("nofile"), 77, 99 },
		{ text_of("unheard"), 1, 1 } };
	struct exec_request req = { .cmd = text_of("sh"),
		.args = { args, 2 },
		.env = { env, 3 },
		.rlimits = { limits, 2 } };
	struct peer p;

	peer_open(&p, &boot);
	assert_int_equal(p.payload.ready.stdin_window, 0);
	peer_send(&p, 1, MSG_EXEC_REQUEST, &req);
	assert_int_equal(peer_finish(&p, 1, &out), 0);
	check_text(&out, "mine x=y /h "
			 "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr\n77\n");
	peer_close(&p);
}

static void test_user(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct text args[] = { text_of("-c"), text_of("id -u; id -g; id -G; echo $HOME") };
	struct exec_request req = {
		.cmd = text_of("sh"), .args = { args, 2 }, .cwd = text_of("/")
	};
	struct peer p;

	if (geteuid() != 0)
		skip(); /* switching users takes root */
	peer_open(&p, NULL);
	req.user = text_of(" 12345 : 54321 ");
	peer_send(&p, 1, MSG_EXEC_REQUEST, &req);
	assert_int_equal(peer_finish(&p, 1, &out), 0);
	check_text(&out, "12345\n54321\n54321\n/\n");
	buf_release(&out);
	req.user = text_of("root:daemon");
	peer_send(&p, 2, MSG_EXEC_REQUEST, &req);
	assert_int_equal(peer_finish(&p, 2, &out), 0);
	check_text(&out, "0\n1\n1\n/root\n");
	peer_close(&p);
}

/* A folder that is missing is made if the request says so, and by root whoever the command is. */
static void test_make_cwd(void **state)
{
	cleanup_buf struct buf out = { 0 };
	char top[] = "/tmp/agent-test-XXXXXX", dir[64], file[64];
	struct exec_request req = { .cmd = text_of("pwd") };
	struct peer p;

	assert_non_null(mkdtemp(top));
	(void)snprintf(dir, sizeof(dir), "%s/made", top);
	(void)snprintf(file, sizeof(file), "%s/made/x/y", top);
	req.cwd = text_of(dir);
	peer_open(&p, NULL);
	check_failed(&p, &req, "bad_cwd", ENOENT);
	req.make_cwd = true;
	peer_send(&p, 1, MSG_EXEC_REQUEST, &req);
	assert_int_equal(peer_finish(&p, 1, &out), 0);
	assert_int_equal(out.len, strlen(dir) + 1);
	assert_memory_equal(buf_head(&out), dir, strlen(dir));
	file[strlen(dir) + 2] = '\0';
	assert_int_equal(symlink(file, file), 0); /* a loop, but not a missing folder */
	file[strlen(dir) + 2] = '/';
	req.cwd = text_of(file);
	check_failed(&p, &req, "bad_args", ELOOP);
	peer_close(&p);
	file[strlen(dir) + 2] = '\0';
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(rmdir(top), 0);
}

static void test_stdin(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct peer p;

	peer_open(&p, NULL);
	peer_exec(&p, 1, "cat; echo end");
	peer_stdin(&p, 1, "one ", 4);
	peer_stdin(&p, 1, "two\n", 4);
	peer_stdin(&p, 1, NULL, 0);
	peer_stdin(&p, 1, "late", 4);
	assert_int_equal(peer_finish(&p, 1, &out), 0);
	check_text(&out, "one two\nend\n");
	peer_close(&p);
}

/* The command closes its stdin: reported once, the rest is acknowledged so that no host stalls. */
static void test_stdin_closed(void **state)
{
	struct peer p;
	uint8_t *data = calloc(1, STDIN_WINDOW);
	uint64_t acked = 0;

	assert_non_null(data);
	peer_open(&p, NULL);
	peer_exec(&p, 1, "exec <&-; echo closed; sleep 1000");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	peer_expect(&p, 1, MSG_EXEC_STDOUT);
	peer_stdin(&p, 1, data, STDIN_WINDOW);
	while (acked < STDIN_WINDOW) {
		if (peer_next(&p) == MSG_EXEC_STDIN_ACK)
			acked += p.payload.exec_stdin_ack.bytes;
		else
			assert_true(text_is(p.payload.exec_stdin_error.errno_name, "EPIPE"));
	}
	assert_int_equal(acked, STDIN_WINDOW);
	peer_close(&p);
	free(data);
}

/* One command that never reads does not keep another from being served. */
static void test_stdin_stuck(void **state)
{
	struct exec_signal kill_it = { SIGKILL };
	uint8_t *data = calloc(1, STDIN_WINDOW);
	struct peer p;
	size_t taken;

	assert_non_null(data);
	peer_open(&p, NULL);
	peer_exec(&p, 1, "sleep 1000");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	peer_stdin(&p, 1, data, STDIN_WINDOW);
	/* A pipe's worth is taken, and acknowledged; the rest of the window stays queued. */
	peer_expect(&p, 1, MSG_EXEC_STDIN_ACK);
	taken = p.payload.exec_stdin_ack.bytes;
	assert_true(taken < STDIN_WINDOW);
	check_script(&p, 2, "echo alive", 0, "alive\n");
	/* Up to the window, and then beyond: refused, for this command only. */
	peer_stdin(&p, 1, data, taken);
	peer_stdin(&p, 1, data, STDIN_WINDOW);
	peer_expect(&p, 1, MSG_EXEC_STDIN_ERROR);
	assert_int_equal(p.payload.exec_stdin_error.error.v, ENOBUFS);
	peer_expect(&p, 1, MSG_EXEC_STDIN_ACK);
	assert_int_equal(p.payload.exec_stdin_ack.bytes, STDIN_WINDOW);
	check_script(&p, 2, "echo alive", 0, "alive\n");
	peer_send(&p, 1, MSG_EXEC_SIGNAL, &kill_it);
	do
		(void)peer_next(&p);
	while (p.msg.type != MSG_EXEC_EXITED);
	peer_close(&p);
	free(data);
}

#define BIG MIB(64)

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 16));
}

static void check_pattern(const struct bytes *data, uint64_t at)
{
	for (size_t i = 0; i < data->len; i++) {
		if (data->data[i] != pattern(at + i))
			fail_msg("byte %llu differs", (unsigned long long)(at + i));
	}
}

/* Send what the window allows; the end of file at the end. */
static void send_pattern(struct peer *p, uint64_t *sent, uint64_t acked, bool *eof)
{
	uint8_t chunk[STREAM_CHUNK];

	while (*sent < BIG && *sent - acked + sizeof(chunk) <= STDIN_WINDOW) {
		size_t len = MIN_OF(sizeof(chunk), BIG - *sent);

		for (size_t i = 0; i < len; i++)
			chunk[i] = pattern(*sent + i);
		peer_stdin(p, 1, chunk, len);
		*sent += len;
	}
	if (*sent == BIG && !*eof) {
		peer_stdin(p, 1, NULL, 0);
		*eof = true;
	}
}

/* 64 MiB through cat and back, with the window, in bounded memory on both sides. */
static void test_big_both_ways(void **state)
{
	uint64_t sent = 0, acked = 0, got = 0;
	bool eof = false;
	struct peer p;

	peer_open(&p, NULL);
	peer_exec(&p, 1, "cat");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	for (;;) {
		send_pattern(&p, &sent, acked, &eof);
		if (peer_next(&p) == MSG_EXEC_EXITED)
			break;
		if (p.msg.type == MSG_EXEC_STDIN_ACK) {
			acked += p.payload.exec_stdin_ack.bytes;
			continue;
		}
		assert_int_equal(p.msg.type, MSG_EXEC_STDOUT);
		check_pattern(&p.payload.exec_data.data, got);
		got += p.payload.exec_data.data.len;
		assert_true(p.payload.exec_data.data.len <= STREAM_CHUNK);
	}
	assert_int_equal(got, BIG);
	assert_true(sent - acked < STDIN_WINDOW / 4);
	peer_close(&p);
}

static long rss_kib(pid_t pid)
{
	char path[64], line[128];
	cleanup_file FILE *f = NULL;
	long kib = -1;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	}
	return kib;
}

/* A host that does not read holds the command back, not the agent's memory full. */
static void test_slow_reader(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct peer p;
	long before;

	peer_open(&p, NULL);
	check_script(&p, 1, "echo warm", 0, "warm\n");
	before = rss_kib(p.pid);
	/* The command ends its third stream only when its output was taken by somebody. */
	peer_exec(&p, 1, "head -c 33554432 /dev/zero; echo done >&2");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	peer_expect(&p, 1, MSG_EXEC_STDOUT);
	for (uint64_t got = p.payload.exec_data.data.len; got < MIB(32);) {
		if (peer_next(&p) == MSG_EXEC_STDOUT)
			got += p.payload.exec_data.data.len;
		if (got < MIB(1))
			assert_true(rss_kib(p.pid) < before + 8192);
	}
	(void)peer_finish(&p, 1, &out);
	peer_close(&p);
}

/* A terminal may deliver a line in pieces: collect until all of @want is there. */
static void expect_output(struct peer *p, uint32_t id, const char *want)
{
	cleanup_buf struct buf out = { 0 };

	while (out.len < strlen(want)) {
		const struct bytes *data = &p->payload.exec_data.data;

		peer_expect(p, id, MSG_EXEC_STDOUT);
		assert_int_equal(buf_append(&out, data->data, data->len), 0);
	}
	check_text(&out, want);
}

static void test_tty(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct text args[] = { text_of("-c"),
		text_of("stty size; trap 'stty size; exit 3' WINCH; echo set; "
			"while :; do sleep 0.1; done") };
	struct exec_request req = {
		.cmd = text_of("sh"), .args = { args, 2 }, .tty = true, .rows = 11, .cols = 22
	};
	struct exec_resize size = { 33, 44 };
	struct peer p;

	peer_open(&p, NULL);
	peer_send(&p, 1, MSG_EXEC_REQUEST, &req);
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	expect_output(&p, 1, "11 22\r\nset\r\n");
	peer_send(&p, 1, MSG_EXEC_RESIZE, &size);
	assert_int_equal(peer_finish(&p, 1, &out), 3);
	check_text(&out, "33 44\r\n");
	peer_close(&p);
}

/*
 * On a terminal the end of file is a character, and Ctrl-C a signal. The shell must not be about to
 * start a program when that comes: dash loses an interrupt during its vfork().
 */
static void test_tty_input(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct text args[] = { text_of("-c"),
		text_of("stty -echo; echo up; cat; echo eof; exec sleep 1000") };
	struct exec_request req = { .cmd = text_of("sh"), .args = { args, 2 }, .tty = true };
	struct peer p;

	peer_open(&p, NULL);
	peer_send(&p, 1, MSG_EXEC_REQUEST, &req);
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	expect_output(&p, 1, "up\r\n");
	peer_stdin(&p, 1, NULL, 0);
	peer_stdin(&p, 1, "x\n\x04", 3);
	expect_output(&p, 1, "x\r\neof\r\n");
	peer_stdin(&p, 1, "\x03", 1);
	assert_int_equal(peer_finish(&p, 1, &out), -1);
	assert_int_equal(p.payload.exec_exited.signal, SIGINT);
	peer_close(&p);
}

/* The exit is told only when the last holder of an output is gone, and orphans are reaped. */
static void test_orphan_holds_output(void **state)
{
	struct exec_signal term = { SIGTERM };
	struct peer p;

	peer_open(&p, NULL);
	peer_exec(&p, 1,
		"sh -c 'exec 2>/dev/null; trap \"echo late; exit\" TERM; echo up; while :; do "
		"sleep 0.1; done' & "
		"exit 4");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	peer_expect(&p, 1, MSG_EXEC_STDOUT);
	/* While the orphan lives, others come and go, and nothing is said about the first. */
	check_script(&p, 2, "echo other", 0, "other\n");
	peer_send(&p, 1, MSG_EXEC_SIGNAL, &term);
	peer_expect(&p, 1, MSG_EXEC_STDOUT);
	assert_memory_equal(p.payload.exec_data.data.data, "late\n", 5);
	peer_expect(&p, 1, MSG_EXEC_EXITED);
	assert_int_equal(p.payload.exec_exited.code, 4);
	/* All children of the agent, adopted ones too, have been waited for. */
	check_script(&p, 2, "ps -o stat= --ppid $PPID | grep -c Z", 1, "0\n");
	peer_close(&p);
}

/* A machine's main command has exited when it has, with all that it wrote, whoever holds its
 * outputs. */
static void test_main_does_not_wait(void **state)
{
	struct text args[] = { text_of("-c"),
		text_of("sleep 1000 & echo $!; head -c 40000 /dev/zero; exit 4") };
	struct exec_request req = {
		.cmd = text_of("/bin/sh"), .args = { args, ARRAY_LEN(args) }, .main = true
	};
	struct buf out = { 0 };
	struct peer p;

	peer_open(&p, NULL);
	peer_send(&p, 1, MSG_EXEC_REQUEST, &req);
	assert_int_equal(peer_finish(&p, 1, &out), 4);
	assert_int_equal(kill(atoi((const char *)buf_head(&out)), SIGKILL), 0);
	assert_in_range(out.len, 40002, 40012);
	buf_release(&out);
	peer_close(&p);
}

#define MANY 60

static void test_many(void **state)
{
	int exited = 0;
	bool seen[MANY + 1] = { false };
	struct peer p;

	peer_open(&p, NULL);
	for (uint32_t id = 1; id <= MANY; id++) {
		char script[64];

		(void)snprintf(script, sizeof(script), "read x; echo $x; exit %u", (unsigned)id);
		peer_exec(&p, id, script);
	}
	for (uint32_t id = MANY; id >= 1; id--)
		peer_stdin(&p, id, "go\n", 3);
	while (exited < MANY) {
		if (peer_next(&p) != MSG_EXEC_EXITED)
			continue;
		assert_int_equal(p.payload.exec_exited.code, p.msg.id);
		assert_false(seen[p.msg.id]);
		seen[p.msg.id] = true;
		exited++;
	}
	peer_close(&p);
}

static void expect_error(struct peer *p, uint32_t id, const char *kind)
{
	peer_expect(p, id, MSG_ERROR);
	if (!text_is(p->payload.error.kind, kind))
		fail_msg("kind %s, want %s", p->payload.error.kind.s, kind);
}

static void test_malformed(void **state)
{
	struct exec_started wrong_way = { 1 };
	struct exec_data eof = { 0 };
	cleanup_buf struct buf out = { 0 };
	struct peer p;

	peer_open(&p, NULL);
	peer_send_raw(&p, "\0\0\0\0", 4);
	expect_error(&p, 0, "malformed_message");
	peer_send_raw(&p, "\0\0\0\x07\0\0\0\x05\0\xa1\x01", 11);
	expect_error(&p, 5, "malformed_message");
	peer_send_raw(&p, "\0\0\0\x15\0\0\0\x06\0\xa3\x61v\x05\x61t\x65other\x61p\x41\xf6", 25);
	expect_error(&p, 6, "unsupported_message_type");
	assert_true(text_is(p.payload.error.offending_type, "other"));
	peer_send(&p, 7, MSG_EXEC_STARTED, &wrong_way);
	expect_error(&p, 7, "unsupported_message_type");
	assert_int_equal(message_append(&out, 8, MSG_EXEC_STDIN, &eof), 0);
	out.data[out.off + 8] = 0x80;
	peer_send_raw(&p, buf_head(&out), out.len);
	expect_error(&p, 8, "invalid_flags");
	assert_string_equal(p.payload.error.message.s,
		"invalid flags for core.exec.stdin: got 128, expected 0");
	peer_exec(&p, 0, "true");
	expect_error(&p, 0, "invalid_session");
	check_script(&p, 1, "echo still here", 0, "still here\n");
	peer_close(&p);
}

static void test_invalid_payload(void **state)
{
	cleanup_buf struct buf out = { 0 };
	struct exec_signal sig = { 9 };
	struct peer p;

	peer_open(&p, NULL);
	assert_int_equal(message_append(&out, 3, MSG_EXEC_SIGNAL, &sig), 0);
	out.data[out.off + out.len - 1] = 0xf6;
	peer_send_raw(&p, buf_head(&out), out.len);
	expect_error(&p, 3, "invalid_payload");
	peer_close(&p);
}

static void test_id_in_use(void **state)
{
	struct exec_signal kill_it = { SIGKILL };
	struct peer p;

	peer_open(&p, NULL);
	peer_exec(&p, 1, "sleep 1000");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	peer_exec(&p, 1, "echo never");
	expect_error(&p, 1, "invalid_session");
	peer_send(&p, 1, MSG_EXEC_SIGNAL, &kill_it);
	peer_expect(&p, 1, MSG_EXEC_EXITED);
	peer_close(&p);
}

/* A frame above the limit is thrown away as it comes, and the next one is heard. */
static void test_oversized_frame(void **state)
{
	uint8_t *junk = calloc(1, 4 + FRAME_LEN_MAX + 1);
	struct peer p;

	assert_non_null(junk);
	store_be32(junk, FRAME_LEN_MAX + 1);
	peer_open(&p, NULL);
	peer_send_raw(&p, junk, 4 + FRAME_LEN_MAX + 1);
	expect_error(&p, 0, "malformed_message");
	check_script(&p, 1, "echo ok", 0, "ok\n");
	peer_close(&p);
	free(junk);
}

/* A start-up that cannot succeed: the reason arrives, and the agent ends with failure. */
static void check_refused(const void *frame, size_t len, const char *reason)
{
	struct peer p = { 0 };
	int status;

	p.fd = peer_spawn(&p.pid);
	assert_true(p.fd >= 0);
	peer_send_raw(&p, frame, len);
	expect_error(&p, 0, "init_failed");
	if (!strstr(p.payload.error.message.s, reason))
		fail_msg("reason '%s', want '%s'", p.payload.error.message.s, reason);
	peer_send(&p, 0, MSG_SHUTDOWN, NULL);
	assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
	assert_int_equal(WEXITSTATUS(status), 1);
	close_fd(&p.fd);
	frame_reader_release(&p.in);
	cbor_pool_release(&p.pool);
}

static void test_refused(void **state)
{
	struct bootstrap restricted = { .security_profile = text_of("restricted") };
	struct bootstrap user = { .user = text_of("nobody-here") };
	cleanup_buf struct buf a = { 0 }, b = { 0 }, c = { 0 };

	assert_int_equal(message_append(&a, 0, MSG_BOOTSTRAP, &restricted), 0);
	check_refused(buf_head(&a), a.len, "security profile 'restricted'");
	assert_int_equal(message_append(&b, 0, MSG_BOOTSTRAP, &user), 0);
	check_refused(buf_head(&b), b.len, "guest user not found: nobody-here");
	assert_int_equal(message_append(&c, 0, MSG_INIT_ACK, NULL), 0);
	check_refused(buf_head(&c), c.len, "expected core.bootstrap, got core.init.ack");
	check_refused("\0\0\0\1x", 5, "core.bootstrap");
}

/* The host vanishes: the agent ends, and so do its commands. */
static void test_host_gone(void **state)
{
	struct peer p;
	int status;
	pid_t child;

	/* So that the orphan is ours to wait for. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	peer_open(&p, NULL);
	peer_exec(&p, 1, "sleep 1000");
	peer_expect(&p, 1, MSG_EXEC_STARTED);
	child = p.payload.exec_started.pid;
	close_fd(&p.fd);
	assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	frame_reader_release(&p.in);
	cbor_pool_release(&p.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_signal_death),
		cmocka_unit_test(test_signal_group),
		cmocka_unit_test(test_spawn_failures),
		cmocka_unit_test(test_not_executable),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_make_cwd),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_stdin_closed),
		cmocka_unit_test(test_stdin_stuck),
		cmocka_unit_test(test_big_both_ways),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_tty),
		cmocka_unit_test(test_tty_input),
		cmocka_unit_test(test_orphan_holds_output),
		cmocka_unit_test(test_main_does_not_wait),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_invalid_payload),
		cmocka_unit_test(test_id_in_use),
		cmocka_unit_test(test_oversized_frame),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_host_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
