/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "vmm/qemu/args.h"

static struct qemu_spec small(void)
{
	return (struct qemu_spec){ .vcpus = 1, .ram_mib = 512, .ram_fd = 3, .kernel_fd = 4 };
}

/* The value that follows option @opt for the @nth time (from 0), or NULL. */
static const char *value(const struct qemu_args *a, const char *opt, unsigned nth)
{
	for (unsigned i = 0; i + 1 < a->n; i++) {
		if (strcmp(a->v[i], opt) == 0 && nth-- == 0)
			return a->v[i + 1];
	}
	return NULL;
}

static struct qemu_args build(const struct qemu_spec *s)
{
	struct qemu_args a;
	struct err err = ERR_INIT;

	if (qemu_args_build(s, "/bin/q", &a, &err) < 0)
		fail_msg("%s", err.msg);
	assert_null(a.v[a.n]);
	return a;
}

static void says_what_the_machine_is(void **state)
{
	struct qemu_spec s = small();
	struct qemu_args a;

	s.vcpus = 4;
	s.vcpu_threads = true;
	s.root_fs = true;
	s.cmdline = "extra=1";
	a = build(&s);
	assert_string_equal(a.v[0], "/bin/q");
	assert_string_equal(value(&a, "-smp", 0), "4");
	assert_string_equal(value(&a, "-m", 0), "512M");
	assert_string_equal(value(&a, "-accel", 0), "tcg,thread=multi");
	assert_string_equal(value(&a, "-kernel", 0), "/proc/self/fd/4");
	assert_non_null(
		strstr(value(&a, "-object", 0), "size=512M,mem-path=/proc/self/fd/3,share=on"));
	assert_non_null(strstr(value(&a, "-append", 0), "rootfstype=virtiofs"));
	assert_non_null(strstr(value(&a, "-append", 0), " extra=1"));
	assert_non_null(strstr(value(&a, "-append", 0), " init_on_alloc=1 "));
	assert_null(strstr(value(&a, "-append", 0), "tsc_early_khz"));
	assert_null(value(&a, "-device", 0));
	qemu_args_release(&a);
}

static void lets_vcpus_take_turns(void **state)
{
	struct qemu_spec s = small();
	struct qemu_args a;

	s.vcpus = 4;
	a = build(&s);
	assert_string_equal(value(&a, "-smp", 0), "4");
	assert_string_equal(value(&a, "-accel", 0), "tcg,thread=single");
	qemu_args_release(&a);
}

static void confines_qemu(void **state)
{
	struct qemu_spec s = small();
	struct qemu_args a = build(&s);

	assert_non_null(strstr(value(&a, "-sandbox", 0), "spawn=deny"));
	assert_string_equal(value(&a, "-monitor", 0), "none");
	qemu_args_release(&a);
}

static void lists_every_device(void **state)
{
	struct qemu_spec s = small();
	struct qemu_args a;

	s.n_ports = 3;
	s.port[0] = (struct qemu_port){ .fd = 10 };
	s.port[1] = (struct qemu_port){ .fd = 11, .name = "a,b" };
	s.port[2] = (struct qemu_port){ .fd = -1, .name = "t", .tty = true };
	s.n_fs = 1;
	s.fs[0].tag = "x,y";
	s.fs[0].fd = 12;
	s.n_disks = 1;
	s.disk_fd[0] = 13;
	s.rng = s.balloon = true;
	a = build(&s);
	assert_string_equal(value(&a, "-device", 0), "virtio-serial-device,max_ports=3");
	assert_string_equal(value(&a, "-chardev", 0), "socket,id=port0,fd=10");
	assert_string_equal(value(&a, "-device", 1), "virtconsole,chardev=port0,nr=0");
	assert_string_equal(value(&a, "-device", 2), "virtserialport,chardev=port1,nr=1,name=a,,b");
	assert_string_equal(value(&a, "-chardev", 2), "null,id=port2");
	assert_string_equal(value(&a, "-device", 3), "virtconsole,chardev=port2,nr=2,name=t");
	assert_string_equal(value(&a, "-chardev", 3), "socket,id=fs0,fd=12");
	assert_string_equal(value(&a, "-device", 4),
		"vhost-user-fs-device,chardev=fs0,queue-size=1024,tag=x,,y");
	assert_string_equal(value(&a, "-chardev", 4), "socket,id=disk0,fd=13");
	assert_string_equal(value(&a, "-device", 6), "virtio-rng-device");
	assert_non_null(strstr(value(&a, "-device", 7), "free-page-reporting=on"));
	qemu_args_release(&a);
}

static void describes_the_network(void **state)
{
	struct qemu_spec s = small();
	struct qemu_args a = build(&s);
	const char *device;

	assert_null(value(&a, "-netdev", 0));
	qemu_args_release(&a);
	s.net.present = true;
	memcpy(s.net.mac, "\x02\x6d\x73\x00\xab\x02", 6);
	s.net.mtu = 1400;
	s.net.queue_size = 1024;
	a = build(&s);
	assert_string_equal(value(&a, "-netdev", 0), "vhost-user,id=net,chardev=net,queues=1");
	device = value(&a, "-device", 0);
	assert_non_null(strstr(device, "virtio-net-device,netdev=net,mac=02:6d:73:00:ab:02,"));
	assert_non_null(strstr(device, "host_mtu=1400,rx_queue_size=1024,tx_queue_size=1024,"));
	assert_non_null(strstr(device, "ctrl_vq=off"));
	qemu_args_release(&a);
}

static void refuses_what_does_not_fit(void **state)
{
	struct qemu_spec s = small();
	struct qemu_args a;
	struct err err = ERR_INIT;
	char text[QEMU_CMDLINE_MAX + 1];

	s.n_fs = VM_MAX_FS;
	s.rng = true;
	for (unsigned i = 0; i < s.n_fs; i++)
		s.fs[i].tag = "t";
	assert_int_equal(qemu_args_build(&s, "q", &a, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "room for 8"));
	s.rng = false;
	a = build(&s);
	qemu_args_release(&a);

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	s = small();
	s.cmdline = text;
	assert_int_equal(qemu_args_build(&s, "q", &a, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "command line"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_the_machine_is),
		cmocka_unit_test(lets_vcpus_take_turns),
		cmocka_unit_test(confines_qemu),
		cmocka_unit_test(lists_every_device),
		cmocka_unit_test(describes_the_network),
		cmocka_unit_test(refuses_what_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
