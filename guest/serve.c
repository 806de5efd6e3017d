/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include "guest/agent.h"
#include "lib/cleanup.h"

/* Long enough for a host to read the reason. */
#define FAILURE_TIMEOUT_MS 500

static int serve(struct agent *a, struct err *err)
{
	int ret = agent_receive_bootstrap(a, err);

	if (ret == 0)
		ret = agent_handshake(a, err);
	if (ret == 0)
		ret = agent_ready(a, agent_boottime_ns(), 0, err);
	if (ret < 0) {
		agent_report_failure(a, err->msg, FAILURE_TIMEOUT_MS);
		return ret;
	}
	return agent_run(a, err);
}

int serve_stream(int fd, struct err *err)
{
	cleanup_(agent_release) struct agent agent;
	int ret = agent_init(&agent, fd, err);

	if (ret < 0)
		return ret;
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return err_set(err, errno, "prepare to serve");
	return serve(&agent, err);
}
