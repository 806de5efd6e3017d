/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owning locals. They start as NULL / -1, are released on every return, and are moved out on
 *success:
 *
 *	cleanup_fd int fd = -1;
 *	...
 *	*ret_fd = take_fd(&fd);
 */
#ifndef LIB_CLEANUP_H
#define LIB_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup_(fn) __attribute__((cleanup(fn)))

static inline void cleanup_fd_fn(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		(void)close(*fd);
		errno = saved;
	}
}

static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_file_fn(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void cleanup_dir_fn(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

#define cleanup_fd   cleanup_(cleanup_fd_fn)
#define cleanup_free cleanup_(cleanup_free_fn)
#define cleanup_file cleanup_(cleanup_file_fn)
#define cleanup_dir  cleanup_(cleanup_dir_fn)

/* take_fd() - move a descriptor out of its owner; the owner holds -1 afterwards. */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

/* take_ptr() - move a pointer out of its owner; the owner holds NULL afterwards. */
#define take_ptr(p)                                                                                \
	__extension__({                                                                            \
		__typeof__(*(p)) take_tmp_ = *(p);                                                 \
		*(p) = NULL;                                                                       \
		take_tmp_;                                                                         \
	})

/* close_fd() - close now and remember it: for descriptors that end before their scope does. */
static inline void close_fd(int *fd)
{
	cleanup_fd_fn(fd);
	*fd = -1;
}

#endif
