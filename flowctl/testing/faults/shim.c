/* Faults between a program and the files of one database.
 *
 * Loaded with LD_PRELOAD, this stands before those functions of the C library that touch files. It counts
 * the calls that go to the watched files, and at the one it was told to it kills the process, or fails. It
 * can also write down what each call did, so that what a disk may hold after a power cut can be worked out.
 *
 * Watched is every path that begins with FLOWCTL_FAULTS_WATCH, and the folder that it is in (whose fsync
 * makes renames durable). The plan is in the environment (plan.py says what each variable means) and is
 * read when the library is loaded, and again by flowctl_faults_arm().
 *
 * Rules: a call that is not watched costs one comparison. What the shim itself does goes through raw system
 * calls, never through what it replaces. Calls of all threads, and of all processes that share the file of
 * counts, are counted together. Watched calls are serialised only while they are being recorded.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 1 << 16 }; /* descriptors beyond are not watched */

enum action { NOTHING, KILL_BEFORE, KILL_HALFWAY, KILL_AFTER, FAIL, FAIL_FROM, SHORTEN };

/* Beginnings of calls, and calls that took effect as told; shared between processes through a file. */
struct counts {
  atomic_long calls;
  atomic_long fired;
};

static struct {
  char watch[PATH_MAX];
  size_t watch_length;
  size_t folder_length; /* of the folder within watch, without the slash */
  char kinds[32];
  enum action action;
  long at;
  int error;
  int trace; /* descriptor, or -1 */
  struct counts *counts;
} plan = {.trace = -1};

static struct counts own_counts;
static pthread_mutex_t recording = PTHREAD_MUTEX_INITIALIZER;
static char *paths[FILES]; /* by descriptor: the watched path it was opened with, or NULL */

/* --- the plan */

static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

static enum action action_named(const char *name) {
  static const char *names[] = {"", "kill-before", "kill-halfway", "kill-after", "fail", "fail-from", "shorten"};
  for (int each = 0; each < (int)(sizeof names / sizeof *names); each++)
    if (strcmp(name, names[each]) == 0) return (enum action)each;
  dprintf(2, "flowctl faults: unknown action %s\n", name);
  _exit(70);
}

static struct counts *shared_counts(const char *path) {
  if (!*path) return &own_counts;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || syscall(SYS_ftruncate, fd, (off_t)sizeof(struct counts)) != 0) return &own_counts;
  void *map = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  syscall(SYS_close, fd);
  return map == MAP_FAILED ? &own_counts : map;
}

/* Take the plan from the environment anew; calls are counted from here on. The counts there were before stay
 * mapped: a thread that was abandoned may be counting a call of its own at this moment. */
__attribute__((constructor)) void flowctl_faults_arm(void) {
  if (plan.trace >= 0) syscall(SYS_close, plan.trace);
  snprintf(plan.watch, sizeof plan.watch, "%s", setting("FLOWCTL_FAULTS_WATCH"));
  plan.watch_length = strlen(plan.watch);
  const char *slash = strrchr(plan.watch, '/');
  plan.folder_length = slash ? (size_t)(slash - plan.watch) : 0;
  snprintf(plan.kinds, sizeof plan.kinds, "%s", setting("FLOWCTL_FAULTS_KINDS"));
  plan.action = action_named(setting("FLOWCTL_FAULTS_ACTION"));
  plan.at = atol(setting("FLOWCTL_FAULTS_AT"));
  plan.error = atoi(setting("FLOWCTL_FAULTS_ERROR"));
  const char *trace = setting("FLOWCTL_FAULTS_TRACE");
  plan.trace = !*trace ? -1 : (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  own_counts.calls = own_counts.fired = 0;
  plan.counts = shared_counts(setting("FLOWCTL_FAULTS_COUNTS"));
}

/* --- which files */

static int watched(const char *path) {
  if (!plan.watch_length) return 0;
  if (strncmp(path, plan.watch, plan.watch_length) == 0) return 1;
  return plan.folder_length && strlen(path) == plan.folder_length && strncmp(path, plan.watch, plan.folder_length) == 0;
}

/* The watched file that a path leads to, in absolute, or NULL. */
static const char *absolute(int folder, const char *path, char *buffer) {
  if (!plan.watch_length) return NULL;
  if (path[0] != '/' && folder == AT_FDCWD) {
    if (!getcwd(buffer, PATH_MAX / 2)) return NULL;
    size_t length = strlen(buffer);
    snprintf(buffer + length, PATH_MAX - length, "/%s", path);
    path = buffer;
  }
  return watched(path) ? path : NULL;
}

static const char *path_of(int fd) { return fd >= 0 && fd < FILES ? paths[fd] : NULL; }

static void remember(int fd, const char *path) {
  if (fd < 0 || fd >= FILES) return;
  char *before = paths[fd];
  paths[fd] = path ? strdup(path) : NULL;
  free(before);
}

/* --- what happens at a call */

static void die(void) {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) pause();
}

static int counted(char kind) { return !plan.kinds[0] || strchr(plan.kinds, kind) != NULL; }

/* What to do at this call; a kill before it is done at once. errno is set for what fails. */
static enum action arrive(char kind) {
  if (!counted(kind)) return NOTHING;
  long number = atomic_fetch_add(&plan.counts->calls, 1) + 1;
  if (number != plan.at && !(plan.action == FAIL_FROM && number > plan.at && plan.at > 0)) return NOTHING;
  if (plan.action != NOTHING) atomic_fetch_add(&plan.counts->fired, 1);
  if (plan.action == KILL_BEFORE) die();
  if (plan.action == FAIL || plan.action == FAIL_FROM) errno = plan.error;
  return plan.action;
}

static int fails(enum action action) { return action == FAIL || action == FAIL_FROM; }

/* A record of the trace: this head, the path, the data (of a rename: the new path). */
struct record {
  uint32_t kind;
  uint32_t path_length;
  int64_t result;
  int64_t offset;
  uint64_t data_length;
};

static void record(char kind, const char *path, int64_t result, int64_t offset, const void *data, size_t length) {
  if (plan.trace < 0) return;
  struct record head = {(uint32_t)kind, (uint32_t)strlen(path), result, offset, length};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_length}, {(void *)data, length}};
  int before = errno;
  syscall(SYS_writev, plan.trace, parts, 3);
  errno = before;
}

/* A mark of the program's own in the trace: what it holds to be durable from here on. */
void flowctl_faults_mark(const char *text) {
  pthread_mutex_lock(&recording);
  record('a', "", 0, 0, text, strlen(text));
  pthread_mutex_unlock(&recording);
}

static void begin(void) {
  if (plan.trace >= 0) pthread_mutex_lock(&recording);
}

static void end(void) {
  if (plan.trace >= 0) pthread_mutex_unlock(&recording);
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

/* A watched call that does one thing: KIND, PATH, what it CALLs, and what is written down of it. */
#define STEP(type, KIND, PATH, CALL, OFFSET, DATA, LENGTH) \
  do { \
    begin(); \
    enum action action = arrive(KIND); \
    type result = fails(action) ? (type)-1 : (type)(CALL); \
    record(KIND, PATH, (int64_t)result, OFFSET, DATA, LENGTH); \
    if (action == KILL_AFTER || action == KILL_HALFWAY) die(); \
    end(); \
    return result; \
  } while (0)

/* --- opening and closing */

static int opened(int folder, const char *path, int flags, mode_t mode) {
  char buffer[PATH_MAX];
  const char *file = absolute(folder, path, buffer);
  if (!file) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (path_of(fd)) remember(fd, NULL);
    return fd;
  }
  begin();
  int existed = syscall(SYS_faccessat, folder, path, F_OK) == 0;
  char kind = (flags & O_CREAT) && !existed ? 'c' : 'o';
  enum action action = arrive(kind);
  int fd = fails(action) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
  if (fd >= 0) remember(fd, file);
  if (kind == 'c' || (fd >= 0 && (flags & O_TRUNC))) record(kind, file, fd, flags & O_TRUNC ? 1 : 0, NULL, 0);
  if (action == KILL_AFTER || action == KILL_HALFWAY) die();
  end();
  return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    va_list arguments; \
    va_start(arguments, flags); \
    mode_t mode = mode_of(flags, arguments); \
    va_end(arguments); \
    return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    va_list arguments; \
    va_start(arguments, flags); \
    mode_t mode = mode_of(flags, arguments); \
    va_end(arguments); \
    return opened(folder, path, flags | O_LARGEFILE, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
  if (path_of(fd)) remember(fd, NULL);
  return (int)syscall(SYS_close, fd);
}

/* --- reading and writing */

#define READ(name, PARAMETERS, CALL) \
  ssize_t name PARAMETERS { \
    if (path_of(fd)) { \
      if (fails(arrive('p'))) return -1; \
    } \
    return (ssize_t)(CALL); \
  }
READ(read, (int fd, void *data, size_t length), syscall(SYS_read, fd, data, length))
READ(pread, (int fd, void *data, size_t length, off_t offset), syscall(SYS_pread64, fd, data, length, offset))
READ(pread64, (int fd, void *data, size_t length, off64_t offset), syscall(SYS_pread64, fd, data, length, offset))

/* Write at an offset, or where the file's own position is (-1). */
static ssize_t written(int fd, const void *data, size_t length, off64_t offset) {
  const char *path = path_of(fd);
  begin();
  enum action action = arrive('w');
  size_t part = (action == SHORTEN || action == KILL_HALFWAY) && length > 1 ? length / 2 : length;
  if (offset < 0 && plan.trace >= 0) {
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    off64_t position = (off64_t)syscall(SYS_lseek, fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t result = fails(action) ? -1 : (ssize_t)syscall(SYS_write, fd, data, part);
    record('w', path, result, position, data, result > 0 ? (size_t)result : 0);
    if (action == KILL_AFTER || action == KILL_HALFWAY) die();
    end();
    return result;
  }
  ssize_t result = fails(action) ? -1
                   : offset < 0  ? (ssize_t)syscall(SYS_write, fd, data, part)
                                 : (ssize_t)syscall(SYS_pwrite64, fd, data, part, offset);
  record('w', path, result, offset, data, result > 0 ? (size_t)result : 0);
  if (action == KILL_AFTER || action == KILL_HALFWAY) die();
  end();
  return result;
}

ssize_t write(int fd, const void *data, size_t length) {
  return path_of(fd) ? written(fd, data, length, -1) : (ssize_t)syscall(SYS_write, fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return path_of(fd) ? written(fd, data, length, offset) : (ssize_t)syscall(SYS_pwrite64, fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  return path_of(fd) ? written(fd, data, length, offset) : (ssize_t)syscall(SYS_pwrite64, fd, data, length, offset);
}

/* Vectors are written piece by piece: short writes are what every caller has to expect anyway. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!path_of(fd)) return (ssize_t)syscall(SYS_writev, fd, parts, count);
  for (int each = 0; each < count; each++)
    if (parts[each].iov_len) return written(fd, parts[each].iov_base, parts[each].iov_len, -1);
  return 0;
}

/* --- durability and size */

int fsync(int fd) {
  REAL(fsync);
  const char *path = path_of(fd);
  if (!path) return real(fd);
  STEP(int, 's', path, real(fd), 0, NULL, 0);
}

int fdatasync(int fd) {
  REAL(fdatasync);
  const char *path = path_of(fd);
  if (!path) return real(fd);
  STEP(int, 's', path, real(fd), 0, NULL, 0);
}

int ftruncate(int fd, off_t length) {
  const char *path = path_of(fd);
  if (!path) return (int)syscall(SYS_ftruncate, fd, length);
  STEP(int, 't', path, syscall(SYS_ftruncate, fd, length), length, NULL, 0);
}

int ftruncate64(int fd, off64_t length) {
  const char *path = path_of(fd);
  if (!path) return (int)syscall(SYS_ftruncate, fd, length);
  STEP(int, 't', path, syscall(SYS_ftruncate, fd, length), length, NULL, 0);
}

/* --- names */

int unlinkat(int folder, const char *path, int flags) {
  char buffer[PATH_MAX];
  const char *file = absolute(folder, path, buffer);
  if (!file) return (int)syscall(SYS_unlinkat, folder, path, flags);
  STEP(int, 'u', file, syscall(SYS_unlinkat, folder, path, flags), 0, NULL, 0);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
  char buffer[PATH_MAX];
  const char *file = absolute(folder, path, buffer);
  if (!file) return (int)syscall(SYS_mkdirat, folder, path, mode);
  STEP(int, 'm', file, syscall(SYS_mkdirat, folder, path, mode), 0, NULL, 0);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  char buffer[PATH_MAX], other[PATH_MAX];
  const char *file = absolute(from_folder, from, buffer), *target = absolute(to_folder, to, other);
  if (!file || !target) return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
  STEP(int, 'r', file, syscall(SYS_renameat2, from_folder, from, to_folder, to, 0), 0, target, strlen(target));
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
