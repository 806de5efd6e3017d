/* SPDX-License-Identifier: Apache-2.0 */
/* The tables: payload maps in wire order, message types; and the envelope around them. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "protocol/protocol.h"

#define F(type, member, kind, rules)                                                               \
	{                                                                                          \
#member, kind, rules, offsetof(struct type, member), NULL                          \
	}
#define F_AS(key, type, member, kind, rules)                                                       \
	{                                                                                          \
		key, kind, rules, offsetof(struct type, member), NULL                              \
	}
#define F_SUB(type, member, kind, rules, sub)                                                      \
	{                                                                                          \
#member, kind, rules, offsetof(struct type, member), &sub##_schema                 \
	}
#define SCHEMA(name)                                                                               \
	static const struct cbor_schema name##_schema = { name##_fields, ARRAY_LEN(name##_fields), \
		sizeof(struct name) };                                                             \
	static_assert(ARRAY_LEN(name##_fields) <= 64, "the decoder keeps a bit per field")

#define REQ  CBOR_REQUIRED
#define OMIT CBOR_OMIT

static const struct cbor_field mount_flags_fields[] = {
	F(mount_flags, readonly, CBOR_BOOL, REQ),
	F(mount_flags, noexec, CBOR_BOOL, REQ),
	F(mount_flags, nosuid, CBOR_BOOL, REQ),
	F(mount_flags, nodev, CBOR_BOOL, REQ),
};
SCHEMA(mount_flags);

static const struct cbor_field dir_mount_fields[] = {
	F(dir_mount, tag, CBOR_TEXT, REQ),
	F(dir_mount, guest_path, CBOR_TEXT, REQ),
	F_SUB(dir_mount, flags, CBOR_STRUCT, REQ, mount_flags),
};
SCHEMA(dir_mount);

static const struct cbor_field tmpfs_mount_fields[] = {
	F(tmpfs_mount, path, CBOR_TEXT, REQ),
	F(tmpfs_mount, size_mib, CBOR_U32, OMIT),
	F(tmpfs_mount, mode, CBOR_U32, OMIT),
	F_SUB(tmpfs_mount, flags, CBOR_STRUCT, REQ, mount_flags),
};
SCHEMA(tmpfs_mount);

static const struct cbor_field file_mount_fields[] = {
	F(file_mount, tag, CBOR_TEXT, REQ),
	F(file_mount, filename, CBOR_TEXT, REQ),
	F(file_mount, guest_path, CBOR_TEXT, REQ),
	F_SUB(file_mount, flags, CBOR_STRUCT, REQ, mount_flags),
};
SCHEMA(file_mount);

static const struct cbor_field disk_mount_fields[] = {
	F(disk_mount, id, CBOR_TEXT, REQ),
	F(disk_mount, guest_path, CBOR_TEXT, REQ),
	F(disk_mount, fstype, CBOR_TEXT, OMIT),
	F_SUB(disk_mount, flags, CBOR_STRUCT, REQ, mount_flags),
};
SCHEMA(disk_mount);

static const struct cbor_field root_upper_fields[] = {
	F(root_upper, kind, CBOR_TEXT, REQ),
	F(root_upper, device, CBOR_TEXT, OMIT),
	F(root_upper, fstype, CBOR_TEXT, OMIT),
	F(root_upper, size_mib, CBOR_U32, OMIT),
	F(root_upper, scratch, CBOR_BOOL, OMIT),
	F(root_upper, grow, CBOR_BOOL, OMIT),
};
SCHEMA(root_upper);

static const struct cbor_field block_root_fields[] = {
	F(block_root, kind, CBOR_TEXT, REQ),
	F(block_root, device, CBOR_TEXT, OMIT),
	F(block_root, fstype, CBOR_TEXT, OMIT),
	F(block_root, lower, CBOR_TEXT, OMIT),
	F_SUB(block_root, upper, CBOR_STRUCT, OMIT, root_upper),
	F(block_root, readonly, CBOR_BOOL, OMIT),
	F(block_root, grow, CBOR_BOOL, OMIT),
};
SCHEMA(block_root);

static const struct cbor_field boot_family_fields[] = {
	F(boot_family, address, CBOR_U8S, REQ),
	F(boot_family, prefix_len, CBOR_U8, REQ),
	F(boot_family, gateway, CBOR_U8S, REQ),
	F(boot_family, dns, CBOR_U8S, OMIT),
};
SCHEMA(boot_family);

static const struct cbor_field boot_network_fields[] = {
	F(boot_network, interface, CBOR_TEXT, REQ),
	F(boot_network, mac, CBOR_U8S, REQ),
	F(boot_network, mtu, CBOR_U16, REQ),
	F_SUB(boot_network, ipv4, CBOR_STRUCT, OMIT, boot_family),
	F_SUB(boot_network, ipv6, CBOR_STRUCT, OMIT, boot_family),
};
SCHEMA(boot_network);

static const struct cbor_field rlimit_spec_fields[] = {
	F(rlimit_spec, resource, CBOR_TEXT, REQ),
	F(rlimit_spec, soft, CBOR_U64, REQ),
	F(rlimit_spec, hard, CBOR_U64, REQ),
};
SCHEMA(rlimit_spec);

static const struct cbor_field env_var_fields[] = {
	F(env_var, key, CBOR_TEXT, REQ),
	F(env_var, value, CBOR_TEXT, REQ),
};
SCHEMA(env_var);

static const struct cbor_field bootstrap_fields[] = {
	F_SUB(bootstrap, block_root, CBOR_STRUCT, OMIT, block_root),
	F_SUB(bootstrap, dir_mounts, CBOR_STRUCTS, OMIT, dir_mount),
	F_SUB(bootstrap, file_mounts, CBOR_STRUCTS, OMIT, file_mount),
	F_SUB(bootstrap, disk_mounts, CBOR_STRUCTS, OMIT, disk_mount),
	F_SUB(bootstrap, tmpfs_mounts, CBOR_STRUCTS, OMIT, tmpfs_mount),
	F(bootstrap, hostname, CBOR_TEXT, OMIT),
	F(bootstrap, host_alias, CBOR_TEXT, OMIT),
	F_SUB(bootstrap, network, CBOR_STRUCT, OMIT, boot_network),
	F_SUB(bootstrap, rlimits, CBOR_STRUCTS, OMIT, rlimit_spec),
	F(bootstrap, user, CBOR_TEXT, OMIT),
	F(bootstrap, default_cwd, CBOR_TEXT, OMIT),
	F_SUB(bootstrap, default_env, CBOR_STRUCTS, OMIT, env_var),
	F(bootstrap, security_profile, CBOR_TEXT, 0),
	F_AS("handoff_init", bootstrap, has_handoff_init, CBOR_PRESENT, OMIT),
	F(bootstrap, stdin_ack, CBOR_BOOL, OMIT),
	F(bootstrap, patches, CBOR_BOOL, OMIT),
	F(bootstrap, host_cas, CBOR_TEXT, OMIT),
};
SCHEMA(bootstrap);

static const struct cbor_field patch_fields[] = {
	F(patch, op, CBOR_TEXT, REQ),
	F(patch, path, CBOR_TEXT, OMIT),
	F(patch, target, CBOR_TEXT, OMIT),
	F(patch, mode, CBOR_U32, OMIT),
	F(patch, replace, CBOR_BOOL, OMIT),
	F(patch, data, CBOR_BYTES, OMIT),
	F(patch, more, CBOR_BOOL, OMIT),
	F(patch, skip, CBOR_U64, OMIT),
};
SCHEMA(patch);

static const struct cbor_field default_user_fields[] = {
	{ "uid", CBOR_U32, REQ, 0, NULL },
	{ "gid", CBOR_U32, REQ, sizeof(uint32_t), NULL },
};
static const struct cbor_schema default_user_schema = { default_user_fields,
	ARRAY_LEN(default_user_fields), 2 * sizeof(uint32_t) };

static const struct cbor_field init_resolved_fields[] = {
	F_SUB(init_resolved, default_user, CBOR_STRUCT, REQ, default_user),
};
SCHEMA(init_resolved);

static const struct cbor_field ready_fields[] = {
	F(ready, boot_time_ns, CBOR_U64, REQ),
	F(ready, init_time_ns, CBOR_U64, REQ),
	F(ready, ready_time_ns, CBOR_U64, REQ),
	F(ready, agent_version, CBOR_TEXT, OMIT),
	F(ready, stdin_window, CBOR_U32, OMIT),
};
SCHEMA(ready);

static const struct cbor_field client_disconnected_fields[] = {
	F(client_disconnected, id_start, CBOR_U32, REQ),
	F(client_disconnected, id_end_exclusive, CBOR_U32, REQ),
};
SCHEMA(client_disconnected);

static const struct cbor_field clock_sync_fields[] = {
	F(clock_sync, unix_time_nanos, CBOR_U64, REQ),
};
SCHEMA(clock_sync);

static const struct cbor_field core_error_fields[] = {
	F(core_error, kind, CBOR_TEXT, REQ),
	F(core_error, message, CBOR_TEXT, REQ),
	F(core_error, offending_type, CBOR_TEXT, OMIT),
};
SCHEMA(core_error);

static const struct cbor_field exec_request_fields[] = {
	F(exec_request, cmd, CBOR_TEXT, REQ),
	F(exec_request, args, CBOR_TEXTS, 0),
	F(exec_request, env, CBOR_TEXTS, 0),
	F(exec_request, cwd, CBOR_TEXT, 0),
	F(exec_request, user, CBOR_TEXT, 0),
	F(exec_request, tty, CBOR_BOOL, 0),
	F(exec_request, rows, CBOR_U16, 0),
	F(exec_request, cols, CBOR_U16, 0),
	F_SUB(exec_request, rlimits, CBOR_STRUCTS, 0, rlimit_spec),
	F(exec_request, main, CBOR_BOOL, OMIT),
	F(exec_request, make_cwd, CBOR_BOOL, OMIT),
};
SCHEMA(exec_request);

static const struct cbor_field exec_started_fields[] = {
	F(exec_started, pid, CBOR_U32, REQ),
};
SCHEMA(exec_started);

static const struct cbor_field exec_data_fields[] = {
	F(exec_data, data, CBOR_BYTES, REQ),
};
SCHEMA(exec_data);

static const struct cbor_field exec_stdin_error_fields[] = {
	F_AS("errno", exec_stdin_error, error, CBOR_OPT_I32, 0),
	F(exec_stdin_error, errno_name, CBOR_TEXT, 0),
	F(exec_stdin_error, message, CBOR_TEXT, REQ),
};
SCHEMA(exec_stdin_error);

static const struct cbor_field exec_stdin_ack_fields[] = {
	F(exec_stdin_ack, bytes, CBOR_U32, REQ),
};
SCHEMA(exec_stdin_ack);

static const struct cbor_field exec_exited_fields[] = {
	F(exec_exited, code, CBOR_I32, REQ),
	F(exec_exited, signal, CBOR_U32, OMIT),
};
SCHEMA(exec_exited);

static const struct cbor_field exec_failed_fields[] = {
	F(exec_failed, kind, CBOR_TEXT, REQ),
	F_AS("errno", exec_failed, error, CBOR_OPT_I32, 0),
	F(exec_failed, errno_name, CBOR_TEXT, 0),
	F(exec_failed, message, CBOR_TEXT, REQ),
	F(exec_failed, stage, CBOR_TEXT, 0),
};
SCHEMA(exec_failed);

static const struct cbor_field exec_resize_fields[] = {
	F(exec_resize, rows, CBOR_U16, REQ),
	F(exec_resize, cols, CBOR_U16, REQ),
};
SCHEMA(exec_resize);

static const struct cbor_field exec_signal_fields[] = {
	F(exec_signal, signal, CBOR_I32, REQ),
};
SCHEMA(exec_signal);

static const struct cbor_schema empty_schema = { NULL, 0, 0 };

static const struct message_info message_types[] = {
	[MSG_BOOTSTRAP] = { "core.bootstrap", 0, 7, &bootstrap_schema },
	[MSG_PATCH] = { "core.patch", 0, 0, &patch_schema },
	[MSG_INIT_RESOLVED] = { "core.init.resolved", 0, 1, &init_resolved_schema },
	[MSG_INIT_ACK] = { "core.init.ack", 0, 1, &empty_schema },
	[MSG_READY] = { "core.ready", 0, 1, &ready_schema },
	[MSG_SHUTDOWN] = { "core.shutdown", FRAME_SHUTDOWN, 1, NULL },
	[MSG_CLIENT_DISCONNECTED] = { "core.relay.client.disconnected", 0, 1,
		&client_disconnected_schema },
	[MSG_CLOCK_SYNC] = { "core.clock.sync", 0, 1, &clock_sync_schema },
	[MSG_ERROR] = { "core.error", FRAME_TERMINAL, 5, &core_error_schema },
	[MSG_EXEC_REQUEST] = { "core.exec.request", FRAME_SESSION_START, 1, &exec_request_schema },
	[MSG_EXEC_STARTED] = { "core.exec.started", 0, 1, &exec_started_schema },
	[MSG_EXEC_STDIN] = { "core.exec.stdin", 0, 1, &exec_data_schema },
	[MSG_EXEC_STDIN_ERROR] = { "core.exec.stdin.error", 0, 1, &exec_stdin_error_schema },
	[MSG_EXEC_STDIN_ACK] = { "core.exec.stdin.ack", 0, 0, &exec_stdin_ack_schema },
	[MSG_EXEC_STDOUT] = { "core.exec.stdout", 0, 1, &exec_data_schema },
	[MSG_EXEC_STDERR] = { "core.exec.stderr", 0, 1, &exec_data_schema },
	[MSG_EXEC_EXITED] = { "core.exec.exited", FRAME_TERMINAL, 1, &exec_exited_schema },
	[MSG_EXEC_FAILED] = { "core.exec.failed", FRAME_TERMINAL, 1, &exec_failed_schema },
	[MSG_EXEC_RESIZE] = { "core.exec.resize", 0, 1, &exec_resize_schema },
	[MSG_EXEC_SIGNAL] = { "core.exec.signal", 0, 1, &exec_signal_schema },
};
static_assert(ARRAY_LEN(message_types) == MSG_TYPE_COUNT, "a row per message type");

const struct message_info *message_info(enum message_type type)
{
	return &message_types[type];
}

static enum message_type type_of_name(struct text name)
{
	for (unsigned i = 0; i < MSG_TYPE_COUNT; i++) {
		if (text_is(name, message_types[i].name))
			return i;
	}
	return MSG_TYPE_COUNT;
}

struct envelope {
	uint8_t v;
	struct text t;
	struct bytes p;
};

static const struct cbor_field envelope_fields[] = {
	F(envelope, v, CBOR_U8, REQ),
	F(envelope, t, CBOR_TEXT_REF, REQ),
	F(envelope, p, CBOR_BYTES, REQ),
};
SCHEMA(envelope);

int message_open(
	const struct frame *frame, struct cbor_pool *pool, struct message *ret, struct err *err)
{
	struct envelope env = { 0 };
	int res = cbor_decode(&envelope_schema, frame->body, frame->body_len, pool, &env, err);

	if (res < 0)
		return res;
	*ret = (struct message){
		.id = frame->id,
		.flags = frame->flags,
		.generation = env.v,
		.type = type_of_name(env.t),
		.name = env.t,
		.payload = env.p,
	};
	return 0;
}

static void set_defaults(enum message_type type, void *dst)
{
	struct exec_request *req = dst;

	if (type == MSG_EXEC_REQUEST) {
		req->rows = 24;
		req->cols = 80;
	}
}

int message_decode(const struct message *msg, struct cbor_pool *pool, void *dst, struct err *err)
{
	const struct cbor_schema *schema = message_types[msg->type].payload;

	if (!schema)
		return 0;
	if (schema->size > 0)
		memset(dst, 0, schema->size);
	set_defaults(msg->type, dst);
	return cbor_decode(schema, msg->payload.data, msg->payload.len, pool, dst, err);
}

struct envelope_out {
	uint8_t v;
	struct text t;
	struct embedded p;
};

static const struct cbor_field envelope_out_fields[] = {
	F(envelope_out, v, CBOR_U8, REQ),
	F(envelope_out, t, CBOR_TEXT, REQ),
	F(envelope_out, p, CBOR_EMBEDDED, REQ),
};
SCHEMA(envelope_out);

int message_append(struct buf *out, uint32_t id, enum message_type type, const void *payload)
{
	const struct message_info *info = &message_types[type];
	struct envelope_out env = { PROTOCOL_GENERATION, text_of(info->name),
		{ info->payload, payload } };
	uint8_t header[FRAME_HEADER];
	uint8_t *room;
	size_t len;
	int ret;

	(void)cbor_encode(&envelope_out_schema, &env, NULL, &len);
	if (len > FRAME_LEN_MAX - FRAME_LEN_MIN)
		return -EMSGSIZE;
	/* With all the room there, none of the steps below can fail half-way. */
	ret = buf_reserve(out, FRAME_HEADER + len, &room);
	if (ret < 0)
		return ret;
	store_be32(header, FRAME_LEN_MIN + len);
	store_be32(header + FRAME_PREFIX, id);
	header[FRAME_PREFIX + 4] = info->flags;
	ret = buf_append(out, header, sizeof(header));
	return ret < 0 ? ret : cbor_encode(&envelope_out_schema, &env, out, NULL);
}

int message_append_data(
	struct buf *out, uint32_t id, enum message_type type, const void *data, size_t len)
{
	struct exec_data payload = { { data, len } };

	return message_append(out, id, type, &payload);
}
