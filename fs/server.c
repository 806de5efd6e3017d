/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: its life, the table of operations, and the path of one request: copy the header and
 * the fixed arguments once, check them against the table, resolve node and handle, act, answer.
 *
 * Not served, answered ENOSYS so that the client does it itself or stops asking: FLUSH (host
 * descriptors have nothing to report on close), ACCESS (the client checks permissions from the
 * attributes: default_permissions), file locks (kept in the guest's kernel), POLL, BMAP, IOCTL
 * (ENOTTY), INTERRUPT, DAX mappings.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/fs_internal.h"

#define FS_NOFILE_WANTED  (1u << 20)
#define FS_NOFILE_RESERVE 64	/* left for the rest of the process */
#define FS_MAX_OPEN	  16384 /* each open directory may hold a read-ahead buffer */
#define FS_MAX_FDS	  65536
#define FS_MAX_NODES	  (1u << 20) /* some 200 bytes each */

enum {
	OP_WRITES = 1,	   /* EROFS on a read-only server */
	OP_NO_REPLY = 2,   /* never answered, not even with an error */
	OP_NO_NODE = 4,	   /* nodeid means nothing */
	OP_DIR = 8,	   /* nodeid must be a directory */
	OP_FILE_FH = 16,   /* first argument is a file handle */
	OP_DIR_FH = 32,	   /* ... a directory handle */
	OP_ANY_STATE = 64, /* before INIT, too */
};

struct fs_op {
	fs_op_fn *fn;
	uint16_t in_size, out_size; /* fixed arguments and the least room for the reply's payload */
	unsigned flags;
};

#define ENTRY sizeof(struct fuse_entry_out)
#define ATTR  sizeof(struct fuse_attr_out)
#define OPEN  sizeof(struct fuse_open_out)
#define IN(t) sizeof(struct fuse_##t##_in)

static const struct fs_op fs_ops[] = {
	[FUSE_LOOKUP] = { op_lookup, 0, ENTRY, OP_DIR },
	[FUSE_FORGET] = { op_forget, IN(forget), 0, OP_NO_REPLY | OP_NO_NODE },
	[FUSE_GETATTR] = { op_getattr, IN(getattr), ATTR, 0 },
	[FUSE_SETATTR] = { op_setattr, IN(setattr), ATTR, OP_WRITES },
	[FUSE_READLINK] = { op_readlink, 0, 0, 0 },
	[FUSE_SYMLINK] = { op_symlink, 0, ENTRY, OP_WRITES | OP_DIR },
	[FUSE_MKNOD] = { op_mknod, IN(mknod), ENTRY, OP_WRITES | OP_DIR },
	[FUSE_MKDIR] = { op_mkdir, IN(mkdir), ENTRY, OP_WRITES | OP_DIR },
	[FUSE_UNLINK] = { op_unlink, 0, 0, OP_WRITES | OP_DIR },
	[FUSE_RMDIR] = { op_rmdir, 0, 0, OP_WRITES | OP_DIR },
	[FUSE_RENAME] = { op_rename, IN(rename), 0, OP_WRITES | OP_DIR },
	[FUSE_RENAME2] = { op_rename2, IN(rename2), 0, OP_WRITES | OP_DIR },
	[FUSE_LINK] = { op_link, IN(link), ENTRY, OP_WRITES | OP_DIR },
	[FUSE_OPEN] = { op_open, IN(open), OPEN, 0 },
	[FUSE_READ] = { op_read, IN(read), 0, OP_FILE_FH },
	[FUSE_WRITE] = { op_write, IN(write), sizeof(struct fuse_write_out),
		OP_WRITES | OP_FILE_FH },
	[FUSE_STATFS] = { op_statfs, 0, sizeof(struct fuse_statfs_out), 0 },
	[FUSE_RELEASE] = { op_release, IN(release), 0, OP_NO_NODE },
	[FUSE_FSYNC] = { op_fsync, IN(fsync), 0, OP_FILE_FH },
	[FUSE_SETXATTR] = { op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 0, OP_WRITES },
	[FUSE_GETXATTR] = { op_getxattr, IN(getxattr), 0, 0 },
	[FUSE_LISTXATTR] = { op_listxattr, IN(getxattr), 0, 0 },
	[FUSE_REMOVEXATTR] = { op_removexattr, 0, 0, OP_WRITES },
	[FUSE_INIT] = { op_init, 16, sizeof(struct fuse_init_out), OP_NO_NODE | OP_ANY_STATE },
	[FUSE_OPENDIR] = { op_opendir, IN(open), OPEN, OP_DIR },
	[FUSE_READDIR] = { op_readdir, IN(read), 0, OP_DIR | OP_DIR_FH },
	[FUSE_READDIRPLUS] = { op_readdirplus, IN(read), 0, OP_DIR | OP_DIR_FH },
	[FUSE_RELEASEDIR] = { op_release, IN(release), 0, OP_NO_NODE },
	[FUSE_FSYNCDIR] = { op_fsyncdir, IN(fsync), 0, OP_DIR_FH },
	[FUSE_CREATE] = { op_create, IN(create), ENTRY + OPEN, OP_WRITES | OP_DIR },
	[FUSE_DESTROY] = { op_destroy, 0, 0, OP_NO_NODE | OP_ANY_STATE },
	[FUSE_BATCH_FORGET] = { op_batch_forget, IN(batch_forget), 0, OP_NO_REPLY | OP_NO_NODE },
	[FUSE_FALLOCATE] = { op_fallocate, IN(fallocate), 0, OP_WRITES | OP_FILE_FH },
	[FUSE_LSEEK] = { op_lseek, IN(lseek), sizeof(struct fuse_lseek_out), OP_FILE_FH },
	[FUSE_COPY_FILE_RANGE] = { op_copy_file_range, IN(copy_file_range),
		sizeof(struct fuse_write_out), OP_WRITES | OP_FILE_FH },
	[FUSE_SYNCFS] = { op_syncfs, 0, 0, 0 },
	[FUSE_TMPFILE] = { op_tmpfile, IN(create), ENTRY + OPEN, OP_WRITES | OP_DIR },
};

static const struct fs_op *fs_op_find(uint32_t opcode)
{
	if (opcode >= ARRAY_LEN(fs_ops) || !fs_ops[opcode].fn)
		return NULL;
	return &fs_ops[opcode];
}

/* Resolve what the operation names. Return: 0; -ESTALE, -ENOTDIR, -EBADF */
static int req_resolve(struct fs_req *r, const struct fs_op *op)
{
	if (op->flags & OP_NO_NODE)
		return 0;
	int rc = node_get(r->fs, r->hdr.nodeid, &r->node);
	if (rc < 0)
		return rc;
	if ((op->flags & OP_DIR) && r->node->type != S_IFDIR)
		return -ENOTDIR;
	if (!(op->flags & (OP_FILE_FH | OP_DIR_FH)))
		return 0;
	r->h = handle_get(
		r->fs, r->arg.fh, r->hdr.nodeid, op->flags & OP_DIR_FH ? HANDLE_DIR : HANDLE_FILE);
	return r->h ? 0 : -EBADF;
}

static ssize_t req_serve(struct fs_req *r, const struct fs_op *op)
{
	ssize_t ret;

	if (!r->fs->ready && !(op->flags & OP_ANY_STATE))
		return -EIO;
	if (r->in_len - r->pos < op->in_size)
		return -EINVAL;
	if (!(op->flags & OP_NO_REPLY) && req_room(r) < op->out_size)
		return -EIO;
	if ((op->flags & OP_WRITES) && r->fs->read_only)
		return -EROFS;
	(void)iov_read(r->in, r->n_in, r->pos, &r->arg, op->in_size);
	r->pos += op->in_size;
	ret = req_resolve(r, op);
	if (ret == 0)
		ret = op->fn(r);
	if (r->h)
		handle_put(r->fs, r->h);
	if (r->node)
		node_put(r->fs, r->node);
	return ret;
}

/* What the client may see: running out of descriptors is the server's trouble, not the process's.
 * Numbers beyond the classic range are refused by the Linux client. */
static int32_t wire_error(ssize_t ret)
{
	if (ret == -EMFILE)
		return -ENFILE;
	return ret < -511 ? -EIO : (int32_t)ret;
}

static ssize_t req_finish(struct fs_req *r, ssize_t ret)
{
	struct fuse_out_header oh = { .len = sizeof(oh), .unique = r->hdr.unique };

	if (ret < 0)
		oh.error = wire_error(ret);
	else
		oh.len += (uint32_t)ret;
	if (iov_write(r->out, r->n_out, 0, &oh, sizeof(oh)) != sizeof(oh))
		return -EBADMSG;
	return oh.len;
}

ssize_t fs_server_handle(struct fs_server *fs, const struct iovec *in, unsigned n_in,
	const struct iovec *out, unsigned n_out)
{
	struct fs_req r = { .fs = fs, .in = in, .n_in = n_in, .out = out, .n_out = n_out };
	const struct fs_op *op;

	if (iov_read(in, n_in, 0, &r.hdr, sizeof(r.hdr)) != sizeof(r.hdr))
		return -EBADMSG;
	r.in_len = r.hdr.len;
	r.pos = sizeof(r.hdr);
	r.out_len = iov_len(out, n_out);
	op = fs_op_find(r.hdr.opcode);
	bool no_reply = op && (op->flags & OP_NO_REPLY);
	if (!no_reply && r.out_len < sizeof(struct fuse_out_header))
		return -EBADMSG;

	ssize_t ret = -EINVAL;
	if (r.hdr.len >= sizeof(r.hdr) && r.hdr.len <= iov_len(in, n_in)) {
		if (op)
			ret = req_serve(&r, op);
		else
			ret = r.hdr.opcode == FUSE_IOCTL ? -ENOTTY : -ENOSYS;
	}
	return no_reply ? 0 : req_finish(&r, ret);
}

/* Flags we take when the client offers them. Without POSIX_ACL the client checks modes only, so
 * ACL xattrs are refused (xattr.c): a mode alone says too little about a file that has an ACL. */
#define FS_FLAGS                                                                                   \
	((uint64_t)FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |                       \
		FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |               \
		FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |     \
		FUSE_SUBMOUNTS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT)

ssize_t op_init(struct fs_req *r)
{
	struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR_MAX };
	struct fuse_init_in *in = &r->arg.init;

	/* Older clients send less; what they do not send stays zero. */
	(void)iov_read(r->in, r->n_in, sizeof(r->hdr), in,
		MIN_OF(r->in_len - sizeof(r->hdr), sizeof(*in)));
	if (in->major < FUSE_KERNEL_VERSION)
		return -EPROTO;
	if (in->major > FUSE_KERNEL_VERSION) /* the client comes again with our major */
		return req_reply(r, &out, sizeof(out));
	if (in->minor < FUSE_MINOR_MIN)
		return -EPROTO;
	uint64_t flags = (uint32_t)in->flags;
	if (flags & FUSE_INIT_EXT)
		flags |= (uint64_t)in->flags2 << 32;
	flags &= FS_FLAGS;
	out.minor = MIN_OF(in->minor, FUSE_MINOR_MAX);
	out.max_readahead = in->max_readahead;
	out.flags = (uint32_t)flags;
	out.flags2 = (uint32_t)(flags >> 32);
	out.max_background = UINT16_MAX;
	out.congestion_threshold = UINT16_MAX / 4 * 3;
	out.max_write = FS_MAX_WRITE;
	out.time_gran = 1;
	out.max_pages = FS_MAX_PAGES;
	if (r->fs->ready) /* a new client: the old one went without a word */
		fs_server_reset(r->fs);
	r->fs->flags = flags;
	r->fs->ready = true;
	return req_reply(r, &out, sizeof(out));
}

ssize_t op_destroy(struct fs_req *r)
{
	fs_server_reset(r->fs);
	return 0;
}

void fs_server_reset(struct fs_server *fs)
{
	fs->ready = false;
	handle_close_all(fs);
	node_forget_all(fs);
}

/* Nodes hold descriptors, so take what the limits allow. */
static rlim_t nofile_raise(void)
{
	struct rlimit rl = { 0 };

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return 1024;
	struct rlimit want = { FS_NOFILE_WANTED, FS_NOFILE_WANTED };
	if (rl.rlim_max >= FS_NOFILE_WANTED)
		want.rlim_max = rl.rlim_max;
	if (rl.rlim_cur >= FS_NOFILE_WANTED || setrlimit(RLIMIT_NOFILE, &want) == 0)
		return FS_NOFILE_WANTED;
	want = (struct rlimit){ rl.rlim_max, rl.rlim_max };
	return setrlimit(RLIMIT_NOFILE, &want) == 0 ? rl.rlim_max : rl.rlim_cur;
}

static void fs_limits(struct fs_server *fs, const struct fs_config *cfg)
{
	rlim_t n = nofile_raise();

	n = n > 2 * FS_NOFILE_RESERVE ? n - FS_NOFILE_RESERVE : n / 2;
	fs->max_open = cfg->max_open ? cfg->max_open : (unsigned)MIN_OF(n / 4, FS_MAX_OPEN);
	fs->max_fds = cfg->max_fds ? cfg->max_fds : (unsigned)MIN_OF(n / 2, FS_MAX_FDS);
	fs->max_nodes = cfg->max_nodes ? cfg->max_nodes : FS_MAX_NODES;
}

static int fs_check_openat2(int fd, struct err *err)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | O_DIRECTORY,
		.resolve = RESOLVE_BENEATH };
	cleanup_fd int probe = (int)syscall(SYS_openat2, fd, ".", &how, sizeof(how));

	if (probe < 0)
		return err_set(err, errno, "open the shared directory (needs openat2)");
	return 0;
}

int fs_server_new(const struct fs_config *cfg, struct fs_server **ret, struct err *err)
{
	struct fs_server *fs = calloc(1, sizeof(*fs));
	int rc;

	if (!fs)
		return err_set(err, ENOMEM, "new file server");
	fs->read_only = cfg->read_only;
	fs->owner = cfg->owner;
	fs->records = cfg->records;
	fs->extra = cfg->extra;
	fs->n_extra = cfg->n_extra;
	pthread_mutex_init(&fs->node_lock, NULL);
	pthread_mutex_init(&fs->handle_lock, NULL);
	pthread_rwlock_init(&fs->tree_lock, NULL);
	for (unsigned i = 0; i < FS_N_STRIPES; i++)
		pthread_mutex_init(&fs->stripe[i], NULL);
	fs_limits(fs, cfg);
	fs->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fs->proc_fd < 0)
		rc = err_set(err, errno, "open '/proc/self/fd'");
	else
		rc = fs_check_openat2(cfg->root_fd, err);
	if (rc == 0)
		rc = node_table_init(fs, cfg->root_fd, err);
	if (rc == 0 && cfg->quota && quota_new(cfg->quota, &fs->quota) < 0)
		rc = err_set(err, ENOMEM, "new file server");
	if (rc < 0) {
		fs_server_free(fs);
		return rc;
	}
	*ret = fs;
	return 0;
}

void fs_server_free(struct fs_server *fs)
{
	if (!fs)
		return;
	handle_close_all(fs);
	idtab_release(&fs->handles);
	node_table_release(fs);
	quota_free(fs->quota);
	if (fs->proc_fd >= 0)
		(void)close(fs->proc_fd);
	for (unsigned i = 0; i < FS_N_STRIPES; i++)
		pthread_mutex_destroy(&fs->stripe[i]);
	pthread_mutex_destroy(&fs->handle_lock);
	pthread_rwlock_destroy(&fs->tree_lock);
	pthread_mutex_destroy(&fs->node_lock);
	free(fs);
}

/* #syscalls unshare(CLONE_FS) umask fchdir: a umask and a working directory of the thread's own */
int fs_thread_init(const struct fs_server *fs, struct err *err)
{
	if (unshare(CLONE_FS) != 0)
		return err_set(err, errno, "give a file server thread its own umask");
	(void)umask(0);
	if (fchdir(fs->proc_fd) != 0)
		return err_set(err, errno, "enter '/proc/self/fd'");
	return 0;
}
