/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of the program, put off while their thread is in the core.
 *
 * A handler that ran there could use a disk whose lock its own thread holds, or longjmp() away with it. So the kernel is
 * given a function of ours instead. In the core it notes the signal and has the kernel keep all further ones back; on the
 * way out the signal is sent again, to this thread, and they are let in: a program sees what it sees of system calls.
 * Faults of the program itself (SIGSEGV and the like) go to their handler at once.
 */
#include "preload/preload.h"
#include "preload/raw.h"
#include "preload/real.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct sigaction wanted[NSIG]; /* what the program asked for */
static __thread siginfo_t came __attribute__((tls_model("initial-exec")));
static __thread sigset_t before __attribute__((tls_model("initial-exec")));

static bool is_fault(int number, const siginfo_t *info)
{
	return (number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL || number == SIGTRAP ||
		number == SIGSYS) &&
	       info->si_code > 0;
}

void zp_signal_instead(int number, siginfo_t *info, void *context)
{
	struct sigaction *action = &wanted[number];
	ucontext_t *user = context;

	if (zp_inside && !is_fault(number, info)) {
		came = *info;
		before = user->uc_sigmask;
		zp_pending = 1;
		sigfillset(&user->uc_sigmask);
		return;
	}
	if (action->sa_handler == SIG_IGN)
		return;
	if (action->sa_handler == SIG_DFL) { /* SIGSYS alone comes here without a handler */
		struct sigaction plain = { .sa_handler = SIG_DFL };

		zp_real.sigaction(number, &plain, NULL);
		raise(number);
		return;
	}
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(number, info, context);
	else
		action->sa_handler(number);
}

void zp_signals_came(void)
{
	sigset_t mask = before;
	int saved = errno;

	zp_pending = 0;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), came.si_signo, &came);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
}

ZP_EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction given, was, mine;
	bool known = number > 0 && number < NSIG;
	int r;

	if (number == SIGSYS && zp_active() && known) { /* ours; what the program wants is asked behind it (raw.c) */
		if (old)
			*old = wanted[number];
		if (action)
			wanted[number] = *action;
		return 0;
	}
	if (!zp_active() || !known || number == SIGKILL || number == SIGSTOP)
		return zp_real.sigaction(number, action, old);
	was = wanted[number];
	if (action) {
		given = *action;
		mine = given;
		if (given.sa_handler != SIG_DFL && given.sa_handler != SIG_IGN) {
			mine.sa_sigaction = zp_signal_instead;
			mine.sa_flags |= SA_SIGINFO;
			wanted[number] = given;
		}
	}
	r = zp_real.sigaction(number, action ? &mine : NULL, old);
	if (r) {
		wanted[number] = was;
		return r;
	}
	if (old && (old->sa_flags & SA_SIGINFO) && old->sa_sigaction == zp_signal_instead) {
		old->sa_flags = was.sa_flags;
		old->sa_sigaction = was.sa_sigaction;
	}
	return 0;
}

static sighandler_t simple(int number, sighandler_t handler, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags }, old;

	sigemptyset(&action.sa_mask);
	if (!(flags & (int)SA_RESETHAND) && number > 0 && number < NSIG)
		sigaddset(&action.sa_mask, number);
	return sigaction(number, &action, &old) ? SIG_ERR : old.sa_handler;
}

ZP_EXPORT sighandler_t signal(int number, sighandler_t handler)
{
	return simple(number, handler, SA_RESTART);
}
ZP_ALIAS(bsd_signal, signal);
ZP_ALIAS(ssignal, signal);

ZP_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler)
{
	return simple(number, handler, (int)(SA_RESETHAND | SA_NODEFER));
}
ZP_ALIAS(__sysv_signal, sysv_signal);
