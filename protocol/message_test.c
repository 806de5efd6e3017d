/* SPDX-License-Identifier: Apache-2.0 */
/* Messages against known bytes: what goes out is exactly this, and it reads back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/num.h"
#include "protocol/protocol.h"

/* "00 1f ..." to bytes; blanks are ignored */
static size_t unhex(const char *hex, uint8_t *dst, size_t max)
{
	size_t n = 0;

	for (; *hex; hex++) {
		char pair[3] = { hex[0], hex[1], 0 };

		if (*hex == ' ')
			continue;
		assert_true(n < max);
		dst[n++] = strtoul(pair, NULL, 16);
		hex++;
	}
	return n;
}

static void check_bytes(uint32_t id, enum message_type type, const void *payload, const char *hex)
{
	cleanup_buf struct buf out = { 0 };
	uint8_t want[512];
	size_t len = unhex(hex, want, sizeof(want));

	assert_int_equal(message_append(&out, id, type, payload), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(buf_head(&out), want, len);
}

static int decode_hex(const char *hex, struct cbor_pool *pool, void *dst, struct message *msg)
{
	static uint8_t bytes[512];
	size_t len = unhex(hex, bytes, sizeof(bytes));
	struct frame frame = { load_be32(bytes + 4), bytes[8], bytes + 9, len - 9 };
	int ret = message_open(&frame, pool, msg, NULL);

	return ret < 0 ? ret : message_decode(msg, pool, dst, NULL);
}

#define READY_HEX                                                                                  \
	"00000067 00000000 00 a361760561746a 636f72652e7265616479 6170584d"                        \
	"a4 6c626f6f745f74696d655f6e73 1a08f0d180 6c696e69745f74696d655f6e73 1a01312d00"           \
	"6d72656164795f74696d655f6e73 1a0a6e49c0 6d6167656e745f76657273696f6e 66302e362e3134"

static void test_ready(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct ready in, out = { 150000000, 20000000, 175000000, text_of("0.6.14"), 0 };
	struct message msg;

	check_bytes(0, MSG_READY, &out, READY_HEX);
	assert_int_equal(decode_hex(READY_HEX, &pool, &in, &msg), 0);
	assert_int_equal(msg.type, MSG_READY);
	assert_int_equal(msg.generation, 5);
	assert_int_equal(in.boot_time_ns, 150000000);
	assert_int_equal(in.ready_time_ns, 175000000);
	assert_true(text_is(in.agent_version, "0.6.14"));
	assert_int_equal(in.stdin_window, 0);
}

#define EXEC_HEX                                                                                   \
	"0000008b 00000001 02 a3617605617471 636f72652e657865632e72657175657374 6170586a"          \
	"a9 63636d64 69 2f62696e2f6563686f 6461726773 81 626869 63656e76 81 63413d62 63637764 "    \
	"612f"                                                                                     \
	"6475736572 f6 63747479 f4 64726f7773 1818 64636f6c73 1850 67726c696d697473 81 a3"         \
	"687265736f75726365 666e6f66696c65 64736f6674 190400 6468617264 191000"

static void test_exec_request(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct rlimit_spec limit = { text_of("nofile"), 1024, 4096 };
	struct text arg = text_of("hi"), var = text_of("A=b");
	struct exec_request in, out = { .cmd = text_of("/bin/echo"),
		.args = { &arg, 1 },
		.env = { &var, 1 },
		.cwd = text_of("/"),
		.rows = 24,
		.cols = 80,
		.rlimits = { &limit, 1 } };
	struct message msg;

	check_bytes(1, MSG_EXEC_REQUEST, &out, EXEC_HEX);
	assert_int_equal(decode_hex(EXEC_HEX, &pool, &in, &msg), 0);
	assert_int_equal(msg.id, 1);
	assert_int_equal(msg.flags, FRAME_SESSION_START);
	assert_string_equal(in.cmd.s, "/bin/echo");
	assert_int_equal(in.args.n, 1);
	assert_string_equal(in.args.v[0].s, "hi");
	assert_null(in.user.s);
	assert_int_equal(in.rlimits.n, 1);
	assert_int_equal(((struct rlimit_spec *)in.rlimits.v)->hard, 4096);
}

static void test_streams(void **state)
{
	struct exec_exited exited = { 0 };
	struct exec_data eof = { 0 }, hi = { { (const uint8_t *)"hi\n", 3 } };

	check_bytes(1, MSG_EXEC_STDOUT, &hi,
		"00000029 00000001 00 a3617605617470 636f72652e657865632e7374646f7574 6170 4a"
		"a1 6464617461 4368690a");
	check_bytes(1, MSG_EXEC_STDIN, &eof,
		"00000025 00000001 00 a361760561746f 636f72652e657865632e737464696e 6170 47"
		"a1 6464617461 40");
	check_bytes(1, MSG_EXEC_EXITED, &exited,
		"00000026 00000001 01 a3617605617470 636f72652e657865632e657869746564 6170 47"
		"a1 64636f6465 00");
}

static void test_control(void **state)
{
	struct bootstrap boot = { .security_profile = text_of("default") };

	check_bytes(0, MSG_SHUTDOWN, NULL,
		"0000001d 00000000 04 a361760561746d 636f72652e73687574646f776e 6170 41f6");
	check_bytes(0, MSG_BOOTSTRAP, &boot,
		"00000038 00000000 00 a361760561746e 636f72652e626f6f747374726170 6170 581a"
		"a1 7073656375726974795f70726f66696c65 6764656661756c74");
}

/* A bootstrap with an EROFS root and an init to hand over to, which is seen to be unsupported. */
static void test_bootstrap_foreign(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	struct bootstrap boot;
	struct message msg;

	assert_int_equal(
		decode_hex("0000008e 00000000 00 a361760761746e 636f72652e626f6f747374726170"
			   "6170 5870 a3 6a626c6f636b5f726f6f74 a3 646b696e64 696f63692d65726f6673"
			   "656c6f776572 682f6465762f766461 657570706572 a1 646b696e64 65746d706673"
			   "7073656375726974795f70726f66696c65 6a72657374726963746564"
			   "6c68616e646f66665f696e6974 a1 63636d64 646175746f",
			&pool, &boot, &msg),
		0);
	assert_int_equal(msg.generation, 7);
	assert_true(text_is(boot.block_root.kind, "oci-erofs"));
	assert_true(text_is(boot.block_root.lower, "/dev/vda"));
	assert_true(text_is(boot.block_root.upper.kind, "tmpfs"));
	assert_true(boot.has_handoff_init);
	assert_null(boot.network.interface.s);
	assert_true(text_is(boot.security_profile, "restricted"));
}

static void round_trip(uint32_t id, enum message_type type, const void *src, void *dst,
	struct cbor_pool *pool, struct buf *out)
{
	struct message msg;
	struct frame frame;

	assert_int_equal(message_append(out, id, type, src), 0);
	assert_int_equal(load_be32(buf_head(out)) + 4, out->len);
	frame = (struct frame){ id, buf_head(out)[8], buf_head(out) + 9, out->len - 9 };
	assert_int_equal(message_open(&frame, pool, &msg, NULL), 0);
	assert_int_equal(msg.type, type);
	assert_int_equal(msg.flags, message_info(type)->flags);
	assert_int_equal(message_decode(&msg, pool, dst, NULL), 0);
}

static void test_bootstrap_round_trip(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	cleanup_buf struct buf out = { 0 };
	struct dir_mount dirs[2] = { { text_of("a_1"), text_of("/a"), { .readonly = true } },
		{ text_of("b_2"), text_of("/b"), { .nodev = true } } };
	struct tmpfs_mount tmp = { text_of("/t"), 64, 0700, { .noexec = true } };
	struct env_var var = { text_of("K"), text_of("") };
	struct file_mount file = { text_of("f"), text_of("name"), text_of("/file"), { 0 } };
	struct disk_mount disk = { text_of("d_1"), text_of("/disk"), text_of("ext4"), { 0 } };
	struct bootstrap in, boot = { .dir_mounts = { dirs, 2 },
		.block_root = { .kind = text_of("oci-erofs"),
			.lower = text_of("/dev/vda"),
			.upper = { .kind = text_of("tmpfs"),
				.size_mib = 7,
				.scratch = true,
				.grow = true } },
		.file_mounts = { &file, 1 },
		.disk_mounts = { &disk, 1 },
		.tmpfs_mounts = { &tmp, 1 },
		.hostname = text_of("h\xc3\xb6st"),
		.default_env = { &var, 1 },
		.security_profile = text_of("default"),
		.stdin_ack = true };

	round_trip(0, MSG_BOOTSTRAP, &boot, &in, &pool, &out);
	assert_int_equal(in.dir_mounts.n, 2);
	assert_string_equal(((struct dir_mount *)in.dir_mounts.v)[1].guest_path.s, "/b");
	assert_true(((struct dir_mount *)in.dir_mounts.v)[0].flags.readonly);
	assert_int_equal(((struct tmpfs_mount *)in.tmpfs_mounts.v)->size_mib, 64);
	assert_true(in.block_root.upper.grow && !in.block_root.grow);
	assert_int_equal(in.block_root.upper.size_mib, 7);
	assert_true(in.block_root.upper.scratch);
	assert_string_equal(((struct file_mount *)in.file_mounts.v)->filename.s, "name");
	assert_string_equal(((struct disk_mount *)in.disk_mounts.v)->fstype.s, "ext4");
	assert_string_equal(in.hostname.s, "h\xc3\xb6st");
	assert_int_equal(((struct env_var *)in.default_env.v)->value.len, 0);
	assert_true(in.stdin_ack);
}

/* Addresses travel as arrays of integers, a family that is off not at all. */
static void test_network_round_trip(void **state)
{
	static const uint8_t mac[] = { 2, 0x6d, 0x73, 0, 0, 2 }, addr[] = { 172, 16, 0, 2 },
			     gateway[] = { 172, 16, 0, 1 };
	static const uint8_t on_wire[] = { 0x84, 0x18, 172, 0x10, 0x00, 0x02 };
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	cleanup_buf struct buf out = { 0 };
	struct bootstrap in, boot = {
		.security_profile = text_of("default"),
		.host_alias = text_of("host.internal"),
		.network = {
			.interface = text_of("eth0"),
			.mac = { mac, 6 },
			.mtu = 1500,
			.ipv4 = { { addr, 4 }, 30, { gateway, 4 }, { gateway, 4 } },
		},
	};

	round_trip(0, MSG_BOOTSTRAP, &boot, &in, &pool, &out);
	assert_non_null(memmem(buf_head(&out), out.len, on_wire, sizeof(on_wire)));
	assert_null(memmem(buf_head(&out), out.len, "ipv6", 4));
	assert_string_equal(in.network.interface.s, "eth0");
	assert_int_equal(in.network.mac.len, 6);
	assert_memory_equal(in.network.mac.data, mac, 6);
	assert_int_equal(in.network.mtu, 1500);
	assert_int_equal(in.network.ipv4.prefix_len, 30);
	assert_memory_equal(in.network.ipv4.dns.data, gateway, 4);
	assert_int_equal(in.network.ipv6.address.len, 0);
	assert_string_equal(in.host_alias.s, "host.internal");
}

static void test_numbers_round_trip(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	cleanup_buf struct buf a = { 0 }, b = { 0 }, c = { 0 };
	struct exec_exited exited_in, exited = { -1, 9 };
	struct exec_failed failed_in, failed = {
		.kind = text_of("not_found"), .error = { true, 2 }, .message = text_of("m")
	};
	struct clock_sync sync_in, sync = { UINT64_MAX };

	round_trip(7, MSG_EXEC_EXITED, &exited, &exited_in, &pool, &a);
	assert_int_equal(exited_in.code, -1);
	assert_int_equal(exited_in.signal, 9);
	round_trip(7, MSG_EXEC_FAILED, &failed, &failed_in, &pool, &b);
	assert_true(failed_in.error.set);
	assert_int_equal(failed_in.error.v, 2);
	assert_null(failed_in.stage.s);
	round_trip(0, MSG_CLOCK_SYNC, &sync, &sync_in, &pool, &c);
	assert_true(sync_in.unix_time_nanos == UINT64_MAX);
}

/* What has no holes goes out as it always did; a length below zero or beyond 64 bits is none. */
static void test_patch(void **state)
{
	static const char below[] = "00000028 00000000 00 a361760561746a 636f72652e7061746368 6170"
				    "4f a2 626f70 6464617461 64736b6970 20";
	static const char beyond[] = "00000033 00000000 00 a361760561746a 636f72652e7061746368 6170"
				     "5819 a2 626f70 6464617461 64736b6970 c249010000000000000000";
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	cleanup_buf struct buf out = { 0 };
	struct patch in, patch = { .op = text_of("data"), .more = true };
	struct message msg;

	check_bytes(0, MSG_PATCH, &patch,
		"00000028 00000000 00 a361760561746a 636f72652e7061746368 6170 4f"
		"a2 626f70 6464617461 646d6f7265 f5");
	patch.skip = UINT64_MAX;
	round_trip(0, MSG_PATCH, &patch, &in, &pool, &out);
	assert_true(in.skip == UINT64_MAX && in.more);
	assert_int_equal(decode_hex(below, &pool, &in, &msg), -EBADMSG);
	assert_int_equal(decode_hex(beyond, &pool, &in, &msg), -EBADMSG);
}

static void test_unknown_type(void **state)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	static const uint8_t body[] = { 0xa3, 0x61, 'v', 0x05, 0x61, 't', 0x64, 'n', 'o', 'p', 'e',
		0x61, 'p', 0x41, 0xa0 };
	struct frame frame = { 3, 0, body, sizeof(body) };
	struct message msg;

	assert_int_equal(message_open(&frame, &pool, &msg, NULL), 0);
	assert_int_equal(msg.type, MSG_TYPE_COUNT);
	assert_true(text_is(msg.name, "nope"));
}

static void test_too_large(void **state)
{
	cleanup_buf struct buf out = { 0 };
	uint8_t *data = calloc(1, FRAME_LEN_MAX);
	size_t overhead;

	assert_non_null(data);
	assert_int_equal(
		message_append_data(&out, 1, MSG_EXEC_STDOUT, data, FRAME_LEN_MAX), -EMSGSIZE);
	assert_int_equal(out.len, 0);
	assert_int_equal(message_append_data(&out, 1, MSG_EXEC_STDOUT, data, MIB(3)), 0);
	overhead = out.len - MIB(3);
	buf_release(&out);
	assert_int_equal(
		message_append_data(&out, 1, MSG_EXEC_STDOUT, data, FRAME_WIRE_MAX - overhead), 0);
	assert_int_equal(out.len, FRAME_WIRE_MAX);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready),
		cmocka_unit_test(test_exec_request),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_bootstrap_foreign),
		cmocka_unit_test(test_bootstrap_round_trip),
		cmocka_unit_test(test_network_round_trip),
		cmocka_unit_test(test_numbers_round_trip),
		cmocka_unit_test(test_patch),
		cmocka_unit_test(test_unknown_type),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
