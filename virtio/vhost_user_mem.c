/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user: memory that the front end shares: guest RAM, and the in-flight log.
 *
 * A change makes a new table. Running rings move to it if they still lie in it; requests in flight
 * keep the old one until they are done (queue.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/num.h"
#include "virtio/vhost_user_internal.h"

#define REGION_SIZE 32

struct region_msg {
	uint64_t gpa, size, user_addr, offset;
};

static struct region_msg parse_region(struct cursor *c)
{
	struct region_msg r;

	r.gpa = cursor_le64(c);
	r.size = cursor_le64(c);
	r.user_addr = cursor_le64(c);
	r.offset = cursor_le64(c);
	return r;
}

/* use_table() - make @mem the table. If a running ring does not lie in it, the device needs a reset
 * and the old table stays. */
static int use_table(struct vhost_user *vu, struct guest_mem *mem, struct err *err)
{
	struct virtio_dev *dev = vu->dev;
	int ret = 0;

	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < dev->n_queues && ret == 0; i++) {
		struct virtqueue *q = &dev->queue[i];
		struct virtqueue_addr addr;

		if (!q->enabled)
			continue;
		ret = vu_ring_addr(mem, &vu->vring[i], q->size, &addr, err);
		if (ret == 0)
			ret = virtqueue_set_mem(q, mem, &addr, err);
	}
	if (ret == 0) {
		virtio_dev_set_mem(dev, mem);
		guest_mem_unref(vu->mem);
		vu->mem = guest_mem_ref(mem);
	} else {
		virtio_dev_fail(dev, "a ring lies outside the new guest memory");
	}
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

int vu_set_mem_table(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	cleanup_guest_mem struct guest_mem *mem = guest_mem_new();
	struct cursor c = cursor_init(m->payload, m->size);
	uint32_t n = cursor_le32(&c);

	(void)cursor_le32(&c); /* padding */
	if (!mem)
		return err_set(err, ENOMEM, "set the memory table");
	if (n == 0 || n > VHOST_USER_MAX_TABLE || n != m->n_fds)
		return err_msg(
			err, EINVAL, "memory table of %u regions with %u descriptors", n, m->n_fds);
	for (uint32_t i = 0; i < n; i++) {
		struct region_msg r = parse_region(&c);

		if (c.failed)
			return err_msg(err, EBADMSG, "memory table is cut off");
		int ret =
			guest_mem_add_fd(mem, r.gpa, r.size, r.user_addr, m->fd[i], r.offset, err);

		if (ret < 0)
			return ret;
	}
	return use_table(vu, mem, err);
}

int vu_add_mem_reg(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	cleanup_guest_mem struct guest_mem *mem =
		vu->mem ? guest_mem_copy(vu->mem) : guest_mem_new();
	struct cursor c = cursor_init(m->payload, m->size);
	struct region_msg r;
	int ret;

	(void)cursor_le64(&c); /* padding */
	r = parse_region(&c);
	if (!mem)
		return err_set(err, ENOMEM, "add a memory region");
	if (m->n_fds != 1)
		return err_msg(err, EINVAL, "memory region with %u descriptors", m->n_fds);
	if (mem->n >= VHOST_USER_MAX_MEM_SLOTS)
		return err_msg(
			err, ENOSPC, "more than %d memory regions", VHOST_USER_MAX_MEM_SLOTS);
	ret = guest_mem_add_fd(mem, r.gpa, r.size, r.user_addr, m->fd[0], r.offset, err);
	return ret < 0 ? ret : use_table(vu, mem, err);
}

int vu_rem_mem_reg(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	cleanup_guest_mem struct guest_mem *mem = NULL;
	struct cursor c = cursor_init(m->payload, m->size);
	struct region_msg r;
	int ret;

	(void)cursor_le64(&c); /* padding */
	r = parse_region(&c);
	if (!vu->mem)
		return err_msg(err, ENOENT, "there is no memory region to remove");
	mem = guest_mem_copy(vu->mem);
	if (!mem)
		return err_set(err, ENOMEM, "remove a memory region");
	ret = guest_mem_remove(mem, r.gpa, r.size, r.user_addr, err);
	return ret < 0 ? ret : use_table(vu, mem, err);
}

/* ---- in-flight log ---- */

struct inflight_msg {
	uint64_t size, offset;
	uint16_t n_queues, queue_size;
};

static int parse_inflight(const struct vhost_user *vu, const struct vu_msg *m,
	struct inflight_msg *im, struct err *err)
{
	struct cursor c = cursor_init(m->payload, m->size);

	im->size = cursor_le64(&c);
	im->offset = cursor_le64(&c);
	im->n_queues = cursor_le16(&c);
	im->queue_size = cursor_le16(&c);
	if (im->n_queues == 0 || im->n_queues > vu->dev->n_queues || im->queue_size == 0 ||
		im->queue_size > VIRTQ_MAX_SIZE)
		return err_msg(err, EINVAL, "in-flight log of %u queues of %u", im->n_queues,
			im->queue_size);
	return 0;
}

static int new_log_file(size_t size, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = memfd_create("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(err, errno, "create the in-flight log");
	/* Nobody can take it away under whoever maps it. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_set(err, errno, "seal the in-flight log");
	*ret_fd = take_fd(&fd);
	return 0;
}

int vu_get_inflight_fd(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	cleanup_fd int fd = -1;
	struct inflight_msg im;
	int ret = parse_inflight(vu, m, &im, err);

	if (ret < 0)
		return ret;
	size_t size = im.n_queues * inflight_log_size(im.queue_size);

	ret = new_log_file(size, &fd, err);
	if (ret < 0)
		return ret;
	/* The answer is the question with size and offset filled in. */
	store_le64(m->payload, size);
	store_le64(m->payload + 8, 0);
	return vu_msg_reply(m, vu->sock, m->payload, m->size, fd, err);
}

void vu_drop_inflight(struct vhost_user *vu)
{
	for (unsigned i = 0; i < vu->dev->n_queues; i++)
		vu->dev->queue[i].inflight = NULL;
	if (vu->inflight_map)
		(void)munmap(vu->inflight_map, vu->inflight_map_len);
	vu->inflight_map = NULL;
}

static int map_log(const struct inflight_msg *im, int fd, void **ret_map, struct err *err)
{
	struct stat st;
	void *map;

	if (im->size < im->n_queues * inflight_log_size(im->queue_size))
		return err_msg(err, EINVAL, "the in-flight log is too small");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		!range_ok(im->offset, im->size, (uint64_t)st.st_size))
		return err_msg(err, EINVAL, "the in-flight log lies beyond the end of its file");
	map = mmap(NULL, im->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)im->offset);
	if (map == MAP_FAILED)
		return err_set(err, errno, "map the in-flight log");
	*ret_map = map;
	return 0;
}

int vu_set_inflight_fd(struct vhost_user *vu, struct vu_msg *m, struct err *err)
{
	struct inflight_msg im;
	void *map = NULL;
	int ret = parse_inflight(vu, m, &im, err);

	if (ret < 0)
		return ret;
	if (m->n_fds != 1)
		return err_msg(err, EINVAL, "in-flight log with %u descriptors", m->n_fds);
	if (vu_any_running(vu))
		return err_msg(err, EBUSY, "the in-flight log cannot change while rings run");
	ret = map_log(&im, m->fd[0], &map, err);
	if (ret < 0)
		return ret;
	vu_drop_inflight(vu);
	vu->inflight_map = map;
	vu->inflight_map_len = im.size;
	vu->inflight_queue_size = im.queue_size;
	for (unsigned i = 0; i < im.n_queues; i++)
		vu->dev->queue[i].inflight =
			(void *)((uint8_t *)map + i * inflight_log_size(im.queue_size));
	return 0;
}
