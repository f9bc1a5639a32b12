/* SPDX-License-Identifier: Apache-2.0 */
/* libc's own functions, which the names of this library go on to. Filled before any of them is used. */
#ifndef ZD_PRELOAD_REAL_H
#define ZD_PRELOAD_REAL_H

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct aiocb;
struct sigevent;
struct iocb;
struct io_event;
struct timespec;
struct sigaction;
struct timeval;
struct utimbuf;

/* clang-format off */
#define ZP_REALS(X) \
	X(int, open, (const char *, int, ...)) X(int, openat, (int, const char *, int, ...)) X(int, close, (int)) \
	X(int, close_range, (unsigned, unsigned, int)) X(int, dup, (int)) X(int, dup2, (int, int)) X(int, dup3, (int, int, int)) \
	X(int, fcntl, (int, int, ...)) X(off_t, lseek, (int, off_t, int)) \
	X(ssize_t, read, (int, void *, size_t)) X(ssize_t, write, (int, const void *, size_t)) \
	X(ssize_t, pread, (int, void *, size_t, off_t)) X(ssize_t, pwrite, (int, const void *, size_t, off_t)) \
	X(ssize_t, readv, (int, const struct iovec *, int)) X(ssize_t, writev, (int, const struct iovec *, int)) \
	X(ssize_t, preadv, (int, const struct iovec *, int, off_t)) X(ssize_t, pwritev, (int, const struct iovec *, int, off_t)) \
	X(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int)) \
	X(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int)) \
	X(int, fsync, (int)) X(int, fdatasync, (int)) X(int, syncfs, (int)) X(int, sync_file_range, (int, off_t, off_t, unsigned)) \
	X(int, fallocate, (int, int, off_t, off_t)) X(int, posix_fallocate, (int, off_t, off_t)) X(int, ftruncate, (int, off_t)) \
	X(int, posix_fadvise, (int, off_t, off_t, int)) X(ssize_t, readahead, (int, off_t, size_t)) \
	X(void *, mmap, (void *, size_t, int, int, int, off_t)) X(int, munmap, (void *, size_t)) \
	X(int, mprotect, (void *, size_t, int)) X(void *, mremap, (void *, size_t, size_t, int, ...)) X(int, shmdt, (const void *)) \
	X(int, ioctl, (int, unsigned long, ...)) X(int, flock, (int, int)) \
	X(int, lockf, (int, int, off_t)) X(int, isatty, (int)) \
	X(ssize_t, sendfile, (int, int, off_t *, size_t)) X(ssize_t, splice, (int, off_t *, int, off_t *, size_t, unsigned)) \
	X(ssize_t, copy_file_range, (int, off_t *, int, off_t *, size_t, unsigned)) \
	X(int, stat, (const char *, struct stat *)) X(int, lstat, (const char *, struct stat *)) \
	X(int, fstat, (int, struct stat *)) X(int, fstatat, (int, const char *, struct stat *, int)) \
	X(int, statx, (int, const char *, int, unsigned, struct statx *)) \
	X(int, __xstat, (int, const char *, struct stat *)) X(int, __lxstat, (int, const char *, struct stat *)) \
	X(int, __fxstat, (int, int, struct stat *)) X(int, __fxstatat, (int, int, const char *, struct stat *, int)) \
	X(int, statfs, (const char *, struct statfs *)) X(int, fstatfs, (int, struct statfs *)) \
	X(int, statvfs, (const char *, struct statvfs *)) X(int, fstatvfs, (int, struct statvfs *)) \
	X(int, access, (const char *, int)) X(int, faccessat, (int, const char *, int, int)) X(int, euidaccess, (const char *, int)) \
	X(ssize_t, readlink, (const char *, char *, size_t)) X(ssize_t, readlinkat, (int, const char *, char *, size_t)) \
	X(char *, realpath, (const char *, char *)) X(DIR *, opendir, (const char *)) \
	X(int, scandir, (const char *, struct dirent ***, int (*)(const struct dirent *), int (*)(const struct dirent **, const struct dirent **))) \
	X(int, chdir, (const char *)) X(char *, getcwd, (char *, size_t)) X(int, fchmod, (int, mode_t)) \
	X(int, fchown, (int, uid_t, gid_t)) X(int, fchdir, (int)) \
	X(int, unlinkat, (int, const char *, int)) X(int, remove, (const char *)) \
	X(int, renameat2, (int, const char *, int, const char *, unsigned)) X(int, linkat, (int, const char *, int, const char *, int)) \
	X(int, symlinkat, (const char *, int, const char *)) X(int, mkdirat, (int, const char *, mode_t)) \
	X(int, mknodat, (int, const char *, mode_t, dev_t)) X(int, mkfifoat, (int, const char *, mode_t)) \
	X(int, truncate, (const char *, off_t)) X(int, fchmodat, (int, const char *, mode_t, int)) \
	X(int, fchownat, (int, const char *, uid_t, gid_t, int)) X(int, futimens, (int, const struct timespec *)) \
	X(int, utimensat, (int, const char *, const struct timespec *, int)) X(int, utimes, (const char *, const struct timeval *)) \
	X(int, futimes, (int, const struct timeval *)) X(int, utime, (const char *, const struct utimbuf *)) \
	X(ssize_t, getxattr, (const char *, const char *, void *, size_t)) X(ssize_t, lgetxattr, (const char *, const char *, void *, size_t)) \
	X(ssize_t, fgetxattr, (int, const char *, void *, size_t)) X(ssize_t, listxattr, (const char *, char *, size_t)) \
	X(ssize_t, llistxattr, (const char *, char *, size_t)) X(ssize_t, flistxattr, (int, char *, size_t)) \
	X(FILE *, fopen, (const char *, const char *)) X(FILE *, freopen, (const char *, const char *, FILE *)) \
	X(FILE *, fdopen, (int, const char *)) X(int, fclose, (FILE *)) X(int, fileno, (FILE *)) \
	X(pid_t, fork, (void)) X(int, execve, (const char *, char *const[], char *const[])) \
	X(int, execvpe, (const char *, char *const[], char *const[])) X(int, fexecve, (int, char *const[], char *const[])) \
	X(int, posix_spawn, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[])) \
	X(int, posix_spawnp, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[])) \
	X(int, system, (const char *)) X(FILE *, popen, (const char *, const char *)) \
	X(int, sigaction, (int, const struct sigaction *, struct sigaction *)) \
	X(long, syscall, (long, ...)) X(int, pthread_create, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)) \
	X(int, pthread_sigmask, (int, const sigset_t *, sigset_t *)) X(int, sigprocmask, (int, const sigset_t *, sigset_t *)) \
	X(int, aio_read, (struct aiocb *)) X(int, aio_write, (struct aiocb *)) X(int, aio_fsync, (int, struct aiocb *)) \
	X(int, aio_cancel, (int, struct aiocb *)) X(int, lio_listio, (int, struct aiocb *const[], int, struct sigevent *))
/* clang-format on */

struct zp_libc {
#define X(type, name, args) type(*name) args;
	ZP_REALS(X)
#undef X
};
extern struct zp_libc zp_real_found;
extern int zp_real_known;
void zp_real_begin(void);

/* Other libraries begin before this one and call its names by then. */
static inline struct zp_libc *zp_real_of(void)
{
	if (__builtin_expect(!__atomic_load_n(&zp_real_known, __ATOMIC_ACQUIRE), 0))
		zp_real_begin();
	return &zp_real_found;
}
#define zp_real (*zp_real_of())

#endif
