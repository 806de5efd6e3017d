/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to restore is file-scope, since exit and signal handlers have no argument. A process has one
 * terminal.
 */
#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "lib/num.h"

static struct {
	struct termios before;
	int fd;
	volatile sig_atomic_t raw, at_exit;
} terminal = { .fd = -1 };

void terminal_restore(void)
{
	int saved = errno;

	if (terminal.raw)
		(void)tcsetattr(terminal.fd, TCSANOW, &terminal.before);
	terminal.raw = 0;
	errno = saved;
}

/* Crashes end through here: SA_RESETHAND makes the second signal the fatal one it would have been.
 */
static void on_fatal(int sig)
{
	terminal_restore();
	(void)raise(sig);
}

static void catch_fatal(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP };
	const struct sigaction sa = { .sa_handler = on_fatal,
		.sa_flags = (int)(SA_RESETHAND | SA_NODEFER) };

	for (unsigned i = 0; i < ARRAY_LEN(fatal); i++)
		(void)sigaction(fatal[i], &sa, NULL);
}

int terminal_raw(int fd, struct err *err)
{
	struct termios raw;

	if (tcgetattr(fd, &terminal.before) < 0)
		return err_set(err, errno, "read terminal settings");
	raw = terminal.before;
	cfmakeraw(&raw);
	terminal.fd = fd;
	if (!terminal.at_exit) {
		terminal.at_exit = 1;
		(void)atexit(terminal_restore);
		catch_fatal();
	}
	terminal.raw =
		1; /* before the change: a signal in between restores too much, not too little */
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return err_set(err, errno, "change terminal settings");
	return 0;
}

void terminal_size(int fd, uint16_t *ret_rows, uint16_t *ret_cols)
{
	struct winsize ws;
	bool known = ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_row && ws.ws_col;

	*ret_rows = known ? ws.ws_row : 24;
	*ret_cols = known ? ws.ws_col : 80;
}
