/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent protocol: frames between the host and agentd over one byte stream, the console port
 * named "agent". Shared by both ends, so it also builds for the guest.
 *
 * A frame is a big-endian header {len u32, id u32, flags u8} and a body: the CBOR map
 * {"v": generation, "t": message type, "p": bytes of the payload map}. `len` counts what follows
 * it. Id 0 is control traffic; other ids name a session opened by the host. Flags are a pure
 * function of the type. One table, message_types, holds name, flags and payload of every type.
 *
 * We speak generation 5, with one thing taken from generation 7: the host's first frame is
 * core.bootstrap, because parameters must not travel on the kernel command line. Start-up:
 *
 *	host -> guest   core.bootstrap, core.patch..., and directly behind them core.init.ack
 *	guest -> host   core.init.resolved   (root is up; the guest now needs an ack, often already
 *	                                      there, so that the handshake costs no round trip)
 *	guest -> host   core.ready           (or core.error on id 0: initialisation failed)
 *	host -> guest   core.clock.sync, core.exec.request, ...
 *	host -> guest   core.shutdown        (no reply; the machine ends)
 *
 * Extensions, invisible to peers that do not know them:
 * - exec.exited: `signal`, the signal that ended the command, whose `code` is then -1.
 * - exec.request: `main`, the machine is there for this command. It has exited when its process
 *has, whoever else still holds its outputs; otherwise, as upstream, the last holder delays that.
 * - core.patch and bootstrap `patches`: files to be put into the root file system before anything
 *   runs, as a stream, since they may be larger than a frame and than the host's memory.
 * - Stdin window: bootstrap `stdin_ack` says that the host understands core.exec.stdin.ack, ready
 *   `stdin_window` is how many bytes of stdin per session it may have unacknowledged. The agent
 *   acknowledges what the command has taken, or what was dropped after the command closed its
 *   stdin. A frame may be sent while less than the window is unacknowledged. Nothing but the
 *   session concerned ever waits. A session whose host sends on regardless loses its stdin:
 *   exec.stdin.error with ENOBUFS, then end of file for the command behind what was queued. Hosts
 *   without stdin_ack have 4 MiB before that happens.
 */
#ifndef PROTOCOL_PROTOCOL_H
#define PROTOCOL_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "protocol/cbor.h"

#define PROTOCOL_GENERATION 5

/* Frame sizes: `len` is within [FRAME_LEN_MIN, FRAME_LEN_MAX]; on the wire 4 bytes more */
#define FRAME_PREFIX   4
#define FRAME_HEADER   9
#define FRAME_LEN_MIN  5
#define FRAME_LEN_MAX  4194304
#define FRAME_WIRE_MAX (FRAME_PREFIX + FRAME_LEN_MAX)

/*
 * Stream data is cut to this much per frame; any size up to the frame limit is accepted. With the
 * 45 or 46 bytes around it a full frame is 64 KiB on the wire at most: a console takes 32 KiB per
 * write and gives 4 KiB per read, and a little more would cost another of each, and an interrupt.
 */
#define STREAM_CHUNK (65536 - 46)

/* What our agent grants per session (see "Stdin window") */
#define STDIN_WINDOW 262144

#define FRAME_TERMINAL	    0x01
#define FRAME_SESSION_START 0x02
#define FRAME_SHUTDOWN	    0x04

/* struct frame - one whole frame; @body is borrowed */
struct frame {
	uint32_t id;
	uint8_t flags;
	const uint8_t *body;
	size_t body_len;
};

/*
 * struct frame_reader - turns a byte stream into frames, holding at most FRAME_WIRE_MAX bytes
 * Zero-initialised is ready for use.
 */
struct frame_reader {
	struct buf in;
	size_t taken;  /* bytes of the frame handed out last, dropped by the next call */
	uint64_t skip; /* bytes of a malformed frame still to be thrown away */
};

void frame_reader_release(struct frame_reader *r);

/*
 * frame_reader_space() - where to read() the next bytes to
 * @ret_room: how many at most, never 0
 * Return: 0; -ENOMEM. Valid until the next call on @r; ends the frame handed out last.
 */
int frame_reader_space(struct frame_reader *r, uint8_t **ret, size_t *ret_room);

/* frame_reader_commit() - @len bytes were put there. */
void frame_reader_commit(struct frame_reader *r, size_t len);

/*
 * frame_reader_next() - take a frame; call it until it returns 0 before reading more
 * Return: 1 and *ret_frame, borrowed until the next call on @r; 0 if more bytes are needed;
 * -EBADMSG (shorter than a header) or -EMSGSIZE (above the limit) for a malformed frame. After
 * those the reader goes on behind that frame: a host treats them as the end of the guest, the
 * guest reports them and lives.
 */
int frame_reader_next(struct frame_reader *r, struct frame *ret_frame);

/* Every type this implementation sends or understands */
enum message_type {
	MSG_BOOTSTRAP,
	MSG_PATCH,
	MSG_INIT_RESOLVED,
	MSG_INIT_ACK,
	MSG_READY,
	MSG_SHUTDOWN,
	MSG_CLIENT_DISCONNECTED,
	MSG_CLOCK_SYNC,
	MSG_ERROR,
	MSG_EXEC_REQUEST,
	MSG_EXEC_STARTED,
	MSG_EXEC_STDIN,
	MSG_EXEC_STDIN_ERROR,
	MSG_EXEC_STDIN_ACK,
	MSG_EXEC_STDOUT,
	MSG_EXEC_STDERR,
	MSG_EXEC_EXITED,
	MSG_EXEC_FAILED,
	MSG_EXEC_RESIZE,
	MSG_EXEC_SIGNAL,
	MSG_TYPE_COUNT,
};

/*
 * struct message_info - one row of the table
 * @generation: peers below it must not be sent this type; 0: an extension, negotiated as above
 * @payload:    NULL: written as null, not decoded
 */
struct message_info {
	const char *name;
	uint8_t flags;
	uint8_t generation;
	const struct cbor_schema *payload;
};

/* message_info() - the row of a type (< MSG_TYPE_COUNT). */
const struct message_info *message_info(enum message_type type);

/*
 * struct message - an opened envelope
 * @type:    MSG_TYPE_COUNT for a name we do not know
 * @name:    as sent; for reports; no NUL behind it
 * @payload: borrowed from the frame or the pool
 */
struct message {
	uint32_t id;
	uint8_t flags;
	uint8_t generation;
	enum message_type type;
	struct text name;
	struct bytes payload;
};

/*
 * message_open() - decode the envelope of a frame; says nothing about flags and payload
 * @pool: for what cannot be borrowed; released by the caller
 * Return: 0; -EBADMSG with the reason; -ENOMEM
 */
int message_open(
	const struct frame *frame, struct cbor_pool *pool, struct message *ret, struct err *err);

/*
 * message_decode() - decode the payload of a known type into its struct below
 * @dst: filled with defaults first. Its texts live in @pool, its bytes in the frame or @pool
 * Return: 0; -EBADMSG with the reason; -ENOMEM
 */
int message_decode(const struct message *msg, struct cbor_pool *pool, void *dst, struct err *err);

/*
 * message_append() - append a whole frame to @out
 * @payload: the type's struct; NULL for types without one
 * Return: 0; -EMSGSIZE above the frame limit, -ENOMEM, -E2BIG: nothing was appended
 */
int message_append(struct buf *out, uint32_t id, enum message_type type, const void *payload);

/* message_append_data() - message_append() for the types whose payload is struct exec_data. */
int message_append_data(
	struct buf *out, uint32_t id, enum message_type type, const void *data, size_t len);

/* ---- Payloads. Names are those of the keys. ---- */

struct mount_flags {
	bool readonly, noexec, nosuid, nodev;
};

struct dir_mount {
	struct text tag, guest_path;
	struct mount_flags flags;
};

/* @size_mib: 0 none given; @mode: 0 none given */
struct tmpfs_mount {
	struct text path;
	uint32_t size_mib, mode;
	struct mount_flags flags;
};

/*
 * struct file_mount - file @filename of the share @tag, bound on @guest_path
 * struct disk_mount - the disk with the serial @id; no @fstype: what the kernel finds on it
 */
struct file_mount {
	struct text tag, filename, guest_path;
	struct mount_flags flags;
};

struct disk_mount {
	struct text id, guest_path, fstype;
	struct mount_flags flags;
};

#define DISK_BY_ID "/dev/disk/by-id/virtio-"

/*
 * struct root_upper - what takes the writes to an image
 * @kind:    "device" (@device, @fstype) or "tmpfs" (@size_mib, 0: half of the memory)
 * @scratch: extension: the device is gone with the machine, so nothing waits for the last writes
 * @grow:    extension: the file system is ext4 and is to fill the device
 */
struct root_upper {
	struct text kind, device, fstype;
	uint32_t size_mib;
	bool scratch, grow;
};

/*
 * struct block_root - a root file system made of disks; none if @kind is none
 * @kind:   "disk-image": @device holds it, @fstype or what the kernel finds; @readonly; extension:
 *          @grow as of struct root_upper.
 *          "oci-erofs": @lower is an EROFS image, with the data of its layers behind its metadata;
 *          @upper is laid over it
 * A device is a path; DISK_BY_ID followed by a serial is the disk that has it.
 */
struct block_root {
	struct text kind, device, fstype, lower;
	struct root_upper upper;
	bool readonly, grow;
};

/*
 * struct boot_family - the guest's place in one IP family; no @address: the family is off
 * @address, @gateway, @dns: 4 or 16 bytes, network order; @dns may be none
 */
struct boot_family {
	struct bytes address;
	uint8_t prefix_len;
	struct bytes gateway, dns;
};

/* struct boot_network - the guest's interface; no @interface: no network */
struct boot_network {
	struct text interface;
	struct bytes mac; /* 6 bytes */
	uint16_t mtu;
	struct boot_family ipv4, ipv6;
};

struct rlimit_spec {
	struct text resource;
	uint64_t soft, hard;
};

struct env_var {
	struct text key, value;
};

/*
 * struct bootstrap - parameters of the guest
 * @dir_mounts, @file_mounts, @disk_mounts, @tmpfs_mounts, @rlimits, @default_env: lists of the
 *             structs above
 * @patches:   extension: core.patch frames follow, up to the one with the op "end"
 * @host_alias: name of the gateways in the guest's hosts file
 * @host_cas:  extension: certificates (PEM) that the guest is to trust, those of the host
 * @has_...: given, but not supported by this agent: it refuses to start
 */
struct bootstrap {
	struct block_root block_root;
	struct list dir_mounts, file_mounts, disk_mounts;
	struct list tmpfs_mounts;
	struct text hostname, host_alias;
	struct boot_network network;
	struct list rlimits;
	struct text user, default_cwd;
	struct list default_env;
	struct text security_profile;
	struct text host_cas;
	bool stdin_ack, patches;
	bool has_handoff_init;
};

/*
 * struct patch - one change to the root file system before anything runs in it (images.md 5.9)
 * @op:      "file": create @path with @data. "append": @data behind what is there. "data": more for
 *           the file of the frame before. "dir": create it. "mkdir": the same, but it may be there.
 *           "symlink": @path leads to @target. "remove": whatever is there, with all below it.
 *           "end": no more
 * @mode:    permission bits; 0 none given
 * @replace: what is at @path may go; otherwise it is an error
 * @more:    of "file", "append" and "data": a "data" frame follows
 * @skip:    of "file", and "data" behind it: bytes before @data that are a hole, which has the
 *           length of the file end there if there is no data behind it
 */
struct patch {
	struct text op, path, target;
	uint32_t mode;
	bool replace, more;
	struct bytes data;
	uint64_t skip;
};

struct init_resolved {
	struct {
		uint32_t uid, gid;
	} default_user;
};

struct ready {
	uint64_t boot_time_ns, init_time_ns, ready_time_ns;
	struct text agent_version;
	uint32_t stdin_window;
};

struct client_disconnected {
	uint32_t id_start, id_end_exclusive;
};

struct clock_sync {
	uint64_t unix_time_nanos;
};

struct core_error {
	struct text kind, message, offending_type;
};

/*
 * struct exec_request - defaults: rows 24, cols 80
 * @rlimits:  list of struct rlimit_spec
 * @make_cwd: extension: if @cwd does not exist it is made, as a folder of root's
 */
struct exec_request {
	struct text cmd;
	struct texts args, env;
	struct text cwd, user;
	bool tty;
	uint16_t rows, cols;
	struct list rlimits;
	bool main, make_cwd;
};

struct exec_started {
	uint32_t pid;
};

/* of stdin, stdout, stderr; no bytes in stdin: end of file */
struct exec_data {
	struct bytes data;
};

struct exec_stdin_error {
	struct opt_i32 error;
	struct text errno_name, message;
};

/* @bytes: taken since the last acknowledgement */
struct exec_stdin_ack {
	uint32_t bytes;
};

/* @code: 0-255, or -1 when @signal (0: unknown to the peer) ended the command */
struct exec_exited {
	int32_t code;
	uint32_t signal;
};

struct exec_failed {
	struct text kind;
	struct opt_i32 error;
	struct text errno_name, message, stage;
};

struct exec_resize {
	uint16_t rows, cols;
};

struct exec_signal {
	int32_t signal;
};

/* union message_payload - room for any payload */
union message_payload {
	struct bootstrap bootstrap;
	struct patch patch;
	struct init_resolved init_resolved;
	struct ready ready;
	struct client_disconnected client_disconnected;
	struct clock_sync clock_sync;
	struct core_error error;
	struct exec_request exec_request;
	struct exec_started exec_started;
	struct exec_data exec_data;
	struct exec_stdin_error exec_stdin_error;
	struct exec_stdin_ack exec_stdin_ack;
	struct exec_exited exec_exited;
	struct exec_failed exec_failed;
	struct exec_resize exec_resize;
	struct exec_signal exec_signal;
};

#endif
