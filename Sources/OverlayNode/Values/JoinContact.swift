public import OverlayCatalogue

/// Node to ask for admission, with the proof and the member to send it.
public struct JoinContact: Hashable, Sendable {
    /// A name or an address, as the user typed it.
    public var host: String
    /// TCP port.
    public var port: UInt16
    /// First 20 bytes of the hash of the cluster's root key, by which the answer is recognised.
    public var pin: [UInt8]
    /// Join secret, 16 bytes. Never logged.
    public var secret: [UInt8]
    /// This node, as it asks to be admitted.
    public var member: Member
}
