/// GNU-only system calls that Swift's Glibc overlay does not export. Every function returns 0 or a descriptor, or −errno.
///
/// A thread that Swift owns must never change its namespace: what needs setns or unshare runs on a throwaway pthread.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// Makes a network namespace and pins it by a bind mount on `path`, which must be an existing regular file.
int overlay_netns_create(const char *path);
/// Lets go of the namespace pinned at `path` (lazily, so that open descriptors stay good) and removes the file. What is already
/// missing is no error.
int overlay_netns_remove(const char *path);
/// 1 when `path` is a pinned namespace (nsfs), 0 when it is another file.
int overlay_netns_check(const char *path);
/// Makes `path` a shared mount point, as `ip netns` does. Without this a later `ip netns add` binds the directory on itself and
/// hides our pins beneath copies that nobody unmounts.
int overlay_share_mount(const char *path);
/// Opens a socket that lives in the namespace of the descriptor `ns`.
int overlay_netns_socket(int ns, int domain, int type, int protocol);
/// Sends an Ethernet frame, its header included, out of the device with index `link` by the packet socket `fd`. Never waits.
int overlay_packet_send(int fd, int link, const void *frame, size_t length);
/// Writes `text` to the file `path` as seen from the namespace of `ns` (/proc/sys/net belongs to the reader's namespace).
int overlay_netns_write(int ns, const char *path, const char *text);
/// Reads at most `capacity` − 1 bytes of such a file, ended by a zero byte.
int overlay_netns_read(int ns, const char *path, char *buffer, size_t capacity);

/// Takes an exclusive lock on an open file; −EWOULDBLOCK when another holds it.
int overlay_flock(int fd);
/// Names the calling thread; longer names are cut to 15 bytes.
int overlay_name_thread(const char *name);
/// Fills the buffer from the kernel's generator; blocks only before the generator is seeded at boot.
int overlay_random(void *bytes, size_t count);
/// Lets the process's mappings of the program's own code go. What is run again comes back from the page cache by itself.
int overlay_release_code(void);
/// CLOCK_MONOTONIC in nanoseconds.
int overlay_monotonic(int64_t *nanoseconds);
