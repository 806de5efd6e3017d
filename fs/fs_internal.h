/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE server's insides, shared by the files of this room.
 *
 * Objects. A node is a file system object the client knows by nodeid; it holds an O_PATH descriptor
 * and is keyed by (device, inode, mount), so one object has one node however it is reached. A
 * handle is an open file or directory. Both are reference counted: the client's own references
 * (lookups; the open itself) and those of requests being served (refs), so a FORGET or RELEASE
 * racing another request frees nothing under it.
 *
 * Containment. Nothing but single, checked names relative to a node's descriptor is ever resolved,
 * with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) as a second fence; an existing object is
 * re-opened through its own /proc/self/fd entry, only if it is a regular file or a directory.
 *
 * Descriptors. A process has fewer of them than a client may know objects, so a node that no
 * request uses may have its descriptor closed and opened again later, by the name it was last seen
 * under; fdcache.c tells the details.
 *
 * Locks. node_lock and handle_lock guard the tables and reference counts, are held for a few
 * instructions and never around a system call; stripe[] serialises read-modify-write cycles on one
 * node; a directory handle has a lock of its own. No two of them are ever held at once, save that
 * handle_put() may drop a node. tree_lock comes before node_lock. The quota's locks come after a
 * stripe and before the tables' own.
 */
#ifndef FS_FS_INTERNAL_H
#define FS_FS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "fs/fs.h"
#include "fs/fuse_wire.h"
#include "fs/idtab.h"
#include "lib/cleanup.h"
#include "lib/iov.h"
#include "lib/num.h"

#define FS_MAX_WRITE	 (1u << 20)
#define FS_MAX_PAGES	 256
#define FS_MAX_IO	 (16u << 20) /* bytes one READ or WRITE may move, whatever it claims */
#define FS_TIMEOUT_S	 5	     /* entry and attribute validity (krun-api.md 4.6) */
#define FS_N_STRIPES	 64
#define FS_REPLY_MAX	 65536 /* directory listings and xattrs per reply */
#define FS_STATX_MASK	 (STATX_BASIC_STATS | STATX_MNT_ID | STATX_BTIME)
#define FS_PROC_NAME_MAX 16 /* a descriptor number as a name below /proc/self/fd */

struct node_key {
	uint64_t ino, dev, mnt_id;
};

/* What an object's content looked like when the client last opened it. */
struct node_stamp {
	struct statx_timestamp ctime, mtime;
	uint64_t size;
	bool valid;
};

/*
 * struct node - one object known to the client
 * @fd: O_PATH | O_NOFOLLOW; -1 for extra entries, and while it is closed to save descriptors
 * (fdcache.c): never while a request holds the node
 * @btime: with @key, what a re-opened object is recognised by
 * @type: S_IFMT bits of the host object, which never change
 * @parent_id, @name: where it was seen last; no name: nowhere, so its descriptor is kept
 * @lookups, @refs, and all the tables' links, under node_lock
 * @link_owner, @stamp: under the node's stripe
 */
struct node {
	uint64_t id;
	struct node_key key;
	struct statx_timestamp btime;
	_Atomic int fd;
	mode_t type;
	bool pinned; /* root and extra entries: never forgotten */
	const struct fs_extra *extra;
	uint64_t lookups;
	unsigned refs;
	uint64_t parent_id;
	char *name;
	bool anchored; /* its name may go away: the descriptor is kept */
	bool in_lru;
	struct node *hash_next, *lru_prev, *lru_next;
	struct node_stamp stamp;
	bool has_link_owner;
	uid_t link_uid;
	gid_t link_gid;
};

enum handle_kind { HANDLE_FILE, HANDLE_DIR };

/*
 * struct handle - an open file or directory
 * @fd: -1 for extra entries
 * @dir*: directories only, under @lock: raw entries read ahead, and the offset that follows the
 * last entry handed out
 */
struct handle {
	uint64_t id, node_id;
	enum handle_kind kind;
	int fd;
	const struct fs_extra *extra;
	unsigned refs; /* under handle_lock; one belongs to the table */
	pthread_mutex_t lock;
	char *dirbuf;
	size_t dir_pos, dir_len;
	uint64_t dir_off;
};

struct quota; /* quota.c */

struct fs_server {
	int proc_fd; /* O_PATH on /proc/self/fd */
	bool read_only;
	enum fs_owner_mode owner;
	struct fs_records records;
	struct quota *quota; /* NULL: none */
	const struct fs_extra *extra;
	struct node_key *extra_dir; /* of each; all zero: the root, or nowhere */
	unsigned n_extra;
	unsigned max_open, max_nodes;

	_Atomic bool ready;	/* INIT came */
	_Atomic uint64_t flags; /* negotiated FUSE_* flags */

	pthread_mutex_t node_lock;
	struct idtab nodes;
	struct node **hash;
	size_t n_hash;		    /* power of two */
	unsigned n_fds, max_fds;    /* held by nodes; what they may hold */
	struct node lru;	    /* ring of nodes whose descriptor may go, oldest first */
	pthread_rwlock_t tree_lock; /* written while the client moves names */

	pthread_mutex_t handle_lock;
	struct idtab handles;

	pthread_mutex_t stripe[FS_N_STRIPES];
};

/* The fixed part of any request. */
union fs_arg {
	uint64_t fh; /* where an operation has a handle, it is its first field */
	struct fuse_forget_in forget;
	struct fuse_batch_forget_in batch_forget;
	struct fuse_getattr_in getattr;
	struct fuse_setattr_in setattr;
	struct fuse_mknod_in mknod;
	struct fuse_mkdir_in mkdir;
	struct fuse_rename_in rename;
	struct fuse_rename2_in rename2;
	struct fuse_link_in link;
	struct fuse_open_in open;
	struct fuse_create_in create;
	struct fuse_read_in read;
	struct fuse_write_in write;
	struct fuse_fsync_in fsync;
	struct fuse_setxattr_in setxattr;
	struct fuse_getxattr_in getxattr;
	struct fuse_init_in init;
	struct fuse_fallocate_in fallocate;
	struct fuse_lseek_in lseek;
	struct fuse_copy_file_range_in copy;
};

/*
 * struct fs_req - one request being served
 * @hdr, @arg: copied once from the client's memory; @arg is zero beyond what the client sent
 * @in_len: bytes of @in that belong to the request; @pos: next one not consumed
 * @out_len: room for the reply, header included
 * @node, @h: resolved by the dispatcher where the operation asks for them
 */
struct fs_req {
	struct fs_server *fs;
	struct fuse_in_header hdr;
	union fs_arg arg;
	const struct iovec *in, *out;
	unsigned n_in, n_out;
	size_t in_len, pos, out_len;
	struct node *node;
	struct handle *h;
};

/* An operation: returns the length of the payload it put behind the reply header, or -errno. */
typedef ssize_t fs_op_fn(struct fs_req *r);

/* A name as the client sends it, checked. */
struct fs_name {
	char s[NAME_MAX + 1];
};

/* request.c */

/* req_name() - consume one name. Return: 0; -ENAMETOOLONG; -EINVAL empty or unterminated; -EPERM
 * ".", ".." or a slash */
int req_name(struct fs_req *r, struct fs_name *ret);
/* req_string() - consume a NUL-terminated string into @dst. Return: its length; -EINVAL;
 * -ENAMETOOLONG */
ssize_t req_string(struct fs_req *r, char *dst, size_t size);
/* req_room() - payload bytes the reply may have */
size_t req_room(const struct fs_req *r);
/* req_reply() - put a whole payload. Return: @len; -ERANGE when it does not fit (nothing written)
 */
ssize_t req_reply(struct fs_req *r, const void *data, size_t len);

/* node.c */

int node_table_init(struct fs_server *fs, int root_fd, struct err *err);
void node_table_release(struct fs_server *fs);
/* node_forget_all() - drop every reference the client holds */
void node_forget_all(struct fs_server *fs);
/* node_get() - Return: 0 and a node to be given back with node_put(); -ESTALE for ids that are not
 * live and objects that are gone; -ENFILE */
int node_get(struct fs_server *fs, uint64_t id, struct node **ret);
void node_put(struct fs_server *fs, struct node *node);
/*
 * node_known() - the node of an object the client already knows, seen as @name below @parent_id
 * (NULL: not by name); one lookup and one ref are added
 * Return: NULL if there is none, or none with its descriptor open
 */
struct node *node_known(
	struct fs_server *fs, const struct statx *stx, uint64_t parent_id, const char *name);
/* node_peek() - as node_known(), but no lookup is added and the descriptor may be closed */
struct node *node_peek(
	struct fs_server *fs, const struct statx *stx, uint64_t parent_id, const char *name);
/* node_remember() - as node_known(), creating the node or opening it; takes *@fd. Return: 0;
 * -ENFILE; -ENOMEM */
int node_remember(struct fs_server *fs, int *fd, const struct statx *stx, uint64_t parent_id,
	const char *name, struct node **ret);
/* node_forget() - give back @n lookups, at most as many as were given out */
void node_forget(struct fs_server *fs, uint64_t id, uint64_t n);
pthread_mutex_t *node_stripe(struct fs_server *fs, const struct node *node);
/* node_proc_name() - the node's name below /proc/self/fd */
void node_proc_name(const struct node *node, char name[FS_PROC_NAME_MAX]);
/* node_reopen() - a new descriptor of a regular file or directory. Return: fd; -errno */
int node_reopen(struct fs_server *fs, const struct node *node, int flags);
int node_statx(const struct node *node, struct statx *ret);
bool node_same(const struct node *node, const struct statx *stx);

/* fdcache.c; those marked (locked) with node_lock held */

void lru_init(struct fs_server *fs);
/* lru_add(), lru_del() - the last request is done with it; a request takes it (locked) */
void lru_add(struct fs_server *fs, struct node *node);
void lru_del(struct node *node);
/* fd_evict() - Return: the descriptor of the node unused for longest, to be closed by the caller
 * once unlocked; -1 if all are in use (locked) */
int fd_evict(struct fs_server *fs);
/* fd_account() - room for one more descriptor of a node. Return: 0, and in *ret_close one to close
 * once unlocked, or -1; -ENFILE (locked) */
int fd_account(struct fs_server *fs, int *ret_close);
/* fd_relieve() - the process is out of descriptors: close some. Return: is it worth another try? */
bool fd_relieve(struct fs_server *fs);
/* node_give_fd() - a held node gets *@fd (taken), unless it has one. Return: 0; -ENFILE */
int node_give_fd(struct fs_server *fs, struct node *node, int *fd);
/* node_open() - make sure that a held node has its descriptor. Return: 0; -ESTALE; -errno */
int node_open(struct fs_server *fs, struct node *node);
/* node_place() - note where a node was seen (locked) */
void node_place(struct node *node, uint64_t parent_id, const char *name);
/*
 * node_anchor() - @name below @parent is about to go: what the client knows there keeps its
 * descriptor from now on
 * Return: the node, held, or NULL; give it to node_unanchor() if the name stays
 */
struct node *node_anchor(struct fs_server *fs, struct node *parent, const char *name);
void node_unanchor(struct fs_server *fs, struct node *node);

/* handle.c */

/* handle_add() - takes *@fd; @ret_fh is the client's. Return: 0; -ENFILE; -ENOMEM */
int handle_add(struct fs_server *fs, int *fd, const struct node *node, enum handle_kind kind,
	uint64_t *ret_fh);
struct handle *handle_get(
	struct fs_server *fs, uint64_t fh, uint64_t node_id, enum handle_kind kind);
void handle_put(struct fs_server *fs, struct handle *h);
/* handle_is_open() - has the client a file handle of this node? */
bool handle_is_open(struct fs_server *fs, uint64_t node_id);
/* handle_close() - the client is done with it; requests in flight finish first */
void handle_close(struct fs_server *fs, uint64_t fh);
void handle_close_all(struct fs_server *fs);

/* lookup.c */

/* lookup_child() - resolve @name below @parent. Return: 0 and *ret with one lookup and one ref;
 * -errno */
int lookup_child(struct fs_server *fs, struct node *parent, const char *name, struct node **ret,
	struct statx *ret_stx);
/* entry_fill() - describe @node to the client. Return: 0; -errno */
int entry_fill(struct fs_server *fs, const struct node *parent, struct node *node,
	const struct statx *stx, struct fuse_entry_out *ret);
/* entry_reply() - entry_fill() as the whole reply; drops lookup and ref of @node on failure, the
 * ref on success */
ssize_t entry_reply(struct fs_req *r, struct node *node, const struct statx *stx);
/* open_child() - O_PATH descriptor of @name below @parent. Return: fd; -errno */
int open_child(struct fs_server *fs, const struct node *parent, const char *name);
/* open_beneath() - the same for a path of names without symlinks below a directory */
int open_beneath(int dirfd, const char *path);

/* open.c */

/* open_cut() - node_reopen() with O_TRUNC among @flags */
int open_cut(struct fs_server *fs, const struct node *node, int flags);

/* attr.c */

int attr_fill(
	struct fs_server *fs, struct node *node, const struct statx *stx, struct fuse_attr *ret);
/* attr_kill_priv() - a write by somebody without CAP_FSETID: setuid, setgid and capabilities go */
int attr_kill_priv(struct fs_server *fs, struct node *node);

/* owner.c */

/* Owner, mode and device number as the guest sees them. */
struct owner {
	uid_t uid;
	gid_t gid;
	mode_t mode;   /* with type bits */
	uint32_t rdev; /* as on the wire */
};

/* owner_parse() - apply an override value to *owner, which holds the real values. Return: is it
 * one? */
bool owner_parse(const char *value, size_t len, struct owner *owner);
/* owner_get() - what the guest sees. Return: 0; -errno */
int owner_get(struct fs_server *fs, struct node *node, const struct statx *stx, struct owner *ret);
/* owner_set() - record it (FS_OWNER_XATTR only). Return: 0, also where the file system has no
 * xattrs and need not; -errno */
int owner_set(struct fs_server *fs, struct node *node, const struct owner *owner);
/* owner_new_object() - give a just created object the owner and mode of the request. Return: 0;
 * -errno */
int owner_new_object(
	struct fs_req *r, struct node *parent, struct node *node, mode_t mode, uint32_t rdev);
/* owner_host_mode() - the host object's mode, for a guest mode with type bits */
mode_t owner_host_mode(const struct fs_server *fs, mode_t mode);
uint32_t rdev_to_wire(unsigned maj, unsigned min);
dev_t rdev_from_wire(uint32_t rdev);

/* quota.c */

/* quota_new() - for @limit bytes. Return: 0 and *ret (quota_free()); -ENOMEM */
int quota_new(uint64_t limit, struct quota **ret);
void quota_free(struct quota *q);
/* quota_set_time() - what counts may take from now on, in ns; for tests */
void quota_set_time(struct quota *q, int64_t ns);
/* quota_charge() - the file @fd is to reach to @end. Return: 0; -ENOSPC; -errno */
int quota_charge(struct fs_server *fs, int fd, uint64_t end);
/* quota_charge_bytes(), quota_charge_name() - there is to be so much more. Return: 0; -ENOSPC */
int quota_charge_bytes(struct fs_server *fs, uint64_t bytes);
int quota_charge_name(struct fs_server *fs);
/* quota_free_bytes(), quota_free_name() - so much is gone for certain */
void quota_free_bytes(struct fs_server *fs, uint64_t bytes);
void quota_free_name(struct fs_server *fs);
/* quota_node_gone() - a node out of the tables, about to be destroyed: was it the last of a file?
 */
void quota_node_gone(struct fs_server *fs, const struct node *node);
/* quota_grow_begin(), quota_grow_end() - around a charge and the growth it is for */
void quota_grow_begin(struct fs_server *fs, uint64_t node_id);
void quota_grow_end(struct fs_server *fs, uint64_t node_id);
/*
 * quota_cut_begin(), quota_cut_end() - around what makes a file smaller, or may
 * Return: what quota_cut_end() wants to know
 */
uint64_t quota_cut_begin(struct fs_server *fs, const struct node *node);
void quota_cut_end(struct fs_server *fs, const struct node *node, uint64_t before);
/* quota_statfs() - the share as large as what may be in it */
void quota_statfs(struct fs_server *fs, struct fuse_kstatfs *st);

/* quota_count.c */

/*
 * struct quota_sum - what is in a share: bytes of files and attributes, entries of all kinds
 * @partial: there is more, in folders too deep to be counted
 */
struct quota_sum {
	uint64_t bytes, names;
	bool partial;
};

/* quota_count() - walk all of it. Return: 0 and *ret; -errno */
int quota_count(struct fs_server *fs, struct quota_sum *ret);
/* quota_attr_weight() - bytes that an attribute counts */
uint64_t quota_attr_weight(const char *name, size_t len);
/* quota_node_weight() - bytes that end with a node's descriptor: 0 if the file has a name */
uint64_t quota_node_weight(const struct node *node);

/* extra.c */

/* extra_find() - Return: the entry that hides @name in @dir, or NULL */
struct node *extra_find(struct fs_server *fs, const struct node *dir, const char *name);
bool extra_hides(const struct fs_server *fs, const struct node *dir, const char *name);
void extra_attr(const struct node *node, struct fuse_attr *ret);
ssize_t extra_read(struct fs_req *r);

/* xattr.c */

/* xattr_counts() - is the host's attribute @name one that a client can have set? */
bool xattr_counts(const char *name);
/* xattr_drop_caps() - remove the guest's security.capability where it is virtualised */
void xattr_drop_caps(struct fs_server *fs, const struct node *node);

/* Operations, one per opcode. */
fs_op_fn op_lookup, op_getattr, op_setattr, op_readlink, op_symlink, op_mknod, op_mkdir, op_unlink,
	op_rmdir, op_rename, op_rename2, op_link, op_open, op_read, op_write, op_statfs, op_release,
	op_fsync, op_setxattr, op_getxattr, op_listxattr, op_removexattr, op_opendir, op_readdir,
	op_readdirplus, op_fsyncdir, op_create, op_fallocate, op_lseek, op_copy_file_range,
	op_syncfs, op_tmpfile, op_forget, op_batch_forget, op_init, op_destroy;

#endif
