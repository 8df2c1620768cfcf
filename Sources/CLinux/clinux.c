#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/// Work for a throwaway thread, which ends after it, together with its change of namespace.
struct job {
    int (*work)(struct job *);
    int ns, domain, type, protocol;
    const char *path, *text;
    char *buffer;
    size_t capacity;
    void (*callback)(void *);
    void *argument;
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

static int pin_work(struct job *job) {
    if (setns(job->ns, CLONE_NEWNET) != 0) return -errno;
    if (mount("/proc/thread-self/ns/net", job->path, "none", MS_BIND, NULL) != 0) return -errno;
    return 0;
}

int overlay_netns_pin(int ns, const char *path) {
    struct job job = {.work = pin_work, .ns = ns, .path = path};
    return on_thread(&job);
}

int overlay_netns_remove(const char *path) {
    // EINVAL: not a mount point, so only the file is left.
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
    // Protocol as in the frame, as filters on the way read the socket's value instead of the frame's.
    memcpy(&to.sll_protocol, (const unsigned char *)frame + type_offset, sizeof to.sll_protocol);
    ssize_t sent = sendto(fd, frame, length, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
    return sent < 0 ? -errno : (size_t)sent == length ? 0 : -EIO;
}

int overlay_packet_filter(int fd, const struct overlay_instruction *program, unsigned count) {
    // The same layout, under the kernel's name.
    _Static_assert(sizeof(struct overlay_instruction) == sizeof(struct sock_filter), "layout of a filter");
    struct sock_fprog filter = {.len = (unsigned short)count, .filter = (struct sock_filter *)program};
    if (count > USHRT_MAX) return -E2BIG;
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0 ? -errno : 0;
}

int overlay_packet_hear(int fd, int link, int bytes) {
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) != 0) return -errno;
    // Saves the filter a run for each frame to the container. The filter drops those too where the kernel lacks it (4.20).
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
    struct sockaddr_ll device = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = link};
    return bind(fd, (struct sockaddr *)&device, sizeof device) != 0 ? -errno : 0;
}

int overlay_packet_receive(int fd, void *buffer, size_t capacity) {
    ssize_t count = recv(fd, buffer, capacity, MSG_DONTWAIT);
    return count < 0 ? -errno : (int)count;
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

// The first object is the program. Only code that is not writable is released, as it is the same in the file.
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

int overlay_raise_open_files(uint64_t *limit) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return -errno;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) return -errno;
    *limit = files.rlim_cur;
    return 0;
}

int overlay_monotonic(int64_t *nanoseconds) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return -errno;
    *nanoseconds = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    return 0;
}

static int open_work(struct job *job) {
    if (setns(job->ns, CLONE_NEWNET) != 0) return -errno;
    int fd = open(job->path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int overlay_netns_open(int ns, const char *path) {
    struct job job = {.work = open_work, .ns = ns, .path = path};
    return on_thread(&job);
}

static int run_work(struct job *job) {
    if (setns(job->ns, CLONE_NEWNET) != 0) return -errno;
    job->callback(job->argument);
    return 0;
}

int overlay_netns_run(int ns, void (*work)(void *), void *argument) {
    struct job job = {.work = run_work, .ns = ns, .callback = work, .argument = argument};
    return on_thread(&job);
}

struct overlay_batch {
    unsigned count, answers;
    size_t size;
    struct mmsghdr *in, *out;
    struct iovec *in_parts, *out_parts;
    struct sockaddr_in *sources;
    unsigned char *in_bytes, *out_bytes;
};

struct overlay_batch *overlay_batch_new(unsigned count, size_t size) {
    struct overlay_batch *batch = calloc(1, sizeof *batch);
    if (!batch) return NULL;
    batch->count = count;
    batch->size = size;
    batch->in = calloc(count, sizeof *batch->in);
    batch->out = calloc(count, sizeof *batch->out);
    batch->in_parts = calloc(count, sizeof *batch->in_parts);
    batch->out_parts = calloc(count, sizeof *batch->out_parts);
    batch->sources = calloc(count, sizeof *batch->sources);
    batch->in_bytes = calloc(count, size);
    batch->out_bytes = calloc(count, size);
    if (batch->in && batch->out && batch->in_parts && batch->out_parts && batch->sources && batch->in_bytes && batch->out_bytes)
        return batch;
    overlay_batch_free(batch);
    return NULL;
}

void overlay_batch_free(struct overlay_batch *batch) {
    if (!batch) return;
    free(batch->in);
    free(batch->out);
    free(batch->in_parts);
    free(batch->out_parts);
    free(batch->sources);
    free(batch->in_bytes);
    free(batch->out_bytes);
    free(batch);
}

int overlay_batch_receive(struct overlay_batch *batch, int fd) {
    for (unsigned index = 0; index < batch->count; index++) {
        batch->in_parts[index] = (struct iovec){.iov_base = batch->in_bytes + index * batch->size, .iov_len = batch->size};
        batch->in[index].msg_hdr = (struct msghdr){
            .msg_name = &batch->sources[index],
            .msg_namelen = sizeof batch->sources[index],
            .msg_iov = &batch->in_parts[index],
            .msg_iovlen = 1,
        };
    }
    batch->answers = 0;
    int got = recvmmsg(fd, batch->in, batch->count, MSG_DONTWAIT, NULL);
    return got < 0 ? -errno : got;
}

const unsigned char *overlay_batch_bytes(const struct overlay_batch *batch, unsigned index, size_t *length) {
    *length = batch->in[index].msg_len;
    return batch->in[index].msg_hdr.msg_flags & MSG_TRUNC ? NULL : batch->in_bytes + index * batch->size;
}

void overlay_batch_source(const struct overlay_batch *batch, unsigned index, uint32_t *address, uint16_t *port) {
    *address = batch->sources[index].sin_addr.s_addr;
    *port = batch->sources[index].sin_port;
}

void overlay_batch_answer(struct overlay_batch *batch, unsigned index, const void *bytes, size_t length) {
    if (length > batch->size || batch->answers >= batch->count) return;
    unsigned slot = batch->answers++;
    memcpy(batch->out_bytes + slot * batch->size, bytes, length);
    batch->out_parts[slot] = (struct iovec){.iov_base = batch->out_bytes + slot * batch->size, .iov_len = length};
    batch->out[slot].msg_hdr = (struct msghdr){
        .msg_name = &batch->sources[index],
        .msg_namelen = sizeof batch->sources[index],
        .msg_iov = &batch->out_parts[slot],
        .msg_iovlen = 1,
    };
}

int overlay_batch_send(struct overlay_batch *batch, int fd) {
    unsigned done = 0;
    int sent = 0;
    while (done < batch->answers) {
        int count = sendmmsg(fd, batch->out + done, batch->answers - done, MSG_DONTWAIT);
        // A datagram that cannot be sent does not stop the others.
        if (count <= 0) {
            done++;
            continue;
        }
        done += (unsigned)count;
        sent += count;
    }
    batch->answers = 0;
    return sent;
}

int overlay_epoll_new(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int overlay_epoll_watch(int epoll, int fd, uint64_t token, uint32_t events, int again) {
    struct epoll_event event = {
        .events = (events & overlay_readable ? EPOLLIN : 0u) | (events & overlay_writable ? EPOLLOUT : 0u),
        .data.u64 = token,
    };
    return epoll_ctl(epoll, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

int overlay_epoll_wait(int epoll, uint64_t *tokens, uint32_t *events, int capacity, int milliseconds) {
    enum { most = 64 };
    struct epoll_event ready[most];
    int count = epoll_wait(epoll, ready, capacity < most ? capacity : most, milliseconds);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int index = 0; index < count; index++) {
        uint32_t seen = ready[index].events;
        tokens[index] = ready[index].data.u64;
        events[index] = (seen & EPOLLIN ? overlay_readable : 0u) | (seen & EPOLLOUT ? overlay_writable : 0u) |
                        (seen & (EPOLLERR | EPOLLHUP) ? overlay_ended : 0u);
    }
    return count;
}

int overlay_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int overlay_accept(int fd) {
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return accepted < 0 ? -errno : accepted;
}
