#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/if_packet.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/// One piece of work for a throwaway thread, which dies with the namespace it entered.
struct job {
    int (*work)(struct job *);
    int ns, domain, type, protocol;
    const char *path, *text;
    char *buffer;
    size_t capacity;
    int result;
};

static void *run_job(void *argument) {
    struct job *job = argument;
    job->result = job->work(job);
    return NULL;
}

static int on_thread(struct job *job) {
    pthread_t thread;
    int code = pthread_create(&thread, NULL, run_job, job);
    if (code != 0) return -code;
    code = pthread_join(thread, NULL);
    return code != 0 ? -code : job->result;
}

static int create_work(struct job *job) {
    if (unshare(CLONE_NEWNET) != 0) return -errno;
    if (mount("/proc/thread-self/ns/net", job->path, "none", MS_BIND, NULL) != 0) return -errno;
    return 0;
}

int overlay_netns_create(const char *path) {
    struct job job = {.work = create_work, .path = path};
    return on_thread(&job);
}

int overlay_netns_remove(const char *path) {
    // EINVAL: not a mount point, only the file is left.
    if (umount2(path, MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT) return -errno;
    if (unlink(path) != 0 && errno != ENOENT) return -errno;
    return 0;
}

int overlay_netns_check(const char *path) {
    struct statfs buffer;
    if (statfs(path, &buffer) != 0) return -errno;
    return buffer.f_type == NSFS_MAGIC;
}

int overlay_share_mount(const char *path) {
    if (mount("", path, "none", MS_SHARED | MS_REC, NULL) == 0) return 0;
    if (errno != EINVAL) return -errno;
    if (mount(path, path, "none", MS_BIND | MS_REC, NULL) != 0) return -errno;
    if (mount("", path, "none", MS_SHARED | MS_REC, NULL) != 0) return -errno;
    return 0;
}

static int socket_work(struct job *job) {
    if (setns(job->ns, CLONE_NEWNET) != 0) return -errno;
    int fd = socket(job->domain, job->type | SOCK_CLOEXEC, job->protocol);
    return fd < 0 ? -errno : fd;
}

int overlay_netns_socket(int ns, int domain, int type, int protocol) {
    struct job job = {.work = socket_work, .ns = ns, .domain = domain, .type = type, .protocol = protocol};
    return on_thread(&job);
}

int overlay_packet_send(int fd, int link, const void *frame, size_t length) {
    enum { type_offset = 12, header_length = 14 };
    if (length < header_length) return -EINVAL;
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = link};
    // What the frame says it is: filters on the way look at the socket's word, not at the frame's.
    memcpy(&to.sll_protocol, (const unsigned char *)frame + type_offset, sizeof to.sll_protocol);
    ssize_t sent = sendto(fd, frame, length, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
    return sent < 0 ? -errno : (size_t)sent == length ? 0 : -EIO;
}

static int write_work(struct job *job) {
    if (setns(job->ns, CLONE_NEWNET) != 0) return -errno;
    int fd = open(job->path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    size_t length = strlen(job->text);
    ssize_t written = write(fd, job->text, length);
    int result = written < 0 ? -errno : (size_t)written == length ? 0 : -EIO;
    close(fd);
    return result;
}

int overlay_netns_write(int ns, const char *path, const char *text) {
    struct job job = {.work = write_work, .ns = ns, .path = path, .text = text};
    return on_thread(&job);
}

static int read_work(struct job *job) {
    if (setns(job->ns, CLONE_NEWNET) != 0) return -errno;
    int fd = open(job->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t count = read(fd, job->buffer, job->capacity - 1);
    int result = count < 0 ? -errno : 0;
    job->buffer[count < 0 ? 0 : count] = 0;
    close(fd);
    return result;
}

int overlay_netns_read(int ns, const char *path, char *buffer, size_t capacity) {
    struct job job = {.work = read_work, .ns = ns, .path = path, .buffer = buffer, .capacity = capacity};
    return on_thread(&job);
}

int overlay_flock(int fd) { return flock(fd, LOCK_EX | LOCK_NB) != 0 ? -errno : 0; }

int overlay_name_thread(const char *name) {
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    return -pthread_setname_np(pthread_self(), cut);
}

int overlay_random(void *bytes, size_t count) {
    unsigned char *next = bytes;
    while (count > 0) {
        ssize_t got = getrandom(next, count, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        next += got;
        count -= (size_t)got;
    }
    return 0;
}

// The first object is the program. Only what cannot be written is let go: such pages are as they are in the file.
static int release_code(struct dl_phdr_info *object, size_t size, void *result) {
    (void)size;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[index];
        if (header->p_type != PT_LOAD || (header->p_flags & (PF_X | PF_W)) != PF_X) continue;
        uintptr_t start = (object->dlpi_addr + header->p_vaddr) & ~(page - 1);
        uintptr_t end = object->dlpi_addr + header->p_vaddr + header->p_memsz;
        if (madvise((void *)start, end - start, MADV_DONTNEED) != 0) *(int *)result = -errno;
    }
    return 1;
}

int overlay_release_code(void) {
    int result = 0;
    dl_iterate_phdr(release_code, &result);
    return result;
}

int overlay_monotonic(int64_t *nanoseconds) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return -errno;
    *nanoseconds = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    return 0;
}
