internal import CLinux
import Glibc

/// Packet socket that hears frames which come in at one device, as far as its filter passes them.
public final class HearingSocket: Sendable {
    /// Instruction of a classic BPF program (linux/filter.h, `sock_filter`).
    public struct Instruction: Sendable {
        public var code: UInt16
        public var yes: UInt8
        public var no: UInt8
        public var value: UInt32

        public init(code: UInt16, yes: UInt8, no: UInt8, value: UInt32) {
            self.code = code
            self.yes = yes
            self.no = no
            self.value = value
        }
    }

    private let descriptor: Descriptor
    /// Descriptor to wait for.
    public var number: Int32 { descriptor.number }

    /// Opens a socket that hears nothing yet. Needs CAP_NET_RAW.
    /// - Parameter namespace: Namespace of the device.
    public init(in namespace: borrowing Descriptor) throws(SystemError) {
        // Protocol 0 is bound to no protocol, so nothing of another device is queued before the socket is bound to its own.
        descriptor = try NetworkNamespace.openSocket(in: namespace, domain: AF_PACKET, type: Int32(SOCK_RAW.rawValue), protocol: 0)
    }

    /// Sets the filter, in place of the one before.
    public func setFilter(_ program: [Instruction]) throws(SystemError) {
        let raw = program.map { overlay_instruction(code: $0.code, yes: $0.yes, no: $0.no, value: $0.value) }
        _ = try check(overlay_packet_filter(descriptor.number, raw, UInt32(raw.count)), "set a packet filter")
    }

    /// Starts to hear.
    /// - Parameters:
    ///   - link: Index of the device.
    ///   - bytes: Size of the buffer. Frames that it has no room for are lost.
    public func hear(_ link: Int32, bytes: Int32) throws(SystemError) {
        _ = try check(overlay_packet_hear(descriptor.number, link, bytes), "listen at a port")
    }

    /// Next frame, or its beginning; nil if none is there.
    /// - Parameter limit: Greatest number of bytes to read.
    public func receive(limit: Int) throws(SystemError) -> [UInt8]? {
        var frame = [UInt8](repeating: 0, count: limit)
        let count = overlay_packet_receive(descriptor.number, &frame, limit)
        if count == -EAGAIN || count == -EINTR { return nil }
        frame.removeSubrange(Int(try check(count, "hear a port"))...)
        return frame
    }
}
