/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system device (virtio 1.2, 5.11): carries FUSE requests between the guest and a file
 * server of fs/. One high-priority queue (FORGET) and one request queue, served by a small pool of
 * threads that the first activation creates and that sleep while there is nothing to do.
 *
 * The same object serves behind vhost-user, where the front end owns config space (the tag).
 */
#ifndef VIRTIO_FS_H
#define VIRTIO_FS_H

#include "fs/fs.h"
#include "lib/err.h"
#include "virtio/device.h"

#define VIRTIO_FS_TAG_MAX 36 /* bytes, a terminating NUL is not needed */

/*
 * virtio_fs_new() - a file system device
 * @tag: what the guest mounts; 1 to VIRTIO_FS_TAG_MAX bytes, copied
 * @fs: taken on success, freed with the device
 * Return: 0 and *ret_dev (virtio_dev_free()); -EINVAL bad tag; -errno
 *
 * A reset of the device waits for the requests being served and then makes @fs forget its client.
 */
int virtio_fs_new(
	const char *tag, struct fs_server *fs, struct virtio_dev **ret_dev, struct err *err);

#endif
