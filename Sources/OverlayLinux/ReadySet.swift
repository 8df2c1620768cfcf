internal import CLinux
import Glibc

/// Descriptors that are waited for together (epoll(7), level-triggered), each with a token that its events carry.
public final class ReadySet: Sendable {
    /// Events to wait for (epoll_ctl(2)).
    public struct Events: OptionSet, Hashable, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let readable = Events(rawValue: UInt32(overlay_readable))
        public static let writable = Events(rawValue: UInt32(overlay_writable))
        /// Error or end of the descriptor. Always reported.
        public static let ended = Events(rawValue: UInt32(overlay_ended))
    }

    /// Token of the event that ``wake()`` causes.
    public static let wakeToken: UInt64 = 0
    private static let capacity = 64

    private let epoll: Descriptor
    private let wakeup: Descriptor

    public init() throws(SystemError) {
        epoll = Descriptor(owning: try check(overlay_epoll_new(), "epoll_create1"))
        wakeup = Descriptor(owning: try check(overlay_eventfd(), "eventfd"))
        try watch(wakeup.number, Self.wakeToken, .readable)
    }

    /// Adds a descriptor. It leaves the set when it is closed.
    public func watch(_ descriptor: Int32, _ token: UInt64, _ events: Events) throws(SystemError) {
        _ = try check(overlay_epoll_watch(epoll.number, descriptor, token, events.rawValue, 0), "epoll_ctl")
    }

    /// Changes the events of a descriptor in the set.
    public func change(_ descriptor: Int32, _ token: UInt64, _ events: Events) throws(SystemError) {
        _ = try check(overlay_epoll_watch(epoll.number, descriptor, token, events.rawValue, 1), "epoll_ctl")
    }

    /// Ends a wait. May be called from any thread.
    public func wake() {
        var one: UInt64 = 1
        _ = write(wakeup.number, &one, MemoryLayout.size(ofValue: one))
    }

    /// Waits for events.
    ///
    /// - Parameter milliseconds: Longest wait.
    /// - Returns: Tokens and events of the descriptors that are ready.
    public func wait(milliseconds: Int32) throws(SystemError) -> [(token: UInt64, events: Events)] {
        var tokens = [UInt64](repeating: 0, count: Self.capacity)
        var events = [UInt32](repeating: 0, count: Self.capacity)
        let count = try check(
            overlay_epoll_wait(epoll.number, &tokens, &events, Int32(Self.capacity), milliseconds), "epoll_wait")
        return (0..<Int(count)).map { index in
            if tokens[index] == Self.wakeToken {
                var number: UInt64 = 0
                _ = read(wakeup.number, &number, MemoryLayout.size(ofValue: number))
            }
            return (tokens[index], Events(rawValue: events[index]))
        }
    }
}
