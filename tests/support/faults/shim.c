/* Makes file calls of one process fail, or kill it, and writes them down: preloaded into a writer of the audit log.
 *
 * Watches the files below one directory. The process arms a fault itself (faults_arm); without one, and without a trace
 * (faults_trace), every call passes as it is. SQLite and Python reach the C library through these names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode { FAIL = 0, DO_AND_FAIL = 1, KILL = 2, DO_AND_KILL = 3, HALF_AND_KILL = 4, HALF_AND_FAIL = 5 };
enum { NOTHING = -1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char below[PATH_MAX];
static char ending[256];
static char armed; /* which call: W write, S sync, R rename, T truncate, U unlink, O open for writing, * any; 0: none */
static long first, last, seen;
static int code, how, trace = -1;

void faults_watch(const char *directory) { snprintf(below, sizeof below, "%s/", directory); }

void faults_arm(char call, const char *path_ending, long at, long count, int error, int mode) {
    pthread_mutex_lock(&lock);
    snprintf(ending, sizeof ending, "%s", path_ending);
    first = at;
    last = count ? at + count - 1 : LONG_MAX;
    seen = 0;
    code = error;
    how = mode;
    armed = call;
    pthread_mutex_unlock(&lock);
}

long faults_seen(void) { return seen; }

void faults_trace(int descriptor) { trace = descriptor; }

static void put(const void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        long count = syscall(SYS_write, trace, (const char *)bytes + done, size - done);
        if (count <= 0) _exit(97);
        done += (size_t)count;
    }
}

static void note(char call, int failed, int64_t number, const char *path, const void *data, size_t size) {
    if (trace < 0) return;
    struct __attribute__((packed)) {
        char call, failed;
        int64_t number;
        uint32_t path, data;
    } head = {call, (char)failed, number, (uint32_t)strlen(path), (uint32_t)size};
    put(&head, sizeof head);
    put(path, head.path);
    put(data, size);
}

void faults_note(const char *text) {
    pthread_mutex_lock(&lock);
    note('N', 0, 0, text, "", 0);
    pthread_mutex_unlock(&lock);
}

static int watched(const char *path) { return below[0] && strncmp(path, below, strlen(below)) == 0; }

static int path_of(int descriptor, char path[PATH_MAX]) {
    char link[64];
    if (!below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, PATH_MAX - 2);
    if (size < 0) return 0;
    path[size] = '\0';
    struct stat found;
    if (fstat(descriptor, &found) == 0 && S_ISDIR(found.st_mode)) strcpy(path + size, "/");
    return watched(path);
}

/* What is to happen to this call. The lock is held. */
static int fate(char call, const char *path) {
    if (!armed || (armed != '*' && armed != call)) return NOTHING;
    size_t size = strlen(path), wanted = strlen(ending);
    if (size < wanted || strcmp(path + size - wanted, ending) != 0) return NOTHING;
    seen++;
    return seen >= first && seen <= last ? how : NOTHING;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Runs `call` (an expression that sets `result`) as fated, and writes it down. */
#define FATED(letter, path, number, data, size, call)                                     \
    do {                                                                                  \
        pthread_mutex_lock(&lock);                                                        \
        int fated = fate(letter, path);                                                   \
        if (fated == KILL) die();                                                         \
        if (fated == FAIL || fated == HALF_AND_FAIL) {                                    \
            result = -1;                                                                  \
            errno = code;                                                                 \
        } else {                                                                          \
            call;                                                                         \
        }                                                                                 \
        int kept = errno;                                                                 \
        note(letter, result < 0, number, path, data, result < 0 ? 0 : (size_t)(size));    \
        if (fated == DO_AND_KILL || fated == HALF_AND_KILL) die();                        \
        if (fated == DO_AND_FAIL) {                                                       \
            result = -1;                                                                  \
            kept = code;                                                                  \
        }                                                                                 \
        pthread_mutex_unlock(&lock);                                                      \
        errno = kept;                                                                     \
    } while (0)

static ssize_t put_at(int descriptor, const void *bytes, size_t size, off_t place, const char *path) {
    ssize_t result;
    pthread_mutex_lock(&lock);
    int fated = fate('W', path);
    if (fated == KILL) die();
    if (fated == FAIL) {
        result = -1;
        errno = code;
    } else {
        size_t part = fated == HALF_AND_KILL || fated == HALF_AND_FAIL ? size / 2 : size;
        result = syscall(SYS_pwrite64, descriptor, bytes, part, place);
        if (result > 0) note('W', 0, place, path, bytes, (size_t)result);
    }
    int kept = errno;
    if (fated == DO_AND_KILL || fated == HALF_AND_KILL) die();
    if (fated == DO_AND_FAIL || fated == HALF_AND_FAIL) {
        result = -1;
        kept = code;
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t place) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return syscall(SYS_pwrite64, descriptor, bytes, size, place);
    return put_at(descriptor, bytes, size, place, path);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t place) {
    return pwrite64(descriptor, bytes, size, place);
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return syscall(SYS_write, descriptor, bytes, size);
    off_t place = lseek(descriptor, 0, fcntl(descriptor, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t result = put_at(descriptor, bytes, size, place, path);
    if (result > 0) lseek(descriptor, place + result, SEEK_SET);
    return result;
}

static int sync_of(int descriptor, long number) {
    char path[PATH_MAX];
    int result;
    if (!path_of(descriptor, path)) return (int)syscall(number, descriptor);
    FATED('S', path, 0, "", 0, result = (int)syscall(number, descriptor));
    return result;
}

int fsync(int descriptor) { return sync_of(descriptor, SYS_fsync); }

int fdatasync(int descriptor) { return sync_of(descriptor, SYS_fdatasync); }

static int cut(int descriptor, off64_t size) {
    char path[PATH_MAX];
    int result;
    if (!path_of(descriptor, path)) return (int)syscall(SYS_ftruncate, descriptor, size);
    FATED('T', path, size, "", 0, result = (int)syscall(SYS_ftruncate, descriptor, size));
    return result;
}

int ftruncate64(int descriptor, off64_t size) { return cut(descriptor, size); }

int ftruncate(int descriptor, off_t size) { return cut(descriptor, size); }

int rename(const char *old, const char *new) {
    int result;
    if (!watched(new)) return REAL(rename)(old, new);
    FATED('R', new, 0, old, strlen(old), result = REAL(rename)(old, new));
    return result;
}

int unlink(const char *path) {
    int result;
    if (!watched(path)) return REAL(unlink)(path);
    FATED('U', path, 0, "", 0, result = REAL(unlink)(path));
    return result;
}

static int open_as(const char *path, int flags, mode_t mode) {
    int result;
    if (!watched(path) || (flags & O_ACCMODE) == O_RDONLY)
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    FATED('O', path, flags & O_TRUNC ? 1 : 0, "", 0, result = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode));
    return result;
}

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        mode_t mode = 0;                                               \
        if (flags & (O_CREAT | __O_TMPFILE)) {                         \
            va_list more;                                              \
            va_start(more, flags);                                     \
            mode = va_arg(more, mode_t);                               \
            va_end(more);                                              \
        }                                                              \
        return open_as(path, flags, mode);                             \
    }

OPEN(open)
OPEN(open64)
