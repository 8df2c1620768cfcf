/// System calls that Swift's Glibc overlay does not export. Every function returns 0 or a descriptor, or −errno, unless it says
/// otherwise.
///
/// A thread that Swift owns must never change its namespace, so setns and unshare run on a throwaway pthread.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Creates a network namespace and pins it by a bind mount on `path`, which must be an existing regular file.
int overlay_netns_create(const char *path);
/// Pins the namespace of the descriptor `ns` on `path`, which must be an existing regular file.
int overlay_netns_pin(int ns, const char *path);
/// Unpins the namespace at `path` (lazily, so that open descriptors stay valid) and removes the file. A missing pin or file is no
/// error.
int overlay_netns_remove(const char *path);
/// 1 if `path` is a pinned namespace (nsfs), 0 if it is another file.
int overlay_netns_check(const char *path);
/// Makes `path` a shared mount point, as `ip netns` does. Without this a later `ip netns add` binds the directory on itself and
/// hides our pins beneath copies that nobody unmounts.
int overlay_share_mount(const char *path);
/// Opens a socket in the namespace of the descriptor `ns`.
int overlay_netns_socket(int ns, int domain, int type, int protocol);
/// Sends an Ethernet frame with its header out of the device with index `link`, by the packet socket `fd`. Never waits.
int overlay_packet_send(int fd, int link, const void *frame, size_t length);
/// Instruction of a classic BPF program (linux/filter.h, `struct sock_filter`).
struct overlay_instruction {
    uint16_t code;
    uint8_t yes, no;
    uint32_t value;
};
/// Sets the filter of a packet socket, in place of the one before.
int overlay_packet_filter(int fd, const struct overlay_instruction *program, unsigned count);
/// Binds a packet socket to a device, from whose frames it hears those that come in and pass its filter. Its buffer takes about
/// `bytes`.
int overlay_packet_hear(int fd, int link, int bytes);
/// Receives a frame, or its beginning. Never waits. Returns the number of bytes.
int overlay_packet_receive(int fd, void *buffer, size_t capacity);
/// Writes `text` to the file `path` as seen from the namespace of `ns` (/proc/sys/net shows the namespace of its reader).
int overlay_netns_write(int ns, const char *path, const char *text);
/// Reads at most `capacity` − 1 bytes of such a file and adds a zero byte.
int overlay_netns_read(int ns, const char *path, char *buffer, size_t capacity);

/// Takes an exclusive lock on an open file. −EWOULDBLOCK if another process holds it.
int overlay_flock(int fd);
/// Sets the name of the calling thread, cut to 15 bytes.
int overlay_name_thread(const char *name);
/// Fills a buffer with random bytes of the kernel. Blocks only until the generator is seeded at boot.
int overlay_random(void *bytes, size_t count);
/// Releases the resident pages of the program's own code. Code that runs again comes back from the page cache by itself.
int overlay_release_code(void);
/// Raises the soft limit of open files to the hard limit.
int overlay_raise_open_files(uint64_t *limit);
/// CLOCK_MONOTONIC in nanoseconds.
int overlay_monotonic(int64_t *nanoseconds);

/// Opens a file for reading as seen from a namespace. The descriptor keeps showing that namespace's content
/// (/proc/thread-self/net).
int overlay_netns_open(int ns, const char *path);
/// Runs `work` on a throwaway thread in a namespace.
int overlay_netns_run(int ns, void (*work)(void *), void *argument);

/// Datagrams that are received together, with answers that are sent together (recvmmsg(2), sendmmsg(2)).
struct overlay_batch;
/// Creates a batch of `count` datagrams of at most `size` bytes; NULL without memory.
struct overlay_batch *overlay_batch_new(unsigned count, size_t size);
void overlay_batch_free(struct overlay_batch *batch);
/// Receives waiting datagrams, at most `count`. Never waits. Drops answers that were not sent. Returns the number received.
int overlay_batch_receive(struct overlay_batch *batch, int fd);
/// Bytes of a received datagram; NULL if it was longer than `size`.
const unsigned char *overlay_batch_bytes(const struct overlay_batch *batch, unsigned index, size_t *length);
/// Source of a datagram: IPv4 address and port in network byte order.
void overlay_batch_source(const struct overlay_batch *batch, unsigned index, uint32_t *address, uint16_t *port);
/// Sets the answer to a datagram. An answer longer than `size` is dropped.
void overlay_batch_answer(struct overlay_batch *batch, unsigned index, const void *bytes, size_t length);
/// Sends the answers. Answers that the socket has no room for are lost. Returns the number sent.
int overlay_batch_send(struct overlay_batch *batch, int fd);

/// Creates an epoll descriptor (epoll(7)); it is used level-triggered.
int overlay_epoll_new(void);
enum { overlay_readable = 1, overlay_writable = 2, overlay_ended = 4 };
/// Watches a descriptor for the events; `again` is 1 to change a descriptor that is already watched.
int overlay_epoll_watch(int epoll, int fd, uint64_t token, uint32_t events, int again);
/// Waits at most `milliseconds` for events. Returns their number.
int overlay_epoll_wait(int epoll, uint64_t *tokens, uint32_t *events, int capacity, int milliseconds);
/// Creates a counter whose increment wakes those who wait for it (eventfd(2)).
int overlay_eventfd(void);
/// Accepts a connection and makes it non-blocking.
int overlay_accept(int fd);
