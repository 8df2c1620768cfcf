internal import CLinux
import Glibc

/// Packet socket that sends Ethernet frames out of devices of one namespace, past its IP layer and past the bridge of a port. It
/// receives nothing.
public final class PacketSocket: Sendable {
    private let descriptor: Descriptor

    /// Opens a socket. Needs CAP_NET_RAW.
    /// - Parameter namespace: Namespace of the devices.
    public init(in namespace: borrowing Descriptor) throws(SystemError) {
        // Protocol 0 is bound to no protocol. Otherwise every frame of the namespace would be queued here.
        descriptor = try NetworkNamespace.openSocket(in: namespace, domain: AF_PACKET, type: Int32(SOCK_RAW.rawValue), protocol: 0)
    }

    /// Sends a frame with its header. Never waits: an error if the device cannot take it now.
    /// - Parameter link: Index of the device.
    public func send(_ frame: [UInt8], on link: Int32) throws(SystemError) {
        let result = frame.withUnsafeBytes { overlay_packet_send(descriptor.number, link, $0.baseAddress, $0.count) }
        _ = try check(result, "send a frame")
    }
}
