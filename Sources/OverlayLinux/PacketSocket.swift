internal import CLinux
import Glibc

/// Sends Ethernet frames straight out of devices of one namespace: past its IP layer, and past a bridge whose port the device is.
/// Receives nothing.
public final class PacketSocket: Sendable {
    private let descriptor: Descriptor

    /// Opens one; needs CAP_NET_RAW.
    /// - Parameter namespace: where its devices are.
    public init(in namespace: borrowing Descriptor) throws(SystemError) {
        // Protocol 0: bound to none, or every frame of the namespace would be queued here for nobody.
        descriptor = try NetworkNamespace.openSocket(in: namespace, domain: AF_PACKET, type: Int32(SOCK_RAW.rawValue), protocol: 0)
    }

    /// Sends a frame, header included. Never waits: what the device cannot take now is an error.
    /// - Parameter link: index of the device.
    public func send(_ frame: [UInt8], on link: Int32) throws(SystemError) {
        let result = frame.withUnsafeBytes { overlay_packet_send(descriptor.number, link, $0.baseAddress, $0.count) }
        _ = try check(result, "send a frame")
    }
}
